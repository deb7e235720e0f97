# SPDX-License-Identifier: Apache-2.0
"""launch.c: slurmstepd starts the opener; a task waits for its outcome, and a cancelled one ends both (P5)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from .driver import JOB, STAGE, Child, done, eventually, ffi, in_child, lib, new_request, refused, strings

OPENER = STAGE / "socker-opener"


def openers() -> list[int]:
    """The processes that run the fake opener."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "exe").readlink() == OPENER:
                found.append(int(path.name))
        except OSError:
            continue
    return found


@pytest.fixture(autouse=True)
def _no_opener_stays() -> Iterator[None]:
    yield
    assert eventually(lambda: not openers())


def launch(behaviour: str, verb: str = "open", words: tuple[str, ...] = ()) -> Any:
    """An opener at work; for the verb open, in the background."""
    made = ffi.new("struct launch *")
    argv, _kept = strings([*words, f"policy=/fake/{behaviour}"])
    done(lib.launch_opener, made, verb.encode(), len(words) + 1, argv, new_request())
    if verb == "open":
        done(lib.launch_detach, made)
    return made


def let_none_be_inherited() -> None:
    """As slurmstepd opens its own; what pytest was started with may be otherwise."""
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            os.set_inheritable(int(fd), False)


def refusal(behaviour: str) -> str:
    """What a task is told."""
    reason: str = in_child(lambda: refused(lib.launch_wait, launch(behaviour)))
    return reason


@pytest.mark.parametrize("behaviour", ["grant", "slow"])
def test_opener_that_grants_ends_the_wait(behaviour: str) -> None:
    in_child(lambda: done(lib.launch_wait, launch(behaviour)))


@pytest.mark.parametrize("blocked", [set(), {signal.SIGTERM, signal.SIGUSR1}])
@pytest.mark.parametrize("behaviour", ["grant", "refuse/no such image"])
def test_wait_leaves_the_signal_mask_as_it_was(behaviour: str, blocked: set[signal.Signals]) -> None:
    """Slurm 22.05 has signals blocked in this hook, 24.11 has not; the task is to get what Slurm gives it."""

    def mask() -> list[int]:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        lib.launch_wait(launch(behaviour), ffi.new("struct socker_error *"))
        return sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    assert in_child(mask) == sorted(blocked)


def test_opener_that_refuses_is_quoted() -> None:
    assert refusal("refuse/no such image") == "no such image"


def test_opener_that_refuses_without_a_reason_is_said_to() -> None:
    assert refusal("speechless") == "refused without a reason"


@pytest.mark.parametrize("behaviour", ["short", "vanish", "foreign"])
def test_opener_that_ends_without_an_outcome_is_a_refusal(behaviour: str) -> None:
    assert refusal(behaviour) == "opening the container was interrupted"


def test_opener_that_fails_before_it_begins_is_a_refusal() -> None:
    def start() -> str:
        made = ffi.new("struct launch *")
        argv, _kept = strings(["policy=/fake/fail"])
        done(lib.launch_opener, made, b"open", 1, argv, new_request())
        return refused(lib.launch_detach, made)

    assert in_child(start) == f"the opener ended at its start (status {7 << 8}); tell your administrator"


def test_opener_gets_the_request_and_nothing_of_slurmstepds() -> None:
    def start() -> str:
        os.environ["LD_LIBRARY_PATH"] = "/tmp"
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
        let_none_be_inherited()
        return refused(lib.launch_wait, launch("report", words=("user=x", "deadline=5")))

    assert in_child(start) == (
        f"verb=open words=3 euid=0 uid=0 environment=0 blocked=0 descriptors=0,1,2,3,4,5, job={JOB}"
    )


def test_opener_started_from_low_descriptors_gets_the_right_ones() -> None:
    """Where slurmstepd has closed its own 0 to 5, the numbers that the opener gets are those it is started from."""

    def start() -> str:
        let_none_be_inherited()
        os.closerange(0, 6)
        # its end is seen when it ends
        done(lib.launch_wait, launch("slow"))
        os.closerange(0, 6)
        return refused(lib.launch_wait, launch("report"))

    assert " descriptors=0,1,2,3,4,5, " in in_child(start)


def test_opener_at_work_is_no_child_of_slurmstepd() -> None:
    def start() -> bool:
        made = launch("wait")
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            os.write(made.cancel, b"x")
            return True
        return False

    assert in_child(start)


def test_descriptors_of_a_launch_are_not_inherited() -> None:
    def start() -> list[bool]:
        made = launch("grant")
        return [os.get_inheritable(fd) for fd in (made.life, made.cancel, made.outcome, made.space)]

    assert in_child(start) == [False] * 4


def test_opener_that_is_waited_for_by_many_tasks_tells_all() -> None:
    def start() -> list[str]:
        made = launch("refuse/no")
        tasks = [Child(lambda: refused(lib.launch_wait, made)) for _ in range(4)]
        return [task.wait().said for task in tasks]

    assert in_child(start) == ["no"] * 4


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGXCPU]
)
def test_task_that_is_cancelled_ends_the_opener_and_by_the_signal(number: signal.Signals) -> None:
    def wait() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
        lib.launch_wait(launch("wait"), ffi.new("struct socker_error *"))

    task = Child(wait)
    assert eventually(lambda: bool(openers()))
    os.kill(task.pid, number)
    assert task.wait(5).status == -number
    assert eventually(lambda: not openers())


def test_task_that_was_cancelled_before_it_waits_does_not_wait() -> None:
    def wait() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
        os.kill(os.getpid(), signal.SIGTERM)
        lib.launch_wait(launch("wait"), ffi.new("struct socker_error *"))

    assert Child(wait).wait(5).status == -signal.SIGTERM


def test_task_that_is_cancelled_when_the_opener_does_not_listen_ends_all_the_same() -> None:
    def wait() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
        lib.launch_wait(launch("hang"), ffi.new("struct socker_error *"))

    task = Child(wait)
    assert eventually(lambda: bool(openers()))
    os.kill(task.pid, signal.SIGTERM)
    assert task.wait(5).status == -signal.SIGTERM
    for pid in openers():
        os.kill(pid, signal.SIGKILL)


def test_tasks_of_which_one_is_cancelled_are_all_told() -> None:
    def start() -> list[Any]:
        made = launch("wait")
        # as in a task, from its beginning; but not that of the watchdog
        signal.pthread_sigmask(signal.SIG_BLOCK, set(range(1, 32)) - {signal.SIGALRM})

        def wait() -> str:
            return refused(lib.launch_wait, made)

        cancelled, other = Child(wait), Child(wait)
        os.kill(cancelled.pid, signal.SIGTERM)
        return [cancelled.wait().status, other.wait().said]

    assert in_child(start) == [-signal.SIGTERM, "opening the container was interrupted"]


def test_launch_of_an_opener_that_cannot_be_executed_is_refused() -> None:
    def start() -> str:
        assert lib.shim_private_mounts() == 0
        assert lib.shim_mount(b"/dev/null", os.fsencode(OPENER), b"", 4096) == 0  # BIND
        return refused(lib.launch_opener, ffi.new("struct launch *"), b"open", 0, ffi.NULL, new_request())

    assert in_child(start) == f"{OPENER} cannot be started: Permission denied"


@pytest.mark.parametrize(("count", "fits"), [(64, True), (65, False)])
def test_launch_with_many_words_is_whole_or_refused(count: int, *, fits: bool) -> None:
    argv, _kept = strings(["policy=/fake/grant"] * count)

    def start() -> str:
        made = ffi.new("struct launch *")
        err = ffi.new("struct socker_error *")
        if lib.launch_opener(made, b"open", count, argv, new_request(), err) == 0:
            done(lib.launch_detach, made)
            done(lib.launch_wait, made)
        return bytes(ffi.string(err.text)).decode()

    assert in_child(start) == ("" if fits else "plugstack line: more than 64 words")


# The verb close, in the epilog


def test_finish_of_an_opener_that_succeeds() -> None:
    in_child(lambda: done(lib.launch_finish, launch("grant", "close"), 5000))


def test_finish_of_an_opener_that_fails_is_told() -> None:
    reason = in_child(lambda: refused(lib.launch_finish, launch("fail", "close"), 5000))
    assert reason == "closing the containers failed; the sweep will finish it"


def test_finish_of_an_opener_that_takes_too_long_ends_it() -> None:
    began = time.monotonic()
    reason = in_child(lambda: refused(lib.launch_finish, launch("hang", "close"), 200))
    assert reason == "closing the containers took too long; the sweep will finish it"
    assert 0.2 <= time.monotonic() - began < 5
    assert openers() == []
