# SPDX-License-Identifier: Apache-2.0
"""Partitions where every job runs in a container: the default image for who names none, and no way around it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .cluster import IMAGE, Cluster
from .faults import assert_step_refused, marker, said

RULES = """\
version: 1
rules:
  - name: gpu
    effect: allow
    partitions: [gpu]
    required: {image: "debian:bookworm"}
    mounts: {home: true, submit_dir: true}
  - {name: all, effect: allow, images: ["busybox"]}
"""
HERE = ("cat", "/etc/socker-image")


@pytest.fixture(scope="module")
def asking(accounted: Cluster) -> Iterator[Cluster]:
    """The cluster with two partitions, whose plugin asks about every step."""
    with accounted.plugstack(lambda line: line.rstrip("\n") + " plain=ask\n"):
        yield accounted


@pytest.fixture
def cluster(asking: Cluster) -> Iterator[Cluster]:
    """It, clean afterwards."""
    yield asking
    asking.assert_clean()


def test_a_step_without_a_container_gets_the_default_image(cluster: Cluster) -> None:
    with cluster.policy(RULES):
        done = cluster.srun("--partition=gpu", *HERE, image=None)
        assert (done.returncode, done.stdout, done.stderr) == (0, "debian:bookworm\n", ""), done
        # who names one gets that, by the ordinary rules
        assert cluster.srun("--partition=gpu", *HERE, image="odd:config").stdout != "debian:bookworm\n"


def test_a_batch_script_and_its_steps_get_it_too(cluster: Cluster) -> None:
    with cluster.policy(RULES):
        script = "#!/bin/sh\ncat /etc/socker-image\nid -u\n"
        job = cluster.sbatch(script, "--partition=gpu")
        assert (job.state, job.output) == ("COMPLETED", "debian:bookworm\n20001\n"), job


def test_elsewhere_steps_run_on_the_host(cluster: Cluster) -> None:
    with cluster.policy(RULES):
        done = cluster.srun("--partition=main", "test", "-e", "/etc/socker-image", image=None)
        assert done.returncode == 1
        assert not said(done.stderr)
    assert cluster.srun("--partition=gpu", "true", image=None).returncode == 0


def test_a_denied_default_image_refuses_and_never_runs_on_the_host(cluster: Cluster) -> None:
    deny = "  - {name: nobody, effect: deny, images: [debian], reason: not now}\n"
    with cluster.policy(RULES.replace("rules:\n", f"rules:\n{deny}")), marker() as path:
        refused = cluster.srun("--partition=gpu", "touch", str(path), image=None)
        assert_step_refused(refused, f'the image "{IMAGE}" is denied by rule "nobody": not now')


def test_required_without_an_image_asks_for_one(cluster: Cluster) -> None:
    with cluster.policy(RULES.replace('{image: "debian:bookworm"}', "{}")), marker() as path:
        reason = 'denied by rule "gpu": this job must run in a container: submit it with --container=IMAGE'
        assert_step_refused(cluster.srun("--partition=gpu", "touch", str(path), image=None), reason)
        assert cluster.srun("--partition=gpu", *HERE).stdout == "debian:bookworm\n"


def test_a_policy_that_cannot_be_read_refuses_every_step(cluster: Cluster) -> None:
    with cluster.policy("rules: [") as policy, marker() as path:
        done = cluster.srun("--partition=main", "touch", str(path), image=None)
        assert done.returncode == 1
        assert f"socker: the policy file {policy}, line 2: " in done.stderr
