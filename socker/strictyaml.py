# SPDX-License-Identifier: Apache-2.0
"""
A strict part of YAML: one document of mappings, lists, strings, plain integers, true and false, null.

Refused are duplicate keys, keys that are not strings, anchors, aliases, tags, several documents, deep nesting, and the
scalars that YAML 1.1 turns into something else than what was written (yes, 012, 1:30, dates, floats). Each value's
line is kept, by its key path.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

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


def read_yaml(data: bytes) -> Document:
    """Return what a text says. Raises YamlError."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise YamlError("it is not UTF-8", data.count(b"\n", 0, error.start) + 1) from None
    try:
        _check_events(text)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = one_line(error.problem or "it is not YAML", 200)
        raise YamlError(why, mark.line + 1 if mark else 0) from None
    except yaml.YAMLError as error:
        raise YamlError(f"it is not YAML: {one_line(str(error), 200)}") from None
    lines: dict[str, int] = {}
    return Document(content=None if node is None else _plain(node, "$", lines), lines=lines)


def _check_events(text: str) -> None:
    depth = documents = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            raise YamlError("aliases are not used here; write the value again", line)
        if getattr(event, "anchor", None) is not None:
            raise YamlError("anchors are not used here", line)
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise YamlError(f"tags are not used here: {quoted(str(tag))}", line)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise YamlError(f"it is nested deeper than {MAX_DEPTH} levels", line)
        if documents > 1:
            raise YamlError("it has more than one document", line)


def _plain(node: yaml.Node, key: str, lines: dict[str, int]) -> object:
    lines[key] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, key, lines)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(entry, f"{key}[{index}]", lines) for index, entry in enumerate(node.value)]
    return _scalar(str(node.value), node.tag.removeprefix(_TAG), lines[key], key)


def _mapping(node: yaml.MappingNode, key: str, lines: dict[str, int]) -> dict[str, object]:
    made: dict[str, object] = {}
    for name_node, value_node in node.value:
        line = name_node.start_mark.line + 1
        if not isinstance(name_node, yaml.ScalarNode) or name_node.tag != f"{_TAG}str":
            raise YamlError("a key must be a word", line, key)
        name = str(name_node.value)
        if name in made:
            raise YamlError(f"the key {quoted(name)} is there twice", line, key)
        below = f"{key}.{name}"
        made[name] = _plain(value_node, below, lines)
        lines[below] = line
    return made


def _scalar(text: str, kind: str, line: int, key: str) -> object:
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool" and text in {"true", "false"}:
        return text == "true"
    if kind == "int" and _INTEGER.fullmatch(text):
        return int(text)
    raise YamlError(
        f"write {quoted(text)} in quotes if it is a word; as it stands YAML reads a {kind} in it", line, key
    )
