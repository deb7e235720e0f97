# SPDX-License-Identifier: Apache-2.0
"""breaker.c: a Docker that does not answer is left alone for a while, and for no longer."""

from __future__ import annotations

import os
import re
import struct
import time
from pathlib import Path
from stat import S_IMODE

import pytest

from .driver import NODE, done, ffi, lib, refused

TIMES, SECONDS = int(lib.BREAKER_TIMES), int(lib.BREAKER_SECONDS)


class Breaker:
    """The count of a node."""

    def __init__(self, state: Path) -> None:
        self.state = os.fsencode(state)
        self.file = state / NODE.decode() / "silence"
        self.file.parent.mkdir(parents=True)

    def note(self, *, silent: bool) -> None:
        lib.breaker_note(self.state, NODE, silent)

    def write(self, count: int, ago: int) -> None:
        """As if it had been noted so many seconds ago."""
        now = int(time.clock_gettime(time.CLOCK_BOOTTIME))
        self.file.write_bytes(struct.pack("=Ixxxxq", count, now - ago))

    def allows(self) -> bool:
        err = ffi.new("struct socker_error *")
        return bool(lib.breaker_allows(self.state, NODE, err) == 0)


@pytest.fixture
def breaker(trusted: Path) -> Breaker:
    return Breaker(trusted / "state")


def test_breaker_allows_until_it_was_noted_so_many_times(breaker: Breaker) -> None:
    for _ in range(TIMES):
        assert breaker.allows()
        breaker.note(silent=True)
    reason = refused(lib.breaker_allows, breaker.state, NODE)
    seconds = re.fullmatch(
        rf"Docker on node node1 did not answer the last {TIMES} times; it is asked again in (\d+) s, "
        "try then or on another node",
        reason,
    )
    assert seconds
    assert SECONDS - 2 <= int(seconds[1]) <= SECONDS


def test_breaker_starts_again_when_docker_has_answered(breaker: Breaker) -> None:
    for _ in range(TIMES):
        breaker.note(silent=True)
    breaker.note(silent=False)
    assert not breaker.file.exists()
    breaker.note(silent=True)
    assert breaker.allows()


@pytest.mark.parametrize(
    ("count", "ago", "allows"),
    [
        (TIMES, 0, False),
        (TIMES, SECONDS - 2, False),
        (TIMES, SECONDS, True),
        (TIMES - 1, 0, True),
        (TIMES + 100, 0, False),
        (2**32 - 1, 0, False),
        (TIMES, -1000, True),
        (TIMES, 2**62, True),
    ],
)
def test_breaker_refuses_for_a_while_and_by_no_time_of_another_boot(
    breaker: Breaker, count: int, ago: int, *, allows: bool
) -> None:
    breaker.write(count, ago)
    assert breaker.allows() is allows


def test_breaker_that_was_tried_again_in_vain_refuses_again(breaker: Breaker) -> None:
    breaker.write(TIMES, SECONDS + 1)
    assert breaker.allows()
    breaker.note(silent=True)
    assert not breaker.allows()


@pytest.mark.parametrize("content", [b"", b"\xff" * 15])
def test_breaker_with_a_file_that_is_not_whole_allows(breaker: Breaker, content: bytes) -> None:
    breaker.file.write_bytes(content)
    assert breaker.allows()
    breaker.note(silent=True)
    assert struct.unpack("=Ixxxxq", breaker.file.read_bytes())[0] == 1


def test_breaker_writes_for_root_alone_and_follows_no_link(breaker: Breaker, trusted: Path) -> None:
    (trusted / "victim").write_text("victim")
    breaker.file.symlink_to(trusted / "victim")
    assert breaker.allows()
    breaker.note(silent=True)
    assert (trusted / "victim").read_text() == "victim"
    assert not breaker.file.exists()
    old = os.umask(0)
    breaker.note(silent=True)
    os.umask(old)
    assert S_IMODE(breaker.file.stat().st_mode) == 0o600


@pytest.mark.parametrize("state", [b"/absent", b"/" + b"x" * 5000])
def test_breaker_without_a_directory_allows(state: bytes) -> None:
    for silent in (True, False):
        lib.breaker_note(state, NODE, silent)
        done(lib.breaker_allows, state, NODE)
