# SPDX-License-Identifier: Apache-2.0
"""socker ps: the containers of jobs on this node."""

from __future__ import annotations

import pwd
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from socker.cli.app import tell
from socker.cli.show import json_option, print_json, print_table
from socker.cli.site import find_site, slurm_conf_option
from socker.container import LABEL_JOB, LABEL_NAME, LABEL_NODE, LABEL_TOKEN, LABEL_UID
from socker.errors import SockerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from socker.cli.dockerapi import Docker

_HEAD = ("JOB", "USER", "IMAGE", "AGE", "NODE", "STATE", "CONTAINER")


@click.command()
@slurm_conf_option
@click.option("--docker", "socket", metavar="SOCKET", default="", help="Docker's socket; the plugstack line's else.")
@json_option
def ps(*, slurm_conf: str | None, socket: str, as_json: bool) -> None:
    """
    List this node's containers with job, user, image and age.

    It needs access to Docker, so run it as root. Root sees the containers of this node's socker alone; who cannot
    read its token sees all that look like one.

    Example: socker ps --json
    """
    from socker.cli.dockerapi import Docker  # noqa: PLC0415 - the docker SDK is 100 ms

    site = find_site(slurm_conf)
    path = socket or site.word("docker")
    docker = Docker(path)
    token = _token(site.word("token"))
    label = f"{LABEL_TOKEN}={token}" if token else LABEL_TOKEN
    found = [facts for entry in docker.containers(label) if (facts := _facts(entry)) is not None]
    tell(f"{path}: {len(found)} containers")
    names = {identity: _image_name(docker, identity) for identity in {facts["image_id"] for facts in found}}
    found = sorted(({**facts, "image": names[facts["image_id"]]} for facts in found), key=lambda facts: facts["job"])
    if as_json:
        print_json(found)
    else:
        print_table(_HEAD, [_row(facts) for facts in found])


def _token(path: str) -> str:
    """Return what this node's containers are marked with, empty where it may not be read."""
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def _facts(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a container of ours is, None for one whose labels are not as we set them."""
    labels = entry.get("Labels") or {}
    job, uid = str(labels.get(LABEL_JOB, "")), str(labels.get(LABEL_UID, ""))
    if not (job.isascii() and job.isdigit() and uid.isascii() and uid.isdigit()):
        return None
    return {
        "job": int(job),
        "uid": int(uid),
        "user": _user(int(uid)),
        "node": str(labels.get(LABEL_NODE, "")),
        "name": str(labels.get(LABEL_NAME, "")),
        "id": str(entry.get("Id", "")),
        "image_id": str(entry.get("ImageID", "")),
        "state": str(entry.get("State", "")),
        "created": int(entry.get("Created", 0)),
    }


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)


def _image_name(docker: Docker, identity: str) -> str:
    """Return a name of an image, its id where it has none any more."""
    try:
        facts = docker.image(identity)
    except SockerError:
        facts = None
    names = [] if facts is None else [*(facts.get("RepoTags") or ()), *(facts.get("RepoDigests") or ())]
    return str(names[0]) if names else identity


def age(seconds: float) -> str:
    """Return a time as squeue shows it: [days-]hours:minutes:seconds."""
    minutes, second = divmod(max(int(seconds), 0), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}-{hour:02d}:{minute:02d}:{second:02d}"
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"


def _row(facts: Mapping[str, Any]) -> tuple[str, ...]:
    passed = age(time.time() - facts["created"])
    return str(facts["job"]), facts["user"], facts["image"], passed, facts["node"], facts["state"], facts["id"][:12]
