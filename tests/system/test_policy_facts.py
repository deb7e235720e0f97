# SPDX-License-Identifier: Apache-2.0
"""Rules on account, partition, QOS and reservation, as a real controller with a real database tells them."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import IMAGE, Cluster
from .faults import assert_soon, assert_step_refused, said, wait_for_no_jobs

RULES = """\
version: 1
rules:
  - {name: no-gpu, effect: deny, users: [bob], partitions: [gpu], reason: "the partition gpu is not yours"}
  - {name: course, effect: allow, reservations: [course]}
  - {name: urgent, effect: allow, qos: [high]}
  - {name: physics, effect: allow, accounts: [Physics]}
"""
DENIED = 'the image "{}" is denied{}: {}'
NO_RULE = 'no rule allows {} the image "docker.io/library/debian:bookworm"'


@pytest.fixture
def cluster(accounted: Cluster) -> Iterator[Cluster]:
    """It, clean afterwards."""
    yield accounted
    accounted.assert_clean()


def test_an_account_a_qos_or_a_reservation_allows(cluster: Cluster) -> None:
    with cluster.policy(RULES):
        for words, user in (
            (("--account=physics",), "alice"),
            ((), "alice"),  # it is her default
            (("--account=chemistry", "--qos=high"), "alice"),
        ):
            done = cluster.srun(*words, "true", user=user)
            assert (done.returncode, done.stderr) == (0, ""), (words, done)


def test_another_account_or_qos_is_denied(cluster: Cluster) -> None:
    with cluster.policy(RULES):
        for words, user in ((("--account=chemistry",), "alice"), ((), "bob"), (("--qos=low",), "bob")):
            done = cluster.srun(*words, "true", user=user)
            assert_step_refused(done, DENIED.format(IMAGE, "", NO_RULE.format(user)))


def test_a_partition_is_denied_to_a_user_and_its_rule_says_why(cluster: Cluster) -> None:
    with cluster.policy(f"{RULES}  - {{name: all, effect: allow}}\n"):
        refused = cluster.srun("--partition=gpu", "true", user="bob")
        assert_step_refused(refused, DENIED.format(IMAGE, ' by rule "no-gpu"', "the partition gpu is not yours"))
        for words, user in ((("--partition=main",), "bob"), (("--partition=gpu",), "alice")):
            assert cluster.srun(*words, "true", user=user).returncode == 0


def test_a_reservation_allows_who_is_in_it(cluster: Cluster) -> None:
    made = cluster.run(
        *("scontrol", "create", "reservation", "ReservationName=course", "Users=bob", "StartTime=now"),
        *("Duration=10", f"Nodes={cluster.nodes[0]}", "Flags=IGNORE_JOBS"),
        user="",
    )
    assert made.returncode == 0, made.stderr
    try:
        with cluster.policy(RULES):
            assert cluster.srun("--reservation=course", "true", user="bob").returncode == 0
            outside = cluster.srun("--nodelist", cluster.nodes[1], "true", user="bob")
            assert_step_refused(outside, DENIED.format(IMAGE, "", NO_RULE.format("bob")))
    finally:
        cluster.run("scontrol", "delete", "ReservationName=course", user="")


def test_the_environment_of_a_job_tells_no_facts(cluster: Cluster) -> None:
    lies = {"SLURM_JOB_ACCOUNT": "physics", "SLURM_JOB_QOS": "high", "SLURM_JOB_PARTITION": "main"}
    lies |= {"SLURM_ACCOUNT": "chemistry", "SLURM_JOB_RESERVATION": "course"}
    with cluster.policy(RULES):
        done = cluster.run("srun", "--quiet", f"--container={IMAGE}", "true", user="bob", env=lies)
        assert_step_refused(done, DENIED.format(IMAGE, "", NO_RULE.format("bob")))


def test_each_task_of_an_array_has_its_own_facts(cluster: Cluster, scratch: Path) -> None:
    step = "srun --quiet --container=debian:bookworm echo in $SLURM_ARRAY_TASK_ID"
    with cluster.policy(RULES):
        submit = ("sbatch", "--parsable", "--array=1-3", f"--output={scratch}/%a", f"--wrap={step}")
        assert cluster.run(*submit, "--account=physics").returncode == 0
        wait_for_no_jobs(cluster)
        assert [(scratch / str(task)).read_text() for task in (1, 2, 3)] == ["in 1\n", "in 2\n", "in 3\n"]
        assert cluster.run(*submit, "--account=chemistry").returncode == 0
        wait_for_no_jobs(cluster)
        for task in (1, 2, 3):
            assert NO_RULE.format("alice") in (scratch / str(task)).read_text()


def test_each_component_of_a_heterogeneous_job_has_its_own_facts(cluster: Cluster) -> None:
    steps = "; ".join(f"srun --het-group={group} --container={IMAGE} echo in {group}" for group in (0, 1))
    job = ("salloc", "--quiet", "--partition=main", ":", "--partition=gpu", "sh", "-c", steps)
    with cluster.policy(f"{RULES}  - {{name: all, effect: allow}}\n"):
        done = cluster.run(*job, user="bob")
        assert done.stdout == "in 0\n", done
        reasons = [reason for node in said(done.stderr).values() for reason in node]
        assert reasons == [DENIED.format(IMAGE, ' by rule "no-gpu"', "the partition gpu is not yours")], done.stderr
        assert cluster.run(*job, user="alice").stdout == "in 0\nin 1\n"


def test_jobs_that_slurm_hides_are_denied_with_that_reason(cluster: Cluster) -> None:
    path = cluster.base / "etc/slurm.conf"
    before = path.read_text()

    def configure(text: str) -> None:
        path.write_text(text)
        done = cluster.run("scontrol", "reconfigure", user="")
        assert done.returncode == 0, done.stderr

    reason = "Slurm does not say what the rule must know of the job: PrivateData hides jobs from the user of the policy"
    try:
        configure(f"{before}PrivateData=jobs\n")
        with cluster.policy("version: 1\nrules:\n  - {name: p, effect: allow, accounts: [physics]}\n"):
            assert_step_refused(cluster.srun("true"), DENIED.format(IMAGE, ' by rule "p"', f"{reason} engine"))
    finally:
        configure(before)


def test_a_controller_that_does_not_answer_denies_in_time(cluster: Cluster) -> None:
    path = cluster.base / "etc/silent.conf"
    with (
        socket.socket() as listener,
        cluster.policy("version: 1\nrules:\n  - {name: p, effect: allow, qos: [normal]}\n"),
    ):
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        text = (cluster.base / "etc/slurm.conf").read_text()
        port = f"SlurmctldPort={listener.getsockname()[1]}"
        path.write_text(re.sub("^SlurmctldPort=.*$", port, text, flags=re.MULTILINE))
        real = f"slurm_conf={cluster.base}/etc/slurm.conf"
        try:
            with cluster.plugstack(lambda line: line.replace(real, f"slurm_conf={path} deadline=6")):
                began = time.monotonic()
                done = cluster.srun("true")
                assert_soon(began, 8)
        finally:
            path.unlink()
    reason = "Slurm does not say what the rule must know of the job: squeue does not answer in time"
    assert_step_refused(done, DENIED.format(IMAGE, ' by rule "p"', reason))
