# SPDX-License-Identifier: Apache-2.0
"""socker images sync: what this node's Docker has, merged into what the catalogue says."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from socker.cli.app import tell
from socker.cli.cataloguewrite import locked, read_file, write_file
from socker.cli.dockerapi import Docker
from socker.cli.site import find_site
from socker.entry import FIELDS, Entry
from socker.errors import InvalidReference
from socker.reference import parse, split_tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# up to so many hours, the hours of one unit, and its name: as Docker counts them
_UNITS = ((48, 1, "hour"), (336, 24, "day"), (1440, 168, "week"), (17520, 720, "month"))
_YEAR = 8760


def sync(config: str, *, filters: Sequence[str], keyword: str, node: str, docker: str) -> dict[str, list[str]]:
    """The catalogue says what this node has; returns the names that were added, changed and removed."""
    node = node or socket.gethostname().partition(".")[0]
    path = docker or find_site(None).word("docker")
    now = time.time()
    found = [
        entry
        for facts in Docker(path).images(filters)
        for entry in entries_of(facts, node, now)
        if keyword in entry.repository
    ]
    tell(f"{path}: {len(found)} images of {node}")
    with locked(config):
        known = read_file(config)
        merged = merge(known, found, node)
        write_file(config, merged)
    return _difference(known, merged)


def entries_of(facts: Mapping[str, object], node: str, now: float) -> list[Entry]:
    """Return an entry for each tag of an image, as Docker lists it; `now` in seconds since the epoch."""
    tags, digests = _strings(facts.get("RepoTags")), _strings(facts.get("RepoDigests"))
    created, size, identity = facts.get("Created"), facts.get("Size"), str(facts.get("Id", ""))
    made = created if isinstance(created, int) else 0
    return [
        Entry(
            id=identity,
            desc="",
            repository=repository,
            tag=tag or "",
            created_since=since(now - made),
            created_at=time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(made)),
            size=human_size(size if isinstance(size, int) else 0),
            digest=_digest(repository, digests) or identity,
            nodes=(node,),
            synced_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        )
        for repository, tag in map(split_tag, tags)
        if _is_reference(f"{repository}:{tag}")
    ]


def merge(known: Iterable[Entry], found: Iterable[Entry], node: str) -> list[Entry]:
    """
    Return the catalogue's new entries, sorted by name.

    What Docker has replaces what was known, but for its description and, where the digest is the same, the other
    nodes. An entry that no node has any more goes, unless nobody ever synced it: then it was written by hand.
    """
    merged: dict[str, Entry] = {}
    for entry in known:
        rest = tuple(name for name in entry.nodes if name != node)
        if not entry.synced_at:
            merged[_key(entry)] = entry
        elif rest:
            merged[_key(entry)] = _changed(entry, nodes=rest)
    before = {_key(entry): entry for entry in known}
    for entry in found:
        old = before.get(_key(entry))
        others = old.nodes if old is not None and old.digest == entry.digest else ()
        merged[_key(entry)] = _changed(
            entry, desc="" if old is None else old.desc, nodes=tuple(sorted({*others, node}))
        )
    return [merged[key] for key in sorted(merged)]


def _difference(known: Iterable[Entry], merged: Iterable[Entry]) -> dict[str, list[str]]:
    before = {_key(entry): entry.digest for entry in known}
    after = {_key(entry): entry.digest for entry in merged}
    return {
        "added": sorted(after.keys() - before.keys()),
        "changed": sorted(name for name in after.keys() & before.keys() if after[name] != before[name]),
        "removed": sorted(before.keys() - after.keys()),
    }


def _key(entry: Entry) -> str:
    return f"{entry.repository}:{entry.tag}"


def _changed(entry: Entry, **changes: object) -> Entry:
    return Entry(**{field: changes.get(field, getattr(entry, field)) for field in FIELDS})  # type: ignore[arg-type]


def _digest(repository: str, digests: Iterable[str]) -> str:
    """Return the digest by which a registry knows the image of this repository, empty where none does."""
    for text in digests:
        name, _, digest = text.partition("@")
        if name == repository:
            return digest
    return ""


def _is_reference(text: str) -> bool:
    try:
        parse(text)
    except InvalidReference:
        return False
    return True


def _strings(value: object) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def since(seconds: float) -> str:
    """Return an age in Docker's words."""
    if seconds < 60:
        return _count(int(seconds), "second") if seconds >= 1 else "Less than a second ago"
    if seconds < 3600:
        minutes = int(seconds // 60)
        return _count(minutes, "minute") if minutes > 1 else "About a minute ago"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour ago"
    for limit, unit, word in _UNITS:
        if hours < limit:
            return _count(hours // unit, word)
    return _count(hours // _YEAR, "year")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'} ago"


def human_size(size: float) -> str:
    """Return a size in bytes in Docker's words: three digits, units of a thousand."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g}{unit}"
        size /= 1000
    return f"{size:.3g}TB"
