# SPDX-License-Identifier: Apache-2.0
"""Steps of a kind: an MPI program's start by PMIx, and what mounts of the user cost."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .sample import Case, in_turns
from .table import Row

if TYPE_CHECKING:
    from .measure import Bench

MPI_IMAGE = "mpi:latest"
RANKS = 8
MOUNTS = 10


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A directory of alice's, in her home."""
    path = Path(tempfile.mkdtemp(prefix="bench-", dir="/home/alice"))
    shutil.chown(path, "alice", "alice")
    try:
        yield path
    finally:
        shutil.rmtree(path)


def pmix_hello(bench: Bench) -> Row:
    """Ranks on a node that meet by PMIx and end, in an open container and plain."""
    with directory() as path, bench.allocation(f"--ntasks={RANKS}") as srun:
        program = path / "hello"
        subprocess.run(["gcc", "-O2", "-o", program, Path(__file__).with_name("hello.c")], check=True)
        program.chmod(0o755)
        step = [*srun, "--mpi=pmix", f"--ntasks={RANKS}"]
        container = f"--container={MPI_IMAGE}"
        bench.user.run([*step, container, str(program)])
        cases = {
            "plain": Case(action=lambda: bench.user.run([*step, str(program)])),
            "container": Case(action=lambda: bench.user.run([*step, container, str(program)])),
        }
        return bench.compare(f"a PMIx program of {RANKS} ranks", 1.05, cases, bench.rounds)


def ten_mounts(bench: Bench) -> Row:
    """The first step of a job with bind mounts over one without, in milliseconds."""
    with directory() as path:
        for number in range(MOUNTS):
            (path / str(number)).mkdir()
        words = ",".join(f"{path}/{number}:/mnt/{number}" for number in range(MOUNTS))
        step = ["srun", "--container=debian:bookworm"]
        cases = {
            "none": Case(action=lambda: bench.user.run([*step, "true"]), prepare=bench.wait_idle),
            "with": Case(
                action=lambda: bench.user.run([*step, f"--container-mounts={words}", "true"]), prepare=bench.wait_idle
            ),
        }
        in_turns(cases, bench.rounds * 2)
    none, some = cases.values()
    differences = sorted(b - a for a, b in zip(none.seconds, some.seconds, strict=True))
    quarter = len(differences) // 4
    return Row(
        what=f"a first step with {MOUNTS} mounts, longer by",
        value=differences[len(differences) // 2] * 1000,
        spread=(differences[-1 - quarter] - differences[quarter]) * 500,
        goal=2.0,
        unit="ms",
        detail=f"none {none.median * 1000:.1f} ms, {MOUNTS} mounts {some.median * 1000:.1f} ms",
    )
