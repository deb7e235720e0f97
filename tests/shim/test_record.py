# SPDX-License-Identifier: Apache-2.0
"""record.c: what root wrote of a container is read as root wrote it, or not at all."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from stat import S_IMODE
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .driver import JOB, NODE, USER, Child, add_place, done, ffi, lib, new_record, refused

KEY = b"00112233445566aa"
SIZE = ffi.sizeof("struct socker_record")


def write(directory: int, record: Any) -> None:
    done(lib.record_write, directory, KEY, record)


def read(directory: int) -> bytes | None:
    """The bytes of the mapped record; None when there is none."""
    record = lib.record_map(directory, KEY)
    if record == ffi.NULL:
        return None
    content = bytes(ffi.buffer(record, SIZE))
    lib.record_unmap(record)
    return content


@pytest.fixture
def written(directory: int) -> int:
    write(directory, new_record())
    return directory


def test_record_written_and_mapped_is_the_same(directory: int) -> None:
    record = new_record()
    add_place(record, "/home/u", planned=True)
    write(directory, record)
    assert read(directory) == bytes(ffi.buffer(record))


def test_record_written_belongs_to_root_alone_and_is_all_there_is(directory: int) -> None:
    old = os.umask(0)
    try:
        write(directory, new_record())
    finally:
        os.umask(old)
    status = os.stat(KEY, dir_fd=directory)
    assert (S_IMODE(status.st_mode), status.st_uid, os.listdir(directory)) == (0o600, 0, [KEY.decode()])


def test_record_written_again_leaves_the_mapped_one_as_it_was(written: int) -> None:
    mapped = lib.record_map(written, KEY)
    write(written, new_record(lib.RECORD_INTENT))
    assert mapped.state == lib.RECORD_OPEN
    lib.record_unmap(mapped)
    assert read(written) == bytes(ffi.buffer(new_record(lib.RECORD_INTENT)))


def test_record_written_over_a_planted_symlink_replaces_it(directory: int, trusted: Path) -> None:
    (trusted / "victim").write_text("victim")
    os.symlink(trusted / "victim", KEY + b".new", dir_fd=directory)
    os.symlink(trusted / "victim", KEY, dir_fd=directory)
    write(directory, new_record())
    assert (trusted / "victim").read_text() == "victim"
    assert read(directory) is not None


def test_record_that_cannot_be_written_is_told(directory: int) -> None:
    os.mkdir(KEY + b".new", dir_fd=directory)
    assert refused(lib.record_write, directory, KEY, new_record()) == f"record {KEY.decode()}.new: Is a directory"


def test_record_that_is_missing_is_none(directory: int) -> None:
    assert read(directory) is None


def test_record_unmap_of_none_is_harmless() -> None:
    lib.record_unmap(ffi.NULL)


def edit(directory: int, change: Callable[[str], None]) -> None:
    change(f"/proc/self/fd/{directory}/{KEY.decode()}")


def make_symlink(path: str) -> None:
    Path(path).rename(path + ".real")
    Path(path).symlink_to(KEY.decode() + ".real")


def make_fifo(path: str) -> None:
    Path(path).unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: os.truncate(path, SIZE - 1), id="too short"),
        pytest.param(lambda path: os.truncate(path, SIZE + 1), id="too long"),
        pytest.param(lambda path: os.truncate(path, 0), id="empty"),
        pytest.param(lambda path: os.chmod(path, 0o640), id="readable by a group"),
        pytest.param(lambda path: os.chmod(path, 0o602), id="writable by others"),
        pytest.param(lambda path: os.chown(path, USER, 0), id="a user's"),
        pytest.param(make_symlink, id="symlink"),
        pytest.param(make_fifo, id="fifo"),
    ],
)
def test_record_in_a_file_that_is_not_as_root_made_it_is_none(written: int, change: Callable[[str], None]) -> None:
    assert read(written) is not None
    edit(written, change)
    assert read(written) is None


def set_last_byte(record: Any) -> None:
    record.text[lib.RECORD_TEXT_SIZE - 1] = b"x"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda record: setattr(record, "magic", lib.SOCKER_PLAN_MAGIC), id="magic"),
        pytest.param(lambda record: setattr(record, "size", SIZE - 4), id="another version's size"),
        pytest.param(lambda record: setattr(record, "text_size", lib.RECORD_TEXT_SIZE + 1), id="text"),
        pytest.param(lambda record: setattr(record, "cgroup_count", lib.RECORD_CGROUPS_MAX + 1), id="cgroups"),
        pytest.param(lambda record: setattr(record, "place_count", lib.RECORD_PLACES_MAX + 1), id="places"),
        pytest.param(lambda record: setattr(record, "env_count", lib.SOCKER_ENV_MAX + 1), id="variables"),
        pytest.param(lambda record: setattr(record, "entry_count", lib.SOCKER_ENTRY_MAX + 1), id="entry point"),
        pytest.param(lambda record: setattr(record, "unset_count", lib.SOCKER_UNSET_MAX + 1), id="unset variables"),
        pytest.param(lambda record: setattr(record, "filter_count", lib.RECORD_FILTERS_MAX + 1), id="filters"),
        pytest.param(set_last_byte, id="text without end"),
    ],
)
def test_record_that_is_not_whole_is_none(directory: int, change: Callable[[Any], None]) -> None:
    record = new_record()
    change(record)
    write(directory, record)
    assert read(directory) is None


def test_record_text_is_kept_from_offset_one_on() -> None:
    record = ffi.new("struct socker_record *")
    offsets = [lib.record_add_text(record, text) for text in (b"one", b"", b"three")]
    assert offsets == [1, 5, 6]
    assert [ffi.string(record.text + offset) for offset in offsets] == [b"one", b"", b"three"]


def test_record_text_that_is_full_says_so_and_stays_whole() -> None:
    record = new_record()
    piece = b"x" * 4095
    while offset := lib.record_add_text(record, piece):
        assert offset + len(piece) < lib.RECORD_TEXT_SIZE - 1
    assert record.text[lib.RECORD_TEXT_SIZE - 1] == b"\0"
    left = lib.RECORD_TEXT_SIZE - 1 - record.text_size
    assert lib.record_add_text(record, b"y" * left) == 0
    assert lib.record_add_text(record, b"y" * (left - 1)) > 0
    assert lib.record_add_text(record, b"") == 0


def test_record_place_of_is_the_longest_that_holds_the_path() -> None:
    record = new_record()
    for path in ("/home", "/home/u/deep", "/home/u", "/homes"):
        add_place(record, path)

    def holder(path: bytes) -> str | None:
        place = lib.record_place_of(record, path)
        return None if place == ffi.NULL else ffi.string(record.text + place.path).decode()

    assert holder(b"/home/u/x") == "/home/u"
    assert holder(b"/home/u/deep/er") == "/home/u/deep"
    assert holder(b"/home/user") == "/home"
    assert holder(b"/homes") == "/homes"
    assert holder(b"/hom") is None


def test_record_place_of_what_is_not_the_hosts_holds_itself_alone() -> None:
    record = new_record()
    add_place(record, "/home/u")
    add_place(record, "/home/u/tmp", other=True)

    def holder(path: bytes) -> str | None:
        place = lib.record_place_of(record, path)
        return None if place == ffi.NULL else ffi.string(record.text + place.path).decode()

    assert holder(b"/home/u/tmp") == "/home/u/tmp"
    assert holder(b"/home/u/tmp/below") is None
    assert holder(b"/home/u/tmpfile") == "/home/u"


def test_record_keys_are_counted_by_their_locks(directory: int) -> None:
    assert lib.record_count_keys(directory) == 0
    for number in range(3):
        os.close(done(lib.record_lock, directory, f"{number:016x}".encode(), 1, -1))
    write(directory, new_record())
    assert lib.record_count_keys(directory) == 3
    # the directory is not read to its end for good
    assert lib.record_count_keys(directory) == 3


def test_record_keys_of_no_directory_cannot_be_counted() -> None:
    assert lib.record_count_keys(-1) == -1


PATHS = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(places=st.lists(PATHS, max_size=8), path=PATHS)
def test_record_place_of_is_what_a_search_of_all_parents_finds(places: list[str], path: str) -> None:
    record = new_record()
    for place in places:
        add_place(record, place)
    found = lib.record_place_of(record, path.encode())
    parents = [str(parent) for parent in (Path(path), *Path(path).parents)]
    expected = next((parent for parent in parents if parent in places), None)
    assert (None if found == ffi.NULL else ffi.string(record.text + found.path).decode()) == expected


def test_record_directory_is_made_for_root_alone(trusted: Path) -> None:
    state = trusted / "state"
    old = os.umask(0)
    try:
        os.close(done(lib.record_open_dir, os.fsencode(state), NODE, JOB, 1))
    finally:
        os.umask(old)
    for path in (state, state / NODE.decode(), state / NODE.decode() / str(JOB)):
        assert S_IMODE(path.stat().st_mode) == 0o700


def test_record_directory_of_a_job_without_one_is_absent_and_not_made(trusted: Path) -> None:
    state = trusted / "state"
    for exists in (False, True):
        reason = refused(lib.record_open_dir, os.fsencode(state), NODE, JOB, 0)
        assert reason.endswith(": No such file or directory")
        assert ffi.errno == errno.ENOENT
        assert state.exists() is exists
        state.mkdir(exist_ok=True)


def test_record_directory_below_a_missing_one_is_refused(trusted: Path) -> None:
    state = trusted / "absent" / "state"
    assert refused(lib.record_open_dir, os.fsencode(state), NODE, JOB, 1) == f"{state}: No such file or directory"


def test_record_directory_in_a_state_that_others_can_write_is_refused(trusted: Path) -> None:
    trusted.chmod(0o1777)
    state = trusted / "state"
    reason = refused(lib.record_open_dir, os.fsencode(state), NODE, JOB, 1)
    assert reason == f"{state}: others than root can write it"


def test_record_directory_of_a_job_that_a_user_owns_is_refused(trusted: Path) -> None:
    state = trusted / "state"
    os.close(done(lib.record_open_dir, os.fsencode(state), NODE, JOB, 1))
    os.chown(state / NODE.decode() / str(JOB), USER, USER)
    reason = refused(lib.record_open_dir, os.fsencode(state), NODE, JOB, 0)
    assert reason == f"{JOB}: belongs to uid {USER}, not to root"


# The lock


def lock(directory: int, *, seconds: int = 5, cancel: int = -1) -> int:
    return done(lib.record_lock, directory, KEY, seconds, cancel)


def test_lock_that_is_free_is_had_at_once_and_not_inherited(directory: int) -> None:
    fd = lock(directory, seconds=0)
    assert not os.get_inheritable(fd)
    assert S_IMODE(os.fstat(fd).st_mode) == 0o600
    os.close(fd)


def test_lock_that_is_held_is_waited_for_and_then_refused(directory: int) -> None:
    fd = lock(directory)
    began = time.monotonic()
    reason = refused(lib.record_lock, directory, KEY, 1, -1)
    assert reason == "another step has been opening the container for 1 s; try again later"
    assert 1 <= time.monotonic() - began < 5
    os.close(fd)


def test_lock_of_another_key_is_free(directory: int) -> None:
    fd = lock(directory)
    os.close(done(lib.record_lock, directory, b"ffffffffffffffff", 0, -1))
    os.close(fd)


def test_lock_is_released_when_its_holder_is_killed(directory: int) -> None:
    ready, announce = os.pipe()

    def hold_and_die() -> None:
        lock(directory)
        os.write(announce, b"x")
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)

    child = Child(hold_and_die)
    assert os.read(ready, 1) == b"x"
    began = time.monotonic()
    fd = lock(directory)
    assert 0.1 < time.monotonic() - began < 3
    assert child.wait().status == -signal.SIGKILL
    for descriptor in (fd, ready, announce):
        os.close(descriptor)


@pytest.mark.parametrize("how", ["a byte", "its end"])
def test_lock_that_is_cancelled_is_refused_at_once(directory: int, how: str) -> None:
    fd = lock(directory)
    cancel, cancelling = os.pipe()
    if how == "a byte":
        os.write(cancelling, b"x")
    else:
        os.close(cancelling)
    began = time.monotonic()
    assert refused(lib.record_lock, directory, KEY, 20, cancel) == "cancelled"
    assert time.monotonic() - began < 3
    os.close(fd)
    os.close(cancel)
    if how == "a byte":
        os.close(cancelling)


def test_lock_file_that_is_a_symlink_is_refused(directory: int, trusted: Path) -> None:
    os.symlink(trusted / "victim", KEY + b".lock", dir_fd=directory)
    reason = refused(lib.record_lock, directory, KEY, 0, -1)
    assert reason == f"{KEY.decode()}.lock: Too many levels of symbolic links"
    assert not (trusted / "victim").exists()
