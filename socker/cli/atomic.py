# SPDX-License-Identifier: Apache-2.0
"""Replacing a file: whole or not at all."""

from __future__ import annotations

import contextlib
import os

from socker.cli.app import CannotTell

_READABLE = 0o644


def split(path: str) -> tuple[str, str]:
    """Return directory and name of an absolute path. Raises CannotTell for any other."""
    directory, _, name = path.rpartition("/")
    if not path.startswith("/") or not name:
        raise CannotTell(f"{path}: give the absolute path of a file")
    return directory or "/", name


def replace(path: str, data: bytes) -> None:
    """The file has this content and mode 0644, also if the node loses power; no link is followed. Raises CannotTell."""
    directory, name = split(path)
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    temporary = f".{name}.{os.getpid()}.tmp"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=place)
        _write_new(place, temporary, data)
        os.rename(temporary, name, src_dir_fd=place, dst_dir_fd=place)
        os.fsync(place)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=place)
        raise CannotTell(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from None
    finally:
        os.close(place)


def _write_new(place: int, name: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=place), "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(file.fileno(), _READABLE)
        os.fsync(file.fileno())
