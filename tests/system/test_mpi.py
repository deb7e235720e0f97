# SPDX-License-Identifier: Apache-2.0
"""
MPI of an image under Slurm's srun: MPICH by PMI2, Open MPI by PMIx, on one node and on two.

Both libraries are the distribution's, in one image, which is made when these tests first run on a machine.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import Cluster, Result

IMAGE = "mpi:latest"
SIZE = 8 << 20  # bytes that go round in mpi.c
FLAVOURS = (("pmi2", "mpich"), ("pmix", "openmpi"))


@pytest.fixture(scope="module")
def program(whole_cluster: Cluster) -> Iterator[Path]:
    """mpi.c, compiled in alice's home; the image is there."""
    whole_cluster.devcluster("images", IMAGE, timeout=900)
    path = Path("/home/alice/mpi-test")
    source = Path(__file__).with_name("mpi.c")
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-o", path, source], check=True)
    yield path
    path.unlink()


def ranks(done: Result) -> list[list[int]]:
    """What mpi.c printed, by rank; nothing else was said."""
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return sorted([int(word) for word in line.split()] for line in done.stdout.splitlines())


@pytest.mark.parametrize(("mpi", "library"), FLAVOURS)
def test_ranks_of_a_node_reduce_send_and_reach_each_other_s_memory(
    cluster: Cluster, program: Path, mpi: str, library: str
) -> None:
    done = cluster.srun(f"--mpi={mpi}", "--nodes=1", "--ntasks=4", str(program), library, image=IMAGE)
    assert ranks(done) == [[rank, 4, 10, SIZE, SIZE] for rank in range(4)]


@pytest.mark.parametrize(("mpi", "library"), FLAVOURS)
def test_ranks_of_two_nodes_reduce_and_send(cluster: Cluster, program: Path, mpi: str, library: str) -> None:
    done = cluster.srun(f"--mpi={mpi}", "--nodes=2", "--ntasks-per-node=2", str(program), library, image=IMAGE)
    # -1: the rank before it is on another node
    assert ranks(done) == [[rank, 4, 10, SIZE, -1 if rank % 2 == 0 else SIZE] for rank in range(4)]


@pytest.mark.parametrize(("mpi", "library"), FLAVOURS)
def test_a_read_only_root_and_later_steps_change_nothing(
    cluster: Cluster, program: Path, mpi: str, library: str
) -> None:
    with cluster.allocation("--nodes=1", "--ntasks=2") as job:
        for _ in range(3):
            step = ("--container-readonly", f"--mpi={mpi}", "--ntasks=2", str(program), library)
            assert ranks(job.srun(*step, image=IMAGE)) == [[rank, 2, 3, SIZE, SIZE] for rank in range(2)]
        assert len(job.containers()) == 1


def test_directories_of_pmix_are_in_the_container_and_the_spool_is_lent_once(cluster: Cluster, program: Path) -> None:
    look = (
        "ls $PMIX_SERVER_TMPDIR | sort; stat -c %u:%a $PMIX_SERVER_TMPDIR;"
        "find /tmp -name 'spmix_appdir_*' -printf '%U %m\\n'; grep -c /spool/ /proc/self/mountinfo"
    )
    assert program.exists()
    with cluster.allocation("--nodes=1", "--ntasks=1") as job:
        plain = job.srun("--mpi=pmix", "sh", "-c", look, image=None).stdout.splitlines()
        first, second = (job.srun("--mpi=pmix", "sh", "-c", look, image=IMAGE) for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")
    inside = first.stdout.splitlines()
    # names end in the pid of slurmstepd
    assert [name.rstrip("0123456789") for name in inside[:2]] == ["pmix_dstor_ds12_", "pmix_dstor_ds21_"]
    assert inside[2:] == ["20001:700", "20001 700", "1"]
    assert plain[2] == inside[2]
    # the first one's is still there; on the host, Slurm removes it
    assert second.stdout.splitlines()[3:] == ["20001 700", "20001 700", "1"]


def test_a_step_without_pmix_gets_no_spool(cluster: Cluster, program: Path) -> None:
    assert program.exists()
    done = cluster.srun("--mpi=pmi2", "cat", "/proc/self/mountinfo", image=IMAGE)
    assert done.returncode == 0, done.stderr
    assert "/spool/" not in done.stdout


def test_memory_can_be_bound_to_nodes(cluster: Cluster, program: Path) -> None:
    assert program.exists()
    done = cluster.srun("numactl", "--membind=0", "--physcpubind=+0", "numactl", "--show", image=IMAGE)
    assert (done.returncode, done.stderr) == (0, "")
    assert "policy: bind\n" in done.stdout
    assert "membind: 0" in done.stdout
