# SPDX-License-Identifier: Apache-2.0
"""accounts.c: the container's account files name the user first, whatever the image says; the image's stay as they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_IMODE
from typing import Any

import pytest

from .driver import Container, done, in_child, lib, refused

KEY = b"00112233445566aa"
PASSWD = b"u:x:61000:61001:A User:/home/u:/bin/bash\n"
GROUP = b"g:x:61001:\nextra:x:61002:u\n"
HOSTILE = b"root::0:0::/:/bin/sh\nu:x:0:0::/:/bin/sh\n"
TARGETS = {"passwd": b"/etc/passwd", "group": b"/etc/group"}


@pytest.fixture
def opened(container: Container) -> Iterator[Any]:
    handle = container.attach()
    yield handle
    lib.container_release(handle)


@pytest.fixture
def etc(container: Container) -> Path:
    """The image's /etc."""
    path = container.root / "etc"
    path.mkdir(mode=0o755)
    return path


def attach(opened: Any, directory: int, passwd: bytes = PASSWD, group: bytes = GROUP) -> None:
    done(lib.accounts_attach, opened, directory, KEY, passwd, group)


def of_the_image(container: Container, path: str) -> bytes:
    """A file of the container without what was put over it."""
    mnt = os.open(f"/proc/{container.pid}/ns/mnt", os.O_RDONLY)

    def uncovered() -> str:
        assert lib.shim_enter_mounts(mnt) == 0
        assert lib.shim_unmount(path.encode()) == 0
        return Path(path).read_bytes().decode()

    content = str(in_child(uncovered)).encode()
    os.close(mnt)
    return content


def test_accounts_name_the_user_before_what_the_image_says(
    container: Container, opened: Any, directory: int, etc: Path
) -> None:
    (etc / "passwd").write_bytes(HOSTILE)
    (etc / "group").write_bytes(b"docker:x:61001:\n")
    attach(opened, directory)
    assert (etc / "passwd").read_bytes() == PASSWD + HOSTILE
    assert (etc / "group").read_bytes() == GROUP + b"docker:x:61001:\n"


def test_accounts_are_never_written_into_the_image(
    container: Container, opened: Any, directory: int, etc: Path
) -> None:
    for name in ("passwd", "group"):
        (etc / name).write_bytes(HOSTILE)
        (etc / name).chmod(0o600)
    attach(opened, directory)
    for name in ("passwd", "group"):
        assert S_IMODE((etc / name).stat().st_mode) == 0o644
        with pytest.raises(OSError, match="Read-only file system"):
            (etc / name).write_bytes(b"")
        assert of_the_image(container, f"/etc/{name}") == HOSTILE
        assert S_IMODE((etc / name).stat().st_mode) == 0o600


def test_accounts_are_mounted_read_only_nosuid_and_nodev(container: Container, opened: Any, directory: int) -> None:
    attach(opened, directory)
    mounts = {mount.point: mount.options for mount in container.mounts()}
    for target in ("/etc/passwd", "/etc/group"):
        assert {"ro", "nosuid", "nodev"} <= mounts[target]


def test_accounts_of_an_image_without_any_are_the_users_alone(
    container: Container, opened: Any, directory: int
) -> None:
    """It may have no /etc at all."""
    attach(opened, directory)
    assert (container.root / "etc" / "passwd").read_bytes() == PASSWD
    assert (container.root / "etc" / "group").read_bytes() == GROUP
    assert S_IMODE((container.root / "etc").stat().st_mode) == 0o755


@pytest.mark.parametrize(("passwd", "group"), [(b"", b""), (PASSWD, b""), (b"", GROUP)])
def test_accounts_without_lines_leave_a_file_as_it_is(
    container: Container, opened: Any, directory: int, etc: Path, passwd: bytes, group: bytes
) -> None:
    (etc / "passwd").write_bytes(HOSTILE)
    attach(opened, directory, passwd, group)
    assert (etc / "passwd").read_bytes() == passwd + HOSTILE
    assert (etc / "group").exists() is bool(group)
    points = {mount.point for mount in container.mounts()}
    assert ("/etc/passwd" in points, "/etc/group" in points) == (bool(passwd), bool(group))
    assert len(os.listdir(directory)) == bool(passwd) + bool(group)


def test_accounts_lie_beside_the_record_by_its_key_and_can_be_read_by_all(opened: Any, directory: int) -> None:
    old = os.umask(0o777)
    try:
        attach(opened, directory)
    finally:
        os.umask(old)
    assert sorted(os.listdir(directory)) == [f"{KEY.decode()}.{end}" for end in ("group", "passwd")]
    for name in os.listdir(directory):
        status = os.stat(name, dir_fd=directory)
        assert (S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o644, 0, 0)


def test_accounts_replace_what_an_interrupted_opener_left_and_follow_no_link(
    container: Container, opened: Any, directory: int, trusted: Path
) -> None:
    (trusted / "victim").write_text("victim")
    os.symlink(trusted / "victim", KEY + b".passwd", dir_fd=directory)
    with open(os.open(KEY + b".group", os.O_WRONLY | os.O_CREAT, dir_fd=directory), "w") as left:
        left.write("left from before, and longer than what comes now" * 10)
    attach(opened, directory)
    assert (trusted / "victim").read_text() == "victim"
    assert (container.root / "etc" / "passwd").read_bytes() == PASSWD
    assert (container.root / "etc" / "group").read_bytes() == GROUP


def test_accounts_of_an_image_with_a_large_file_have_its_beginning(opened: Any, directory: int, etc: Path) -> None:
    most = int(lib.INSIDE_COPY_MAX)
    (etc / "passwd").write_bytes(b"x" * (most + 1))
    attach(opened, directory)
    assert (etc / "passwd").read_bytes() == PASSWD + b"x" * most


def test_accounts_behind_a_link_of_the_image_are_covered_where_it_leads(
    container: Container, opened: Any, directory: int, etc: Path, trusted: Path
) -> None:
    (container.root / "real").mkdir()
    (container.root / "real" / "passwd").write_bytes(HOSTILE)
    (etc / "passwd").symlink_to("../../../real/passwd")
    attach(opened, directory)
    assert (container.root / "real" / "passwd").read_bytes() == PASSWD + HOSTILE
    assert of_the_image(container, "/real/passwd") == HOSTILE


def make_directory(path: Path) -> None:
    path.mkdir()


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_device(path: Path) -> None:
    os.mknod(path, 0o020666, os.makedev(1, 5))


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_magic(path: Path) -> None:
    path.symlink_to("/proc/self/fd/0")


INVALID = "cannot be read: Invalid argument"
LOOP = "cannot be read: Too many levels of symbolic links"


@pytest.mark.parametrize("name", ["passwd", "group"])
@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(make_directory, INVALID, id="directory"),
        pytest.param(make_fifo, INVALID, id="fifo"),
        pytest.param(make_device, INVALID, id="device"),
        pytest.param(make_loop, LOOP, id="loop"),
        pytest.param(make_magic, LOOP, id="magic link"),
        pytest.param(
            lambda path: path.symlink_to("/etc/hostname/absent"), "cannot be covered: File exists", id="dangling"
        ),
    ],
)
def test_accounts_of_an_image_whose_file_is_none_are_refused(
    container: Container, opened: Any, directory: int, etc: Path, name: str, make: Callable[[Path], None], why: str
) -> None:
    make(etc / name)
    reason = refused(lib.accounts_attach, opened, directory, KEY, PASSWD, GROUP)
    assert reason == f"/etc/{name} of the image {why}"
    assert f"/etc/{name}" not in {mount.point for mount in container.mounts()}


def test_accounts_behind_a_link_out_of_the_image_touch_nothing_outside(
    container: Container, opened: Any, directory: int, etc: Path, trusted: Path
) -> None:
    outside = trusted / "passwd"
    outside.write_bytes(b"of the host\n")
    (etc / "passwd").symlink_to(outside)
    reason = refused(lib.accounts_attach, opened, directory, KEY, PASSWD, GROUP)
    assert reason == "/etc/passwd of the image cannot be covered: File exists"
    assert outside.read_bytes() == b"of the host\n"
    fd = os.open(KEY + b".passwd", os.O_RDONLY, dir_fd=directory)
    assert os.read(fd, 4096) == PASSWD
    os.close(fd)


def test_accounts_behind_a_link_to_what_the_host_lent_are_left_alone(
    container: Container, opened: Any, directory: int, etc: Path, trusted: Path
) -> None:
    """A directory the user may enter, a file in it that only root may read, and an image that links to it."""
    (trusted / "shadow").write_bytes(b"secret\n")
    (trusted / "shadow").chmod(0o600)
    tree = lib.shim_open_tree(os.fsencode(trusted))
    assert lib.inside_attach(opened.mnt, tree, b"/data", False, False) == 0
    os.close(tree)
    (etc / "passwd").symlink_to("/data/shadow")
    done(lib.accounts_attach, opened, directory, KEY, PASSWD, GROUP)
    assert not any(mount.point.endswith("/passwd") for mount in container.mounts())
    assert any(mount.point.endswith("/etc/group") for mount in container.mounts())
    fd = os.open(KEY + b".passwd", os.O_RDONLY, dir_fd=directory)
    assert os.read(fd, 4096) == PASSWD
    os.close(fd)


def test_accounts_without_a_directory_are_refused(opened: Any) -> None:
    reason = refused(lib.accounts_attach, opened, -1, KEY, PASSWD, GROUP)
    assert reason == "the container's accounts cannot be written: Bad file descriptor"
