# SPDX-License-Identifier: Apache-2.0
"""join.c: a task that is the user enters the container and keeps nothing of the host (T02, T03, T04)."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .driver import Child, Container, become_user, done, ffi, in_child, lib, new_request, process_status, refused

PR_GET_DUMPABLE = 3
APPARMOR = Path("/proc/self/attr/apparmor/exec")


def as_task(container: Container, then: Callable[[], Any], *, handle: Any = None, record: Any = None, kept: int = -1,
            workdir: bytes = b"", **fields: Any) -> Any:  # fmt: skip
    """Joins as a task of slurmstepd does, and returns what `then` finds inside; a refusal's text where it is refused."""
    record = record or container.record()

    def task() -> Any:
        request = new_request(**fields)
        opened = handle or container.attach(record.flags)
        join = ffi.new("struct join *", {"record": record, "request": request, "container": opened, "kept": kept})
        join.options = tasks = ffi.new("struct task_options *", {"workdir": workdir})
        done(lib.join_prepare, join)
        become_user()
        err = ffi.new("struct socker_error *")
        if lib.join_container(join, err) < 0:
            return bytes(ffi.string(err.text)).decode()
        assert (opened.pidfd, opened.mnt, *opened.spaces) == (-1,) * 5
        assert ffi.string(tasks.workdir) == workdir
        return then()

    return in_child(task)


def test_joined_task_is_in_the_containers_root(container: Container) -> None:
    (container.root / "of-the-image").write_text("")
    expected = [container.root.stat().st_ino, True, False]
    assert (
        as_task(container, lambda: [os.stat("/").st_ino, os.path.exists("/of-the-image"), os.path.exists("/usr")])
        == expected
    )


def test_joined_task_has_no_more_than_the_user_and_cannot_be_traced(container: Container) -> None:
    status, dumpable = as_task(container, lambda: [process_status(), lib.shim_prctl(PR_GET_DUMPABLE, 0, 0)])
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"], dumpable) == ("1", "2", 0)


@pytest.fixture
def populated(container: Container) -> Container:
    """A container with a few directories."""
    for name in ("work", "home/u", "private"):
        (container.root / name).mkdir(parents=True)
    (container.root / "private").chmod(0o700)
    (container.root / "up").symlink_to("../../../home/u")
    (container.root / "magic").symlink_to("/proc/self/cwd")
    (container.root / "file").write_text("")
    return container


def work_record(container: Container) -> Any:
    record = container.record()
    record.workdir = lib.record_add_text(record, b"/work")
    return record


@pytest.mark.parametrize(
    ("cwd", "lands"),
    [
        pytest.param(b"/home/u", "/home/u", id="there"),
        pytest.param(b"/home/u/", "/home/u", id="with a slash"),
        pytest.param(b"/up", "/home/u", id="a symlink that leads up stays inside"),
        pytest.param(b"/absent", "/work", id="absent"),
        pytest.param(b"", "/work", id="none"),
        pytest.param(b"home/u", "/work", id="relative"),
        pytest.param(b"/file", "/work", id="a file"),
        pytest.param(b"/private", "/work", id="not the user's to enter"),
        pytest.param(b"/proc", "/work", id="proc"),
        pytest.param(b"/proc/self/fd/0", "/work", id="below proc"),
        pytest.param(b"/magic", "/work", id="a magic link"),
    ],
)
def test_joined_task_is_in_its_directory_or_the_images(populated: Container, cwd: bytes, lands: str) -> None:
    assert as_task(populated, os.getcwd, record=work_record(populated), cwd=cwd) == lands


@pytest.mark.parametrize("workdir", [b"/nowhere", b"/private", b"/magic"])
def test_joined_task_without_any_directory_is_in_the_root(populated: Container, workdir: bytes) -> None:
    record = populated.record()
    record.workdir = lib.record_add_text(record, workdir)
    assert as_task(populated, os.getcwd, record=record) == "/"


@pytest.mark.parametrize(
    ("workdir", "lands"), [(b"/home/u", "/home/u"), (b"/up", "/home/u"), (b"/home/u/", "/home/u"), (b"/", "/")]
)
def test_joined_task_is_in_the_directory_that_was_asked_for(populated: Container, workdir: bytes, lands: str) -> None:
    assert as_task(populated, os.getcwd, record=work_record(populated), cwd=b"/home/u", workdir=workdir) == lands


@pytest.mark.parametrize(
    ("workdir", "why"),
    [
        (b"/absent", "No such file or directory"),
        (b"/file", "Not a directory"),
        (b"/private", "Permission denied"),
        (b"/magic", "Too many levels of symbolic links"),
        (b"/" + b"x" * 700, "File name too long"),
    ],
)
def test_joined_task_without_the_directory_that_was_asked_for_is_refused(
    populated: Container, workdir: bytes, why: str
) -> None:
    reason = as_task(populated, os.getcwd, record=work_record(populated), cwd=b"/home/u", workdir=workdir)
    assert reason == f"the working directory {workdir.decode()[:600]} is none in the container: {why}"


SPACES = ("net", "ipc", "uts")


def namespaces(pid: int | str = "self") -> list[int]:
    return [os.stat(f"/proc/{pid}/ns/{name}").st_ino for name in SPACES]


@pytest.mark.parametrize("own", [(), ("net",), ("ipc",), ("uts",), SPACES])
def test_joined_task_is_in_the_containers_own_namespaces_and_in_the_hosts(
    start: Callable[..., Container], own: tuple[str, ...]
) -> None:
    container = start(flaws=sum(getattr(lib, f"HOLD_OWN_{name.upper()}") for name in SPACES))
    record = container.record()
    record.flags = sum(getattr(lib, f"SOCKER_PLAN_{name.upper()}") for name in own)
    hosts, containers = namespaces(), namespaces(container.pid)
    assert not set(hosts) & set(containers)
    expected = [theirs if name in own else ours for name, ours, theirs in zip(SPACES, hosts, containers, strict=True)]
    assert as_task(container, namespaces, record=record) == expected


@pytest.mark.parametrize("index", range(3))
def test_task_whose_namespace_cannot_be_entered_is_refused(container: Container, index: int) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    handle = container.attach()
    handle.spaces[index] = null
    reason = f"the container's {SPACES[index]} namespace cannot be entered: Invalid argument"
    assert as_task(container, os.getcwd, handle=handle) == reason
    lib.container_release(handle)


@pytest.mark.parametrize(("index", "of"), [(0, "uts"), (1, "net"), (2, "mnt")])
def test_task_is_not_put_into_a_namespace_of_another_kind(container: Container, index: int, of: str) -> None:
    handle = container.attach()
    handle.spaces[index] = os.open(f"/proc/{container.pid}/ns/{of}", os.O_RDONLY)
    reason = f"the container's {SPACES[index]} namespace cannot be entered: Invalid argument"
    assert as_task(container, os.getcwd, handle=handle) == reason
    lib.container_release(handle)


def test_joined_task_inherits_no_descriptor_but_its_own_and_pmis(container: Container) -> None:
    directory = os.open("/", os.O_RDONLY)
    file = os.open("/etc/passwd", os.O_RDONLY)
    ours, theirs = socket.socketpair()
    others = (directory, file, theirs.fileno())
    for fd in (*others, ours.fileno()):
        os.set_inheritable(fd, True)

    def inherited() -> list[int]:
        for fd in (0, 1, 2):
            os.set_inheritable(fd, True)
        return [fd for fd in (0, 1, 2, *others, ours.fileno()) if os.get_inheritable(fd)]

    assert as_task(container, inherited, kept=ours.fileno()) == [0, 1, 2, ours.fileno()]
    assert as_task(container, inherited) == [0, 1, 2]
    # PMI_FD is the user's to set: what is no socket is not kept
    assert as_task(container, inherited, kept=directory) == [0, 1, 2]
    assert as_task(container, inherited, kept=4095) == [0, 1, 2]
    assert as_task(container, inherited, kept=1) == [0, 1, 2]
    ours.close()
    theirs.close()
    os.close(directory)
    os.close(file)


def of_namespace(mnt: int) -> Any:
    """What passes for an open container."""
    return ffi.new("struct container *", {"pidfd": -1, "mnt": mnt, "spaces": [-1] * 3})


def test_task_whose_container_is_the_host_is_refused(container: Container) -> None:
    handle = of_namespace(os.open("/proc/self/ns/mnt", os.O_RDONLY))
    reason = as_task(container, os.getcwd, handle=handle)
    assert reason == "the container was entered but its root is the host's"
    lib.container_release(handle)


@pytest.mark.parametrize(("mnt", "why"), [(-1, "Bad file descriptor"), (0, "Invalid argument")])
def test_task_whose_container_cannot_be_entered_is_refused(container: Container, mnt: int, why: str) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    handle = of_namespace(null if mnt == 0 else -1)
    assert as_task(container, os.getcwd, handle=handle) == f"the container cannot be entered: {why}"
    os.close(null)


def test_task_that_is_not_the_requests_user_is_refused(container: Container) -> None:
    assert as_task(container, os.getcwd, uid=61234) == "the task is not the user"
    assert as_task(container, os.getcwd, groups=[61234]) == "the task has other groups than the job"


def test_task_of_an_unfiltered_container_is_refused(container: Container) -> None:
    record = container.record()
    record.filter_count = 0
    assert as_task(container, os.getcwd, record=record) == "the task has no seccomp filter"


def test_task_that_did_not_prepare_is_refused(container: Container) -> None:
    record = container.record()

    def task() -> str:
        request = new_request()
        join = ffi.new("struct join *", {"record": record, "request": request, "container": container.attach()})
        become_user()
        return refused(lib.join_container, join)

    assert in_child(task) == "the capabilities for the join were lost: Operation not permitted"


def test_task_that_joins_after_the_hold_process_was_killed_is_still_inside(container: Container) -> None:
    """Its namespace was opened before: it cannot become another one."""
    root = container.root.stat().st_ino

    def end_it() -> int:
        return os.stat("/").st_ino

    record, handle = container.record(), container.attach()
    os.kill(container.pid, signal.SIGKILL)
    assert as_task(container, end_it, record=record, handle=handle) == root
    lib.container_release(handle)


@pytest.mark.skipif(APPARMOR.exists(), reason="this kernel has AppArmor, so the profile can be set")
def test_task_of_a_container_with_a_profile_is_refused_where_none_can_be_set(container: Container) -> None:
    record = container.record()
    record.label = b"docker-default"
    join = ffi.new("struct join *", {"record": record})
    assert Child(lambda: refused(lib.join_prepare, join)).wait().said == (
        "the AppArmor profile of the container cannot be set: No such file or directory"
    )
