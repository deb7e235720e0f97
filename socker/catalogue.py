# SPDX-License-Identifier: Apache-2.0
"""
The catalogue: the images a site knows, by reference, with the digest each had when it was written down.

It is a YAML file, or a directory of such files, whose form `cataloguetext` tells. Reading ten thousand entries of YAML
takes longer than a whole first step, so `socker images sync` leaves an index beside each file, which is looked into
without being taken apart. An index belongs to one state of its file: after a change by hand the file is read itself.
"""

from __future__ import annotations

import json

from socker.entry import FIELDS, Entry
from socker.errors import CatalogueError, PolicyFileError
from socker.reference import ImageId, Reference
from socker.text import one_line
from socker.trustedfile import ROOT, index_path, open_trusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol

    from socker.trustedfile import Trusted

    class _Bytes(Protocol):
        size: int

        def read_at(self, offset: int, count: int) -> bytes: ...


DEFAULT_PATH = "/var/lib/socker/images.yaml"
MAX_SIZE = 32 << 20  # bytes of one file
SUFFIXES = (".yaml", ".yml")  # of the files that count in a directory

_INDEX = "socker-index 1"
_PIECE = 4096  # bytes that are read at once


class Catalogue:
    """Entries of one or several files; where two files have the same reference, the later one counts."""

    def __init__(self, source: str, indexes: Iterable[_Bytes]) -> None:
        self.source = source
        self._indexes = tuple(indexes)

    def find(self, reference: Reference) -> Entry | None:
        """Return the entry of this tag, or one that records this digest (or id) for this repository."""
        key = str(reference).encode()
        for place, index in reversed(tuple(enumerate(self._indexes))):
            for value in _values(index, key):
                if not value.startswith(b"="):
                    return self._entry(value)
                # a digest leads to a tag, which a later file may have given another one
                tag = value[1:]
                if not any(_values(later, tag) for later in self._indexes[place + 1 :]):
                    return next((self._entry(found) for found in _values(index, tag)), None)
        return None

    def entries(self) -> tuple[Entry, ...]:
        """Return all entries, sorted by their references."""
        found: dict[bytes, Entry] = {}
        for index in self._indexes:
            for key, value in _lines(index, 0):
                if not value.startswith(b"=") and not key.startswith(_INDEX.encode()):
                    entry = self._entry(value)
                    found[key or f"{entry.repository}:{entry.tag}".encode()] = entry
        return tuple(found[key] for key in sorted(found))

    def _entry(self, value: bytes) -> Entry:
        try:
            *texts, nodes, synced = json.loads(value)
            return Entry(**dict(zip(FIELDS, (*texts, tuple(nodes), synced), strict=True)))
        except (ValueError, TypeError):
            raise CatalogueError(
                f"the index of the catalogue {self.source} is damaged; as root: socker images index"
            ) from None


def load(path: str, *, owner: int = ROOT, anchor: str = "/") -> Catalogue:
    """
    Return the catalogue at a path. Raises CatalogueError, also where there is none.

    Tests give `owner` and `anchor`, see `read_trusted`.
    """
    try:
        files = _files(path, owner, anchor)
        if files is None:
            raise CatalogueError(f"there is no catalogue {path}; an administrator makes it with: socker images sync")
        return Catalogue(path, [_index(file, owner, anchor) for file in files])
    except PolicyFileError as error:
        raise CatalogueError(f"the catalogue {one_line(str(error), 400)}; tell your administrator") from None


def make_index(entries: Iterable[tuple[Reference | None, Entry]], stamp: str) -> bytes:
    """
    Return the index of a file whose state has this stamp: sorted lines of key, tab and value.

    A value is an entry as JSON, or `=` and the key that has it. An entry without a reference is listed, never found.
    """
    lines: list[bytes] = []
    for reference, entry in entries:
        key = "" if reference is None else str(reference)
        value = json.dumps([getattr(entry, field) for field in FIELDS], separators=(",", ":"))
        lines.append(f"{key}\t{value}\n".encode())
        lines += [f"{other}\t={key}\n".encode() for other in _other_keys(reference, entry)]
    body = b"".join(sorted(lines))
    return _head(stamp, len(body)) + body


def _head(stamp: str, size: int) -> bytes:
    """Return the first line, which is as long for every size of what follows it."""
    return f"{_INDEX}\t{stamp} {size:12d}\n".encode()


def _other_keys(reference: Reference | None, entry: Entry) -> Iterator[str]:
    """By what else an entry with a tag is found: its digest, and its id where that is whole."""
    if reference is None or isinstance(reference, ImageId) or reference.tag is None:
        return
    if entry.digest:
        yield f"{reference.domain}/{reference.path}@{entry.digest}"
    if len(entry.id) == len("sha256:") + 64:
        yield entry.id


def _files(path: str, owner: int, anchor: str) -> list[str] | None:
    found = open_trusted(path, owner=owner, anchor=anchor)
    if found is None or found.names is None:
        return None if found is None else [path]
    names = sorted(name for name in found.names if name.endswith(SUFFIXES) and not name.startswith("."))
    return [f"{path.rstrip('/')}/{name}" for name in names]


class _Memory:
    """An index that was just made."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read_at(self, offset: int, count: int) -> bytes:
        return self._data[offset : offset + count]


def _index(path: str, owner: int, anchor: str) -> _Bytes:
    """Return the index of a file: the one beside it where it is of the file as it is now, else a new one."""
    file = open_trusted(path, owner=owner, anchor=anchor)
    if file is None:
        return _Memory(b"")
    if file.names is not None:
        raise CatalogueError(f"the catalogue {path}: it is not a regular file; tell your administrator")
    kept = kept_index(path, file.stamp, owner=owner, anchor=anchor)
    if kept is not None:
        return kept
    from socker.cataloguetext import read_entries  # noqa: PLC0415 - YAML, and only where there is no index

    return _Memory(make_index(read_entries(file.read(MAX_SIZE), path), file.stamp))


def kept_index(path: str, stamp: str, *, owner: int = ROOT, anchor: str = "/") -> Trusted | None:
    """Return the index beside a file, None where there is no whole one of this state that can be relied on."""
    try:
        found = open_trusted(index_path(path), owner=owner, anchor=anchor)
    except PolicyFileError:
        return None
    if found is None or found.names is not None:
        return None
    head = _head(stamp, found.size - len(_head(stamp, 0)))
    return found if found.read_at(0, len(head)) == head else None


def _values(index: _Bytes, key: bytes) -> list[bytes]:
    """Return what a sorted index has by this key; keys are references, which hold neither tabs nor line ends."""
    found: list[bytes] = []
    for known, value in _lines(index, _before(index, key)):
        if known == key:
            found.append(value)
        elif known > key and not known.startswith(_INDEX.encode()):
            break
    return found


def _before(index: _Bytes, key: bytes) -> int:
    """Return the start of a line from which on the key's first line is near."""
    low, high = 0, index.size
    while high - low > _PIECE:
        middle = (low + high) // 2
        start = _next_start(index, middle, high)
        if start is None or _key_at(index, start) >= key:
            high = middle
        else:
            low = start
    return low


def _next_start(index: _Bytes, offset: int, end: int) -> int | None:
    """Return where the first line begins at or behind an offset, None where none does before the end."""
    offset -= 1
    while offset < end and (piece := index.read_at(offset, _PIECE)):
        at = piece.find(b"\n")
        if at >= 0:
            return offset + at + 1 if offset + at + 1 < end else None
        offset += len(piece)
    return None


def _key_at(index: _Bytes, offset: int) -> bytes:
    return index.read_at(offset, _PIECE).partition(b"\t")[0]


def _lines(index: _Bytes, offset: int) -> Iterator[tuple[bytes, bytes]]:
    """Read keys and values from the start of a line on."""
    rest, size = b"", _PIECE
    while piece := index.read_at(offset, size):
        offset += len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            key, _, value = line.partition(b"\t")
            yield key, value
        size = 1 << 18
