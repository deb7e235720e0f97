# SPDX-License-Identifier: Apache-2.0
"""mounts.c: sources are opened as the user opens them, targets never cover the system (T27, T28, T30)."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_IMODE
from typing import Any

import pytest

from .driver import (
    EXTRA_GROUP,
    GROUP,
    USER,
    Container,
    done,
    ffi,
    in_child,
    lib,
    new_record,
    new_request,
    refused,
)


class Listed:
    """What mounts_add made of one wish, in a child that is root as the opener is."""

    def __init__(
        self, source: Path | str, target: str = "/target", flags: int = 0, base: int = 0, **fields: Any
    ) -> None:
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


def asked(source: Path | str, target: str = "/target", flags: int = 0, base: int = 0) -> str:
    """The reason why a mount that the user asked for cannot be had."""

    def add() -> str:
        mounts = lib.shim_mounts_new()
        request = new_request()
        flag = lib.SOCKER_MOUNT_ASKED | flags
        reason = refused(lib.mounts_add, mounts, request, os.fsencode(source), base, os.fsencode(target), flag)
        lib.shim_mounts_free(mounts)
        return reason

    return str(in_child(add))


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


@pytest.mark.parametrize("source", ["/", "/dev", "/dev/shm", "/proc/..", "/dev/shm/file", "/home/way"])
def test_add_of_what_lies_among_the_kernels_file_systems_is_denied(home: Path, source: str) -> None:
    """Whatever is mounted there, and by whatever way."""
    (home / "way").symlink_to("/dev/shm")
    shared = Path("/dev/shm/file")
    shared.write_text("")
    try:
        assert Listed(source.replace("/home", str(home))).error == errno.EPERM
    finally:
        shared.unlink()


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


@pytest.mark.parametrize(
    ("way", "error"),
    [
        pytest.param("in", 0, id="a link that stays"),
        pytest.param("out", errno.EXDEV, id="a link that leads up and out"),
        pytest.param("far", errno.EXDEV, id="an absolute link"),
        pytest.param("home", errno.EXDEV, id="an absolute link into it"),
        pytest.param("magic", errno.EXDEV, id="a link to a magic one"),
        pytest.param("sub", 0, id="no link"),
        pytest.param("sub/../sub", 0, id="up, but not out"),
        pytest.param("absent", errno.ENOENT, id="absent"),
    ],
)
def test_add_below_a_base_does_not_leave_it(home: Path, trusted: Path, way: str, error: int) -> None:
    (trusted / "elsewhere").mkdir()
    (home / "sub").mkdir(mode=0o755)
    for name, to in (("in", "sub"), ("out", "../elsewhere"), ("far", trusted / "elsewhere"), ("home", home / "sub"),
                     ("magic", "/proc/self/cwd")):  # fmt: skip
        (home / name).symlink_to(to)
    assert Listed(home / way, base=len(str(home))).error == error
    # without one it is the user's way
    assert Listed(home / way).error == {"magic": errno.ELOOP}.get(way, 0 if error == errno.EXDEV else error)


def test_add_of_the_base_itself_works(home: Path) -> None:
    assert Listed(home, base=len(str(home))).error == 0
    assert Listed(f"{home}/", base=len(str(home))).error == 0


def test_add_below_a_base_asks_as_the_user(home: Path, trusted: Path) -> None:
    private = trusted / "private"
    (private / "open").mkdir(parents=True)
    private.chmod(0o700)
    assert Listed(private / "open", base=len(str(private))).error == errno.EACCES
    assert Listed(private / "open", base=len(str(trusted))).error == errno.EACCES


# What the user asked for


def test_asked_mount_that_can_be_had_has_a_tree(home: Path) -> None:
    listed = Listed(home, "/etc", lib.SOCKER_MOUNT_ASKED)
    assert (listed.error, listed.has_tree) == (0, True)


@pytest.mark.parametrize("target", ["/", "/proc/x", "/sys", "/.socker", "/run/socker", "/dev", "/dev/shm"])
def test_asked_mount_at_a_refused_target_is_refused(home: Path, target: str) -> None:
    assert asked(home, target) == f"nothing can be mounted at {target} in a container; choose another target"


def test_asked_mount_of_what_the_user_cannot_have_is_refused(home: Path, trusted: Path) -> None:
    private = trusted / "private"
    private.mkdir(mode=0o700)
    (home / "way").symlink_to("/")
    (home / "magic").symlink_to("/proc/self/root")
    os.mkfifo(home / "fifo")
    base = len(str(home))
    assert asked(private) == f"{private} cannot be mounted: Permission denied"
    assert asked(home / "absent") == f"{home}/absent cannot be mounted: No such file or directory"
    assert asked("/proc") == "/proc cannot be mounted: Operation not permitted"
    assert asked(home / "fifo") == f"{home}/fifo cannot be mounted: it is neither a file nor a directory"
    assert asked(home / "magic") == f"{home}/magic cannot be mounted: Too many levels of symbolic links"
    reason = f"{home}/way cannot be mounted: a link in it leads out of what policy allows"
    assert asked(home / "way", base=base) == reason


def test_asked_mount_with_long_paths_is_refused_with_the_reason() -> None:
    path = "/" + "x" * 4000
    assert asked(path) == f"{path[:600]} cannot be mounted: File name too long"
    target = f"/proc{path}"
    assert asked("/tmp", target) == (f"nothing can be mounted at {target[:600]} in a container; choose another target")


# A tmpfs


def tmpfs_of(options: str, flags: int = 0, target: str = "/scratch") -> Any:
    return Listed(options, target, lib.SOCKER_MOUNT_TMPFS | flags)


@pytest.mark.parametrize("options", ["mode=1777", "mode=0700,size=64k", "size=1m,nr_inodes=10"])
def test_add_of_a_tmpfs_makes_one(options: str) -> None:
    listed = tmpfs_of(options)
    assert (listed.error, listed.has_tree, listed.is_file) == (0, True, 0)


LONG = "size=64m," * 40 + "mode=1777"


@pytest.mark.parametrize("options", ["", "mode", "mode=1777,", "mode=abc", "size=x", "source=1,unknown=2", LONG])
def test_add_of_a_tmpfs_with_options_that_are_none_is_an_error(options: str) -> None:
    listed = tmpfs_of(options)
    assert (listed.error, listed.has_tree) == (errno.EINVAL, False)
    assert asked(options, "/scratch", lib.SOCKER_MOUNT_TMPFS) == "no tmpfs can be made for /scratch: Invalid argument"


# A device


@pytest.fixture
def node(trusted: Path) -> Path:
    """A device node that only root may open."""
    path = trusted / "null"
    os.mknod(path, 0o020600, os.makedev(1, 3))
    return path


def test_add_of_a_device_is_roots_to_open(node: Path) -> None:
    listed = Listed(node, "/dev/x", lib.SOCKER_MOUNT_DEVICE | lib.SOCKER_MOUNT_ASKED)
    assert (listed.error, listed.has_tree, listed.is_file) == (0, True, 1)
    assert listed.ids == [0, 0, 0, 0, 0, []]


def test_add_of_a_device_that_is_none_is_refused(node: Path, home: Path, trusted: Path) -> None:
    (home / "file").write_text("")
    os.mkfifo(home / "fifo")
    (home / "link").symlink_to(node)
    (trusted / "way").symlink_to(node.parent)
    device = lib.SOCKER_MOUNT_DEVICE
    for path in (home / "file", home, home / "fifo"):
        assert asked(path, "/dev/x", device) == f"{path} cannot be mounted: No such device"
    # whoever can put a link there would choose the device
    for path in (home / "link", trusted / "way" / "null"):
        assert asked(path, "/dev/x", device) == f"{path} cannot be mounted: Too many levels of symbolic links"
    assert asked("/proc/self/fd/0", "/dev/x", device).endswith("cannot be mounted: Too many levels of symbolic links")
    assert asked(home / "absent", "/dev/x", device) == f"{home}/absent cannot be mounted: No such file or directory"


@pytest.mark.parametrize("target", ["/dev", "/proc/x", "/sys/x"])
def test_add_of_a_device_at_a_refused_target_is_refused(node: Path, target: str) -> None:
    reason = f"nothing can be mounted at {target} in a container; choose another target"
    assert asked(node, target, lib.SOCKER_MOUNT_DEVICE) == reason


def test_add_of_a_device_by_a_user_is_not_one(node: Path) -> None:
    """Without policy's word for it a node is opened as the user, and is none of a user's mounts."""
    node.chmod(0o666)
    assert asked(node) == f"{node} cannot be mounted: it is neither a file nor a directory"
    assert asked(node, "/dev/x") == "nothing can be mounted at /dev/x in a container; choose another target"


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

    assert in_child(add) == ["more than 128 mounts", 128]


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


def attach(opened: Any, *wishes: tuple[Path | str, str, int], planned: bool = True) -> list[list[Any]]:
    """The places noted in the record, for the wishes, on a host whose mounts are shared, as systemd makes them."""

    def add_and_attach() -> list[list[Any]]:
        assert lib.shim_private_mounts() == 0
        assert lib.shim_mount(b"none", b"/", b"", 1 << 20 | 1 << 14) == 0  # SHARED, REC
        mounts = lib.shim_mounts_new()
        record = new_record()
        for source, target, flags in wishes:
            done(lib.mounts_add, mounts, new_request(), os.fsencode(source), 0, target.encode(), flags)
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


def test_attached_mount_of_a_directory_is_with_or_without_what_is_mounted_below(
    container: Container, opened: Any, home: Path
) -> None:
    (home / "below").mkdir()
    assert lib.shim_mount(b"tmpfs", os.fsencode(home / "below"), b"tmpfs", 0) == 0
    try:
        attach(opened, (home, "/deep", 0), (home, "/flat", lib.SOCKER_MOUNT_FLAT))
    finally:
        lib.shim_unmount(os.fsencode(home / "below"))
    points = {mount.point: mount.options for mount in container.mounts()}
    assert {"/deep", "/deep/below", "/flat"} <= points.keys()
    assert "/flat/below" not in points
    assert {"nosuid", "nodev"} <= points["/deep/below"] & points["/flat"]


def test_attached_tmpfs_is_empty_nosuid_nodev_and_as_its_options_say(container: Container, opened: Any) -> None:
    flags = lib.SOCKER_MOUNT_TMPFS | lib.SOCKER_MOUNT_ASKED
    wishes = (("mode=1750,size=64k", "/scratch", flags), ("mode=0755", "/ro", flags | lib.SOCKER_MOUNT_READONLY))
    assert attach(opened, *wishes) == [["/scratch", 0, 1], ["/ro", 0, 1]]
    mounts = {mount.point: mount for mount in container.mounts()}
    assert mounts["/scratch"].kind == "tmpfs"
    assert {"rw", "nosuid", "nodev"} <= mounts["/scratch"].options
    assert {"ro", "nosuid", "nodev"} <= mounts["/ro"].options
    scratch = container.root / "scratch"
    assert (os.listdir(scratch), S_IMODE(scratch.stat().st_mode)) == ([], 0o1750)
    with pytest.raises(OSError, match="No space left"):
        (scratch / "large").write_bytes(bytes(128 * 1024))


def test_attached_device_is_one_and_no_other_mount_is(container: Container, opened: Any, node: Path) -> None:
    done(lib.mounts_harden, opened, container.pid)
    flags = lib.SOCKER_MOUNT_DEVICE | lib.SOCKER_MOUNT_ASKED
    assert attach(opened, (node, "/dev/sub/x", flags), (node, "/outside/x", flags)) == [
        ["/dev/sub/x", 0, 1],
        ["/outside/x", 0, 1],
    ]
    for path in ("dev/sub/x", "outside/x"):
        assert (container.root / path).read_bytes() == b""
    mounts = {mount.point: mount.options for mount in container.mounts()}
    for point in ("/dev/sub/x", "/outside/x"):
        assert "nosuid" in mounts[point]
        assert "nodev" not in mounts[point]


def not_attached(opened: Any, source: Path | str, target: str, flags: int = 0) -> str:
    """The reason why what the user asked for, and may have, cannot be put there."""

    def attach_one() -> str:
        mounts = lib.shim_mounts_new()
        flag = lib.SOCKER_MOUNT_ASKED | flags
        done(lib.mounts_add, mounts, new_request(), os.fsencode(source), 0, target.encode(), flag)
        record = new_record()
        reason = refused(lib.mounts_attach, mounts, opened, record, True)
        assert record.place_count == 0
        lib.shim_mounts_free(mounts)
        return reason

    return str(in_child(attach_one))


def test_asked_mount_that_cannot_be_put_there_is_refused(container: Container, opened: Any, home: Path) -> None:
    (home / "mine").write_text("")
    (container.root / "file").write_text("")
    (container.root / "dangling").symlink_to("/nowhere")
    reason = "nothing can be mounted at {} in this container: {}"
    assert not_attached(opened, home, "/file") == reason.format("/file", "Not a directory")
    assert not_attached(opened, home / "mine", "/file/below") == reason.format("/file/below", "Not a directory")
    (container.root / "dir").mkdir()
    assert not_attached(opened, home / "mine", "/dir") == reason.format("/dir", "Is a directory")
    assert not_attached(opened, home, "/dangling") == reason.format("/dangling", "File exists")
    long = "/" + "y" * 700
    assert not_attached(opened, home, long) == reason.format(long[:600], "File name too long")


def test_asked_mount_over_what_the_host_lent_is_there_or_refused(
    container: Container, opened: Any, home: Path, trusted: Path
) -> None:
    """A user may cover a part of his own mount; nothing is made on the host for it."""
    (home / "sub").mkdir()
    other = trusted / "other"
    other.mkdir()
    os.chown(other, USER, GROUP)
    (other / "of-the-other").write_text("")
    ask = lib.SOCKER_MOUNT_ASKED
    assert attach(opened, (home, "/home/u", ask), (other, "/home/u/sub", ask)) == [
        ["/home/u", 0, 1],
        ["/home/u/sub", 0, 1],
    ]
    assert os.listdir(container.root / "home" / "u" / "sub") == ["of-the-other"]
    assert os.listdir(home / "sub") == []
    reason = "nothing can be mounted at /home/u/new in this container: Operation not permitted"
    assert not_attached(opened, other, "/home/u/new") == reason
    assert os.listdir(home) == ["sub"]


def test_unasked_mount_over_what_the_host_lent_is_noted(opened: Any, home: Path) -> None:
    (home / "sub").mkdir()
    assert attach(opened, (home, "/data", 0), ("/tmp", "/data/sub", 0)) == [
        ["/data", 0, 1],
        ["/data/sub", errno.EPERM, 1],
    ]


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

    full = ["more than 192 directories of the host in one container", "the record is full"]
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
