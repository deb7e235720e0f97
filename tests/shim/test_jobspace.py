# SPDX-License-Identifier: Apache-2.0
"""jobspace.c: the opener learns the job's mount namespace from a task, enters it and comes back (T27, T28)."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable

import pytest

from .driver import Child, done, ffi, in_child, lib, refused

CLONE_NEWNS = 0x00020000
WAIT = 3000  # milliseconds


def namespace() -> str:
    return str(os.readlink("/proc/self/ns/mnt"))


def pair() -> tuple[socket.socket, socket.socket]:
    """The task's end and the opener's."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def never() -> int:
    """A descriptor that cannot be read."""
    return os.pipe()[0]


def task(end: socket.socket, *, apart: bool) -> Callable[[], str]:
    """What a task does: it sends its namespace, a new one or the same."""

    def run() -> str:
        if apart:
            assert ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0
        lib.jobspace_send(end.fileno())
        return namespace()

    return run


def test_opener_is_in_the_tasks_namespace_until_it_leaves() -> None:
    def opener() -> list[str]:
        mine, its = pair()
        home = ffi.new("int *", -1)
        seen = [Child(task(mine, apart=True)).wait().said, namespace()]
        done(lib.jobspace_enter, its.fileno(), never(), WAIT, home)
        seen.append(namespace())
        done(lib.jobspace_leave, home)
        assert home[0] == -1
        return [*seen, namespace()]

    other, before, within, after = in_child(opener)
    assert (other != before, within, after) == (True, other, before)


def test_opener_stays_where_the_tasks_namespace_is_its_own() -> None:
    def opener() -> list[object]:
        mine, its = pair()
        home = ffi.new("int *", 7)
        Child(task(mine, apart=False)).wait()
        before = namespace()
        done(lib.jobspace_enter, its.fileno(), never(), WAIT, home)
        entered = home[0]
        done(lib.jobspace_leave, home)
        return [entered, namespace() == before]

    assert in_child(opener) == [-1, True]


def test_first_of_several_tasks_is_enough() -> None:
    def opener() -> None:
        mine, its = pair()
        for _ in range(300):
            # more than the socket takes
            lib.jobspace_send(mine.fileno())
        done(lib.jobspace_enter, its.fileno(), never(), WAIT, ffi.new("int *"))

    in_child(opener)


def test_opener_that_no_step_started_stays_where_it_is() -> None:
    def opener() -> None:
        for number in (never(), 999, os.open("/dev/null", os.O_RDONLY)):
            home = ffi.new("int *")
            done(lib.jobspace_enter, number, never(), WAIT, home)
            assert home[0] == -1

    in_child(opener)


def test_send_after_the_opener_has_ended_does_no_harm() -> None:
    def run() -> None:
        mine, its = pair()
        its.close()
        lib.jobspace_send(mine.fileno())
        lib.jobspace_send(-1)

    in_child(run)


def garbage(end: socket.socket) -> None:
    """A descriptor that is no namespace."""
    with open("/dev/null") as null:
        socket.send_fds(end, [b"x"], [null.fileno()])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(lambda _end: None, "no task of the step has come; try again", id="nothing"),
        pytest.param(lambda end: end.close(), "the job's mount namespace is not known: ", id="end"),
        pytest.param(lambda end: end.send(b"x"), "the job's mount namespace is not known: ", id="no descriptor"),
        pytest.param(garbage, "the job's mount namespace cannot be entered: Invalid argument", id="another file"),
    ],
)
def test_namespace_that_is_not_sent_is_a_refusal(spoil: Callable[[socket.socket], object], reason: str) -> None:
    def opener() -> str:
        mine, its = pair()
        spoil(mine)
        return refused(lib.jobspace_enter, its.fileno(), never(), 200, ffi.new("int *"))

    assert in_child(opener).startswith(reason)


def test_cancelled_opener_waits_no_longer() -> None:
    def opener() -> str:
        _mine, its = pair()
        to_read, to_write = os.pipe()
        os.write(to_write, b"x")
        return refused(lib.jobspace_enter, its.fileno(), to_read, 60_000, ffi.new("int *"))

    assert in_child(opener) == "opening the container was interrupted"
