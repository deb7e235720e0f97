# SPDX-License-Identifier: Apache-2.0
"""closer.c: the end of containers; what is not known to be gone keeps its record (T40, T45)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .driver import (
    JOB,
    NODE,
    Child,
    Container,
    done,
    ffi,
    in_child,
    key_of,
    lib,
    new_record,
    new_request,
    refused,
    runs,
)
from .test_opener import NOBODY, Node, use_libdir


@pytest.fixture
def node(trusted: Path) -> Node:
    return Node(trusted)


def put(node: Node, record: Any) -> None:
    """Writes the record, as an opener did."""
    request = record.request
    job_dir = done(lib.record_open_dir, os.fsencode(node.state), ffi.string(request.node), request.job, 1)
    done(lib.record_write, job_dir, key_of(ffi.addressof(request)), record)
    os.close(done(lib.record_lock, job_dir, key_of(ffi.addressof(request)), 1, -1))
    os.close(job_dir)


def call(node: Node, function: Callable[[Any, Any], int], *, leaks: bool = False) -> str:
    """The reason of its failure, empty where it succeeded."""

    def closer() -> str:
        use_libdir()
        err = ffi.new("struct socker_error *")
        result = function(node.config(), err)
        reason = bytes(ffi.string(err.text)).decode()
        assert bool(reason) is (result < 0)
        lib.fflush(ffi.NULL)
        return reason

    return str(in_child(closer, leaks=leaks))


def close_job(node: Node, *, leaks: bool = False) -> str:
    return call(node, lambda config, err: lib.closer_close_job(config, NODE, JOB, err), leaks=leaks)


def sweep(node: Node, *, dry_run: bool = False, leaks: bool = False) -> str:
    return call(node, lambda config, err: lib.closer_sweep(config, dry_run, err), leaks=leaks)


def test_close_of_a_job_removes_container_records_and_directory(node: Node, start: Callable[..., Container]) -> None:
    container = start(uid=NOBODY, gid=NOBODY)
    record = new_record()
    record.hold = container.identify(uid=NOBODY, gid=NOBODY)[0]
    put(node, record)
    put(node, new_record(lib.RECORD_INTENT, new_request(reference=b"other")))
    assert close_job(node, leaks=True) == ""
    assert not runs(container.pid)
    assert not node.job.exists()


def test_close_of_a_job_without_records_asks_nobody(node: Node) -> None:
    node.kept.unlink()
    assert close_job(node) == ""


def test_close_of_what_docker_keeps_keeps_the_record_and_says_so(node: Node) -> None:
    put(node, new_record())
    node.keeps(closing="1")
    assert close_job(node) == "Docker keeps it"
    assert key_of(new_request()).decode() in node.files()


def test_close_of_two_of_which_one_is_kept_removes_the_other(node: Node) -> None:
    put(node, new_record())
    put(node, new_record(request=new_request(reference=b"other")))
    node.keeps(closing="10")
    assert close_job(node) == "Docker keeps it"
    assert len([name for name in node.files() if not name.endswith(".lock")]) == 1
    node.keeps()
    assert close_job(node) == ""
    assert not node.job.exists()


def test_close_whose_policy_engine_fails_keeps_the_record(node: Node) -> None:
    put(node, new_record())
    node.kept.unlink()
    assert close_job(node) == "the policy engine failed on this node (exit 5); tell your administrator"
    assert key_of(new_request()).decode() in node.files()


def test_close_of_a_record_that_is_none_removes_the_file(node: Node) -> None:
    put(node, new_record())
    path = node.job / key_of(new_request()).decode()
    path.write_text("of another version")
    assert close_job(node) == ""
    assert not node.job.exists()


def test_close_of_a_lock_without_a_record_removes_it(node: Node) -> None:
    put(node, new_record())
    (node.job / key_of(new_request()).decode()).unlink()
    assert close_job(node) == ""
    assert not node.job.exists()


def test_close_does_not_kill_a_process_that_has_the_number_now(node: Node, container: Container) -> None:
    record = new_record()
    record.hold = container.identify()[0]
    record.hold.start -= 1
    put(node, record)
    assert close_job(node) == ""
    assert runs(container.pid)


def test_close_of_what_an_opener_still_holds_leaves_it(node: Node) -> None:
    """It is waited for once, however many files its container has: an epilog has a limit."""
    put(node, new_record())
    for end in ("passwd", "group"):
        (node.job / f"{key_of(new_request()).decode()}.{end}").write_text("")
    job_dir = done(lib.record_open_dir, os.fsencode(node.state), NODE, JOB, 0)
    lock = done(lib.record_lock, job_dir, key_of(new_request()), 1, -1)
    began = time.monotonic()
    assert close_job(node) == "another step has been opening the container for 2 s; try again later"
    assert time.monotonic() - began < 4
    assert key_of(new_request()).decode() in node.files()
    os.close(lock)
    os.close(job_dir)


def test_close_key_removes_that_record_only(node: Node) -> None:
    other = new_request(reference=b"other")
    put(node, new_record())
    put(node, new_record(request=other))
    job_dir = done(lib.record_open_dir, os.fsencode(node.state), NODE, JOB, 0)
    key = key_of(new_request())
    assert call(node, lambda config, err: lib.closer_close_key(config, job_dir, key, err)) == ""
    os.close(job_dir)
    assert node.files() == [key_of(other).decode(), f"{key_of(other).decode()}.lock"]


def test_close_removes_what_lies_beside_the_record(node: Node) -> None:
    put(node, new_record())
    for end in ("passwd", "group", "new"):
        (node.job / f"{key_of(new_request()).decode()}.{end}").write_text("")
    assert close_job(node) == ""
    assert not node.job.exists()


def test_close_of_what_docker_keeps_keeps_what_lies_beside_the_record(node: Node) -> None:
    put(node, new_record())
    passwd = node.job / f"{key_of(new_request()).decode()}.passwd"
    passwd.write_text("")
    node.keeps(closing="1")
    assert close_job(node) == "Docker keeps it"
    assert passwd.exists()


def test_close_of_a_step_that_needed_no_container_asks_nobody(node: Node) -> None:
    put(node, new_record(lib.RECORD_PLAIN, new_request(reference=b"")))
    node.kept.unlink()
    assert close_job(node, leaks=True) == ""
    assert not node.job.exists()


def test_close_keeps_openers_away_until_all_of_it_is_done(node: Node) -> None:
    """Or one could open a container between Docker's answer and the end of its record."""
    keys = [key_of(new_request(reference=name)) for name in (b"one", b"other")]
    for name in (b"one", b"other"):
        put(node, new_record(request=new_request(reference=name)))
    job_dir = done(lib.record_open_dir, os.fsencode(node.state), NODE, JOB, 0)
    # the policy child waits for what it reads the answer from
    answer = node.kept.read_bytes()
    node.kept.unlink()
    os.mkfifo(node.kept)
    closer = Child(lambda: close_job(node))
    to_answer = os.open(node.kept, os.O_WRONLY)
    for key in keys:
        reason = refused(lib.record_lock, job_dir, key, 0, -1)
        assert reason == "another step has been opening the container for 0 s; try again later"
    os.write(to_answer, answer)
    os.close(to_answer)
    assert closer.wait().said == ""
    assert not node.job.exists()
    os.close(job_dir)


def test_close_of_a_state_that_is_not_trusted_is_refused(node: Node) -> None:
    put(node, new_record())
    node.state.chmod(0o777)
    assert close_job(node) == f"{node.state}: others than root can write it"


# The sweep


def jobs(node: Node) -> list[str]:
    """The jobs of the node, in the order in which the directory lists them."""
    return os.listdir(node.state / NODE.decode())


def test_sweep_closes_the_jobs_that_are_dead_and_no_other(node: Node, capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        put(node, new_record(request=new_request(job=JOB + number)))
    first, live, last = jobs(node)
    node.keeps(sweeping="010")
    assert sweep(node) == ""
    assert jobs(node) == [live]
    assert capfd.readouterr().out.splitlines() == [f"closed job {job} on node1" for job in (first, last)]


def test_sweep_of_what_docker_keeps_keeps_the_record_and_says_so(node: Node) -> None:
    put(node, new_record())
    node.keeps(closing="1")
    assert sweep(node) == "Docker keeps it"
    assert key_of(new_request()).decode() in node.files()


def test_sweep_of_dead_jobs_removes_all(node: Node) -> None:
    put(node, new_record())
    put(node, new_record(request=new_request(node=b"node2")))
    assert sweep(node, leaks=True) == ""
    assert not node.job.exists()
    assert os.listdir(node.state / "node2") == []


def test_sweep_that_is_dry_says_what_it_would_do_and_does_not(node: Node, capfd: pytest.CaptureFixture[str]) -> None:
    put(node, new_record())
    assert sweep(node, dry_run=True) == ""
    assert capfd.readouterr().out == f"would close job {JOB} on node1\n"
    assert key_of(new_request()).decode() in node.files()


def test_sweep_without_an_answer_removes_nothing(node: Node) -> None:
    put(node, new_record())
    node.kept.unlink()
    assert sweep(node) == "the policy engine failed on this node (exit 5); tell your administrator"
    assert key_of(new_request()).decode() in node.files()


def test_sweep_of_a_job_that_has_a_directory_and_no_record_removes_it(node: Node) -> None:
    node.job.mkdir(parents=True)
    for path in (node.state, node.job.parent, node.job):
        path.chmod(0o700)
    assert sweep(node) == ""
    assert not node.job.exists()


def test_sweep_passes_over_files_beside_the_nodes(node: Node) -> None:
    put(node, new_record())
    (node.state / "filter-0").write_text("")
    assert sweep(node) == ""
    assert (node.state / "filter-0").exists()


def test_sweeps_at_the_same_time_do_not_fail_each_other(node: Node) -> None:
    for number in range(8):
        put(node, new_record(request=new_request(job=JOB + number)))
    children = [Child(lambda: sweep(node)) for _ in range(3)]
    assert [child.wait().said for child in children] == [""] * 3
    assert os.listdir(node.state / NODE.decode()) == []
