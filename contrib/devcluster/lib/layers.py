# SPDX-License-Identifier: Apache-2.0
"""File-system layers of images, made from a list of entries."""

import dataclasses
import hashlib
import io
import json
import struct
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lib.layout import SOURCES
from lib.tools import run

_CAPABILITY_REVISION_2_EFFECTIVE = 0x02000001


class Layer(Protocol):
    """The files of an image."""

    def recipe(self) -> str:
        """Text that changes whenever the layer would."""
        ...

    def write(self, path: Path) -> None:
        """The layer is at the path, as a tar archive."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file of a layer. One with a source is compiled from that C file, static."""

    path: str
    kind: bytes = tarfile.REGTYPE
    mode: int = 0o644
    content: bytes = b""
    source: str = ""
    target: str = ""
    device: tuple[int, int] = (0, 0)
    capabilities: tuple[int, ...] = ()


def directory(path: str, mode: int = 0o755) -> Entry:
    """A directory."""
    return Entry(path=path, kind=tarfile.DIRTYPE, mode=mode)


def text(path: str, content: str, mode: int = 0o644) -> Entry:
    """A regular file."""
    return Entry(path=path, mode=mode, content=content.encode())


def symlink(path: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(path=path, kind=tarfile.SYMTYPE, mode=0o777, target=target)


def device(path: str, kind: bytes, numbers: tuple[int, int]) -> Entry:
    """A device node that everybody may read and write."""
    return Entry(path=path, kind=kind, mode=0o666, device=numbers)


def program(path: str, source: str, mode: int = 0o755, capabilities: tuple[int, ...] = ()) -> Entry:
    """A static program, with these numbers of capabilities in its file."""
    return Entry(path=path, mode=mode, source=source, capabilities=capabilities)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLayer:
    """A layer that has these entries, all of root, and nothing else."""

    entries: tuple[Entry, ...]

    def recipe(self) -> str:
        """Entries and C sources."""
        sources = sorted({entry.source for entry in self.entries if entry.source})
        texts = [(SOURCES / source).read_text() for source in sources]
        return json.dumps([[_recipe(entry) for entry in self.entries], texts])

    def write(self, path: Path) -> None:
        """The archive, with all times at the epoch."""
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            for entry in self.entries:
                add(archive, entry)


def add(archive: tarfile.TarFile, entry: Entry) -> None:
    """The entry is in the archive."""
    content = _compiled(entry.source) if entry.source else entry.content
    info = tarfile.TarInfo(entry.path.lstrip("/") or ".")
    info.type, info.mode, info.size = entry.kind, entry.mode, len(content)
    info.linkname = entry.target
    info.devmajor, info.devminor = entry.device
    if entry.capabilities:
        info.pax_headers = {"SCHILY.xattr.security.capability": _capability(entry.capabilities)}
    archive.addfile(info, io.BytesIO(content))


def _recipe(entry: Entry) -> str:
    content = hashlib.sha256(entry.content).hexdigest()
    return f"{dataclasses.replace(entry, content=b'')} {content}"


def _compiled(source: str) -> bytes:
    with tempfile.TemporaryDirectory() as place:
        output = Path(place) / "program"
        run("gcc", "-static", "-Os", "-s", "-Wall", "-o", str(output), str(SOURCES / source))
        return output.read_bytes()


def _capability(numbers: tuple[int, ...]) -> str:
    """The capabilities, permitted and effective, as the kernel's struct vfs_cap_data."""
    permitted = sum(1 << number for number in numbers)
    words = (_CAPABILITY_REVISION_2_EFFECTIVE, permitted & 0xFFFFFFFF, 0, permitted >> 32, 0)
    return struct.pack("<5I", *words).decode("utf-8")
