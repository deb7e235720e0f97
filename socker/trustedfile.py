# SPDX-License-Identifier: Apache-2.0
"""
Files that root's decisions rest on: opened from `/` downwards, each part checked after it was opened, no link followed.

Every directory and the file belong to root and nobody else can write them; the file is a regular one with one name.
"""

from __future__ import annotations

import os
import stat

from socker.errors import PolicyFileError
from socker.text import quoted

MAX_SIZE = 1 << 20  # bytes
ROOT = 0

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def read_trusted(path: str, *, owner: int = ROOT, anchor: str = "/") -> bytes | None:
    """
    Return the whole file, None when there is none. Raises PolicyFileError.

    Tests give another owner, and the directory from which on everything is checked.
    """
    parts = [part for part in path.split("/") if part]
    if not path.startswith("/") or not parts or {".", ".."} & set(parts):
        raise PolicyFileError(f"{quoted(path)}: not a plain absolute path")
    place = os.open(anchor, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check_owner(os.fstat(place), f"{path} (its directory /)", owner)
        for depth in range(1, len(parts)):
            where = f"{path} (its directory /{'/'.join(parts[:depth])})"
            below = _open_below(place, parts[depth - 1], os.O_PATH | os.O_DIRECTORY, where)
            if below is None:
                return None
            os.close(place)
            place = below
            _check_owner(os.fstat(place), where, owner)
        file = _open_below(place, parts[-1], os.O_RDONLY | os.O_NONBLOCK, path)
    finally:
        os.close(place)
    return None if file is None else _read_checked(file, path, owner)


def _open_below(directory: int, name: str, flags: int, where: str) -> int | None:
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        link = _is_link(directory, name)
        why = "it is a symbolic link" if link else (error.strerror or "it cannot be opened").lower()
        raise PolicyFileError(f"{where}: {why}") from None


def _is_link(directory: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _check_owner(facts: os.stat_result, where: str, owner: int) -> None:
    if facts.st_uid != owner:
        raise PolicyFileError(f"{where}: it belongs to uid {facts.st_uid}, not to root")
    if facts.st_mode & _WRITABLE_BY_OTHERS:
        raise PolicyFileError(f"{where}: others than root can write it (mode {stat.S_IMODE(facts.st_mode):04o})")


def _read_checked(descriptor: int, path: str, owner: int) -> bytes:
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise PolicyFileError(f"{path}: it is not a regular file")
        _check_owner(facts, path, owner)
        if facts.st_nlink != 1:
            raise PolicyFileError(f"{path}: it has {facts.st_nlink} names (hard links)")
        return _read(descriptor, path)
    except OSError as error:
        raise PolicyFileError(f"{path}: {(error.strerror or 'it cannot be read').lower()}") from None
    finally:
        os.close(descriptor)


def _read(descriptor: int, path: str) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := os.read(descriptor, 65536):
        size += len(piece)
        if size > MAX_SIZE:
            raise PolicyFileError(f"{path}: it is larger than {MAX_SIZE >> 20} MiB")
        pieces.append(piece)
    return b"".join(pieces)
