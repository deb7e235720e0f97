# SPDX-License-Identifier: Apache-2.0
"""
The index of a policy file: the same policy in a form that is read ten times as fast, kept beside the file by root.

It belongs to one state of its file and to one release of socker; after a change of either the file itself is read. It
is relied on as the file is: it belongs to root, and so does every directory above it.
"""

from __future__ import annotations

import json

import socker
from socker.errors import PolicyFileError
from socker.grants import Grants, SiteMount
from socker.pattern import Pattern
from socker.policy import Policy, Required, Rule
from socker.trustedfile import index_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from socker.value import Value

MAX_SIZE = 8 << 20  # bytes
_HEAD = f"socker-policy-index 1 {socker.__version__}"
_SETS = ("users", "groups", "accounts", "partitions", "qos", "reservations")


def head(stamp: str) -> bytes:
    """Return the first line of the index of a file whose state has this stamp."""
    return f"{_HEAD}\t{stamp}\n".encode()


def make_index(policy: Policy, stamp: str) -> bytes:
    """Return the index of a policy whose file has this stamp."""
    grants: dict[Grants, int] = {}
    rules = [_rule(rule, grants.setdefault(rule.grants, len(grants))) for rule in policy.rules]
    content = {
        "catalogue": policy.catalogue,
        "module": policy.module,
        "may_allow": policy.may_allow,
        "grants": list(map(_given, grants)),
        "rules": rules,
    }
    return head(stamp) + json.dumps(content, separators=(",", ":")).encode()


def read_index(data: bytes, source: str) -> Policy:
    """Return the policy of an index. Raises PolicyFileError for one that is damaged."""
    try:
        content = json.loads(data.partition(b"\n")[2])
        grants = [_grants(given) for given in content["grants"]]
        return Policy(
            rules=tuple(_made_rule(fields, grants) for fields in content["rules"]),
            source=source,
            catalogue=content["catalogue"],
            module=content["module"],
            may_allow=content["may_allow"],
        )
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        raise PolicyFileError(f"{index_path(source)}: the index is damaged; remove it") from None


def _fields(value: Value) -> dict[str, Any]:
    """Return the fields that are not as they are by default."""
    kind = type(value)
    found = {field: getattr(value, field) for field in kind._fields}
    return {key: one for key, one in found.items() if key not in kind._defaults or one != kind._defaults[key]}


def _all(values: Iterable[Value]) -> list[dict[str, Any]]:
    return list(map(_fields, values))


def _rule(rule: Rule, grants: int) -> dict[str, Any]:
    fields = _fields(rule) | {"grants": grants}
    for name in _SETS:
        if name in fields:
            fields[name] = sorted(fields[name], key=str)
    if rule.images is not None:
        fields["images"] = _all(rule.images)
    if rule.required is not None:
        fields["required"] = rule.required.image
    return fields


def _made_rule(fields: dict[str, Any], grants: list[Grants]) -> Rule:
    for name in _SETS:
        if name in fields:
            fields[name] = frozenset(fields[name])
    if "images" in fields:
        fields["images"] = _patterns(fields["images"])
    if "required" in fields:
        fields["required"] = Required(image=fields["required"])
    return Rule(**fields | {"grants": grants[fields["grants"]]})


def _given(grants: Grants) -> dict[str, Any]:
    fields = _fields(grants)
    for name in ("site_mounts", "save"):
        if name in fields:
            fields[name] = _all(fields[name])
    return fields


def _grants(fields: dict[str, Any]) -> Grants:
    made = _tuples(fields)
    if "site_mounts" in made:
        made["site_mounts"] = tuple(SiteMount(**site) for site in made["site_mounts"])
    if "save" in made:
        made["save"] = _patterns(made["save"])
    if "env_set" in made:
        made["env_set"] = tuple(tuple(pair) for pair in made["env_set"])
    return Grants(**made)


def _patterns(found: list[dict[str, Any]]) -> tuple[Pattern, ...]:
    return tuple(Pattern(**_tuples(fields)) for fields in found)


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields with tuples for JSON's lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
