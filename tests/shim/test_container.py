# SPDX-License-Identifier: Apache-2.0
"""container.c: root joins the hold process that Docker started, and nothing that looks like it (T05)."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .driver import HOLD, HOLD_GID, HOLD_UID, Child, Container, done, eventually, ffi, in_child, lib, refused, runs

GONE = "the container is gone: Docker or somebody ended it; submit the job again"
ENDED = "the hold process ended as soon as it was started"


def refusal(pid: int, *, program: Path = HOLD, uid: int = HOLD_UID, gid: int = HOLD_GID) -> str:
    return refused(lib.container_identify, ffi.new("struct record_hold *"), pid, os.fsencode(program), uid, gid)


def dead_pid() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def test_identify_of_our_hold_process_tells_its_facts(container: Container) -> None:
    hold = container.identify()
    namespace = os.stat(f"/proc/{container.pid}/ns/mnt")
    start = int(Path(f"/proc/{container.pid}/stat").read_text().rpartition(")")[2].split()[19])
    assert (hold.pid, hold.start, hold.mnt_inode) == (container.pid, start, namespace.st_ino)
    assert (hold.exe_dev, hold.exe_inode) == (HOLD.stat().st_dev, HOLD.stat().st_ino)


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        pytest.param("HOLD_BOUNDED", "hold process: CapBnd: is not empty", id="bounding set"),
        pytest.param("HOLD_INHERITABLE", "hold process: CapInh: is not empty", id="inheritable set"),
        pytest.param("HOLD_NEW_PRIVILEGES", "hold process: no_new_privs is not set", id="no no_new_privs"),
        pytest.param(
            "HOLD_UNFILTERED", "Docker runs containers without a seccomp filter on this node", id="no seccomp filter"
        ),
        pytest.param(
            "HOLD_USER_NAMESPACE",
            "hold process: in a user namespace; Docker must create it with userns=host",
            id="user namespace",
        ),
        pytest.param("HOLD_PID_NAMESPACE", "hold process: not in the host's pid namespace", id="pid namespace"),
        pytest.param(
            "HOLD_HOST_MOUNTS", "hold process: has no mount namespace of its own", id="the host's mount namespace"
        ),
    ],
)
def test_identify_of_a_process_with_one_flaw_is_refused(
    start: Callable[..., Container], flaw: str, reason: str
) -> None:
    assert refusal(start(flaws=getattr(lib, flaw)).pid) == reason


@pytest.mark.parametrize("flaw", ["HOLD_BOUNDED", "HOLD_HOST_MOUNTS"])
def test_identify_of_what_is_refused_tells_nothing_of_it(start: Callable[..., Container], flaw: str) -> None:
    """Or a caller that takes back what failed would end whatever that is."""
    hold = ffi.new("struct record_hold *")
    refused(lib.container_identify, hold, start(flaws=getattr(lib, flaw)).pid, os.fsencode(HOLD), HOLD_UID, HOLD_GID)
    assert (hold.pid, hold.start, hold.mnt_inode) == (0, 0, 0)


@pytest.mark.parametrize("wrong", [{"uid": HOLD_UID + 1}, {"gid": HOLD_GID + 1}, {"uid": 0}, {"gid": 0}])
def test_identify_of_a_process_of_another_user_is_refused(container: Container, wrong: dict[str, int]) -> None:
    ids = {"uid": HOLD_UID, "gid": HOLD_GID} | wrong
    assert (
        refusal(container.pid, uid=ids["uid"], gid=ids["gid"])
        == f"hold process: not uid {ids['uid']} and gid {ids['gid']}"
    )


def test_identify_of_another_program_is_refused(start: Callable[..., Container], trusted: Path) -> None:
    other = trusted / "hold"
    shutil.copy(HOLD, other)
    container = start(program=other)
    assert refusal(container.pid) == f"hold process: pid {container.pid} is another program"


def test_identify_without_the_hold_binary_is_refused(container: Container, trusted: Path) -> None:
    assert refusal(container.pid, program=trusted / "absent") == f"{trusted}/absent: No such file or directory"


@pytest.mark.parametrize("pid", [-1, 0, 1, 2**22 + 1])
def test_identify_of_what_can_be_no_hold_process_is_refused(pid: int) -> None:
    assert refusal(pid) == ENDED


def test_identify_of_a_dead_process_is_refused() -> None:
    assert refusal(dead_pid()) == ENDED


def test_identify_of_a_zombie_is_refused() -> None:
    def of_zombie() -> str:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return refusal(pid)

    assert in_child(of_zombie).startswith("hold process: ")


def test_identify_reads_the_status_not_the_name(start: Callable[..., Container], trusted: Path) -> None:
    """A name with a line end in it must not pass for a line of /proc/PID/status."""
    forged = trusted / "x\nUid:\t1 1 1 1"
    shutil.copy(HOLD, forged)
    container = start(program=forged, uid=5)
    assert "Uid:\t1 1 1 1" in Path(f"/proc/{container.pid}/status").read_text().splitlines()[0]
    assert refusal(container.pid, uid=1, program=forged) == f"hold process: not uid 1 and gid {HOLD_GID}"


def attach(hold: Any, flags: int = 0) -> Any:
    container = ffi.new("struct container *")
    done(lib.container_attach, container, hold, flags)
    return container


def not_attached(hold: Any, flags: int = 0) -> str:
    container = ffi.new("struct container *")
    reason = refused(lib.container_attach, container, hold, flags)
    assert (container.pidfd, container.mnt, *container.spaces) == (-1,) * 5
    return reason


def test_attach_to_what_was_identified_opens_its_mount_namespace(container: Container) -> None:
    opened = attach(container.identify())
    assert os.fstat(opened.mnt).st_ino == os.stat(f"/proc/{container.pid}/ns/mnt").st_ino
    assert not os.get_inheritable(opened.mnt)
    assert not os.get_inheritable(opened.pidfd)
    lib.container_release(opened)


SPACES = ("net", "ipc", "uts")
OF_HOLD = {name: getattr(lib, f"HOLD_OWN_{name.upper()}") for name in SPACES}
OF_PLAN = {name: getattr(lib, f"SOCKER_PLAN_{name.upper()}") for name in SPACES}


@pytest.mark.parametrize("wanted", [(), ("net",), ("ipc",), ("uts",), ("net", "uts"), SPACES])
def test_attach_opens_the_namespaces_that_the_plan_says(
    start: Callable[..., Container], wanted: tuple[str, ...]
) -> None:
    container = start(flaws=sum(OF_HOLD.values()))
    opened = attach(container.identify(), sum(OF_PLAN[name] for name in wanted))
    for index, name in enumerate(SPACES):
        fd = opened.spaces[index]
        if name in wanted:
            assert os.fstat(fd).st_ino == os.stat(f"/proc/{container.pid}/ns/{name}").st_ino
            assert not os.get_inheritable(fd)
        else:
            assert fd == -1
    lib.container_release(opened)
    assert list(opened.spaces) == [-1] * 3


@pytest.mark.parametrize("missing", SPACES)
def test_attach_to_a_container_that_shares_a_namespace_with_the_host_is_refused(
    start: Callable[..., Container], missing: str
) -> None:
    """Or a task that was promised its own would have the host's; what was opened until then is closed."""
    hold = start(flaws=sum(flag for name, flag in OF_HOLD.items() if name != missing)).identify()
    before = os.listdir("/proc/self/fd")
    assert not_attached(hold, sum(OF_PLAN.values())) == GONE
    assert os.listdir("/proc/self/fd") == before


def test_attach_does_not_take_other_flags_for_namespaces(container: Container) -> None:
    other = lib.SOCKER_PLAN_SUBMIT_DIR | lib.SOCKER_PLAN_READONLY | lib.SOCKER_PLAN_LEFT
    opened = attach(container.identify(), other)
    assert list(opened.spaces) == [-1] * 3
    lib.container_release(opened)


def test_lives_until_the_hold_process_ends(container: Container) -> None:
    opened = attach(container.identify())
    done(lib.container_lives, opened)
    container.end()
    assert refused(lib.container_lives, opened) == "the hold process has ended"
    lib.container_release(opened)


def test_release_closes_both_and_is_harmless_twice(container: Container) -> None:
    before = os.listdir("/proc/self/fd")
    opened = attach(container.identify())
    for _ in range(2):
        lib.container_release(opened)
        assert (opened.pidfd, opened.mnt) == (-1, -1)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("field", ["start", "exe_dev", "exe_inode", "mnt_inode"])
@pytest.mark.parametrize("difference", [1, -1])
def test_attach_to_a_process_with_other_facts_is_refused(container: Container, field: str, difference: int) -> None:
    hold = container.identify()
    setattr(hold, field, getattr(hold, field) + difference)
    assert not_attached(hold) == GONE


def test_attach_to_a_pid_that_another_process_has_now_is_refused(container: Container) -> None:
    hold = container.identify()
    hold.pid = os.getpid()
    assert not_attached(hold) == GONE


@pytest.mark.parametrize("pid", [0, -1])
def test_attach_to_no_pid_is_refused(container: Container, pid: int) -> None:
    hold = container.identify()
    hold.pid = pid
    assert not_attached(hold) == GONE


def test_attach_to_a_dead_hold_process_is_refused(container: Container) -> None:
    hold = container.identify()
    os.kill(container.pid, signal.SIGKILL)
    assert eventually(lambda: not runs(container.pid))
    assert not_attached(hold) == GONE


def test_kill_ends_the_hold_process(container: Container) -> None:
    hold = container.identify()
    lib.container_kill(hold)
    assert not runs(container.pid)


def test_kill_ends_what_runs_in_the_container_and_nothing_else(container: Container, mnt: int) -> None:
    def inside() -> None:
        assert lib.shim_enter_mounts(mnt) == 0
        signal.pause()

    there, elsewhere = Child(inside), Child(signal.pause)
    host = os.stat("/proc/self/ns/mnt").st_ino
    assert eventually(lambda: os.stat(f"/proc/{there.pid}/ns/mnt").st_ino != host)
    lib.container_kill(container.identify())
    assert there.wait().status == -signal.SIGKILL
    assert runs(elsewhere.pid)
    os.kill(elsewhere.pid, signal.SIGTERM)
    assert elsewhere.wait().status == -signal.SIGTERM


def test_kill_of_a_container_whose_facts_differ_kills_nothing(container: Container) -> None:
    hold = container.identify()
    hold.start += 1
    lib.container_kill(hold)
    assert runs(container.pid)


def test_kill_of_what_shares_the_hosts_mounts_kills_nothing(start: Callable[..., Container]) -> None:
    """Whatever a record says: what is killed is never the host. The tests have a mount namespace of their own."""
    container = start(flaws=lib.HOLD_HOST_MOUNTS)
    hold = ffi.new("struct record_hold *", {"pid": container.pid})
    hold.start = int(Path(f"/proc/{container.pid}/stat").read_text().rpartition(")")[2].split()[19])
    hold.exe_dev, hold.exe_inode = HOLD.stat().st_dev, HOLD.stat().st_ino
    hold.mnt_inode = os.stat("/proc/self/ns/mnt").st_ino
    bystander = Child(signal.pause)
    # in a child: a kill of all would be seen as its death
    in_child(lambda: lib.container_kill(hold))
    alive = runs(bystander.pid)
    bystander.kill()
    assert alive


def test_protect_makes_the_hold_process_the_last_to_be_killed_for_memory(container: Container) -> None:
    score = Path(f"/proc/{container.pid}/oom_score_adj")
    lib.container_protect(container.identify())
    # where root may not lower it (no CAP_SYS_RESOURCE), it stays as it was
    assert score.read_text().strip() in ("-999", "0")
