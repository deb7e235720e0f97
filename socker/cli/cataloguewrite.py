# SPDX-License-Identifier: Apache-2.0
"""Writing the catalogue: whole or not at all, into directories that only root can write."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from typing import TYPE_CHECKING

from socker.catalogue import DEFAULT_PATH, MAX_SIZE, SUFFIXES, make_index
from socker.cataloguetext import read_entries, write_entries
from socker.cli.atomic import replace, split
from socker.errors import CatalogueError, PolicyFileError
from socker.trustedfile import index_path, open_trusted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from socker.entry import Entry

LOCK_SECONDS = 60.0  # to wait for another writer


def read_file(path: str) -> list[Entry]:
    """Return the entries of one file, in its order; none where there is no file. Raises CatalogueError."""
    try:
        found = open_trusted(path)
        if found is None:
            return []
        if found.names is not None:
            raise CatalogueError(f"{path} is a directory; name the file in it that is to be written")
        return [entry for _, entry in read_entries(found.read(MAX_SIZE), path)]
    except PolicyFileError as error:
        raise CatalogueError(f"the catalogue {error}; nothing is written") from None


def write_file(path: str, entries: Iterable[Entry]) -> None:
    """The file holds these entries and has its index. Raises CatalogueError; then it is as it was."""
    replace(path, write_entries(entries))
    write_index(path)


def write_index(path: str) -> None:
    """The index of a catalogue's file is of its present state. Raises CatalogueError."""
    try:
        found = open_trusted(path)
        if found is None:
            raise CatalogueError(f"there is no catalogue {path}")
        replace(index_path(path), make_index(read_entries(found.read(MAX_SIZE), path), found.stamp))
    except PolicyFileError as error:
        raise CatalogueError(f"the catalogue {error}; it gets no index") from None


def write_indexes(path: str) -> list[str]:
    """Each file of a catalogue has its index; returns the files. Raises CatalogueError."""
    try:
        found = open_trusted(path)
    except PolicyFileError as error:
        raise CatalogueError(f"the catalogue {error}; it gets no index") from None
    names = None if found is None else found.names
    files = [path] if names is None else [f"{path.rstrip('/')}/{name}" for name in sorted(names)]
    files = [file for file in files if names is None or (file.endswith(SUFFIXES) and "/." not in file)]
    for file in files:
        with locked(file):
            write_index(file)
    return files


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Nobody else writes this catalogue meanwhile. Raises CatalogueError where its directory is not root's alone."""
    directory, name = split(path)
    _check_directory(directory)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(f"{directory}/.{name}.lock", flags, 0o600)
    try:
        end = time.monotonic() + LOCK_SECONDS
        while not _try_lock(lock):
            if time.monotonic() > end:
                raise CatalogueError(f"somebody else is writing the catalogue {path}; try again later")
            time.sleep(0.05)
        yield
    finally:
        os.close(lock)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check_directory(directory: str) -> None:
    if directory == DEFAULT_PATH.rpartition("/")[0]:
        _make_ours(directory)
    try:
        found = open_trusted(directory)
    except PolicyFileError as error:
        raise CatalogueError(f"the directory of the catalogue {error}; nothing is written") from None
    if found is None or found.names is None:
        raise CatalogueError(f"there is no directory {directory}; make it first, for root alone to write")


def _make_ours(directory: str) -> None:
    """The default directory is there and can be entered; the node's token in it has a mode of its own."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o755)
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(opened, stat.S_IMODE(os.fstat(opened).st_mode) | 0o055)
    finally:
        os.close(opened)
