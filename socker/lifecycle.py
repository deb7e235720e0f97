# SPDX-License-Identifier: Apache-2.0
"""
A container's life, from a request to its removal; how it is opened is in `opening`.

Nothing here knows of bytes, sockets or files: what it needs from outside comes in as the protocols of `ports`.
"""

from __future__ import annotations

from socker.errors import EngineTimeout, EngineUnreachable, SockerError
from socker.model import Mark
from socker.opening import Opened, Opening, Outside, Plain, Refusal
from socker.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from socker.model import Found, Request
    from socker.ports import AuditSink, Engine, Jobs, SavesImages

__all__ = ["Closed", "Closing", "Item", "Opened", "Outside", "Plain", "Refusal"]
__all__ += ["close_items", "judge_items", "open_step", "sweep"]


class Item(Value):
    """A container that root has a record of. Without `id` only the intent was recorded, without `name` nothing."""

    job: int
    name: str
    id: str


class Closing(Value):
    """Containers of one node to close or, in a sweep, to judge."""

    node: str
    token: str
    items: tuple[Item, ...]


class Closed(Value):
    """For each item whether it must be kept on record, and what could not be done (empty: nothing)."""

    kept: tuple[bool, ...]
    message: str


def open_step(request: Request, outside: Outside) -> Opened | Plain | Refusal:
    """Open a container for a step, from policy and image to a running hold process. Failures become refusals."""
    return Opening(request, outside).answer()


def close_items(closing: Closing, engine: Engine) -> Closed:
    """Remove the containers of the items. One that could not be removed is kept, and all once Docker is silent."""
    kept: list[bool] = []
    problems: list[str] = []
    silent = False
    for item in closing.items:
        kept.append(True)
        if silent:
            continue
        try:
            mark = Mark(token=closing.token, node=closing.node, job=item.job, uid=None, name=item.name)
            engine.remove(item.id or item.name, mark)
            kept[-1] = False
        except SockerError as error:
            silent = isinstance(error, EngineTimeout | EngineUnreachable)
            problems.append(str(error))
    return Closed(kept=tuple(kept), message="; ".join(problems))


def judge_items(closing: Closing, jobs: Jobs) -> Closed:
    """Tell which items' jobs live; nothing is removed. Without an answer from Slurm all of them do."""
    try:
        live = jobs.live(closing.node)
    except SockerError as error:
        return _nothing_known(closing, error)
    return Closed(kept=tuple(item.job in live for item in closing.items), message="")


def sweep(closing: Closing, engine: Engine, jobs: Jobs, audit: AuditSink, saver: SavesImages | None = None) -> Closed:
    """
    Remove our containers of dead jobs, of whatever node, that have no item. All items are kept.

    With a saver, what interrupted saves left is removed, too.

    The containers are listed before Slurm is asked: a job that began later has none among them.
    """
    recorded = {item.name for item in closing.items}
    problems: list[str] = []
    try:
        found = [one for one in engine.list_ours(closing.token) if one.name not in recorded]
    except SockerError as error:
        return _nothing_known(closing, error)
    live, unknown = _live(jobs, sorted({container.node for container in found}))
    problems += unknown
    for container in found:
        if container.node not in live or container.job in live[container.node]:
            continue
        problem = ""
        try:
            mark = Mark(token=closing.token, node=container.node, job=container.job, uid=None, name=container.name)
            engine.remove(container.id, mark)
        except SockerError as error:
            problem = str(error)
            problems.append(problem)
        audit.record("sweep", _swept(container, problem))
    if saver is not None:
        problems += _sweep_commits(closing.token, saver, audit)
    return Closed(kept=(True,) * len(closing.items), message="; ".join(problems))


def _live(jobs: Jobs, nodes: Iterable[str]) -> tuple[dict[str, frozenset[int]], list[str]]:
    """Return the live jobs of each node that Slurm answers for, and what is said of the others, which stay."""
    live: dict[str, frozenset[int]] = {}
    unknown: list[str] = []
    for node in nodes:
        try:
            live[node] = jobs.live(node)
        except SockerError as error:
            unknown.append(f"nothing of node {node} is removed: {error}")
    return live, unknown


def _sweep_commits(token: str, saver: SavesImages, audit: AuditSink) -> list[str]:
    try:
        for image in saver.remove_commits(token):
            audit.record("sweep", {"image": image, "removed": True, "reason": ""})
    except SockerError as error:
        return [str(error)]
    return []


def _swept(container: Found, problem: str) -> Mapping[str, object]:
    facts = {"node": container.node, "job": container.job, "container": container.id}
    return {**facts, "removed": not problem, "reason": problem}


def _nothing_known(closing: Closing, error: SockerError) -> Closed:
    return Closed(kept=(True,) * len(closing.items), message=f"nothing is removed: {error}")
