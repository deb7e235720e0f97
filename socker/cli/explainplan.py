# SPDX-License-Identifier: Apache-2.0
"""What a container would have, in words, from what a rule gives and what a step asks for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from socker.errors import InvalidRequest, PlanError
from socker.model import Image
from socker.options import Options, parse_mounts
from socker.plan import make_plan
from socker.policy import Allow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socker.grants import Grants
    from socker.model import Mount, User

# stands for the image, which is not looked at
_ANY = Image(id=f"sha256:{0:064}", names=(), env=(), workdir="", volumes=())


def plan_of(user: User, rule: str, grants: Grants, asked: Sequence[str]) -> dict[str, Any]:
    """Return the plan in words; where the rule does not give what is asked for, a denial with its reason instead."""
    try:
        wish = Options(mounts=parse_mounts(",".join(asked))) if asked else Options()
        plan = make_plan(user, Allow(rule=rule, grants=grants), _ANY, wish, os.getcwd())
    except (InvalidRequest, PlanError) as error:
        return {"verdict": "deny", "reason": str(error)}
    said = {
        "mounts": [*map(_mount, plan.mounts), *(["the submit directory"] if plan.submit_dir else [])],
        "may be mounted": _sources(grants),
        "pull": _pull(grants),
        "own namespaces": list(plan.private),
        "root": ["read-only"] if plan.read_only else [],
        "devices": list(grants.devices),
        "devices on request": list(grants.ask_devices),
        "GPUs on request": ["those that Slurm gave the job"] if grants.gpus else [],
        "environment": [f"{name}={value}" for name, value in grants.env_set],
        "removed from it": list(plan.unset),
        "seccomp": [grants.seccomp],
        "opened within": [] if grants.open_seconds is None else [f"{grants.open_seconds} s"],
    }
    return {"plan": {name: values for name, values in said.items() if values}}


def _mount(mount: Mount) -> str:
    if mount.kind == "tmpfs":
        return f"{mount.target} (an empty tmpfs)"
    place = mount.source if mount.source == mount.target else f"{mount.source}:{mount.target}"
    return f"{place} (read-only)" if mount.read_only else place


def _sources(grants: Grants) -> list[str]:
    named = [site.name for site in grants.site_mounts if not site.default]
    if grants.mount_sources is None:
        return [*named, "whatever the user can open"]
    return [*named, *(f"below {path}" for path in grants.mount_sources)]


def _pull(grants: Grants) -> list[str]:
    if grants.pull == "never" or not grants.registries:
        return ["never"]
    return [f"{grants.pull}, from {' '.join(grants.registries)}"]
