# SPDX-License-Identifier: Apache-2.0
"""
A strict part of YAML: one document of mappings, lists, strings, plain integers, true and false, null.

Refused are duplicate keys, keys that are not strings, anchors, aliases, tags, several documents, deep nesting, and the
scalars that YAML 1.1 turns into something else than what was written (yes, 012, 1:30, dates, floats). Each value's
line is kept, by its key path.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from socker.text import one_line, quoted
from socker.value import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_DEPTH = 16

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where PyYAML was built with it
_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile("0|-?[1-9][0-9]{0,17}")


class YamlError(Exception):
    """The text is not of that part of YAML. `line` counts from 1, 0 is not known; `key` is the path of keys."""

    def __init__(self, why: str, line: int = 0, key: str = "") -> None:
        super().__init__(why)
        self.line = line
        self.key = key


class Document(Value):
    """What a text says, and on which line each key path stands (as in `$.rules[0].name`)."""

    content: object
    lines: Mapping[str, int]


def read_yaml(data: bytes, *, keep_lines: bool = True) -> Document:
    """Return what a text says. Raises YamlError. Without `keep_lines` it takes half the time and knows no lines."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise YamlError("it is not UTF-8", data.count(b"\n", 0, error.start) + 1) from None
    reader = _Reader(text, keep_lines=keep_lines)
    try:
        return Document(content=reader.document(), lines=reader.lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = one_line(error.problem or "it is not YAML", 200)
        raise YamlError(why, mark.line + 1 if mark else 0) from None
    except yaml.YAMLError as error:
        raise YamlError(f"it is not YAML: {one_line(str(error), 200)}") from None


class _Reader:
    """Builds the content from the parser's events, one after the other, with the checks that make it strict."""

    def __init__(self, text: str, *, keep_lines: bool) -> None:
        self._text = text
        self._keep_lines = keep_lines
        self._way: list[str] = ["$"]
        self.lines: dict[str, int] = {}

    def document(self) -> object:
        """Return the content of the only document, None where there is none."""
        loader = _LOADER(self._text)
        self._next = loader.get_event
        self._resolve = loader.resolve
        try:
            self._next()
            event = self._next()
            if isinstance(event, yaml.StreamEndEvent):
                return None
            content = self._value(self._next())
            self._next()
            event = self._next()
            if not isinstance(event, yaml.StreamEndEvent):
                raise YamlError("it has more than one document", _line(event))
            return content
        finally:
            loader.dispose()

    def _value(self, event: yaml.Event) -> object:
        if isinstance(event, yaml.ScalarEvent):
            self._check(event)
            return self._scalar(event)
        if isinstance(event, yaml.AliasEvent):
            raise YamlError("aliases are not used here; write the value again", _line(event))
        self._check(event)
        if len(self._way) > MAX_DEPTH:
            raise YamlError(f"it is nested deeper than {MAX_DEPTH} levels", _line(event))
        return self._mapping() if isinstance(event, yaml.MappingStartEvent) else self._sequence()

    def _check(self, event: Any) -> None:  # noqa: ANN401 - the stubs know no events with tags
        if event.anchor is not None:
            raise YamlError("anchors are not used here", _line(event))
        if event.tag is not None:
            raise YamlError(f"tags are not used here: {quoted(str(event.tag))}", _line(event))
        if self._keep_lines:
            self.lines.setdefault("".join(self._way), _line(event))

    def _sequence(self) -> list[object]:
        made: list[object] = []
        event = self._next()
        while not isinstance(event, yaml.SequenceEndEvent):
            self._way.append(f"[{len(made)}]")
            made.append(self._value(event))
            self._way.pop()
            event = self._next()
        return made

    def _mapping(self) -> dict[str, object]:
        made: dict[str, object] = {}
        event = self._next()
        while not isinstance(event, yaml.MappingEndEvent):
            name = self._name(event)
            if name in made:
                raise YamlError(f"the key {quoted(name)} is there twice", _line(event), "".join(self._way))
            self._way.append(f".{name}")
            if self._keep_lines:
                self.lines["".join(self._way)] = _line(event)
            made[name] = self._value(self._next())
            self._way.pop()
            event = self._next()
        return made

    def _name(self, event: yaml.Event) -> str:
        if isinstance(event, yaml.AliasEvent):
            raise YamlError("aliases are not used here; write the value again", _line(event))
        if isinstance(event, yaml.ScalarEvent):
            if event.anchor is not None or event.tag is not None:
                self._check(event)
            if self._resolve(yaml.ScalarNode, event.value, event.implicit) == f"{_TAG}str":
                return str(event.value)
        raise YamlError("a key must be a word", _line(event), "".join(self._way))

    def _scalar(self, event: yaml.ScalarEvent) -> object:
        text = str(event.value)
        kind = self._resolve(yaml.ScalarNode, text, event.implicit).removeprefix(_TAG)
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool" and text in {"true", "false"}:
            return text == "true"
        if kind == "int" and _INTEGER.fullmatch(text):
            return int(text)
        raise YamlError(
            f"write {quoted(text)} in quotes if it is a word; as it stands YAML reads a {kind} in it",
            _line(event),
            "".join(self._way),
        )


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0
