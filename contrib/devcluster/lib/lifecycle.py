# SPDX-License-Identifier: Apache-2.0
"""A cluster's life: up, down, and its single daemons in between."""

import os
import shutil
import signal
import stat

from lib import cgroups, config, database, docker, health, images, mounts, process, slurm, users
from lib.cluster import Cluster, Options, create, load
from lib.daemons import daemons, refuse_namesake, remains, running, select, start, stop
from lib.errors import DevclusterError
from lib.layout import REPOSITORY, Layout
from lib.tools import run

_PATIENCE = 10.0
_INSTALL_TIMEOUT = 600.0
_DEFAULT_IMAGE = "debian:bookworm"


def say(text: str) -> None:
    """Tell the user what is happening."""
    print(text, flush=True)


def up(paths: Layout, asked: Options | None) -> None:
    """Every daemon of the cluster is up, as asked; None stands for as it was, or the defaults."""
    cluster = load(paths)
    new = cluster is None
    if cluster is None:
        _make_room(paths)
        cluster = create(paths, asked or Options())
    elif asked not in (None, cluster.options):
        raise DevclusterError(f"{paths.name} is up with other options; take it down first")
    elif all(part.up for part in health.check(cluster)):
        say(f"{paths.name} is already up")
        return
    users.ensure()
    if cluster.options.socker:
        install(cluster)
    config.write(cluster)
    _start_all(cluster, new=new)


def _make_room(paths: Layout) -> None:
    """Directories for a new life of the cluster, with nothing of an earlier one."""
    refuse_namesake(paths)
    if remains(paths) or cgroups.trees(paths):
        raise DevclusterError(f"something of an earlier {paths.name} is left; take it down first")
    _forget(paths)
    for path in (paths.etc, paths.log, paths.run, paths.state, paths.spool):
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    for path in (paths.run, *paths.run.parents):
        status = path.lstat()
        safe = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o022
        if not safe or status.st_uid != 0:
            raise DevclusterError(f"{path}: not a directory that only root can write")


def _forget(paths: Layout) -> None:
    for path in (paths.run, paths.state, paths.spool, paths.scratch, paths.database):
        shutil.rmtree(path, ignore_errors=True)
    paths.definition.unlink(missing_ok=True)


def install(cluster: Cluster) -> None:
    """This repository's socker is in the cluster's own tree."""
    if cluster.options.prefix:
        return
    say(f"installing socker in {cluster.prefix}")
    run(
        "make",
        f"--directory={REPOSITORY}",
        "install",
        f"PREFIX={cluster.prefix}",
        f"SYSCONFDIR={cluster.layout.etc}",
        env=os.environ,
        timeout=_INSTALL_TIMEOUT,
    )


def _start_all(cluster: Cluster, *, new: bool) -> None:
    paths = cluster.layout
    if cluster.options.accounting:
        say("making the database")
        database.prepare(paths)
    for node in cluster.nodes:
        (paths.spool / node.name).mkdir(mode=0o755, exist_ok=True)
        scratch = paths.scratch / node.name
        scratch.mkdir(parents=True, exist_ok=True)
        scratch.chmod(0o1777)
    for daemon in daemons(cluster):
        if not running(paths, daemon.name):
            say(f"starting {daemon.name}")
            start(paths, daemon)
        if daemon.name in {"munged", "dockerd", "mariadbd", "slurmdbd"}:
            health.wait_for_answer(cluster, [daemon.name])
        if daemon.name == "slurmdbd":
            database.fill(paths)
    health.wait_for_answer(cluster, ["slurmctld"])
    if new:
        docker.remove_containers(paths)
    else:
        slurm.register_nodes(paths)
    images.load(paths, [_DEFAULT_IMAGE])
    health.wait_until_up(cluster)
    say(f"{paths.name} is up")


def down(paths: Layout, *, purge: bool) -> None:
    """Nothing of the cluster runs, is mounted or has a cgroup. Logs and images stay."""
    refuse_namesake(paths)
    cluster = load(paths)
    if cluster:
        _stop_all(cluster)
    process.end(remains(paths), signal.SIGKILL, _PATIENCE)
    cgroups.remove(paths)
    mounts.unmount_below(paths.base)
    docker.remove_shim_sockets(paths)
    _forget(paths)
    if purge and paths.base.exists():
        shutil.rmtree(paths.base)
    say(f"{paths.name} is down")


def _stop_all(cluster: Cluster) -> None:
    paths = cluster.layout
    if health.answers(paths, "slurmctld"):
        slurm.end_jobs(paths)
    stop(paths, ["slurmctld", *(node.name for node in cluster.nodes)])
    if health.answers(paths, "dockerd"):
        docker.remove_containers(paths)
    stop(paths, ["dockerd"])
    stop(paths, ["slurmdbd"])
    stop(paths, ["mariadbd"])
    stop(paths, ["munged"])


def start_named(cluster: Cluster, name: str) -> None:
    """The daemons run and answer."""
    chosen = select(cluster, name)
    for daemon in chosen:
        start(cluster.layout, daemon)
    health.wait_for_answer(cluster, [daemon.name for daemon in chosen])


def stop_named(cluster: Cluster, name: str) -> None:
    """The daemons have ended in good order."""
    stop(cluster.layout, [daemon.name for daemon in select(cluster, name)])


def kill_named(cluster: Cluster, name: str) -> None:
    """The daemons have been killed; what they had started may live on."""
    chosen = select(cluster, name)
    stop(cluster.layout, [daemon.name for daemon in chosen], signal.SIGKILL)


def restart_named(cluster: Cluster, name: str) -> None:
    """The daemons are new processes and answer."""
    stop_named(cluster, name)
    start_named(cluster, name)
