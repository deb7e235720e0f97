# SPDX-License-Identifier: Apache-2.0
"""The schema of what a rule, or the defaults of all rules, may give: the keys of the file, and their meaning."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from socker.cdi import is_cdi, is_kind
from socker.environment import encode, is_name, is_protected
from socker.errors import InvalidPattern, InvalidReference
from socker.grants import SECCOMP_DOCKER, SECCOMP_HPC, Grants, SiteMount
from socker.model import is_plain_path
from socker.pattern import parse_pattern
from socker.plan import MAX_PATH
from socker.reference import check_domain
from socker.text import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from socker.pattern import Pattern

MAX_VARIABLES = 64  # that policy sets, and that it removes
MAX_VALUE = 4096  # bytes of a variable

# what no site mount may cover: the kernel's and ours
_KEPT_TREES = frozenset({"proc", "sys", "dev", ".socker"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Fault(Exception):
    """Something at a key path is not meant so."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(why)
        self.key = key


class Mounts(msgspec.Struct, forbid_unknown_fields=True):
    """What is mounted; nothing that is not named."""

    home: bool = False
    submit_dir: bool = False
    site: list[str] = msgspec.field(default_factory=list)
    sources: list[str] | Literal["any"] = msgspec.field(default_factory=list)


class Environment(msgspec.Struct, forbid_unknown_fields=True):
    """Variables of the tasks that the site sets or takes away."""

    set: dict[str, str] = msgspec.field(default_factory=dict)
    remove: list[str] = msgspec.field(default_factory=list)


class Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Every key by which something is given. One that is left out is the defaults', or nothing."""

    mounts: Mounts | msgspec.UnsetType = msgspec.UNSET
    pull: Literal["never", "missing", "always"] | msgspec.UnsetType = msgspec.UNSET
    registries: list[str] | msgspec.UnsetType = msgspec.UNSET
    network: Literal["host", "private"] | msgspec.UnsetType = msgspec.UNSET
    ipc: Literal["host", "private"] | msgspec.UnsetType = msgspec.UNSET
    uts: Literal["host", "private"] | msgspec.UnsetType = msgspec.UNSET
    read_only: bool | msgspec.UnsetType = msgspec.UNSET
    devices: list[str] | msgspec.UnsetType = msgspec.UNSET
    ask_devices: list[str] | msgspec.UnsetType = msgspec.UNSET
    gpus: bool | str | msgspec.UnsetType = msgspec.UNSET
    env: Environment | msgspec.UnsetType = msgspec.UNSET
    seccomp: str | msgspec.UnsetType = msgspec.UNSET
    save: list[str] | msgspec.UnsetType = msgspec.UNSET
    open_seconds: Annotated[int, msgspec.Meta(ge=1, le=86400)] | msgspec.UnsetType = msgspec.UNSET


class Place(msgspec.Struct, forbid_unknown_fields=True):
    """A site mount; `target` is `source` where it is left out."""

    source: str
    target: str | msgspec.UnsetType = msgspec.UNSET
    read_only: bool = False
    default: bool = True


def given(settings: Settings) -> tuple[str, ...]:
    """Return the keys that were given."""
    return tuple(
        name for name in Settings.__struct_fields__ if not isinstance(getattr(settings, name), msgspec.UnsetType)
    )


def site_mounts(places: Mapping[str, Place]) -> dict[str, SiteMount]:
    """Return the site's mounts by name. Raises Fault."""
    made: dict[str, SiteMount] = {}
    for name, place in places.items():
        key = f"$.site_mounts.{name}"
        check_name(name, key)
        target = place.source if isinstance(place.target, msgspec.UnsetType) else place.target
        source = path(place.source, f"{key}.source")
        if path(target, f"{key}.target").split("/")[1] in _KEPT_TREES | {""}:
            raise Fault(f"{key}.target", f"nothing can be mounted at {quoted(target)}")
        made[name] = SiteMount(
            name=name, source=source, target=target, read_only=place.read_only, default=place.default
        )
    return made


def check_name(text: str, key: str) -> None:
    """Raise Fault unless this can be the name of a rule or a site mount."""
    if not _NAME.fullmatch(text):
        raise Fault(key, f"a name has 1 to 64 letters, digits, dots, dashes: {quoted(text)}")


def path(text: str, key: str) -> str:
    """Return a path that is absolute and plain. Raises Fault."""
    if not is_plain_path(text) or not text.isprintable() or len(encode(text)) > MAX_PATH:
        raise Fault(key, f"this is no plain absolute path: {quoted(text)}")
    return text


def grants(rule: Settings, defaults: Settings, sites: Mapping[str, SiteMount], key: str) -> Grants:
    """Return what a rule gives; what it says nothing of is as in the defaults. Raises Fault."""
    whose = dict.fromkeys(given(defaults), (defaults, "$.defaults")) | dict.fromkeys(given(rule), (rule, key))
    made = {name: _one(name, settings, sites, f"{where}.{name}") for name, (settings, where) in whose.items()}
    values = {field: value for fields in made.values() for field, value in fields.items()}
    whole = Grants(**values)  # type: ignore[arg-type]  # each was made for its field
    if whole.pull != "never" and not whole.registries:
        raise Fault(
            f"{whose['pull'][1]}.pull", 'name the registries that may be pulled from, under the key "registries"'
        )
    return whole


def _one(name: str, settings: Settings, sites: Mapping[str, SiteMount], key: str) -> dict[str, object]:
    """Return the fields of Grants that one key sets."""
    value = getattr(settings, name)
    if name == "mounts":
        return _mounts(value, sites, key)
    if name == "env":
        return _environment(value, key)
    if name == "gpus":
        return _gpus(value, key)
    if name == "save":
        return {name: _saves(value, key)}
    if name in {"registries", "devices", "ask_devices"}:
        check = {"registries": _registry, "devices": _device, "ask_devices": _asked_device}[name]
        return {name: tuple(check(text, f"{key}[{index}]") for index, text in enumerate(value))}
    is_path = name == "seccomp" and value not in {SECCOMP_HPC, SECCOMP_DOCKER}
    return {name: _profile(value, key) if is_path else value}


def _mounts(mounts: Mounts, sites: Mapping[str, SiteMount], key: str) -> dict[str, object]:
    for index, name in enumerate(mounts.site):
        if name not in sites:
            raise Fault(f"{key}.site[{index}]", f'"site_mounts" has no {quoted(name)}')
    sources: tuple[str, ...] | None = None
    if mounts.sources != "any":
        sources = tuple(path(text, f"{key}.sources[{index}]") for index, text in enumerate(mounts.sources))
    return {
        "home": mounts.home,
        "submit_dir": mounts.submit_dir,
        "site_mounts": tuple(sites[name] for name in mounts.site),
        "mount_sources": sources,
    }


def _environment(env: Environment, key: str) -> dict[str, object]:
    for where, count in (("set", len(env.set)), ("remove", len(env.remove))):
        if count > MAX_VARIABLES:
            raise Fault(f"{key}.{where}", f"at most {MAX_VARIABLES} variables can stand here")
    for where, name in [*((f"{key}.set.{name}", name) for name in env.set), *_numbered(env.remove, f"{key}.remove")]:
        if not is_name(name) or "=" in name:
            raise Fault(where, f"this is no name of a variable: {quoted(name)}")
        if is_protected(name):
            raise Fault(where, f"{name} is the job's own; it cannot be set or removed")
    for name, value in env.set.items():
        if not value.isprintable() or len(value.encode()) > MAX_VALUE:
            raise Fault(f"{key}.set.{name}", f"a value is printable and has at most {MAX_VALUE} bytes")
    return {"env_set": tuple(env.set.items()), "env_remove": tuple(env.remove)}


def _numbered(texts: list[str], key: str) -> list[tuple[str, str]]:
    return [(f"{key}[{index}]", text) for index, text in enumerate(texts)]


def _registry(text: str, key: str) -> str:
    try:
        check_domain(text)
    except InvalidReference as error:
        raise Fault(key, error.why) from None
    return text


def _gpus(value: bool | str, key: str) -> dict[str, object]:  # noqa: FBT001 - as it is written
    if isinstance(value, str) and not is_kind(value):
        raise Fault(key, f"this is neither true nor false, nor a vendor and class of CDI devices: {quoted(value)}")
    return {"gpus": bool(value), "gpu_kind": value if isinstance(value, str) else ""}


def _asked_device(text: str, key: str) -> str:
    kind, equals, name = text.partition("=")
    if is_cdi(text) or (equals and name == "*" and is_kind(kind)):
        return text
    return _device(text, key)


def _device(text: str, key: str) -> str:
    parts = text.split("/")
    if not is_plain_path(text) or parts[1] != "dev" or len(parts) < 3 or parts[2] in {"pts", "shm", "ptmx"}:
        raise Fault(key, f"this is no device below /dev: {quoted(text)}")
    return text


def _profile(text: str, key: str) -> str:
    if not text.startswith("/"):
        known = f'"{SECCOMP_HPC}", "{SECCOMP_DOCKER}"'
        raise Fault(key, f"there is no such profile: {quoted(text)}; write {known} or the path of one")
    return path(text, key)


def _saves(texts: list[str], key: str) -> tuple[Pattern, ...]:
    made = patterns(texts, key)
    for index, pattern in enumerate(made):
        if pattern.digest is not None:
            raise Fault(f"{key}[{index}]", "images are saved by name; no digest is known before")
    return made


def patterns(texts: list[str], key: str) -> tuple[Pattern, ...]:
    """Return image patterns. Raises Fault."""
    made: list[Pattern] = []
    for index, text in enumerate(texts):
        try:
            made.append(parse_pattern(text))
        except InvalidPattern as error:
            raise Fault(f"{key}[{index}]", str(error)) from None
    return tuple(made)
