# SPDX-License-Identifier: Apache-2.0
"""The first steps and jobs after the installation: nothing is configured but that Slurm reads the plugin's file."""

from __future__ import annotations

import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cluster import IMAGE, Cluster, until
from tests.system.packaged import PackagedCluster

RECORDS = Path("/run/socker")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """The machine's cluster; every test leaves it without containers, records and cgroup directories."""
    found = PackagedCluster(name="vm")
    yield found

    def closed() -> bool:
        found.sweep_what_epilogs_left()
        return not found.containers() and not list(RECORDS.glob("*/*/*"))

    until(closed, what="the end of the container")
    until(lambda: not found.cgroups(), what="the end of the cgroup directories")
    assert set(found.node_states().values()) == {"idle"}


def test_a_step_runs_in_its_container(cluster: Cluster) -> None:
    done = cluster.srun("sh", "-c", "cat /etc/socker-image; id -u; pwd")
    uid = pwd.getpwnam("alice").pw_uid
    assert (done.returncode, done.stdout, done.stderr) == (0, f"debian:bookworm\n{uid}\n/home/alice\n", "")


def test_steps_on_two_nodes_run_in_their_containers(cluster: Cluster) -> None:
    done = cluster.srun("--nodes=2", "--ntasks=4", "cat", "/etc/socker-image")
    assert (done.returncode, done.stdout, done.stderr) == (0, "debian:bookworm\n" * 4, "")


def test_a_batch_script_runs_in_its_container(cluster: Cluster) -> None:
    script = "#!/bin/sh\ncat /etc/socker-image\n"
    job = cluster.sbatch(script, f"--container={IMAGE}")
    assert (job.state, job.exit, job.output) == ("COMPLETED", "0:0", "debian:bookworm\n")


def test_a_step_without_a_container_is_slurm_s_own(cluster: Cluster) -> None:
    done = cluster.srun("sh", "-c", "ls /etc/socker-image || cat /etc/hostname", image=None)
    assert (done.returncode, done.stdout) == (0, "vm1\n")


def test_an_image_that_is_not_there_fails_the_step_and_the_job_and_drains_nothing(cluster: Cluster) -> None:
    done = cluster.srun("true", image="nosuch:1.0")
    assert (done.returncode, done.stdout) == (1, "")
    assert 'socker: the image "nosuch:1.0" is not on node vm1; ' in done.stderr
    job = cluster.sbatch("#!/bin/sh\ntrue\n", "--container=nosuch:1.0")
    assert (job.state, job.exit) == ("FAILED", "1:0")
    assert 'socker: the image "nosuch:1.0" is not on node vm' in job.output
