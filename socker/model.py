# SPDX-License-Identifier: Apache-2.0
"""The values that pass between the parts: who asks for what, what the node has, what is mounted, what was started."""

from __future__ import annotations

import re

from socker.errors import InvalidRequest
from socker.text import quoted
from socker.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from socker.reference import Named

MAX_ID = 2**31 - 1  # above it, runtimes have turned ids into root's

# Steps that Slurm numbers from above (slurm.h).
_STEPS = {0xFFFFFFFB: "batch", 0xFFFFFFFA: "interactive", 0xFFFFFFFC: "extern"}

_NODE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]+")
_TOKEN = re.compile(r"[A-Za-z0-9]+")
_HEX_64 = re.compile(r"[0-9a-f]{64}")


def is_plain_path(path: str) -> bool:
    """Tell whether a path is absolute and has no empty part, no `.`, no `..` and no NUL."""
    if path == "/":
        return True
    return (
        path.startswith("/") and "\0" not in path and all(part not in {"", ".", ".."} for part in path[1:].split("/"))
    )


def step_name(step: int) -> str | int:
    """Return a step as Slurm's commands show it."""
    return _STEPS.get(step, step)


class Mark(Value):
    """What tells our containers from all others: the labels of each. `uid` is None where it is not known."""

    token: str
    node: str
    job: int
    uid: int | None
    name: str

    def _check(self) -> None:
        for what, text, rule in (("token", self.token, _TOKEN), ("node", self.node, _NODE), ("name", self.name, _NAME)):
            if not rule.fullmatch(text):
                raise InvalidRequest(f"the {what} {quoted(text)} is not one the opener makes")


class Request(Value):
    """
    One step's wish, as the opener sends it. Its identity comes from Slurm, never from the environment.

    `reference` is --container as typed, empty where none was asked for and the site wants to know whether one is
    required. `hold_uid` and `hold_gid` are the user that the hold process runs as. `slurm_conf` is for Slurm's own
    commands, empty for their default. `options` are those that shape the container, as the plugin's lines; `cwd` is
    the step's directory, from which their paths are taken.
    """

    job: int
    step: int
    uid: int
    gid: int
    groups: tuple[int, ...]
    hold_uid: int
    hold_gid: int
    reference: str
    node: str
    name: str
    token: str
    docker: str
    policy: str
    hold: str
    deadline_ms: int
    slurm_conf: str = ""
    options: str = ""
    cwd: str = ""

    def _check(self) -> None:
        if self.uid == 0 or self.gid == 0:
            raise InvalidRequest("containers do not run as root; submit the job as a normal user")
        for number in (self.uid, self.gid, self.hold_uid, self.hold_gid):
            if not 0 < number <= MAX_ID:
                raise InvalidRequest(f"the id {number} cannot be used in a container; ids go from 1 to {MAX_ID}")
        if self.hold_uid == self.uid:
            raise InvalidRequest("the user of the hold process runs no jobs; submit the job as another user")
        for path in (self.docker, self.policy, self.hold):
            if not is_plain_path(path):
                raise InvalidRequest(f"{quoted(path)} in the plugin's configuration is not a plain absolute path")
        self.mark()

    def mark(self) -> Mark:
        """Return what marks the container of this request."""
        return Mark(token=self.token, node=self.node, job=self.job, uid=self.uid, name=self.name)


class User(Value):
    """The user of a step. Ids come from the request, the rest from the node's accounts, nothing from an image."""

    uid: int
    gid: int
    groups: frozenset[int]
    name: str
    home: str


class Facts(Value):
    """What Slurm's controller knows of a job, each empty where there is none. Never from the job's environment."""

    account: str
    partition: str
    qos: str
    reservation: str


class Image(Value):
    """An image that is on the node. `names` are its tags and digests there, `volumes` the paths its VOLUMEs name."""

    id: str
    names: tuple[Named, ...]
    env: tuple[str, ...]
    workdir: str
    volumes: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()

    def digests(self) -> frozenset[str]:
        """Return every digest the image goes by: its id and its repositories' digests."""
        return frozenset({self.id, *(name.digest for name in self.names if name.digest is not None)})


class Mount(Value):
    """
    What of the host appears where in the container. The source of a tmpfs is its options.

    `asked`: by the user, so that it must work. `flat`: without what is mounted below the source. `base` is the
    directory that policy names, out of which no link of the source may lead, empty where any will do.
    """

    source: str
    target: str
    read_only: bool
    kind: Literal["bind", "tmpfs", "device"] = "bind"
    asked: bool = False
    flat: bool = False
    base: str = ""

    def _check(self) -> None:
        for path in (self.target, *(() if self.kind == "tmpfs" else (self.source,))):
            if not is_plain_path(path):
                raise ValueError(f"not a plain path: {path!r}")


class Started(Value):
    """A container whose hold process runs."""

    id: str
    pid: int

    def _check(self) -> None:
        if not _HEX_64.fullmatch(self.id) or self.pid <= 1:
            raise ValueError("not a container that was started")


class Found(Value):
    """A container that carries our token."""

    id: str
    name: str
    node: str
    job: int
