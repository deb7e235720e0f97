# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from socker.errors import PolicyFileError
from socker.trustedfile import MAX_SIZE, read_trusted

ME = os.geteuid()


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A directory that is safe from its anchor (tmp_path) on."""
    tmp_path.chmod(0o755)
    directory = tmp_path / "etc"
    directory.mkdir(mode=0o755)
    return directory


def read(anchor: Path, path: str = "/etc/policy.yaml", owner: int = ME) -> bytes | None:
    return read_trusted(path, owner=owner, anchor=str(anchor))


def put(etc: Path, data: bytes = b"hello", mode: int = 0o644) -> Path:
    file = etc / "policy.yaml"
    file.write_bytes(data)
    file.chmod(mode)
    return file


def test_file_that_is_safe_is_read(tmp_path: Path, etc: Path) -> None:
    put(etc, b"x" * MAX_SIZE)
    assert read(tmp_path) == b"x" * MAX_SIZE
    put(etc, b"", mode=0o400)
    assert read(tmp_path) == b""


def test_file_or_directory_that_is_not_there_is_none(tmp_path: Path, etc: Path) -> None:
    assert read(tmp_path) is None
    assert read(tmp_path, "/etc/socker/policy.yaml") is None
    assert etc.exists()


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o777])
def test_file_that_others_can_write_is_refused(tmp_path: Path, etc: Path, mode: int) -> None:
    put(etc, mode=mode)
    with pytest.raises(
        PolicyFileError, match=rf"^/etc/policy.yaml: others than root can write it \(mode {mode:04o}\)$"
    ):
        read(tmp_path)


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_directory_that_others_can_write_is_refused(tmp_path: Path, etc: Path, mode: int) -> None:
    put(etc)
    etc.chmod(mode)
    with pytest.raises(PolicyFileError, match=r"\(its directory /etc\): others than root can write it"):
        read(tmp_path)
    etc.chmod(0o755)
    tmp_path.chmod(mode)
    with pytest.raises(PolicyFileError, match=r"\(its directory /\): others than root can write it"):
        read(tmp_path)


def test_file_or_directory_of_somebody_else_is_refused(tmp_path: Path, etc: Path) -> None:
    put(etc)
    with pytest.raises(PolicyFileError, match=rf"\(its directory /\): it belongs to uid {ME}, not to root"):
        read(tmp_path, owner=ME + 1)
    if ME != 0:
        pytest.skip("only root can give a file away")
    os.chown(etc / "policy.yaml", 12345, 0)
    with pytest.raises(PolicyFileError, match=r"^/etc/policy.yaml: it belongs to uid 12345, not to root$"):
        read(tmp_path)
    os.chown(etc, 12345, 0)
    with pytest.raises(PolicyFileError, match=r"\(its directory /etc\): it belongs to uid 12345"):
        read(tmp_path)


def test_links_are_not_followed(tmp_path: Path, etc: Path) -> None:
    target = put(etc)
    (etc / "link.yaml").symlink_to(target)
    with pytest.raises(PolicyFileError, match=r"^/etc/link.yaml: it is a symbolic link$"):
        read(tmp_path, "/etc/link.yaml")
    (etc / "dangling.yaml").symlink_to("nowhere")
    with pytest.raises(PolicyFileError, match="it is a symbolic link"):
        read(tmp_path, "/etc/dangling.yaml")
    (tmp_path / "also").symlink_to(etc)
    with pytest.raises(PolicyFileError, match=r"\(its directory /also\): it is a symbolic link"):
        read(tmp_path, "/also/policy.yaml")


def test_file_with_two_names_is_refused(tmp_path: Path, etc: Path) -> None:
    (etc / "other").hardlink_to(put(etc))
    with pytest.raises(PolicyFileError, match=r"it has 2 names \(hard links\)"):
        read(tmp_path)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path, etc: Path) -> None:
    (etc / "d").mkdir(mode=0o755)
    with pytest.raises(PolicyFileError, match="it is not a regular file"):
        read(tmp_path, "/etc/d")
    os.mkfifo(etc / "f", 0o644)
    with pytest.raises(PolicyFileError, match="it is not a regular file"):
        read(tmp_path, "/etc/f")


def test_socket_is_refused(short_path: Path) -> None:
    short_path.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{short_path}/s")
        with pytest.raises(PolicyFileError, match="no such device or address"):
            read(short_path, "/s")


def test_file_in_a_file_is_refused(tmp_path: Path, etc: Path) -> None:
    put(etc)
    with pytest.raises(PolicyFileError, match="not a directory"):
        read(tmp_path, "/etc/policy.yaml/x")


def test_file_that_is_too_large_is_refused(tmp_path: Path, etc: Path) -> None:
    put(etc, b"x" * (MAX_SIZE + 1))
    with pytest.raises(PolicyFileError, match="it is larger than 1 MiB"):
        read(tmp_path)


@pytest.mark.parametrize("path", ["", "/", "policy.yaml", "/etc/../etc/policy.yaml", "/./x"])
def test_path_that_is_not_plain_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(PolicyFileError, match="not a plain absolute path"):
        read(tmp_path, path)


def test_directory_that_cannot_be_entered_is_refused(
    tmp_path: Path, etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(etc)
    real = os.open

    def denied(path: str, flags: int, *, dir_fd: int | None = None) -> int:
        if path == "policy.yaml":
            raise PermissionError(13, "Permission denied")
        return real(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(PolicyFileError, match="^/etc/policy.yaml: permission denied$"):
        read(tmp_path)


def test_no_descriptor_is_left(tmp_path: Path, etc: Path) -> None:
    put(etc)
    before = len(list(Path("/proc/self/fd").iterdir()))
    read(tmp_path)
    with pytest.raises(PolicyFileError):
        read(tmp_path, "/etc")
    assert read(tmp_path, "/etc/none") is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before
