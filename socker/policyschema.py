# SPDX-License-Identifier: Apache-2.0
"""The schema of the policy file, version 1: unknown keys, wrong types and what cannot be meant are errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from socker.errors import InvalidPattern, PolicyFileError
from socker.pattern import parse_pattern
from socker.policy import Grants, Policy, Rule
from socker.strictyaml import Document, YamlError, read_yaml
from socker.text import one_line, quoted

if TYPE_CHECKING:
    from socker.pattern import Pattern

MAX_REASON = 300  # bytes

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_UNKNOWN_FIELD = re.compile("unknown field `([^`]*)`")
# msgspec's words, and what they are called in a policy file
_WORDS = {
    "Expected": "expected",
    "Object missing required field": "it lacks the key",
    "Invalid enum value": "there is no such choice:",
    "`object`": "a mapping",
    "`array`": "a list",
    "`str`": "a word",
    "`int`": "a number",
    "`bool`": "true or false",
    "`null`": "nothing",
    "`str | int`": "a word or a number",
    "`int | str`": "a word or a number",
}

# Field names are the file's keys. A selector that is there selects, so an empty list is an error, not "everyone".
_Selector = Annotated[list[str | int], msgspec.Meta(min_length=1)]
_Images = Annotated[list[str], msgspec.Meta(min_length=1)]


class _Mounts(msgspec.Struct, forbid_unknown_fields=True):
    home: bool = False
    submit_dir: bool = False


class _Defaults(msgspec.Struct, forbid_unknown_fields=True):
    mounts: _Mounts = msgspec.field(default_factory=_Mounts)


class _Rule(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    effect: Literal["allow", "deny"]
    users: _Selector | msgspec.UnsetType = msgspec.UNSET
    groups: _Selector | msgspec.UnsetType = msgspec.UNSET
    images: _Images | msgspec.UnsetType = msgspec.UNSET
    reason: str | msgspec.UnsetType = msgspec.UNSET
    mounts: _Mounts | msgspec.UnsetType = msgspec.UNSET


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: Literal[1]
    rules: list[_Rule]
    defaults: _Defaults = msgspec.field(default_factory=_Defaults)


class _Fault(Exception):
    """Something at a key path is not meant so."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(why)
        self.key = key


def read_policy(data: bytes, path: str) -> Policy:
    """Return the policy that a file's content says. Raises PolicyFileError with path, line and key."""
    try:
        document = read_yaml(data)
    except YamlError as error:
        raise PolicyFileError(f"{_place(path, error.line, error.key)}: {error}") from None
    try:
        file = msgspec.convert(document.content, _File, strict=True)
        return Policy(rules=_rules(file), source=path)
    except msgspec.ValidationError as error:
        key, why = _explain(str(error))
    except _Fault as error:
        key, why = error.key, str(error)
    raise PolicyFileError(f"{_place(path, _line(document, key), key)}: {one_line(why, 400)}") from None


def _explain(message: str) -> tuple[str, str]:
    """Split msgspec's message into the key path and what is wrong there."""
    why, _, tail = message.partition(" - at `")
    key = tail.removesuffix("`") or "$"
    unknown = _UNKNOWN_FIELD.search(why)
    if unknown:
        return f"{key}.{unknown[1]}", "there is no such key"
    for theirs, ours in _WORDS.items():
        why = why.replace(theirs, ours)
    return key, why.replace("`", '"')


def _line(document: Document, key: str) -> int:
    while key not in document.lines and key:
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return document.lines.get(key, 0)


def _place(path: str, line: int, key: str) -> str:
    shown = key.removeprefix("$").removeprefix(".")
    return path + (f", line {line}" if line else "") + (f", {one_line(shown, 100)}" if shown else "")


def _rules(file: _File) -> tuple[Rule, ...]:
    names: set[str] = set()
    made: list[Rule] = []
    for index, rule in enumerate(file.rules):
        key = f"$.rules[{index}]"
        if not _NAME.fullmatch(rule.name):
            raise _Fault(f"{key}.name", f"a name has 1 to 64 letters, digits, dots, dashes: {quoted(rule.name)}")
        if rule.name in names:
            raise _Fault(f"{key}.name", f"two rules have the name {quoted(rule.name)}")
        names.add(rule.name)
        made.append(_rule(rule, file.defaults, key))
    return tuple(made)


def _rule(rule: _Rule, defaults: _Defaults, key: str) -> Rule:
    if rule.effect == "deny" and rule.mounts is not msgspec.UNSET:
        raise _Fault(f"{key}.mounts", "a rule that denies mounts nothing")
    mounts = defaults.mounts if isinstance(rule.mounts, msgspec.UnsetType) else rule.mounts
    return Rule(
        name=rule.name,
        effect=rule.effect,
        users=_selector(rule.users, f"{key}.users"),
        groups=_selector(rule.groups, f"{key}.groups"),
        images=_patterns(rule.images, f"{key}.images"),
        reason=_reason(rule, key),
        grants=Grants(home=mounts.home, submit_dir=mounts.submit_dir) if rule.effect == "allow" else Grants(),
    )


def _reason(rule: _Rule, key: str) -> str:
    reason = "" if isinstance(rule.reason, msgspec.UnsetType) else rule.reason
    if rule.effect == "deny" and not reason.strip():
        raise _Fault(f"{key}.reason", "a rule that denies needs a reason, which its users read")
    if not reason.isprintable() or len(reason.encode()) > MAX_REASON:
        raise _Fault(f"{key}.reason", f"a reason is one printable line of at most {MAX_REASON} bytes")
    return reason


def _selector(entries: list[str | int] | msgspec.UnsetType, key: str) -> frozenset[str | int] | None:
    if isinstance(entries, msgspec.UnsetType):
        return None
    for index, entry in enumerate(entries):
        if isinstance(entry, int):
            if not 0 <= entry < 2**32:
                raise _Fault(f"{key}[{index}]", f"this is no id: {entry}")
        elif entry.isdigit() or not entry.isprintable() or not entry or entry != entry.strip():
            raise _Fault(f"{key}[{index}]", f"this is no name (ids stand without quotes): {quoted(entry)}")
    return frozenset(entries)


def _patterns(texts: list[str] | msgspec.UnsetType, key: str) -> tuple[Pattern, ...] | None:
    if isinstance(texts, msgspec.UnsetType):
        return None
    made: list[Pattern] = []
    for index, text in enumerate(texts):
        try:
            made.append(parse_pattern(text))
        except InvalidPattern as error:
            raise _Fault(f"{key}[{index}]", str(error)) from None
    return tuple(made)
