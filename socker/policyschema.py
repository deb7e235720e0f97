# SPDX-License-Identifier: Apache-2.0
"""The schema of the policy file, version 1: unknown keys, wrong types and what cannot be meant are errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from socker.errors import InvalidReference, PolicyFileError
from socker.grants import Grants
from socker.grantschema import Fault, Place, Settings, check_name, given, grants, path, patterns, site_mounts
from socker.reference import parse
from socker.rules import CATALOGUE, Policy, Required, Rule
from socker.strictyaml import Document, YamlError, read_yaml
from socker.text import one_line, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from socker.grants import SiteMount

MAX_REASON = 300  # bytes

_UNKNOWN_FIELD = re.compile("unknown field `([^`]*)`")
# msgspec's words, and what they are called in a policy file
_WORDS = {
    "Expected": "expected",
    "Object missing required field": "it lacks the key",
    "Invalid enum value": "there is no such choice:",
    "`object`": "a mapping",
    "`array | str`": "a list or a word",
    "`str | array`": "a list or a word",
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
_Names = Annotated[list[str], msgspec.Meta(min_length=1)]
_Images = Annotated[list[str], msgspec.Meta(min_length=1)] | Literal["catalogue"]


class _Required(msgspec.Struct, forbid_unknown_fields=True):
    image: str = ""


class _Rule(Settings, forbid_unknown_fields=True, kw_only=True):
    name: str
    effect: Literal["allow", "deny"]
    users: _Selector | msgspec.UnsetType = msgspec.UNSET
    groups: _Selector | msgspec.UnsetType = msgspec.UNSET
    accounts: _Names | msgspec.UnsetType = msgspec.UNSET
    partitions: _Names | msgspec.UnsetType = msgspec.UNSET
    qos: _Names | msgspec.UnsetType = msgspec.UNSET
    reservations: _Names | msgspec.UnsetType = msgspec.UNSET
    images: _Images | msgspec.UnsetType = msgspec.UNSET
    reason: str | msgspec.UnsetType = msgspec.UNSET
    required: _Required | msgspec.UnsetType = msgspec.UNSET


class _Engine(msgspec.Struct, forbid_unknown_fields=True):
    module: str
    may_allow: bool = False


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: Literal[1]
    rules: list[_Rule]
    defaults: Settings = msgspec.field(default_factory=Settings)
    site_mounts: dict[str, Place] = msgspec.field(default_factory=dict)
    catalogue: str = CATALOGUE
    policy: _Engine | msgspec.UnsetType = msgspec.UNSET


def read_policy(data: bytes, source: str) -> Policy:
    """Return the policy that a file's content says. Raises PolicyFileError with path, line and key."""
    try:
        document = read_yaml(data, keep_lines=False)
    except YamlError as error:
        raise PolicyFileError(f"{_place(source, error.line, error.key)}: {error}") from None
    try:
        file = msgspec.convert(document.content, _File, strict=True)
        return _policy(file, source)
    except msgspec.ValidationError as error:
        key, why = _explain(str(error))
    except Fault as error:
        key, why = error.key, str(error)
    document = read_yaml(data)
    raise PolicyFileError(f"{_place(source, _line(document, key), key)}: {one_line(why, 400)}") from None


def _policy(file: _File, source: str) -> Policy:
    module, may_allow = "", False
    if not isinstance(file.policy, msgspec.UnsetType):
        module, may_allow = path(file.policy.module, "$.policy.module"), file.policy.may_allow
    return Policy(
        rules=_rules(file),
        source=source,
        catalogue=path(file.catalogue, "$.catalogue"),
        module=module,
        may_allow=may_allow,
    )


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


def _place(source: str, line: int, key: str) -> str:
    shown = key.removeprefix("$").removeprefix(".")
    return source + (f", line {line}" if line else "") + (f", {one_line(shown, 100)}" if shown else "")


def _rules(file: _File) -> tuple[Rule, ...]:
    names: set[str] = set()
    made: list[Rule] = []
    sites = site_mounts(file.site_mounts)
    grants(Settings(), file.defaults, sites, "$")  # wrong defaults are wrong though no rule uses them
    for index, rule in enumerate(file.rules):
        key = f"$.rules[{index}]"
        check_name(rule.name, f"{key}.name")
        if rule.name in names:
            raise Fault(f"{key}.name", f"two rules have the name {quoted(rule.name)}")
        names.add(rule.name)
        made.append(_rule(rule, file.defaults, sites, key))
    return tuple(made)


def _rule(rule: _Rule, defaults: Settings, sites: Mapping[str, SiteMount], key: str) -> Rule:
    if rule.effect == "deny":
        _check_gives_nothing(rule, key)
    images = [] if isinstance(rule.images, msgspec.UnsetType) else rule.images
    return Rule(
        name=rule.name,
        effect=rule.effect,
        users=_selector(rule.users, f"{key}.users"),
        groups=_selector(rule.groups, f"{key}.groups"),
        # Slurm keeps the names of accounts and of QOS in lower case
        accounts=_names(rule.accounts, f"{key}.accounts", lower=True),
        partitions=_names(rule.partitions, f"{key}.partitions"),
        qos=_names(rule.qos, f"{key}.qos", lower=True),
        reservations=_names(rule.reservations, f"{key}.reservations"),
        images=patterns(images, f"{key}.images") if isinstance(images, list) and images else None,
        catalogue=images == "catalogue",
        reason=_reason(rule, key),
        grants=grants(rule, defaults, sites, key) if rule.effect == "allow" else Grants(),
        required=_required(rule.required, f"{key}.required"),
    )


def _check_gives_nothing(rule: _Rule, key: str) -> None:
    for name in (*given(rule), *(() if isinstance(rule.required, msgspec.UnsetType) else ("required",))):
        raise Fault(f"{key}.{name}", f'a rule that denies gives nothing; leave "{name}" out')


def _required(required: _Required | msgspec.UnsetType, key: str) -> Required | None:
    if isinstance(required, msgspec.UnsetType):
        return None
    if required.image:
        try:
            parse(required.image)
        except InvalidReference as error:
            raise Fault(f"{key}.image", str(error)) from None
    return Required(image=required.image)


def _reason(rule: _Rule, key: str) -> str:
    reason = "" if isinstance(rule.reason, msgspec.UnsetType) else rule.reason
    if rule.effect == "deny" and not reason.strip():
        raise Fault(f"{key}.reason", "a rule that denies needs a reason, which its users read")
    if not reason.isprintable() or len(reason.encode()) > MAX_REASON:
        raise Fault(f"{key}.reason", f"a reason is one printable line of at most {MAX_REASON} bytes")
    return reason


def _selector(entries: list[str | int] | msgspec.UnsetType, key: str) -> frozenset[str | int] | None:
    if isinstance(entries, msgspec.UnsetType):
        return None
    for index, entry in enumerate(entries):
        if isinstance(entry, int):
            if not 0 <= entry < 2**32:
                raise Fault(f"{key}[{index}]", f"this is no id: {entry}")
        elif entry.isdigit() or not _is_name(entry):
            raise Fault(f"{key}[{index}]", f"this is no name (ids stand without quotes): {quoted(entry)}")
    return frozenset(entries)


def _names(entries: list[str] | msgspec.UnsetType, key: str, *, lower: bool = False) -> frozenset[str] | None:
    if isinstance(entries, msgspec.UnsetType):
        return None
    for index, entry in enumerate(entries):
        if not _is_name(entry):
            raise Fault(f"{key}[{index}]", f"this is no name: {quoted(entry)}")
    return frozenset(entry.lower() if lower else entry for entry in entries)


def _is_name(text: str) -> bool:
    return text != "" and text.isprintable() and text == text.strip()
