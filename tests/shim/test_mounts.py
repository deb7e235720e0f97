# SPDX-License-Identifier: Apache-2.0
"""mounts.c: sources are opened as the user opens them, targets never cover the system (T27, T28, T30)."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .driver import EXTRA_GROUP, GROUP, USER, Container, done, ffi, in_child, lib, new_record, new_request, refused


class Listed:
    """What mounts_add made of one wish, in a child that is root as the opener is."""

    def __init__(self, source: Path | str, target: str = "/target", flags: int = 0, **fields: Any) -> None:
        def add() -> list[Any]:
            mounts = lib.shim_mounts_new()
            request = new_request(**fields)
            done(lib.mounts_add, mounts, request, os.fsencode(source), base, target.encode(), flags)
            ids = [os.getuid(), os.geteuid(), os.getgid(), os.getegid(), lib.shim_fsuid(), os.getgroups()]
            answer = [
                lib.shim_mount_error(mounts, 0),
                lib.shim_mount_tree(mounts, 0) >= 0,
                lib.shim_mount_file(mounts, 0),
            ]
            lib.shim_mounts_free(mounts)
            return [*answer, ids]

        self.error, self.has_tree, self.is_file, self.ids = in_child(add)


@pytest.fixture
def home(trusted: Path) -> Path:
    path = trusted / "home"
    path.mkdir(mode=0o700)
    os.chown(path, USER, GROUP)
    return path


def test_add_of_a_users_directory_has_a_tree(home: Path) -> None:
    listed = Listed(home)
    assert (listed.error, listed.has_tree, listed.is_file) == (0, True, 0)


def test_add_of_a_users_file_is_a_file(home: Path) -> None:
    (home / "file").write_text("")
    listed = Listed(home / "file")
    assert (listed.error, listed.has_tree, listed.is_file) == (0, True, 1)


def test_add_leaves_root_as_it_was(home: Path) -> None:
    assert Listed(home).ids == [0, 0, 0, 0, 0, []]
    assert Listed("/absent").ids == [0, 0, 0, 0, 0, []]


def test_add_of_roots_private_directory_is_denied(trusted: Path) -> None:
    private = trusted / "private"
    private.mkdir(mode=0o700)
    listed = Listed(private)
    assert (listed.error, listed.has_tree) == (errno.EACCES, False)


def test_add_below_a_private_directory_is_denied(trusted: Path) -> None:
    """A directory everybody may enter in one that only its owner may."""
    (trusted / "bob").mkdir(mode=0o700)
    (trusted / "bob" / "open").mkdir(mode=0o777)
    assert Listed(trusted / "bob" / "open").error == errno.EACCES


def test_add_of_a_directory_that_the_user_may_list_but_not_enter_is_denied(trusted: Path) -> None:
    path = trusted / "list-only"
    path.mkdir()
    path.chmod(0o744)
    assert Listed(path).error == errno.EACCES


@pytest.mark.parametrize(("group", "error"), [(EXTRA_GROUP, 0), (GROUP, 0), (EXTRA_GROUP + 1, errno.EACCES)])
def test_add_of_a_groups_directory_asks_the_jobs_groups(trusted: Path, group: int, error: int) -> None:
    path = trusted / "project"
    path.mkdir()
    path.chmod(0o770)
    os.chown(path, 0, group)
    assert Listed(path).error == error
    assert Listed(path, groups=[]).error == (0 if group == GROUP else errno.EACCES)


def test_add_through_a_symlink_to_what_the_user_may_not_reach_is_denied(trusted: Path, home: Path) -> None:
    private = trusted / "private"
    private.mkdir(mode=0o700)
    (home / "way").symlink_to(private)
    assert Listed(home / "way").error == errno.EACCES


def test_add_through_a_symlink_to_what_the_user_may_reach_works(trusted: Path, home: Path) -> None:
    (trusted / "public").mkdir()
    (home / "way").symlink_to(trusted / "public")
    assert Listed(home / "way").error == 0


@pytest.mark.parametrize("link", ["/proc/self/root", "/proc/self/cwd", "/proc/thread-self/fd/0"])
def test_add_through_a_magic_link_is_denied(home: Path, link: str) -> None:
    (home / "way").symlink_to(link)
    assert Listed(home / "way").error in (errno.ELOOP, errno.EACCES)
    assert Listed(link).error in (errno.ELOOP, errno.EACCES)


def test_add_of_what_does_not_exist_is_noted(home: Path) -> None:
    assert Listed(home / "absent").error == errno.ENOENT


@pytest.mark.parametrize("source", ["/proc", "/proc/sys", "/sys", "/sys/kernel", "/dev/pts"])
def test_add_of_a_kernel_file_system_is_denied(source: str) -> None:
    assert Listed(source).error == errno.EPERM


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_add_of_what_is_neither_file_nor_directory_is_denied(home: Path, kind: str) -> None:
    path = home / kind
    if kind == "fifo":
        os.mkfifo(path, 0o666)
    elif kind == "device":
        os.mknod(path, 0o020666, os.makedev(1, 3))
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    os.chown(path, USER, GROUP)
    assert Listed(path).error == errno.ENOTBLK


@pytest.mark.parametrize(
    "target", ["/", "/proc", "/proc/x", "/sys", "/dev/shm", "/etc", "/usr/lib", "/.socker", "/home"]
)
def test_add_at_a_target_of_the_system_is_denied(home: Path, target: str) -> None:
    listed = Listed(home, target)
    assert (listed.error, listed.has_tree) == (errno.EPERM, False)


def test_add_of_more_than_fit_is_refused() -> None:
    def add() -> list[Any]:
        mounts = lib.shim_mounts_new()
        request = new_request()
        for _ in range(lib.SOCKER_MOUNTS_MAX):
            done(lib.mounts_add, mounts, request, b"/absent", 0, b"/target", 0)
        reason = refused(lib.mounts_add, mounts, request, b"/absent", 0, b"/target", 0)
        count = mounts.count
        lib.shim_mounts_free(mounts)
        return [reason, count]

    assert in_child(add) == ["more than 32 mounts", 32]


@pytest.mark.parametrize(("length", "fits"), [(4095, True), (4096, False)])
def test_add_of_a_target_of_any_length_is_whole_or_refused(length: int, *, fits: bool) -> None:
    target = b"/" + b"t" * (length - 1)
    mounts = lib.shim_mounts_new()
    err = ffi.new("struct socker_error *")

    def add() -> str:
        lib.mounts_add(mounts, new_request(), b"/absent", 0, target, 0, err)
        return bytes(ffi.string(err.text)).decode()

    assert in_child(add) == ("" if fits else "the path of a mount is too long")
    lib.shim_mounts_free(mounts)


# In a container


@pytest.fixture
def opened(container: Container) -> Iterator[Any]:
    handle = container.attach()
    yield handle
    lib.container_release(handle)


def attach(opened: Any, *wishes: tuple[Path, str, int], planned: bool = True) -> list[list[Any]]:
    """The places noted in the record, for the wishes, on a host whose mounts are shared, as systemd makes them."""

    def add_and_attach() -> list[list[Any]]:
        assert lib.shim_private_mounts() == 0
        assert lib.shim_mount(b"none", b"/", b"", 1 << 20 | 1 << 14) == 0  # SHARED, REC
        mounts = lib.shim_mounts_new()
        record = new_record()
        for source, target, flags in wishes:
            done(lib.mounts_add, mounts, new_request(), os.fsencode(source), base, target.encode(), flags)
        done(lib.mounts_attach, mounts, opened, record, planned)
        lib.shim_mounts_free(mounts)
        return [
            [ffi.string(record.text + place.path).decode(), place.error, place.planned]
            for place in record.places[0 : record.place_count]
        ]

    result: list[list[Any]] = in_child(add_and_attach)
    return result


def test_attach_notes_what_is_there_and_what_is_not(
    container: Container, opened: Any, home: Path, trusted: Path
) -> None:
    (home / "mine").write_text("")
    (trusted / "private").mkdir(mode=0o700)
    wishes = (
        (home, "/home/u", 0),
        (trusted / "private", "/private", 0),
        (home, "/etc", 0),
        (home, "/.socker/hold/x", 0),
    )
    assert attach(opened, *wishes) == [
        ["/home/u", 0, 1],
        ["/private", errno.EACCES, 1],
        ["/etc", errno.EPERM, 1],
        ["/.socker/hold/x", errno.EPERM, 1],
    ]
    assert os.listdir(container.root / "home" / "u") == ["mine"]


def test_attach_of_a_steps_own_directory_is_not_planned(opened: Any, home: Path) -> None:
    assert attach(opened, (home, "/home/u", 0), planned=False) == [["/home/u", 0, 0]]


def test_attached_mounts_are_private_nosuid_nodev_and_read_only_where_asked(
    container: Container, opened: Any, home: Path
) -> None:
    attach(opened, (home, "/rw", 0), (home, "/ro", lib.SOCKER_MOUNT_READONLY))
    mounts = {mount.point: mount.options for mount in container.mounts()}
    assert {"rw", "nosuid", "nodev"} <= mounts["/rw"]
    assert {"ro", "nosuid", "nodev"} <= mounts["/ro"]
    assert "shared:" not in Path(f"/proc/{container.pid}/mountinfo").read_text()
    with pytest.raises(OSError, match="Read-only file system"):
        (container.root / "ro" / "new").write_text("")


def test_attach_with_a_full_record_is_refused(opened: Any) -> None:
    def attach_to_full() -> list[str]:
        reasons = []
        for fill in (False, True):
            mounts = lib.shim_mounts_new()
            record = new_record()
            done(lib.mounts_add, mounts, new_request(), b"/absent", 0, b"/x", 0)
            if fill:
                while lib.record_add_text(record, b"t" * 60000) or lib.record_add_text(record, b"t"):
                    pass
            else:
                record.place_count = lib.RECORD_PLACES_MAX
            reasons.append(refused(lib.mounts_attach, mounts, opened, record, True))
            lib.shim_mounts_free(mounts)
        return reasons

    full = ["more than 64 directories of the host in one container", "the record is full"]
    assert in_child(attach_to_full) == full


def test_release_closes_the_trees(home: Path) -> None:
    def add_and_release() -> bool:
        before = os.listdir("/proc/self/fd")
        mounts = lib.shim_mounts_new()
        done(lib.mounts_add, mounts, new_request(), os.fsencode(home), 0, b"/x", 0)
        assert os.listdir("/proc/self/fd") != before
        lib.mounts_release(mounts)
        count = int(mounts.count)
        lib.shim_mounts_free(mounts)
        return os.listdir("/proc/self/fd") == before and count == 0

    assert in_child(add_and_release)


def test_harden_of_a_container_is_checked_from_outside(container: Container, opened: Any) -> None:
    done(lib.mounts_harden, opened, container.pid)
    for mount in container.mounts():
        assert "nosuid" in mount.options


@pytest.mark.parametrize(("missing", "flags"), [("nosuid", 4), ("nodev", 2)])
def test_harden_that_did_not_reach_a_mount_is_refused(
    start: Callable[..., Container], missing: str, flags: int
) -> None:
    """The check looks at the process that is named: here one whose mounts have only the other flag."""
    one, other = start(), start()
    handle, elsewhere = one.attach(), other.attach()

    def half() -> int:
        assert lib.shim_enter_mounts(elsewhere.mnt) == 0
        return int(lib.shim_mount(b"none", b"/", b"", 32 | 4096 | flags))  # REMOUNT, BIND

    assert in_child(half) == 0
    assert refused(lib.mounts_harden, handle, other.pid) == f"mount / of the container is not {missing}"
    for opened in (handle, elsewhere):
        lib.container_release(opened)


def test_harden_of_a_process_that_is_gone_is_refused(opened: Any) -> None:
    reason = refused(lib.mounts_harden, opened, 2**22 + 1)
    assert reason == "the container's mounts cannot be read: No such file or directory"


def test_harden_takes_over_the_hosts_hidepid(container: Container) -> None:
    def on_a_host_that_hides() -> None:
        assert lib.shim_private_mounts() == 0
        assert lib.shim_mount_data(b"proc", b"/proc", b"proc", b"hidepid=2,gid=4") == 0
        handle = container.attach()
        done(lib.mounts_harden, handle, container.pid)

    in_child(on_a_host_that_hides)
    line = next(line for line in Path(f"/proc/{container.pid}/mountinfo").read_text().splitlines() if " /proc " in line)
    assert {"gid=4", "hidepid=invisible"} <= set(line.split()[-1].split(","))
