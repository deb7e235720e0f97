# SPDX-License-Identifier: Apache-2.0
"""Who gets the same container: the steps of one job on one node that ask for the same, and nobody else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import Cluster

WHICH = ("readlink", "/proc/self/ns/mnt")


def created(cluster: Cluster, since: float) -> int:
    """How many containers dockerd made since then."""
    window = (f"--since={since:.6f}", f"--until={time.time():.6f}")
    events = cluster.docker("events", *window, "--filter=type=container", "--filter=event=create", "--format={{.ID}}")
    return len(events.split())


@pytest.fixture
def moving_tag(cluster: Cluster) -> Iterator[str]:
    """A tag that names debian:bookworm, until the test moves it."""
    tag = "socker-test:moving"
    cluster.docker("tag", "debian:bookworm", tag)
    yield tag
    cluster.docker("image", "rm", tag)


@pytest.mark.short
def test_later_steps_of_a_job_find_what_the_first_left_in_the_container(cluster: Cluster) -> None:
    began = time.time()
    with cluster.allocation() as job:
        mark = Path(f"/tmp/mark-{job.id}")
        first = job.srun("sh", "-c", f"echo from-first > {mark}; readlink /proc/self/ns/mnt")
        second = job.srun("sh", "-c", f"cat {mark}; readlink /proc/self/ns/mnt")
        assert second.stdout == f"from-first\n{first.stdout}"
        assert not mark.exists()
        other = job.srun("ls", "/tmp", image="busybox:latest")
        assert (other.returncode, other.stdout) == (0, "")
        assert created(cluster, began) == len(job.containers()) == 2


@pytest.mark.native
def test_twenty_concurrent_first_steps_open_exactly_one_container(cluster: Cluster) -> None:
    with cluster.allocation("--ntasks=8", "--mem=1600") as job:
        began = time.time()
        step = ("--overlap", "--ntasks=1", "--mem=60", *WHICH)
        steps = [job.popen(*step) for _ in range(20)]
        ended = [(*step.communicate(timeout=60), step.returncode) for step in steps]
        assert {code for _, _, code in ended} == {0}, ended
        assert len({out for out, _, _ in ended}) == 1, ended
        assert created(cluster, began) == len(job.containers()) == 1
        assert ended[0][0] != job.srun(*WHICH, image=None).stdout


def test_tasks_of_one_step_share_a_container_on_each_node_and_not_between_nodes(cluster: Cluster) -> None:
    with cluster.allocation("--nodes=2", "--ntasks=4", "--ntasks-per-node=2") as job:
        mark = 'touch /tmp/mark-$SLURMD_NODENAME; echo "$SLURMD_NODENAME $(ls /tmp)"'
        done = job.srun("--ntasks=4", "sh", "-c", mark)
        assert sorted(done.stdout.splitlines()) == sorted(f"{node} mark-{node}" for node in cluster.nodes[:2] * 2)
        assert len(job.containers()) == 2


@pytest.mark.short
def test_two_jobs_and_two_users_never_share_a_container(cluster: Cluster) -> None:
    node = f"--nodelist={cluster.nodes[0]}"
    with (
        cluster.allocation(node) as first,
        cluster.allocation(node) as second,
        cluster.allocation(node, user="bob") as others,
    ):
        jobs = (first, second, others)
        for job in jobs:
            marked = job.srun("sh", "-c", f"echo {job.id} > /tmp/mark-{job.id}; chmod 666 /tmp/mark-{job.id}")
            assert marked.returncode == 0, marked.stderr
        seen = [job.srun("sh", "-c", "ls /tmp; id -un 2>&1 || id -u; readlink /proc/self/ns/mnt") for job in jobs]
        assert [done.stdout.splitlines()[0] for done in seen] == [f"mark-{job.id}" for job in jobs]
        assert len({done.stdout.splitlines()[-1] for done in seen}) == 3
        assert len(cluster.containers()) == 3
        intruder = cluster.srun(f"--jobid={first.id}", "cat", f"/tmp/mark-{first.id}", user="bob")
        assert intruder.returncode != 0
        assert intruder.stdout == ""


def test_image_tag_that_moves_during_a_job_changes_the_next_job_only(cluster: Cluster, moving_tag: str) -> None:
    which = ("ls", "/etc/socker-image")
    with cluster.allocation() as job:
        assert job.srun(*which, image=moving_tag).returncode == 0
        cluster.docker("tag", "busybox:latest", moving_tag)
        assert job.srun(*which, image=moving_tag).returncode == 0
        assert len(job.containers()) == 1
    moved = cluster.srun("sh", "-c", "ls /etc/socker-image; ls -l /bin/ls", image=moving_tag)
    assert "/etc/socker-image: No such file" in moved.stderr
    assert "busybox" in moved.stdout


def test_later_step_from_another_directory_finds_it_in_the_open_container(cluster: Cluster, scratch: Path) -> None:
    (scratch / "next").mkdir()
    (scratch / "next/file").write_text("from the host\n")
    where = ("sh", "-c", "pwd; cat file; readlink /proc/self/ns/mnt")
    with cluster.allocation() as job:
        before = job.srun("sh", "-c", f"ls {scratch}; readlink /proc/self/ns/mnt")
        assert "No such file" in before.stderr
        after = job.srun(*where, cwd=str(scratch / "next"))
        assert after.stdout == f"{scratch}/next\nfrom the host\n{before.stdout}"
        again = job.srun(*where, cwd=str(scratch / "next"))
        assert again.stdout == after.stdout
        assert len(job.containers()) == 1
        # the parent of what is mounted by now
        parent = job.srun("sh", "-c", "pwd; cat next/file; touch made", cwd=str(scratch))
        assert (parent.returncode, parent.stdout) == (0, f"{scratch}\nfrom the host\n"), parent.stderr
    assert (scratch / "made").exists()


def test_step_whose_hold_process_was_killed_gets_a_new_container(cluster: Cluster) -> None:
    with cluster.allocation() as job:
        assert job.srun("touch", "/tmp/mark").returncode == 0
        before = job.containers()
        cluster.docker("kill", *before)
        again = job.srun("ls", "/tmp")
        assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
        assert job.containers() == before  # the name is the job's; what has it now is new
