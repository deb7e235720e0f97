# SPDX-License-Identifier: Apache-2.0
"""trust.c: root opens nothing that somebody else could have put there (T38, SECURITY section 3.6)."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from stat import S_IMODE

import pytest

from .driver import USER, become_user, done, ffi, in_child, lib, refused


def opened(function: object, *arguments: object) -> os.stat_result:
    """The status of what the function opens; it must not be inherited."""
    fd = done(function, *arguments)  # type: ignore[arg-type]
    try:
        assert not os.get_inheritable(fd)
        return os.fstat(fd)
    finally:
        os.close(fd)


def refusal(path: Path | str) -> str:
    """The reason, without the path in front of it."""
    reason = refused(lib.trust_open_file, os.fsencode(path))
    assert reason.startswith(f"{path}: ")
    return reason.removeprefix(f"{path}: ")


@pytest.fixture
def file(trusted: Path) -> Path:
    path = trusted / "file"
    path.write_text("content")
    path.chmod(0o644)
    return path


def test_trust_of_roots_file_opens_it(file: Path) -> None:
    assert opened(lib.trust_open_file, os.fsencode(file)).st_ino == file.stat().st_ino


def test_trust_of_a_path_with_empty_components_opens_it(file: Path) -> None:
    spelled = str(file).replace("/", "//")
    assert opened(lib.trust_open_file, spelled.encode()).st_ino == file.stat().st_ino


def test_trust_of_roots_directory_opens_it(trusted: Path) -> None:
    for spelling in (f"{trusted}", f"{trusted}/", f"{trusted}//"):
        assert opened(lib.trust_open_dir, spelling.encode()).st_ino == trusted.stat().st_ino


def test_trust_of_the_root_directory_opens_it() -> None:
    assert opened(lib.trust_open_dir, b"/").st_ino == Path("/").stat().st_ino


@pytest.mark.parametrize("path", ["", "etc/passwd", "./x"])
def test_trust_of_a_relative_path_is_refused(path: str) -> None:
    assert refusal(path) == "not an absolute path"


def test_trust_of_a_symlink_is_refused(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    assert refusal(link) == "is a symlink"


def test_trust_through_a_symlink_is_refused(file: Path, trusted: Path) -> None:
    (trusted / "way").symlink_to(trusted)
    assert refusal(trusted / "way" / "file") == "is a symlink"


def test_trust_through_a_file_is_refused(file: Path) -> None:
    assert refusal(file / "below") == "Not a directory"


def test_trust_of_a_symlink_to_a_directory_is_refused(trusted: Path) -> None:
    (trusted / "way").symlink_to(trusted)
    assert refused(lib.trust_open_dir, os.fsencode(trusted / "way")) == f"{trusted}/way: is a symlink"


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o622])
def test_trust_of_a_file_that_others_can_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert refusal(file) == "others than root can write it"


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_trust_below_a_directory_that_others_can_write_is_refused(trusted: Path, mode: int) -> None:
    parent = trusted / "open"
    parent.mkdir()
    (parent / "sub").mkdir()
    (parent / "sub" / "file").write_text("")
    parent.chmod(mode)
    assert refusal(parent / "sub" / "file") == "others than root can write it"
    assert refused(lib.trust_open_dir, os.fsencode(parent)) == f"{parent}: others than root can write it"


def test_trust_of_a_users_file_is_refused(file: Path) -> None:
    os.chown(file, USER, 0)
    assert refusal(file) == f"belongs to uid {USER}, not to root"


def test_trust_below_a_users_directory_is_refused(trusted: Path) -> None:
    (trusted / "home").mkdir()
    (trusted / "home" / "file").write_text("")
    os.chown(trusted / "home", USER, 0)
    assert refusal(trusted / "home" / "file") == f"belongs to uid {USER}, not to root"


def test_trust_of_a_directory_as_a_file_is_refused(trusted: Path) -> None:
    assert refusal(trusted) == "not a regular file"


def test_trust_of_a_file_as_a_directory_is_refused(file: Path) -> None:
    assert refused(lib.trust_open_dir, os.fsencode(file)) == f"{file}: Not a directory"


def test_trust_of_a_fifo_is_refused_and_does_not_hang(trusted: Path) -> None:
    os.mkfifo(trusted / "fifo", 0o600)
    assert refusal(trusted / "fifo") == "not a regular file"


def test_trust_of_a_socket_is_refused(trusted: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(trusted / "socket"))
    assert refusal(trusted / "socket") == "No such device or address"


def test_trust_of_a_device_is_refused(trusted: Path) -> None:
    os.mknod(trusted / "null", 0o020600, os.makedev(1, 3))
    assert refusal(trusted / "null") == "not a regular file"


@pytest.mark.parametrize("name", ["absent", "absent/file"])
def test_trust_of_what_does_not_exist_says_so_in_errno(trusted: Path, name: str) -> None:
    assert refusal(trusted / name) == "No such file or directory"
    assert ffi.errno == errno.ENOENT


def test_trust_of_what_is_not_trusted_is_not_taken_for_absent(file: Path) -> None:
    file.chmod(0o666)
    ffi.errno = errno.ENOENT
    refusal(file)
    assert ffi.errno == errno.EPERM


def test_trust_by_a_user_is_refused_where_the_user_cannot_go(file: Path, trusted: Path) -> None:
    trusted.chmod(0o700)

    def as_user() -> str:
        become_user()
        return refusal(file)

    assert in_child(as_user) == "Permission denied"


def test_trust_at_makes_a_missing_directory_for_root_only(directory: int) -> None:
    status = opened(lib.trust_open_dir_at, directory, b"new", 1)
    assert (S_IMODE(status.st_mode), status.st_uid) == (0o700, 0)
    assert opened(lib.trust_open_dir_at, directory, b"new", 1).st_ino == status.st_ino


def test_trust_at_of_a_missing_directory_makes_none_unasked(directory: int) -> None:
    assert refused(lib.trust_open_dir_at, directory, b"new", 0) == "new: No such file or directory"
    assert ffi.errno == errno.ENOENT
    assert os.listdir(directory) == []


def test_trust_at_of_a_symlink_is_refused(directory: int, trusted: Path) -> None:
    os.symlink(trusted, "way", dir_fd=directory)
    assert refused(lib.trust_open_dir_at, directory, b"way", 1) == "way: is a symlink"


def test_trust_at_of_a_directory_that_others_can_write_is_refused(directory: int) -> None:
    os.mkdir("open", dir_fd=directory)
    os.chmod("open", 0o777, dir_fd=directory)
    assert refused(lib.trust_open_dir_at, directory, b"open", 1) == "open: others than root can write it"
