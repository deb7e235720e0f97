# SPDX-License-Identifier: Apache-2.0
"""Who a task in a container is, what it may do, and where its processes are: the user's own, nothing, the job's."""

from __future__ import annotations

import grp
import json
import pwd
import re
from pathlib import Path

import pytest

from .cluster import IMAGE, Allocation, Cluster

CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def fields(status: str) -> dict[str, str]:
    """/proc/PID/status as a table."""
    return {name: " ".join(value.split()) for name, _, value in (line.partition(":") for line in status.splitlines())}


def hold_pid(cluster: Cluster, job: Allocation) -> int:
    (name,) = job.containers()
    return int(json.loads(cluster.docker("inspect", name))[0]["State"]["Pid"])


@pytest.mark.short
@pytest.mark.parametrize("user", ["alice", "bob"])
def test_task_has_the_ids_and_groups_of_the_user_and_no_privilege_at_all(cluster: Cluster, user: str) -> None:
    account = pwd.getpwnam(user)
    groups = {str(group.gr_gid) for group in grp.getgrall() if user in group.gr_mem}
    assert len(groups) == 2
    with cluster.allocation(user=user) as job:
        done = job.srun("cat", "/proc/self/status")
        inside = fields(done.stdout)
        plain = fields(job.srun("cat", "/proc/self/status", image=None).stdout)
    assert inside["Uid"] == " ".join([str(account.pw_uid)] * 4)
    assert inside["Gid"] == " ".join([str(account.pw_gid)] * 4)
    assert set(inside["Groups"].split()) == groups | {str(account.pw_gid)}
    assert {name: inside[name] for name in CAPABILITIES} == dict.fromkeys(CAPABILITIES, "0" * 16)
    assert (inside["NoNewPrivs"], inside["Seccomp"], inside["TracerPid"]) == ("1", "2", "0")
    # what a container does not change
    for name in ("Uid", "Gid", "Groups", "Umask", "SigIgn", "SigBlk", "Cpus_allowed", "Mems_allowed"):
        assert inside[name] == plain[name], name


def test_task_of_a_user_who_took_another_group_keeps_it(cluster: Cluster) -> None:
    asked = f"srun --container={IMAGE} sh -c 'id -g; id -G; cat /etc/socker-image'"
    done = cluster.run("sg", "hpcdev", "-c", asked)
    assert done.returncode == 0, done.stderr
    primary, every, image = done.stdout.splitlines()
    assert image == "debian:bookworm"
    assert primary == str(grp.getgrnam("hpcdev").gr_gid)
    assert set(every.split()) == {str(grp.getgrnam(name).gr_gid) for name in ("hpcdev", "alicegrp2", "alice")}


@pytest.mark.short
def test_task_is_in_the_cgroup_that_slurm_gives_a_plain_task(cluster: Cluster) -> None:
    def shape(text: str) -> str:
        return re.sub(r"/step_\d+", "/step_N", text)

    with cluster.allocation("--ntasks=2") as job:
        step = ("--ntasks=2", "--label", "sh", "-c", "sleep 0.1; cat /proc/self/cgroup; echo $$; sleep 0.1")
        inside, plain = (job.srun(*step, image=image).stdout for image in (IMAGE, None))
        mine = [line for line in inside.splitlines() if "/" in line]
        others = [line for line in plain.splitlines() if "/" in line]
        assert sorted(map(shape, mine)) == sorted(map(shape, others))
        assert any(f"/{cluster.job_directory(job.id)}/step_" in line for line in mine)
        # children of slurmstepd, as every task
        parent = job.srun("sh", "-c", "cat /proc/$PPID/comm").stdout
        assert parent == "slurmstepd\n"
        assert len(job.containers()) == 1


@pytest.mark.short
def test_hold_process_is_in_the_cgroup_of_the_job_and_is_nobody(cluster: Cluster) -> None:
    with cluster.allocation() as job:
        task = job.srun("cat", "/proc/self/cgroup").stdout
        pid = hold_pid(cluster, job)
        hold = fields(Path(f"/proc/{pid}/status").read_text())
        placed = Path(f"/proc/{pid}/cgroup").read_text()
        system = pwd.getpwnam("socker")
        assert hold["Uid"] == " ".join([str(system.pw_uid)] * 4)
        assert hold["Gid"] == " ".join([str(system.pw_gid)] * 4)
        assert hold["Groups"] in {"", str(system.pw_gid)}
        assert {name: hold[name] for name in CAPABILITIES} == dict.fromkeys(CAPABILITIES, "0" * 16)
        assert (hold["NoNewPrivs"], hold["Seccomp"], hold["Threads"]) == ("1", "2", "1")
        for line in task.splitlines():
            number, controllers, path = line.split(":", 2)
            if found := re.match(r"(/.*)/step_[^/]+", path):
                assert f"{number}:{controllers}:{found[1]}/socker\n" in placed
        assert f"/{cluster.job_directory(job.id)}/socker\n" in placed


@pytest.mark.short
def test_user_cannot_signal_trace_or_look_into_the_hold_process(cluster: Cluster) -> None:
    with cluster.allocation() as job:
        job.srun("true")
        pid = hold_pid(cluster, job)
        tried = (
            f"kill -0 {pid}; ls /proc/{pid}/root /proc/{pid}/fd /proc/{pid}/cwd; cat /proc/{pid}/environ; kill -9 {pid}"
        )
        for image in (IMAGE, None):
            done = job.srun("bash", "-c", tried, image=image)
            assert done.stdout == ""
            assert done.stderr.count("Operation not permitted") == 2, done.stderr
            assert done.stderr.count("Permission denied") == 4, done.stderr
        assert hold_pid(cluster, job) == pid
