# SPDX-License-Identifier: Apache-2.0
"""seccomp.c: a task is filtered exactly as the hold process that Docker started (T09)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest

from .driver import Container, done, eventually, ffi, in_child, lib, process_status, refused

PR_SET_NO_NEW_PRIVS = 38
SPEC_ALLOW = 4


def getpriority() -> int:
    """0, or the errno that a filter makes of a call that always succeeds."""
    try:
        return os.getpriority(os.PRIO_PROCESS, 0) * 0
    except OSError as failure:
        return failure.errno or -1


def installed(record: Any) -> tuple[int, str]:
    """What getpriority says in a process that has installed the record's filters, and how many it has."""

    def install() -> tuple[int, str]:
        lib.shim_prctl(PR_SET_NO_NEW_PRIVS, 1, 0)
        done(lib.seccomp_install, record)
        return getpriority(), process_status()["Seccomp_filters"]

    result: tuple[int, str] = tuple(in_child(install))
    return result


def copied(container: Container) -> Any:
    record = ffi.new("struct socker_record *")
    done(lib.seccomp_copy, record, container.pid)
    return record


def test_seccomp_of_two_filters_is_copied_whole(container: Container) -> None:
    record = copied(container)
    assert record.filter_count == 2
    assert [(one.first, one.count, one.flags) for one in record.filters[0:2]] == [
        (0, 4, SPEC_ALLOW),
        (4, 4, SPEC_ALLOW),
    ]


def test_seccomp_is_copied_oldest_first(container: Container) -> None:
    record = copied(container)
    answers = [record.instructions[one.first + 2].k & 0xFFFF for one in record.filters[0:2]]
    assert answers == [lib.HOLD_FIRST_ERRNO, lib.HOLD_LAST_ERRNO]


def test_seccomp_installed_decides_as_where_it_was_copied(container: Container) -> None:
    # of two filters with the same action the newer one's errno is given, so the order shows
    assert installed(copied(container)) == (lib.HOLD_LAST_ERRNO, "2")


def test_seccomp_installed_in_another_order_would_show(container: Container) -> None:
    record = copied(container)
    first, last = ({"first": one.first, "count": one.count, "flags": one.flags} for one in record.filters[0:2])
    record.filters[0], record.filters[1] = last, first
    assert installed(record) == (lib.HOLD_FIRST_ERRNO, "2")


def test_seccomp_copy_lets_the_process_go_on(container: Container) -> None:
    copied(container)
    assert process_status(container.pid)["TracerPid"] == "0"
    # asleep in its call, not stopped
    assert eventually(lambda: process_status(container.pid)["State"][0] == "S")


def test_seccomp_copied_twice_is_the_same(container: Container) -> None:
    record = copied(container)
    before = bytes(ffi.buffer(record))
    done(lib.seccomp_copy, record, container.pid)
    assert bytes(ffi.buffer(record)) == before


def test_seccomp_of_an_unfiltered_process_is_refused(start: Callable[..., Container]) -> None:
    container = start(flaws=lib.HOLD_UNFILTERED)
    reason = refused(lib.seccomp_copy, ffi.new("struct socker_record *"), container.pid)
    assert reason == "the container's seccomp filter cannot be read: Invalid argument"
    assert process_status(container.pid)["TracerPid"] == "0"


def test_seccomp_of_a_process_that_is_gone_is_refused() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    reason = refused(lib.seccomp_copy, ffi.new("struct socker_record *"), pid)
    assert reason == "the hold process cannot be looked at: ptrace: No such process"


def test_seccomp_of_more_filters_than_a_record_holds_is_refused() -> None:
    """Not a part of them: a process with five is filtered by five."""

    def copy_of_five() -> str:
        pid = os.fork()
        if pid == 0:
            for number in range(5):
                lib.shim_filter(number + 1)
            os.kill(os.getpid(), 19)
            os._exit(0)
        os.waitpid(pid, os.WUNTRACED)
        record = ffi.new("struct socker_record *")
        reason = refused(lib.seccomp_copy, record, pid)
        os.kill(pid, 9)
        return reason

    assert in_child(copy_of_five) == "the container's seccomp filters are too many or too long"


def test_seccomp_install_without_privileges_is_refused(container: Container) -> None:
    record = copied(container)

    def install() -> str:
        lib.shim_no_capabilities()
        return refused(lib.seccomp_install, record)

    assert in_child(install) == "the seccomp filter cannot be installed: Permission denied"


@pytest.mark.parametrize("count", [0, 5000])
def test_seccomp_install_of_a_broken_filter_is_refused(container: Container, count: int) -> None:
    record = copied(container)
    record.filters[1].count = count

    def install() -> str:
        lib.shim_prctl(PR_SET_NO_NEW_PRIVS, 1, 0)
        return refused(lib.seccomp_install, record)

    assert in_child(install) == "the seccomp filter cannot be installed: Invalid argument"


def test_seccomp_install_of_none_installs_none() -> None:
    assert installed(ffi.new("struct socker_record *")) == (0, "0")
    assert errno.EPERM not in (lib.HOLD_FIRST_ERRNO, lib.HOLD_LAST_ERRNO)
