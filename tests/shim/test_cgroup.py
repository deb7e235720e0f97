# SPDX-License-Identifier: Apache-2.0
"""cgroup.c: the hold process lives below the job's cgroup, wherever Slurm has put it (T44)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .driver import JOB, STAGE, USER, Child, Container, done, exact, ffi, in_child, lib, new_record

TOP = f"slurm_{STAGE.name}"
# Hierarchies of version 1 that need no more than a directory, one that needs more, and version 2.
WANTED = ("pids", "freezer", "cpuset", "cgroup2")


def job_of(path: str, *, size: int = 256) -> str | None:
    job = exact(size)
    found = lib.cgroup_job_path(path.encode(), job, size)
    return ffi.string(job).decode() if found else None


@pytest.mark.parametrize(
    ("path", "job"),
    [
        ("/slurm/uid_1000/job_7/step_0/task_0", "/slurm/uid_1000/job_7"),
        ("/slurm/uid_1000/job_7/step_batch", "/slurm/uid_1000/job_7"),
        ("/slurm_node1/uid_1000/job_7/step_extern/task_0", "/slurm_node1/uid_1000/job_7"),
        ("/system.slice/slurmstepd.scope/job_7/step_0/slurm", "/system.slice/slurmstepd.scope/job_7"),
        ("/system.slice/slurmstepd.scope/job_7/step_0/user/task_0", "/system.slice/slurmstepd.scope/job_7"),
        ("/system.slice/node1_slurmstepd.scope/s1ABCD2EF/step_0/user/task_1", "/system.slice/node1_slurmstepd.scope/s1ABCD2EF"),
        ("/a/job_7/step_0.1/x", "/a/job_7"),
    ],
)  # fmt: skip
def test_job_path_is_all_before_the_step(path: str, job: str) -> None:
    assert job_of(path) == job


@pytest.mark.parametrize(
    "path",
    ["", "/", "step_0", "/step_0", "/step_0/job_1", "job_7/step_0", "/user.slice/session-1.scope", "/a/job_7",
     "/a/job_7/nostep_0", "/a/job_7/step", "/system.slice/slurmd.service"],
)  # fmt: skip
def test_job_path_of_what_is_below_no_step_is_none(path: str) -> None:
    assert job_of(path) is None


def test_job_path_that_does_not_fit_is_none_and_not_cut() -> None:
    path = "/slurm/uid_1000/job_7/step_0"
    fits = len("/slurm/uid_1000/job_7") + 1
    assert job_of(path, size=fits) == "/slurm/uid_1000/job_7"
    assert job_of(path, size=fits - 1) is None


# With the kernel's cgroups


def hierarchies() -> dict[str, Path]:
    """Those wanted that are mounted here and can be written."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, tail = line.split(), line.split(" - ")[1].split()
        names = [tail[0]] if tail[0] == "cgroup2" else tail[2].split(",") if tail[0] == "cgroup" else []
        for name in set(names) & set(WANTED):
            if fields[3] == "/" and os.access(fields[4], os.W_OK) and "ro" not in fields[5].split(","):
                found[name] = Path(fields[4])
    return found


class Job:
    """A job's directories as Slurm makes them, in every hierarchy there is."""

    def __init__(self) -> None:
        self.tops = {name: path / TOP for name, path in hierarchies().items()}
        self.steps = [top / f"uid_{USER}" / f"job_{JOB}" / "step_0" for top in self.tops.values()]
        for name, top in self.tops.items():
            for directory in (top, *(top / f"uid_{USER}" / part for part in ("", f"job_{JOB}", f"job_{JOB}/step_0"))):
                directory.mkdir(exist_ok=True)
                if name == "cpuset":
                    for kind in ("cpus", "mems"):
                        given = (directory.parent / f"cpuset.{kind}").read_text()
                        (directory / f"cpuset.{kind}").write_text(given)

    def enter(self) -> None:
        for step in self.steps:
            (step / "cgroup.procs").write_text(str(os.getpid()))

    def own(self) -> list[Path]:
        return [step.parent / "socker" for step in self.steps]

    def remove(self) -> None:
        for top in self.tops.values():
            for directory in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
                directory.rmdir()
            top.rmdir()


@pytest.fixture
def job() -> Iterator[Job]:
    if not hierarchies():
        pytest.skip("no cgroup hierarchy can be written here")
    made = Job()
    yield made
    made.remove()


def place(job: Job, pid: int) -> tuple[Any, list[str]]:
    """The record after cgroup_place in a process of the step, and the paths noted in it."""

    def in_step() -> list[str]:
        job.enter()
        record = new_record()
        done(lib.cgroup_place, record, pid)
        return [ffi.string(record.text + offset).decode() for offset in record.cgroups[0 : record.cgroup_count]]

    paths: list[str] = in_child(in_step)
    record = new_record()
    for index, path in enumerate(paths):
        record.cgroups[index] = lib.record_add_text(record, path.encode())
    record.cgroup_count = len(paths)
    return record, paths


def test_place_puts_the_hold_process_beside_the_step_in_every_hierarchy(job: Job, container: Container) -> None:
    _, paths = place(job, container.pid)
    assert sorted(paths) == sorted(str(path) for path in job.own())
    inside = [line for line in Path(f"/proc/{container.pid}/cgroup").read_text().splitlines() if TOP in line]
    assert len(inside) == len(paths)
    assert all(line.endswith(f"/{TOP}/uid_{USER}/job_{JOB}/socker") for line in inside)
    container.end()


def test_place_of_a_second_container_of_the_job_uses_the_same_directories(job: Job, container: Container) -> None:
    assert place(job, container.pid)[1] == place(job, container.pid)[1]
    container.end()


def test_place_outside_of_a_job_does_nothing(container: Container) -> None:
    record = new_record()
    done(lib.cgroup_place, record, container.pid)
    assert record.cgroup_count == 0


def test_place_finds_the_job_in_hierarchies_where_the_step_itself_is_not(job: Job, container: Container) -> None:
    """Slurm puts slurmstepd into the step's cgroup in some hierarchies only."""
    job.steps, all_steps = job.steps[:1], job.steps
    _, paths = place(job, container.pid)
    job.steps = all_steps
    assert sorted(paths) == sorted(str(path) for path in job.own())
    container.end()


def test_place_of_a_process_that_is_gone_is_refused(job: Job) -> None:
    def in_step() -> str:
        job.enter()
        err = ffi.new("struct socker_error *")
        assert lib.cgroup_place(new_record(), 2**22 + 1, err) == -1
        return bytes(ffi.string(err.text)).decode()

    reason = in_child(in_step)
    assert reason.startswith("the hold process cannot be put into cgroup ")
    assert reason.endswith(": No such process")


def test_remove_takes_the_directories_of_the_job_and_user_when_they_are_empty(job: Job, container: Container) -> None:
    record, _ = place(job, container.pid)
    container.end()
    for step in job.steps:
        step.rmdir()
    lib.cgroup_remove(record)
    assert [[path.name for path in top.iterdir() if path.is_dir()] for top in job.tops.values()] == [[]] * len(job.tops)


def test_remove_leaves_a_job_that_still_has_steps(job: Job, container: Container) -> None:
    record, _ = place(job, container.pid)
    container.end()
    lib.cgroup_remove(record)
    assert not any(path.exists() for path in job.own())
    assert all(step.exists() for step in job.steps)


def test_remove_of_what_another_container_uses_leaves_it_at_once(job: Job) -> None:
    child = Child(signal.pause)
    record, paths = place(job, child.pid)
    began = time.monotonic()
    lib.cgroup_remove(record)
    assert time.monotonic() - began < 0.5
    assert all(Path(path).exists() for path in paths)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait().status == -signal.SIGKILL


def test_sweep_takes_empty_directories_and_leaves_those_in_use(job: Job, container: Container) -> None:
    ours = {str(path) for path in job.own()}
    if any(set(path.glob("slurm*/uid_*/job_*/socker")) - set(job.own()) for path in hierarchies().values()):
        pytest.skip("jobs of a real cluster are on this machine")
    place(job, container.pid)
    lib.cgroup_sweep()
    assert all(Path(path).exists() for path in ours)
    container.end()
    lib.cgroup_sweep()
    assert not any(Path(path).exists() for path in ours)
    assert all(step.exists() for step in job.steps)
