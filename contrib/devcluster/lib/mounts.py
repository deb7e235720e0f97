# SPDX-License-Identifier: Apache-2.0
"""The mount table."""

import re
from dataclasses import dataclass
from pathlib import Path

from lib.tools import run


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A line of mountinfo: where, and of which type."""

    point: Path
    kind: str


def mounts() -> list[Mount]:
    """All mounts of this mount namespace, in the order they were made."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), left.split()[4])
        found.append(Mount(point=Path(point), kind=right.split()[0]))
    return found


def below(directory: Path) -> list[Path]:
    """The mount points at or below a directory, the last one first."""
    points = [mount.point for mount in mounts()]
    return [point for point in reversed(points) if point.is_relative_to(directory)]


def unmount_below(directory: Path) -> None:
    """Nothing is mounted at or below the directory."""
    for point in below(directory):
        if run("umount", str(point), check=False).returncode != 0:
            run("umount", "--lazy", str(point))
