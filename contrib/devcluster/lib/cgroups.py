# SPDX-License-Identifier: Apache-2.0
"""The cgroups of one cluster, in every hierarchy that is mounted."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from lib.errors import DevclusterError
from lib.layout import Layout
from lib.mounts import mounts
from lib.process import Process, end
from lib.tools import wait_until

_PATIENCE = 10.0


def hierarchies() -> dict[Path, str]:
    """Mount point to type: cgroup is v1, cgroup2 is v2."""
    kinds = {"cgroup", "cgroup2"}
    return {mount.point: mount.kind for mount in mounts() if mount.kind in kinds}


def version() -> int:
    """1 if the memory controller is one of v1, as Slurm's plugin needs it, else 2."""
    return 1 if hierarchies().get(Path("/sys/fs/cgroup/memory")) == "cgroup" else 2


def limits_swap() -> bool:
    """Whether the kernel counts swap, so that a limit without swap holds."""
    if version() == 1:
        return Path("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
    return "memory" in Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()


def trees(layout: Layout) -> list[Path]:
    """The top directories that slurmd and dockerd made for this cluster."""
    # Slurm's v2 plugin puts its scopes below system.slice, with or without systemd.
    parents = [*hierarchies(), *(point / "system.slice" for point in hierarchies())]
    return [
        path
        for parent in parents
        if parent.is_dir()
        for path in parent.iterdir()
        if path.name == layout.docker_cgroup or layout.slurm_cgroups.fullmatch(path.name)
    ]


def members(tree: Path) -> Iterator[Process]:
    """The processes in a cgroup and in those below it."""
    for directory, _, files in os.walk(tree):
        if "cgroup.procs" not in files:
            continue
        for pid in Path(directory, "cgroup.procs").read_text().split():
            process = Process.of(int(pid))
            if process:
                yield process


def remove(layout: Layout) -> None:
    """Neither the cluster's cgroups nor the processes in them exist any more."""
    ours = trees(layout)
    for tree in ours:
        _thaw(tree)
    end({process for tree in ours for process in members(tree)}, signal.SIGKILL, _PATIENCE)
    for tree in ours:
        if not wait_until(partial(_removed, tree), _PATIENCE):
            raise DevclusterError(f"{tree}: cannot be removed")


def _thaw(tree: Path) -> None:
    # A process that the v1 freezer holds (suspended job, paused container) does not die.
    for directory, _, files in os.walk(tree):
        if "freezer.state" in files:
            Path(directory, "freezer.state").write_text("THAWED")


def _removed(tree: Path) -> bool:
    # The kernel says EBUSY for a moment after the last process has ended.
    try:
        for directory, _, _ in os.walk(tree, topdown=False):
            Path(directory).rmdir()
    except OSError:
        return False
    return not tree.exists()
