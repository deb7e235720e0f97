# SPDX-License-Identifier: Apache-2.0
"""A large site's catalogue: how fast it is listed. No cluster is needed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from socker.catalogue import make_index
from socker.cataloguetext import read_entries, write_entries
from socker.entry import Entry
from socker.trustedfile import index_path, open_trusted

from .table import Row

IMAGES = 10_000
REPOSITORY = Path(__file__).resolve().parents[2]


def entries() -> list[Entry]:
    """Ten thousand images of fifty groups."""
    return [
        Entry(
            id=f"sha256:{number:064x}",
            desc=f"Tool {number} of the collection, built for all nodes",
            repository=f"registry.site:5000/group{number % 50}/tool{number}",
            tag=f"1.{number % 9}",
            created_since="3 weeks ago",
            created_at="2026-01-15 12:57:07 +0000 UTC",
            size="1.88GB",
            digest=f"sha256:{number + 1:064x}",
            nodes=("n1", "n2", "n3"),
            synced_at="2026-02-05T08:00:00Z",
        )
        for number in range(IMAGES)
    ]


@contextmanager
def site() -> Iterator[Path]:
    """A directory of root's with the catalogue and its index."""
    with tempfile.TemporaryDirectory(prefix="socker-bench-", dir="/var/lib") as name:
        place = Path(name)
        place.chmod(0o755)
        path = place / "images.yaml"
        path.write_bytes(write_entries(entries()))
        path.chmod(0o644)
        found = open_trusted(str(path))
        assert found is not None
        index = Path(index_path(str(path)))
        index.write_bytes(make_index(read_entries(path.read_bytes(), str(path)), found.stamp))
        index.chmod(0o644)
        yield place


def middle(values: list[float]) -> tuple[float, float]:
    """Median and half of the distance between the quartiles."""
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return ordered[len(ordered) // 2], (ordered[-1 - quarter] - ordered[quarter]) / 2


def rows(rounds: int) -> list[Row]:
    """The rows of the table."""
    with site() as place:
        return [listing(place, rounds)]


def listing(place: Path, rounds: int) -> Row:
    """`socker images` from its start to its end."""
    argv = [sys.executable, "-m", "socker.cli", "images", "--config", str(place / "images.yaml")]
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - start)
        assert done.stdout.count("\n") == IMAGES + 1
    value, spread = middle(seconds)
    return Row(
        what=f"socker images, {IMAGES} of them",
        value=value,
        spread=spread,
        goal=0.5,
        unit="s",
        detail="in columns, from start to end",
    )
