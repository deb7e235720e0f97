# SPDX-License-Identifier: Apache-2.0
"""
The catalogue's files: a map from `repository:tag` to the fields of an entry, in YAML.

    debian:12:                              # as Docker shows it, so docker.io/library/debian:12
      id: sha256:4e5021d210f6...            # Docker's, short or whole
      desc: what it is for                  # kept by `socker images sync`
      repository: debian
      tag: "12"
      created_since: 3 weeks ago
      created_at: 2026-01-15 12:57:07 +0000 UTC
      size: 117MB
      digest: sha256:90cbb4b2b2c4...        # what the name is pinned to
      nodes: [n1, n2]
      synced_at: "2026-02-05T08:00:00Z"

All fields may be left out. Values are the text that is written: 1.10 is the tag 1.10, no number. Anything else than
these keys is an error, since it could not be told from a mistake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from socker.entry import FIELDS, Entry
from socker.errors import CatalogueError, InvalidReference
from socker.reference import ImageId, Named, check_digest, parse, split_tag
from socker.text import one_line, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from socker.reference import Reference

HEAD = "# Images of this site: written by `socker images sync`, which keeps what desc says.\n"

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where PyYAML was built with it
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_EMPTY = frozenset({"", "~", "null"})

Listed = tuple["Reference | None", Entry]
_Fields = dict[str, "str | tuple[str, ...]"]


class _Fault(Exception):
    """Something is wrong on a line, which counts from 1."""

    def __init__(self, why: str, line: int) -> None:
        super().__init__(why)
        self.line = line


def read_entries(data: bytes, path: str) -> list[Listed]:
    """Return what a file says, in its order. Raises CatalogueError with path and line."""
    try:
        found = [_listed(key, fields, line) for key, fields, line in _Reader(data).entries()]
        _check_unique(found)
    except _Fault as error:
        line, why = error.line, str(error)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, why = mark.line + 1 if mark else 0, error.problem or "it is not YAML"
    except (yaml.YAMLError, UnicodeDecodeError):
        line, why = 0, "it is not UTF-8, or has characters that YAML does not allow"
    else:
        return [listed for listed, _ in found]
    where = f"{path}, line {line}" if line else path
    raise CatalogueError(f"the catalogue {where}: {one_line(why, 300)}; tell your administrator")


def write_entries(entries: Iterable[Entry]) -> bytes:
    """Return the text of a file with these entries; fields that are empty and not go-socker's are left out."""
    content = {f"{entry.repository}:{entry.tag}" if entry.tag else entry.repository: _plain(entry) for entry in entries}
    text = yaml.dump(content, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=1000)
    return (HEAD + str(text)).encode()


def _plain(entry: Entry) -> dict[str, object]:
    shown: dict[str, object] = {field: getattr(entry, field) for field in FIELDS}
    shown["nodes"] = list(entry.nodes)
    return {field: value for field, value in shown.items() if value or field in FIELDS[:7]}


def _listed(key: str, fields: _Fields, line: int) -> tuple[Listed, int]:
    entry = Entry(**{field: fields.get(field, () if field == "nodes" else "") for field in FIELDS})  # type: ignore[arg-type]
    reference = _reference(key)
    if isinstance(reference, Named) and reference.digest:
        raise _Fault(f"the key {quoted(key)} has a digest: a key is repository:tag, and digest is a field", line)
    if not entry.repository and not entry.tag:
        repository, tag = split_tag(key)
        entry = _changed(entry, repository=repository, tag=tag or "")
    elif reference is not None and reference != _reference(f"{entry.repository}:{entry.tag}".rstrip(":")):
        raise _Fault(
            f"the key {quoted(key)} and the fields repository and tag, {quoted(entry.repository)} and "
            f"{quoted(entry.tag)}, name different images",
            line,
        )
    if entry.digest:
        try:
            check_digest(entry.digest)
        except InvalidReference as error:
            raise _Fault(f"{quoted(key)}: {error}", line) from None
    return (reference, entry), line


def _reference(key: str) -> Reference | None:
    """Return what a key names, None for one that nobody can ask for, as <none>:<none>."""
    try:
        reference = parse(key)
    except InvalidReference:
        return None
    return None if isinstance(reference, ImageId) else reference


def _changed(entry: Entry, **changes: object) -> Entry:
    return Entry(**{field: changes.get(field, getattr(entry, field)) for field in FIELDS})  # type: ignore[arg-type]


def _check_unique(found: list[tuple[Listed, int]]) -> None:
    first: dict[object, int] = {}
    for (reference, entry), line in found:
        key = reference or f"{entry.repository}:{entry.tag}"
        if key in first:
            raise _Fault(f"{quoted(str(key))} is there already, on line {first[key]}", line)
        first[key] = line


class _Reader:
    """YAML's events, of which only a few are meant."""

    def __init__(self, data: bytes) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(data.decode(), Loader=_LOADER)
        self._line = 0

    def entries(self) -> Iterator[tuple[str, _Fields, int]]:
        """Return key, fields and line of each entry."""
        for kind in (yaml.StreamStartEvent, yaml.DocumentStartEvent):
            if not isinstance(self._next(), kind):
                return  # an empty file
        top = self._next()
        if isinstance(top, yaml.ScalarEvent) and self._text(top) == "":
            return
        self._expect(top, yaml.MappingStartEvent, "a map from repository:tag to fields is expected")
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key, line = self._scalar(event), self._line
            self._expect(self._next(), yaml.MappingStartEvent, f"{quoted(key)}: a map of fields is expected")
            yield key, dict(self._fields(key)), line
        self._next()
        if not isinstance(self._next(), yaml.StreamEndEvent):
            raise _Fault("there is more than one document", self._line)

    def _fields(self, key: str) -> Iterator[tuple[str, str | tuple[str, ...]]]:
        seen: set[str] = set()
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            field = self._scalar(event)
            if field not in FIELDS:
                raise _Fault(f"{quoted(key)}: there is no such key: {quoted(field)}", self._line)
            if field in seen:
                raise _Fault(f"{quoted(key)}: the key {quoted(field)} is there twice", self._line)
            seen.add(field)
            yield field, self._names(key) if field == "nodes" else self._scalar(self._next())

    def _names(self, key: str) -> tuple[str, ...]:
        self._expect(self._next(), yaml.SequenceStartEvent, f"{quoted(key)}: nodes is a list of names")
        names: list[str] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            names.append(self._scalar(event))
        return tuple(names)

    def _next(self) -> yaml.Event:
        event = next(self._events)
        self._line = event.start_mark.line + 1 if event.start_mark else 0
        return event

    def _scalar(self, event: yaml.Event) -> str:
        self._expect(event, yaml.ScalarEvent, "a word is expected")
        return self._text(event)

    def _text(self, event: Any) -> str:  # noqa: ANN401 - a scalar event, whose fields have no types
        plain = event.implicit[0] and not event.style
        return "" if plain and event.value in _EMPTY else str(event.value)

    def _expect(self, event: yaml.Event, kind: type[yaml.Event], why: str) -> None:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _Fault("anchors and aliases are not used here", self._line)
        if getattr(event, "tag", None) is not None:
            raise _Fault("tags are not used here", self._line)
        if not isinstance(event, kind):
            raise _Fault(why, self._line)
