# SPDX-License-Identifier: Apache-2.0
"""On a cluster whose jobs have a /tmp of their own (job_container/tmpfs), which is mounted where /tmp is asked for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import DEVCLUSTER, IMAGE, Cluster

NAME = "jobtmp"


@pytest.fixture(scope="module")
def up(whole_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Such a cluster, of one node; SOCKER_TEST_JOBSPACE names one that is kept."""
    kept = os.environ.get("SOCKER_TEST_JOBSPACE")
    if kept:
        yield Cluster(name=kept)
        return
    made = Cluster(name=NAME)
    settings = tmp_path_factory.mktemp("etc") / "job_container.conf"
    settings.write_text(f"AutoBasePath=true\nBasePath={made.base}/jobs\n")
    options = ("--conf", "JobContainerType=job_container/tmpfs", "--conf", "PrologFlags=Contain")
    files = ("--etc", str(settings), "--prefix", str(whole_cluster.prefix))
    subprocess.run([str(DEVCLUSTER), "up", "--name", NAME, "--nodes", "1", *options, *files], check=True, timeout=600)
    try:
        yield made
    finally:
        subprocess.run([str(DEVCLUSTER), "down", "--name", NAME, "--purge"], check=True, timeout=120)


@pytest.fixture
def apart(up: Cluster) -> Iterator[Cluster]:
    """The cluster, clean after the test."""
    yield up
    up.assert_clean()


def test_tmp_that_is_mounted_is_the_job_s_own(apart: Cluster, scratch: Path) -> None:
    outside = Path(f"/tmp/{scratch.name}")
    outside.write_text("the node's\n")
    try:
        with apart.allocation() as job:
            job.srun("sh", "-c", "echo job > /tmp/of-the-job", image=None)
            mounts = "--container-mounts=/tmp"
            first = job.srun(mounts, "sh", "-c", "ls /tmp; cat /tmp/of-the-job; echo step > /tmp/of-the-step")
            assert (first.returncode, first.stdout) == (0, "of-the-job\njob\n"), first.stderr
            plain = job.srun("sh", "-c", "ls /tmp; cat /tmp/of-the-step", image=None)
            assert plain.stdout == "of-the-job\nof-the-step\nstep\n"
            later = job.srun(mounts, "cat", "/tmp/of-the-step")
            assert later.stdout == "step\n"
            assert len(job.containers()) == 1
        assert not Path("/tmp/of-the-step").exists()
    finally:
        outside.unlink()


def test_tmp_that_is_not_mounted_is_the_container_s(apart: Cluster) -> None:
    with apart.allocation() as job:
        job.srun("sh", "-c", "echo job > /tmp/of-the-job", image=None)
        inside = job.srun("sh", "-c", "ls /tmp; cat /etc/socker-image")
    assert (inside.returncode, inside.stdout) == (0, "debian:bookworm\n"), inside.stderr


def test_a_directory_of_the_job_s_tmp_can_be_mounted_and_worked_in(apart: Cluster) -> None:
    with apart.allocation() as job:
        made = job.srun("sh", "-c", "mkdir /tmp/work; echo here > /tmp/work/file", image=None)
        assert made.returncode == 0, made.stderr
        for mount in ("--container-mounts=/tmp/work", "--container-mounts=/tmp"):
            done = job.srun(mount, "--container-workdir=/tmp/work", "sh", "-c", "pwd; cat file")
            assert (done.returncode, done.stdout) == (0, "/tmp/work\nhere\n"), done.stderr


def test_two_jobs_of_a_node_see_each_its_own(apart: Cluster) -> None:
    mounts = "--container-mounts=/tmp"
    with apart.allocation() as one, apart.allocation(user="bob") as other:
        for job in (one, other):
            assert job.srun(mounts, "sh", "-c", "echo $SLURM_JOB_ID > /tmp/mine").returncode == 0
        for job in (one, other):
            assert job.srun(mounts, "cat", "/tmp/mine").stdout == f"{job.id}\n"


def test_a_batch_script_and_its_steps_share_the_job_s_tmp(apart: Cluster) -> None:
    script = f"""#!/bin/sh
echo script > /tmp/from-script
srun --container={IMAGE} --container-mounts=/tmp sh -c 'cat /tmp/from-script; echo step > /tmp/from-step'
cat /tmp/from-step
"""
    done = apart.sbatch(script)
    assert (done.exit, done.output) == ("0:0", "script\nstep\n")
    inside = apart.sbatch("#!/bin/sh\ncat /etc/socker-image; ls /tmp\n", f"--container={IMAGE}")
    assert (inside.exit, inside.output) == ("0:0", "debian:bookworm\n")
