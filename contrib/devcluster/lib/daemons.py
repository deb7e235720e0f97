# SPDX-License-Identifier: Apache-2.0
"""The daemons of a cluster: how each is started, which process it is, how it ends."""

import dataclasses
import json
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lib import database
from lib.cluster import Cluster, Node
from lib.errors import DevclusterError
from lib.layout import MARKER, Layout
from lib.process import Process, end, marks, spawn
from lib.tools import PATH, tool

# A dockerd that is asked to stop gives its containers 10 s.
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A daemon in the foreground, and the pid files that it writes by itself.

    Its output is its log, or a second one if it has a log file of its own.
    """

    name: str
    argv: tuple[str, ...]
    output: Path
    pid_files: tuple[Path, ...]
    variables: tuple[tuple[str, str], ...] = ()


def daemons(cluster: Cluster) -> tuple[Daemon, ...]:
    """All of them, in the order in which they are started."""
    slurmds = (_slurmd(cluster.layout, node) for node in cluster.nodes)
    storage = (_mariadbd(cluster.layout), _slurmdbd(cluster.layout)) if cluster.options.accounting else ()
    return (_munged(cluster.layout), *storage, _dockerd(cluster), _slurmctld(cluster.layout), *slurmds)


def select(cluster: Cluster, name: str) -> tuple[Daemon, ...]:
    """The daemons that a user names: one, or slurmd for that of every node."""
    nodes = {node.name for node in cluster.nodes}
    known = daemons(cluster)
    chosen = tuple(daemon for daemon in known if daemon.name == name or (name == "slurmd" and daemon.name in nodes))
    if not chosen:
        names = ", ".join(["slurmd", *(daemon.name for daemon in known)])
        raise DevclusterError(f"{name}: no such daemon; there are {names}")
    return chosen


def _munged(paths: Layout) -> Daemon:
    pid_file = paths.run / "munged.pid"
    argv = (
        tool("munged"),
        "--foreground",
        f"--socket={paths.munge_socket}",
        f"--key-file={paths.munge_key}",
        f"--pid-file={pid_file}",
        f"--log-file={paths.log / 'munged.log'}",
        f"--seed-file={paths.run / 'munged.seed'}",
    )
    return Daemon(name="munged", argv=argv, output=paths.log / "munged.log", pid_files=(pid_file,))


def _mariadbd(paths: Layout) -> Daemon:
    pid_file = paths.database_run / "mariadbd.pid"
    argv = (
        tool("mariadbd"),
        "--no-defaults",
        f"--user={database.USER}",
        f"--datadir={paths.database}",
        f"--socket={paths.database_socket}",
        f"--pid-file={pid_file}",
        "--skip-networking",
        # what is in it has not to outlive a crash, and is little
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-buffer-pool-size=32M",
        "--innodb-lock-wait-timeout=900",
    )
    return Daemon(name="mariadbd", argv=argv, output=paths.log / "mariadbd.log", pid_files=(pid_file,))


def _slurmdbd(paths: Layout) -> Daemon:
    return Daemon(
        name="slurmdbd",
        argv=(tool("slurmdbd"), "-D"),
        output=paths.log / "slurmdbd.out",
        pid_files=(paths.slurmdbd_pid,),
        # the place of the socket is no setting of slurmdbd's; MariaDB's library takes it from here
        variables=(("MYSQL_UNIX_PORT", str(paths.database_socket)),),
    )


def _slurmctld(paths: Layout) -> Daemon:
    argv = (tool("slurmctld"), "-D", "-f", str(paths.slurm_conf))
    output, pid_file = paths.log / "slurmctld.out", paths.slurmctld_pid
    return Daemon(name="slurmctld", argv=argv, output=output, pid_files=(pid_file,))


def _slurmd(paths: Layout, node: Node) -> Daemon:
    argv = (tool("slurmd"), "-D", "-N", node.name, "-f", str(paths.slurm_conf))
    output, pid_file = paths.log / f"{node.name}.out", paths.slurmd_pid(node.name)
    return Daemon(name=node.name, argv=argv, output=output, pid_files=(pid_file,))


def _dockerd(cluster: Cluster) -> Daemon:
    paths, asked = cluster.layout, cluster.options.docker_args
    pid_file = paths.run / "dockerd.pid"
    argv = [
        tool("dockerd"),
        f"--config-file={paths.etc / 'daemon.json'}",
        f"--host={paths.docker_url}",
        f"--data-root={paths.docker_data}",
        f"--exec-root={paths.docker_exec}",
        f"--pidfile={pid_file}",
        "--group=docker",
        "--bridge=none",
        "--iptables=false",
        "--ip-masq=false",
    ]
    # With either of these the user has chosen the place of the containers.
    if not any("cgroup-parent" in word or "cgroupdriver" in word for word in asked):
        argv.append("--exec-opt=native.cgroupdriver=cgroupfs")
        argv.append(f"--cgroup-parent=/{paths.docker_cgroup}")
    output, pid_files = paths.log / "dockerd.log", (pid_file, paths.containerd_pid)
    return Daemon(name="dockerd", argv=(*argv, *asked), output=output, pid_files=pid_files)


def running(paths: Layout, name: str) -> Process | None:
    """The process of a daemon that we started and that is alive."""
    try:
        process = Process(**json.loads(paths.record(name).read_text()))
    except FileNotFoundError:
        return None
    return process if process.alive() else None


def remains(paths: Layout) -> list[Process]:
    """Our daemons, and what they have started that still runs."""
    return [process for process, base in marks(MARKER) if base == str(paths.base)]


def refuse_namesake(paths: Layout) -> None:
    """No cluster of the same name, which would have the same cgroups, runs elsewhere."""
    for _, base in marks(MARKER):
        if Path(base).name == paths.name and base != str(paths.base):
            raise DevclusterError(f"another cluster {paths.name} runs in {base}")


def start(paths: Layout, daemon: Daemon) -> None:
    """The daemon runs, or has ended at once and its log says why."""
    if running(paths, daemon.name):
        return
    variables = {"PATH": PATH, "LC_ALL": "C.UTF-8", "SLURM_CONF": str(paths.slurm_conf)}
    for path in daemon.pid_files:
        _end_predecessor(paths, path)
    process = spawn(daemon.argv, variables | dict(daemon.variables) | {MARKER: str(paths.base)}, daemon.output)
    if process:
        paths.record(daemon.name).write_text(json.dumps(dataclasses.asdict(process)))


def _end_predecessor(paths: Layout, pid_file: Path) -> None:
    # dockerd takes a zombie for a running dockerd or containerd and does not start.
    try:
        process = Process.of(int(pid_file.read_text()))
    except (FileNotFoundError, ValueError):
        return
    if process in remains(paths):
        end([process], signal.SIGTERM, _PATIENCE)
    pid_file.unlink()


def stop(
    paths: Layout,
    names: Iterable[str],
    number: signal.Signals = signal.SIGTERM,
) -> None:
    """The daemons have ended."""
    found = [process for name in names if (process := running(paths, name))]
    end(found, number, _PATIENCE)
