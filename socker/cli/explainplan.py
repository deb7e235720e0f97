# SPDX-License-Identifier: Apache-2.0
"""What a container would have, in words, from what a rule gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socker.model import Image
from socker.plan import clean_path, is_below, make_plan
from socker.policy import Allow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socker.grants import Grants
    from socker.model import Mount, User

# stands for the image, which is not looked at
_ANY = Image(id=f"sha256:{0:064}", names=(), env=(), workdir="", volumes=())


def plan_of(user: User, rule: str, grants: Grants, asked: Sequence[str]) -> dict[str, Any]:
    """Return the plan in words; with a verdict and a reason where a mount that is asked for is not given."""
    plan = make_plan(user, Allow(rule=rule, grants=grants), _ANY)
    mounts = [_mount(mount) for mount in plan.mounts]
    refused = [text for text in asked if not _may_mount(text, grants)]
    mounts += [text for text in asked if text not in refused]
    said = {
        "mounts": [*mounts, *(["the submit directory"] if plan.submit_dir else [])],
        "may be mounted": _sources(grants),
        "pull": _pull(grants),
        "own namespaces": list(plan.private),
        "root": ["read-only"] if grants.read_only else [],
        "devices": list(grants.devices),
        "environment": [f"{name}={value}" for name, value in grants.env_set],
        "removed from it": list(plan.unset),
        "seccomp": [grants.seccomp],
        "opened within": [] if grants.open_seconds is None else [f"{grants.open_seconds} s"],
    }
    shown: dict[str, Any] = {"plan": {name: values for name, values in said.items() if values}}
    if refused:
        shown |= {"verdict": "deny", "reason": f"the rule gives no mount of {', '.join(refused)}"}
    return shown


def _mount(mount: Mount) -> str:
    place = mount.source if mount.source == mount.target else f"{mount.source}:{mount.target}"
    return f"{place} (read-only)" if mount.read_only else place


def _may_mount(text: str, grants: Grants) -> bool:
    """Tell whether a mount lies below what the rule gives, or is one of its site mounts by name."""
    source = text.partition(":")[0]
    if any(source == site.name for site in grants.site_mounts):
        return True
    if not source.startswith("/"):
        return False
    sources = ("/",) if grants.mount_sources is None else grants.mount_sources
    return any(is_below(clean_path(source), directory) for directory in sources)


def _sources(grants: Grants) -> list[str]:
    named = [site.name for site in grants.site_mounts if not site.default]
    if grants.mount_sources is None:
        return [*named, "whatever the user can open"]
    return [*named, *(f"below {path}" for path in grants.mount_sources)]


def _pull(grants: Grants) -> list[str]:
    if grants.pull == "never" or not grants.registries:
        return ["never"]
    return [f"{grants.pull}, from {' '.join(grants.registries)}"]
