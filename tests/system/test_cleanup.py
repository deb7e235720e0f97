# SPDX-License-Identifier: Apache-2.0
"""
What is left after a job: no container, no record, no cgroup directory, and a node in service.

The fixture `cluster` asserts all of that after each test; here are the ways to end. What a crash leaves is the sweep's:
such tests run it once, and it has to find everything.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .between import between
from .cluster import IMAGE, Allocation, Cluster, Result, until
from .faults import (
    KEY,
    alive,
    assert_soon,
    assert_step_refused,
    assert_works,
    cgroup_members,
    command_line,
    daemon,
    frozen,
    in_use,
    job_of,
    jobs,
    kill,
    leave_behind,
    marker,
    marker_script,
    processes,
    record_of,
    stopped,
    sweep,
    wait_for_no_jobs,
    wait_for_process,
    words,
)

PROMPT = 5.0  # seconds in which a cancelled step has ended
EPILOG = 14.0  # seconds in which an epilog has ended whatever Docker does


def assert_swept(cluster: Cluster) -> Result:
    """A sweep succeeds and leaves nothing of jobs that have ended."""
    done = sweep(cluster)
    assert (done.returncode, done.stderr) == (0, ""), done
    cluster.assert_clean(seconds=5)
    return done


def assert_undrained(cluster: Cluster) -> None:
    """Every node is in service."""
    assert set(cluster.node_states().values()) <= {"idle", "mixed", "allocated"}, cluster.node_states()


def end(cluster: Cluster, job: int, *, seconds: float) -> None:
    """The job is cancelled; it and its epilog have ended in so many seconds, and its nodes are in service."""
    began = time.monotonic()
    cluster.run("scancel", str(job), user="")
    wait_for_no_jobs(cluster, seconds=seconds + 10)
    assert_soon(began, seconds)
    assert_undrained(cluster)


def remove_cgroups(cluster: Cluster) -> None:
    """No cgroup directory of a job is left that a test has said enough about."""
    until(lambda: not any(map(_remove_tree, cluster.cgroups())), what="an end of the cgroups")


def _remove_tree(top: Path) -> bool:
    for path in [*sorted(top.rglob("*/"), reverse=True), top]:
        with contextlib.suppress(OSError):
            path.rmdir()
    return top.exists()


@pytest.fixture
def held(cluster: Cluster) -> Iterator[tuple[Allocation, subprocess.Popen[str]]]:
    """A job with a step that sleeps in a container."""
    with cluster.allocation() as job:
        step = job.popen("sleep", "4711")
        wait_for_process(cluster, job.id, "sleep")
        yield job, step
    step.kill()
    step.communicate()


# A job ends by itself


def test_a_job_on_two_nodes_leaves_nothing_by_itself(cluster: Cluster) -> None:
    step = cluster.popen("srun", "--nodes=2", f"--container={IMAGE}", "sleep", "1")
    until(lambda: len(cluster.containers()) == 2, what="two containers")
    until(lambda: in_use(cluster), what="our cgroup directories")
    assert len(cluster.records()) == 2
    assert step.communicate() == ("", "")
    wait_for_no_jobs(cluster)
    cluster.assert_clean(seconds=1)


@pytest.mark.native
def test_many_short_jobs_at_once_leave_nothing(cluster: Cluster) -> None:
    sent = cluster.run("sbatch", "--array=1-24", "--output=/dev/null", f"--container={IMAGE}", "--wrap=true")
    assert sent.returncode == 0, sent.stderr
    wait_for_no_jobs(cluster, seconds=60)
    array = re.findall(r"\d+", sent.stdout)[0]
    shown = cluster.run("scontrol", "--oneliner", "show", "job", array, user="").stdout
    assert re.findall(r"JobState=(\S+)", shown) == ["COMPLETED"] * 24


def test_a_job_with_two_images_and_a_denied_one_leaves_nothing(cluster: Cluster) -> None:
    with cluster.allocation() as job:
        for image, code in ((IMAGE, 0), ("busybox:latest", 0), ("debian:nosuch", 1), ("-v", 1)):
            assert job.srun("true", image=image).returncode == code
        assert len(job.containers()) == 2
        end(cluster, job.id, seconds=PROMPT)
    cluster.assert_clean(seconds=1)


# A job ends while its container is being opened


@pytest.mark.parametrize("call", ["POST .*/create", "POST .*/start"])
def test_a_step_cancelled_while_docker_works_ends_at_once(cluster: Cluster, call: str) -> None:
    with between(cluster, waits_at=call) as docker, marker() as ran:
        step = cluster.popen("srun", "--job-name=opening", f"--container={IMAGE}", "/bin/touch", str(ran))
        docker.wait()
        began = time.monotonic()
        cluster.run("scancel", str(job_of(cluster, "opening")), user="")
        _, err = step.communicate(timeout=30)
        assert_soon(began, PROMPT)
        assert step.returncode != 0
        assert "CANCELLED" in err
        docker.release()
    assert_swept(cluster)


def test_a_batch_job_cancelled_while_docker_works_ends_at_once(cluster: Cluster) -> None:
    with between(cluster, waits_at="POST .*/create") as docker, marker() as ran:
        script, out = ran.with_suffix(".sh"), ran.with_suffix(".out")
        script.write_text(marker_script(ran))
        cluster.run("sbatch", "--job-name=opening", f"--output={out}", f"--container={IMAGE}", str(script))
        docker.wait()
        job = job_of(cluster, "opening")
        began = time.monotonic()
        cluster.run("scancel", str(job), user="")
        until(lambda: cluster.job_field(job, "JobState") == "CANCELLED" and not processes(cluster, job, "slurmstepd"))
        assert_soon(began, PROMPT)
        docker.release()
        wait_for_no_jobs(cluster)
        assert "CANCELLED" in out.read_text()
        script.unlink()
        out.unlink()
    assert_swept(cluster)


def test_a_step_cancelled_while_dockerd_is_frozen_leaves_nothing_once_it_is_thawed(cluster: Cluster) -> None:
    with marker() as ran:
        with frozen(daemon(cluster, "dockerd")):
            step = cluster.popen("srun", "--job-name=opening", f"--container={IMAGE}", "/bin/touch", str(ran))
            job = job_of(cluster, "opening")
            wait_for_process(cluster, job, "socker-policy")
            began = time.monotonic()
            cluster.run("scancel", str(job), user="")
            step.communicate(timeout=30)
            assert_soon(began, PROMPT)
            assert step.returncode != 0
            assert not processes(cluster, job, "socker-policy")
            assert not processes(cluster, job, "socker-opener")
        wait_for_no_jobs(cluster)
    cluster.assert_clean(seconds=5)


@pytest.mark.parametrize("phase", ["opening", "running"])
def test_control_c_of_srun_ends_the_step(cluster: Cluster, phase: str) -> None:
    with between(cluster, waits_at="POST .*/create" if phase == "opening" else ""), marker() as ran:
        late = ("sh", "-c", f"sleep 4711; touch {ran}")
        step = cluster.popen("srun", f"--job-name={phase}", f"--container={IMAGE}", *late)
        job = job_of(cluster, phase)
        wait_for_process(cluster, job, "socker-policy" if phase == "opening" else "sleep")
        began = time.monotonic()
        step.send_signal(signal.SIGINT)
        time.sleep(0.1)
        step.send_signal(signal.SIGINT)
        step.communicate(timeout=30)
        assert_soon(began, PROMPT)
        assert step.returncode != 0
    assert_swept(cluster)


# A part of it is killed


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("socker-opener", "opening the container was interrupted"),
        ("socker-policy", "the policy engine failed on this node (signal 9); tell your administrator"),
    ],
)
def test_a_killed_opener_or_policy_engine_refuses_and_the_next_step_opens(
    cluster: Cluster, program: str, reason: str
) -> None:
    with between(cluster, waits_at="POST .*/start") as docker, cluster.allocation() as job, marker() as ran:
        step = job.popen("/bin/touch", str(ran))
        docker.wait()
        for pid in processes(cluster, job.id, program):
            kill(pid)
        out, err = step.communicate(timeout=30)
        assert_step_refused(Result(step.args, step.returncode, out, err), reason)
        until(lambda: not processes(cluster, job.id, "socker-policy"), seconds=2, what="the end of the policy engine")
        docker.release()
        good = job.srun("cat", "/etc/socker-image")
        assert (good.returncode, good.stdout, good.stderr) == (0, "debian:bookworm\n", "")
        assert len(job.containers()) == 1
        end(cluster, job.id, seconds=PROMPT)
    cluster.assert_clean(seconds=5)


def test_tasks_that_outlive_a_killed_slurmstepd_are_gone_after_the_epilog(cluster: Cluster) -> None:
    with cluster.allocation() as job:
        step = job.popen("sh", "-c", "setsid sleep 4711 & exec sleep 4712")
        until(lambda: len(processes(cluster, job.id, "sleep")) == 2, what="two tasks")
        tasks = processes(cluster, job.id, "sleep")
        kill(wait_for_process(cluster, job.id, "slurmstepd"))
        assert all(map(alive, tasks))
        end(cluster, job.id, seconds=PROMPT)
        assert not any(map(alive, tasks)), "Slurm alone lets them live"
        step.kill()
        step.communicate()
    assert not [path for path in cluster.cgroups() if path.name == "socker"]
    # those of the step were slurmstepd's to remove: without a container they are left, too
    remove_cgroups(cluster)
    assert_works(cluster)


@pytest.mark.short
def test_a_killed_hold_process_ends_no_task_and_the_next_step_opens_again(cluster: Cluster) -> None:
    with cluster.allocation() as job:
        step = job.popen("sh", "-c", "sleep 2; cat /etc/socker-image")
        wait_for_process(cluster, job.id, "sleep")
        kill(wait_for_process(cluster, job.id, "hold"))
        assert step.communicate(timeout=30) == ("debian:bookworm\n", "")
        again = job.srun("cat", "/etc/socker-image")
        assert (again.returncode, again.stdout, again.stderr) == (0, "debian:bookworm\n", "")
        assert len(job.containers()) == 1
        end(cluster, job.id, seconds=PROMPT)
    cluster.assert_clean(seconds=1)


def test_a_container_that_an_administrator_removes_is_opened_again(cluster: Cluster) -> None:
    with cluster.allocation() as job:
        step = job.popen("sleep", "2")
        wait_for_process(cluster, job.id, "sleep")
        cluster.docker("rm", "--force", *job.containers())
        assert not job.containers()
        again = job.srun("--overlap", "cat", "/etc/socker-image")
        assert (again.returncode, again.stdout, again.stderr) == (0, "debian:bookworm\n", "")
        step.communicate(timeout=30)
        assert len(job.containers()) == 1
        end(cluster, job.id, seconds=PROMPT)
    cluster.assert_clean(seconds=1)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_step_goes_on_while_slurmd_is_away(cluster: Cluster, how: str) -> None:
    node = cluster.nodes[0]
    with cluster.allocation(f"--nodelist={node}") as job:
        step = job.popen("sh", "-c", "sleep 2; cat /etc/socker-image")
        wait_for_process(cluster, job.id, "sleep")
        with stopped(cluster, node, how=how):
            assert processes(cluster, job.id, "sleep")
            assert in_use(cluster)
        assert step.communicate(timeout=30) == ("debian:bookworm\n", "")
        assert job.srun("cat", "/etc/socker-image").stdout == "debian:bookworm\n"
        assert len(job.containers()) == 1
        end(cluster, job.id, seconds=PROMPT)
    cluster.assert_clean(seconds=1)


# Docker is away when the job ends


@pytest.mark.short
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_an_epilog_without_dockerd_leaves_the_node_in_service_and_the_rest_to_the_sweep(
    cluster: Cluster, how: str
) -> None:
    with cluster.allocation() as job:
        assert job.srun("true").returncode == 0
        with stopped(cluster, "dockerd", how=how):
            end(cluster, job.id, seconds=PROMPT)
            assert cluster.records()
            # nor can a sweep do it now
            done = sweep(cluster)
            assert done.returncode != 0
            assert "Docker does not answer on this node" in done.stderr
            assert cluster.records()
    done = assert_swept(cluster)
    assert done.stdout == f"closed job {job.id} on {cluster.nodes[0]}\n"


def test_an_epilog_with_a_frozen_dockerd_ends_in_time_and_leaves_the_rest_to_the_sweep(cluster: Cluster) -> None:
    with cluster.allocation("--nodes=2") as job:
        assert job.srun("true").returncode == 0
        with frozen(daemon(cluster, "dockerd")):
            end(cluster, job.id, seconds=EPILOG)
        assert len(cluster.records()) == 2
    done = assert_swept(cluster)
    assert sorted(done.stdout.splitlines()) == [f"closed job {job.id} on {node}" for node in cluster.nodes[:2]]


# Slurm ends or repeats the job


def test_a_requeued_job_finds_a_new_container(cluster: Cluster) -> None:
    with marker() as ran:
        script, out = ran.with_suffix(".sh"), ran.with_suffix(".out")
        script.write_text(
            '#!/bin/sh\necho "run $(ls /tmp)"\ntouch /tmp/first\n[ "$SLURM_RESTART_COUNT" ] || sleep 4711\n'
        )
        options = ("--job-name=again", "--requeue", "--open-mode=append", f"--output={out}", f"--container={IMAGE}")
        cluster.run("sbatch", *options, str(script))
        job = job_of(cluster, "again")
        wait_for_process(cluster, job, "sleep")
        first = cluster.docker("ps", "--quiet")
        cluster.run("scontrol", "requeue", str(job), user="")
        until(lambda: cluster.job_field(job, "JobState") == "PENDING", what="the job to wait again")
        until(lambda: not cluster.containers() and not cluster.records(), what="the end of the first container")
        cluster.run("scontrol", "update", f"jobid={job}", "starttime=now", user="")
        wait_for_no_jobs(cluster, seconds=60)
        assert first
        assert [line for line in out.read_text().splitlines() if line.startswith("run")] == ["run ", "run "]
        assert cluster.job_field(job, "JobState") == "COMPLETED"
        script.unlink()
        out.unlink()


# The sweep


def test_a_sweep_with_live_jobs_touches_nothing_of_theirs(
    cluster: Cluster, held: tuple[Allocation, subprocess.Popen[str]]
) -> None:
    job, step = held
    before = cluster.containers(), cluster.records(), record_of(cluster, job.id).read_bytes()
    done = sweep(cluster)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert before == (cluster.containers(), cluster.records(), record_of(cluster, job.id).read_bytes())
    assert step.poll() is None
    assert job.srun("--overlap", "cat", "/etc/socker-image").stdout == "debian:bookworm\n"


def test_a_dry_sweep_only_says_what_a_sweep_does(cluster: Cluster) -> None:
    job, node = leave_behind(cluster), cluster.nodes[0]
    before = cluster.containers(), cluster.records()
    done = sweep(cluster, "--dry-run")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"would close job {job} on {node}\n", "")
    assert before == (cluster.containers(), cluster.records())
    assert assert_swept(cluster).stdout == f"closed job {job} on {node}\n"


def test_a_sweep_without_slurmctld_removes_nothing_and_says_so(cluster: Cluster) -> None:
    leave_behind(cluster)
    before = cluster.containers(), cluster.records()
    # the words are the same, but that Slurm's commands give up after a second
    known, quick = cluster.base / "etc/slurm.conf", cluster.base / "etc/quick.conf"
    quick.write_text(f"{known.read_text()}\nMessageTimeout=1\n")
    with stopped(cluster, "slurmctld"):
        done = sweep(cluster, added=(f"slurm_conf={quick}",))
        quick.unlink()
        assert done.returncode != 0
        assert done.stdout == ""
        assert re.fullmatch(r"socker: nothing is removed: scontrol failed \(1\): .*\n", done.stderr), done
    assert before == (cluster.containers(), cluster.records())
    assert_swept(cluster)


def sweeping(cluster: Cluster) -> subprocess.Popen[str]:
    """A sweep that has just begun."""
    argv = [str(cluster.prefix / "lib/socker/socker-opener"), "sweep", *words(cluster)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={})


def test_sweeps_at_once_do_the_work_once(cluster: Cluster) -> None:
    job = leave_behind(cluster)
    sweeps = [sweeping(cluster) for _ in range(3)]
    ended = [(*each.communicate(timeout=60), each.returncode) for each in sweeps]
    assert [(err, code) for _, err, code in ended] == [("", 0)] * 3, ended
    assert any(f"closed job {job} on {cluster.nodes[0]}\n" in out for out, _, _ in ended)
    cluster.assert_clean(seconds=1)


@pytest.mark.native
def test_sweeps_beside_opening_and_closing_jobs_disturb_neither(cluster: Cluster) -> None:
    steps = [cluster.popen("srun", f"--container={IMAGE}", "cat", "/etc/socker-image") for _ in range(4)]
    sweeps = []
    while any(step.poll() is None for step in steps) or jobs(cluster):
        sweeps.append(sweep(cluster))
    assert [step.communicate() for step in steps] == [("debian:bookworm\n", "")] * 4
    assert {(each.returncode, each.stderr) for each in sweeps} == {(0, "")}
    assert_undrained(cluster)
    cluster.assert_clean(seconds=1)


def labels(cluster: Cluster, *, job: int, name: str, token: str | None = None) -> list[str]:
    """Options of `docker create` by which a container looks like one of ours on the first node."""
    known = next(word for word in words(cluster) if word.startswith("token=")).partition("=")[2]
    facts = {
        "token": Path(known).read_text().strip() if token is None else token,
        "node": cluster.nodes[0],
        "job": str(job),
        "uid": "20001",
        "name": name,
    }
    return [f"--name={name}", *(f"--label=io.socker.{key}={value}" for key, value in facts.items())]


DEAD = 4000000000


def test_a_sweep_removes_unrecorded_containers_of_dead_jobs_and_no_others(
    cluster: Cluster, held: tuple[Allocation, subprocess.Popen[str]]
) -> None:
    job, _ = held
    ours = set(cluster.containers())
    kept: dict[str, list[str]] = {
        "foreign": ["--name=foreign"],
        "name-of-ours": ["--name=socker-00000000-1-0123456789abcdef"],
        "other-token": labels(cluster, job=DEAD, name="other-token", token="0" * 32),
        "other-name": [*labels(cluster, job=DEAD, name="socker-x-1")[1:], "--name=other-name"],
        "live": labels(cluster, job=job.id, name="live"),
    }
    dead = {"dead": labels(cluster, job=DEAD, name="dead"), "dead-too": labels(cluster, job=DEAD, name="dead-too")}
    made = {
        name: cluster.docker("create", *options, "busybox:latest", "true").strip()
        for name, options in {**kept, **dead}.items()
    }
    try:
        cluster.docker("start", made["dead-too"])
        sweep(cluster)
        left = set(cluster.docker("ps", "--all", "--quiet", "--no-trunc").split())
        assert {name for name, container in made.items() if container in left} == set(kept)
        assert ours <= set(cluster.containers())
    finally:
        cluster.docker("rm", "--force", *(made[name] for name in kept))


@pytest.mark.short
def test_a_sweep_after_a_reboot_removes_containers_whose_records_are_gone(cluster: Cluster) -> None:
    leave_behind(cluster)
    # a reboot empties /run, and leaves no cgroup
    shutil.rmtree(cluster.base / "run/socker")
    remove_cgroups(cluster)
    done = sweep(cluster)
    if left := cluster.containers():
        cluster.docker("rm", "--force", *left)
    assert (done.returncode, left) == (0, []), done


# Records that are not records


def truncated(record: Path) -> None:
    """Half of it."""
    os.truncate(record, record.stat().st_size // 2)


def emptied(record: Path) -> None:
    """Nothing."""
    os.truncate(record, 0)


def large(record: Path) -> None:
    """A megabyte of ones."""
    record.write_bytes(b"\xff" * (1 << 20))


def of_a_user(record: Path) -> None:
    """It belongs to a user."""
    shutil.chown(record, "alice")


def readable(record: Path) -> None:
    """Others can read and write it."""
    record.chmod(0o666)


def symlink(record: Path) -> None:
    """A link to a file that is a whole record."""
    elsewhere = record.parents[2] / f"elsewhere-{record.parent.name}"
    record.rename(elsewhere)
    record.symlink_to(elsewhere)


def fifo(record: Path) -> None:
    """A pipe that nobody writes."""
    record.unlink()
    os.mkfifo(record, 0o600)


def full_of_ones(record: Path) -> None:
    """Of the right size, with the right magic and length, and ones behind them."""
    data = record.read_bytes()
    record.write_bytes(data[:8] + b"\xff" * (len(data) - 8))


SPOILT = [truncated, emptied, large, of_a_user, readable, symlink, fifo, full_of_ones]


@pytest.fixture
def spoilt(cluster: Cluster) -> Iterator[None]:
    """Jobs whose records have been spoilt, each in its way, have ended within the bound; no node has left service."""
    with contextlib.ExitStack() as ends:
        ends.callback(remove_elsewhere, cluster)
        with contextlib.ExitStack() as allocations:
            open_jobs = [allocations.enter_context(cluster.allocation("--mem=100")) for _ in SPOILT]
            for job, spoil in zip(open_jobs, SPOILT, strict=True):
                assert job.srun("true").returncode == 0
                spoil(record_of(cluster, job.id))
            began = time.monotonic()
            cluster.run("scancel", *(str(job.id) for job in open_jobs), user="")
            wait_for_no_jobs(cluster)
            assert_soon(began, EPILOG)
            assert_undrained(cluster)
        yield


def remove_elsewhere(cluster: Cluster) -> None:
    """The files that links led to are gone."""
    for path in (cluster.base / "run/socker").glob("elsewhere-*"):
        path.unlink()


@pytest.mark.usefixtures("spoilt")
def test_epilogs_of_jobs_with_spoilt_records_end_and_a_sweep_finds_the_containers(cluster: Cluster) -> None:
    assert not cluster.records()
    done = sweep(cluster)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert not cluster.containers()
    assert all(path.is_file() for path in (cluster.base / "run/socker").glob("elsewhere-*"))
    remove_cgroups(cluster)


@pytest.mark.usefixtures("spoilt")
def test_a_sweep_of_containers_without_records_removes_their_cgroup_directories(cluster: Cluster) -> None:
    sweep(cluster)
    left = [path for path in cluster.cgroups() if path.name == "socker"]
    remove_cgroups(cluster)
    assert not left


def test_a_directory_where_a_record_was_ends_the_epilog_in_good_order(cluster: Cluster) -> None:
    with cluster.allocation() as job:
        assert job.srun("true").returncode == 0
        record = record_of(cluster, job.id)
        record.unlink()
        record.mkdir(mode=0o700)
        end(cluster, job.id, seconds=PROMPT)
        record.rmdir()
    done = sweep(cluster)
    assert (done.returncode, done.stderr, cluster.containers()) == (0, "", []), done
    remove_cgroups(cluster)


def test_a_spoilt_record_is_no_container_to_join(cluster: Cluster) -> None:
    with cluster.allocation() as job:
        for spoil in (truncated, of_a_user, full_of_ones):
            assert job.srun("true").returncode == 0
            spoil(record_of(cluster, job.id))
            done = job.srun("cat", "/etc/socker-image")
            assert (done.returncode, done.stdout, done.stderr) == (0, "debian:bookworm\n", ""), spoil


def test_a_jobs_directory_that_is_a_link_leads_an_epilog_nowhere(cluster: Cluster, scratch: Path) -> None:
    victim = scratch / ("0" * KEY)
    victim.write_text("precious")
    with cluster.allocation() as job:
        assert job.srun("true").returncode == 0
        directory = record_of(cluster, job.id).parent
        directory.rename(directory.with_name("aside"))
        directory.symlink_to(scratch)
        end(cluster, job.id, seconds=PROMPT)
        assert victim.read_text() == "precious"
        directory.unlink()
        directory.with_name("aside").rename(directory)
    assert_swept(cluster)


def test_what_a_job_ran_is_not_left_in_its_cgroup(
    cluster: Cluster, held: tuple[Allocation, subprocess.Popen[str]]
) -> None:
    job, _ = held
    members = cgroup_members(cluster, job.id)
    assert {command_line(pid)[0] for pid in members} >= {"/.socker/hold", "/usr/bin/sleep"}
    end(cluster, job.id, seconds=PROMPT)
    assert not any(map(alive, members))
