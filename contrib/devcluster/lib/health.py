# SPDX-License-Identifier: Apache-2.0
"""Whether the parts of a cluster work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from lib import database, docker, munge, slurm
from lib.cluster import Cluster
from lib.daemons import daemons, running
from lib.errors import DevclusterError
from lib.layout import Layout
from lib.tools import wait_until

_GOOD = frozenset({"idle", "mixed", "allocated", "completing"})
_TIMEOUT = 60.0
_TAIL_BYTES = 65536
_TAILS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What `status` says of a daemon; a slurmd is up if its node can take jobs too."""

    name: str
    up: bool
    detail: str

    def __str__(self) -> str:
        """Write its line of `status`."""
        return f"{self.name:<18} {'up' if self.up else 'down':<6} {self.detail}"


def answers(paths: Layout, name: str) -> bool:
    """Whether a daemon runs and answers."""
    if running(paths, name) is None:
        return False
    alone = {"dockerd": docker.answers, "mariadbd": database.mariadbd_answers, "munged": munge.answers}
    if name in alone:
        return alone[name](paths)
    # Slurm's commands wait for a munged that was killed.
    if not munge.answers(paths) or running(paths, "munged") is None:
        return False
    slurms = {"slurmdbd": database.slurmdbd_answers, "slurmctld": slurm.answers}
    return slurms[name](paths) if name in slurms else slurm.slurmd_answers(paths, name)


def check(cluster: Cluster) -> list[Health]:
    """The health of every daemon."""
    paths = cluster.layout
    works = {daemon.name: answers(paths, daemon.name) for daemon in daemons(cluster)}
    # Without a controller Slurm's commands try again and again.
    states = slurm.node_states(paths) if works["slurmctld"] else {}
    nodes = {node.name for node in cluster.nodes}
    report = []
    for name, up in works.items():
        process = running(paths, name)
        detail = [f"pid {process.pid}" if process else "not running"]
        if process and not up:
            detail.append("does not answer")
        state, reason = states.get(name, ("unknown", ""))
        if name in nodes:
            detail += [state, reason] if reason else [state]
        usable = name not in nodes or state in _GOOD
        report.append(Health(name=name, up=up and usable, detail=", ".join(detail)))
    return report


def wait_until_up(cluster: Cluster) -> None:
    """Everything is up; raises with what is not, and its logs."""

    def good() -> bool:
        return all(health.up for health in check(cluster))

    if not _comes_true(cluster, good, [daemon.name for daemon in daemons(cluster)]):
        _give_up(cluster, [health for health in check(cluster) if not health.up])


def wait_for_answer(cluster: Cluster, names: Sequence[str]) -> None:
    """The named daemons answer; raises with those that do not, and their logs."""

    def good() -> bool:
        return all(answers(cluster.layout, name) for name in names)

    if not _comes_true(cluster, good, names):
        _give_up(cluster, [health for health in check(cluster) if health.name in names])


def _comes_true(cluster: Cluster, good: Callable[[], bool], needed: Sequence[str]) -> bool:
    # A daemon that has ended does not come back, so there is nothing to wait for.
    def settled() -> bool:
        return good() or not all(running(cluster.layout, name) for name in needed)

    return wait_until(settled, _TIMEOUT) and good()


def _give_up(cluster: Cluster, bad: Sequence[Health]) -> NoReturn:
    tails = (log_tail(cluster.layout, health.name, lines=10) for health in bad[:_TAILS])
    lines = [f"{cluster.layout.name} does not come up:", *map(str, bad), *tails]
    raise DevclusterError("\n".join(lines))


def log_tail(paths: Layout, daemon: str, lines: int) -> str:
    """The last lines of a daemon's log; if it has ended, of its last output too."""
    kinds = ["log"] if running(paths, daemon) else ["log", "out"]
    shown = []
    for path in (paths.log / f"{daemon}.{kind}" for kind in kinds):
        if path.exists() and (text := _tail(path, lines)):
            shown += [f"==> {path} <==", *text]
    return "\n".join(shown)


def _tail(path: Path, lines: int) -> list[str]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return file.read().decode(errors="replace").splitlines()[-lines:]
