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


class Trusted:
    """
    A file or directory that can be relied on, open until nobody refers to it.

    `stamp` is another one after every change and every replacement (inode, size in bytes, times in nanoseconds).
    `size` is in bytes. `names` is what a directory holds, None for a file.
    """

    def __init__(self, descriptor: int, path: str, owner: int) -> None:
        self._descriptor = descriptor
        self._path = path
        try:
            facts = os.fstat(descriptor)
            _check_owner(facts, path, owner)
            self.names = tuple(os.listdir(descriptor)) if stat.S_ISDIR(facts.st_mode) else None
        except OSError as error:
            raise PolicyFileError(f"{path}: {_why(error)}") from None
        if self.names is None:
            _check_file(facts, path)
        self.size = facts.st_size
        self.stamp = f"{facts.st_ino} {facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns}"

    def __del__(self) -> None:
        """Close it."""
        os.close(self._descriptor)

    def read_at(self, offset: int, count: int) -> bytes:
        """Return at most so many bytes from there on. Raises PolicyFileError."""
        try:
            return os.pread(self._descriptor, count, offset)
        except OSError as error:
            raise PolicyFileError(f"{self._path}: {_why(error)}") from None

    def read(self, limit: int = MAX_SIZE) -> bytes:
        """Return all of it. Raises PolicyFileError, also where it is larger than the limit."""
        pieces: list[bytes] = []
        size = 0
        while piece := self.read_at(size, 1 << 20):
            size += len(piece)
            if size > limit:
                raise PolicyFileError(f"{self._path}: it is larger than {limit >> 20} MiB")
            pieces.append(piece)
        return b"".join(pieces)


def read_trusted(path: str, *, owner: int = ROOT, anchor: str = "/") -> bytes | None:
    """Return the whole file, None when there is none; as `open_trusted`, and no directory."""
    found = open_trusted(path, owner=owner, anchor=anchor)
    if found is None:
        return None
    if found.names is not None:
        raise PolicyFileError(f"{path}: it is not a regular file")
    return found.read()


def is_plain(path: str) -> bool:
    """Tell whether there is a file or a directory by that path, whoever may write it."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - paths are text here
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def open_trusted(path: str, *, owner: int = ROOT, anchor: str = "/") -> Trusted | None:
    """
    Return the file or directory, None when there is none. Raises PolicyFileError.

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
    return None if file is None else Trusted(file, path, owner)


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


def _check_file(facts: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise PolicyFileError(f"{path}: it is not a regular file")
    if facts.st_nlink != 1:
        raise PolicyFileError(f"{path}: it has {facts.st_nlink} names (hard links)")


def _why(error: OSError) -> str:
    return (error.strerror or "it cannot be read").lower()


def index_path(path: str) -> str:
    """Return where root keeps the index of a file: the same content, in a form that is read faster."""
    directory, _, name = path.rpartition("/")
    return f"{directory}/.{name}.index"
