# SPDX-License-Identifier: Apache-2.0
"""Small fakes of what the flow needs from outside, and short ways to make values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socker.errors import ImageMissing, SlurmError, UnknownAccount
from socker.model import Facts, Image, Mark, Request, Started, User
from socker.pattern import parse_pattern
from socker.plan import Plan, make_plan
from socker.policy import Allow, Grants, Rule, default_policy
from socker.reference import Named, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from socker.container import ContainerSpec
    from socker.errors import EngineError
    from socker.model import Found
    from socker.policy import Policy
    from socker.reference import Reference
    from socker.rules import Effect

HEX = "0123456789abcdef" * 4
IMAGE_ID = f"sha256:{HEX}"
OTHER_ID = f"sha256:{HEX[::-1]}"
CONTAINER_ID = "c" * 64
TOKEN = "7" * 32


def named(text: str) -> Named:
    reference = parse(text)
    assert isinstance(reference, Named)
    return reference


def make_image(*names: str, **changes: Any) -> Image:
    values: dict[str, Any] = {
        "id": IMAGE_ID,
        "names": tuple(map(named, names or ("debian:12",))),
        "env": (),
        "workdir": "",
        "volumes": (),
    }
    return Image(**values | changes)


def make_user(**changes: Any) -> User:
    values: dict[str, Any] = {
        "uid": 1000,
        "gid": 1000,
        "groups": frozenset({1000, 2000}),
        "name": "alice",
        "home": "/home/alice",
    }
    return User(**values | changes)


def make_request(**changes: Any) -> Request:
    values: dict[str, Any] = {
        "job": 4711,
        "step": 0,
        "uid": 1000,
        "gid": 1000,
        "groups": (1000, 2000),
        "hold_uid": 990,
        "hold_gid": 990,
        "reference": "debian:12",
        "node": "n1",
        "name": "socker-abcd-4711-k",
        "token": TOKEN,
        "docker": "/run/docker.sock",
        "policy": "/etc/socker/policy.yaml",
        "hold": "/usr/lib/socker/hold",
        "deadline_ms": 60000,
    }
    return Request(**values | changes)


def make_step_plan() -> Plan:
    """The plan of the built-in policy."""
    return make_plan(make_user(), Allow(rule="r", grants=Grants(home=True, submit_dir=True)), make_image())


def make_mark(**changes: Any) -> Mark:
    values: dict[str, Any] = {
        "token": TOKEN,
        "node": "n1",
        "job": 4711,
        "uid": 1000,
        "name": "socker-abcd-4711-k",
    }
    return Mark(**values | changes)


def make_rule(
    effect: Effect,
    *images: str,
    name: str = "r",
    users: Iterable[str | int] | None = None,
    groups: Iterable[str | int] | None = None,
    home: bool = False,
    **more: Any,
) -> Rule:
    return Rule(
        name=name,
        effect=effect,
        users=None if users is None else frozenset(users),
        groups=None if groups is None else frozenset(groups),
        images=tuple(map(parse_pattern, images)) or None,
        reason="not here" if effect == "deny" else "",
        **{"grants": Grants(home=home), **more},
    )


def make_facts(**changes: str) -> Facts:
    return Facts(**{"account": "physics", "partition": "main", "qos": "normal", "reservation": ""} | changes)


class FakeClock:
    """Time that only passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + 1.7e9

    def sleep(self, seconds: float, /) -> None:
        self.now += seconds


class FakeAccounts:
    """Alice, and the groups it is told."""

    def __init__(self, groups: Mapping[str, int] | None = None) -> None:
        self.groups = groups or {}
        self.asked: list[str] = []

    def lookup(self, uid: int) -> tuple[str, str]:
        if uid != 1000:
            raise UnknownAccount(f"the user id {uid} has no account on this node")
        return "alice", "/home/alice"

    def group_ids(self, names: Iterable[str]) -> Mapping[str, int]:
        self.asked += names
        return {name: self.groups[name] for name in self.asked if name in self.groups}

    def lines(self, user: User) -> tuple[str, str]:
        return f"{user.name}:x:{user.uid}:{user.gid}::{user.home}:/bin/sh\n", f"alice:x:{user.gid}:\n"


class FakeAudit:
    """Keeps what was recorded."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, object]]] = []

    def record(self, event: str, fields: Mapping[str, object]) -> None:
        self.events.append((event, fields))


class FakeEngine:
    """Images by full reference; what was opened and removed; errors to raise."""

    def __init__(self, *images: Image, found: tuple[Found, ...] = ()) -> None:
        self.images = {str(name): image for image in images for name in (*image.names, image.id)}
        self.found = found
        self.remote: dict[str, Image] = {}
        self.pulled: list[str] = []
        self.until = 1e9
        self.resolved: list[str] = []
        self.opened: list[ContainerSpec] = []
        self.removed: list[tuple[str, Mark]] = []
        self.failures: dict[str, EngineError] = {}

    def _fail(self, verb: str) -> None:
        if verb in self.failures:
            raise self.failures[verb]

    def resolve(self, reference: Reference) -> Image:
        self._fail("resolve")
        self.resolved.append(str(reference))
        if str(reference) not in self.images:
            raise ImageMissing(f"the image {reference} is not on this node")
        return self.images[str(reference)]

    def shorten(self, until: float) -> None:
        self.until = min(self.until, until)

    def pull(self, reference: Named) -> Named:
        self._fail("pull")
        self.pulled.append(str(reference))
        image = self.remote[str(reference)]
        pinned = named(f"{reference.domain}/{reference.path}@{image.id}")
        self.images |= {str(reference): image, str(pinned): image}
        return pinned

    def open(self, spec: ContainerSpec) -> Started:
        self._fail("open")
        self.opened.append(spec)
        return Started(id=CONTAINER_ID, pid=4242)

    def remove(self, target: str, mark: Mark) -> None:
        self._fail(f"remove {target}")
        self.removed.append((target, mark))

    def list_ours(self, token: str) -> tuple[Found, ...]:
        self._fail("list")
        assert token == TOKEN
        return self.found


class FakeEntry:
    """An entry of the catalogue."""

    def __init__(self, digest: str = "", image_id: str = "") -> None:
        self.digest = digest
        self.id = image_id


class FakeCatalogue:
    """Entries by full reference; counts how often it was loaded."""

    def __init__(self, **entries: FakeEntry) -> None:
        self.entries: dict[str, FakeEntry] = dict(entries)
        self.loaded = 0

    def __call__(self, path: str) -> FakeCatalogue:
        assert path == "/var/lib/socker/images.yaml"
        self.loaded += 1
        return self

    def find(self, reference: Reference) -> FakeEntry | None:
        return self.entries.get(str(reference))


class FakeFacts:
    """What Slurm knows of job 4711; None: it does not answer."""

    def __init__(self, facts: Facts | None = None) -> None:
        self.facts = facts
        self.asked = 0

    def __call__(self, job: int) -> Facts:
        assert job == 4711
        self.asked += 1
        if self.facts is None:
            raise SlurmError("squeue does not answer in time")
        return self.facts


class FakeJobs:
    """Jobs that live; None: Slurm does not answer."""

    def __init__(self, *live: int, silent: bool = False) -> None:
        self._live = frozenset(live)
        self._silent = silent

    def live(self, node: str) -> frozenset[int]:
        assert node == "n1"
        if self._silent:
            raise SlurmError("squeue does not answer in time")
        return self._live


class FakePolicy:
    """Loads one policy, or raises."""

    def __init__(self, policy: Policy | None = None, error: Exception | None = None) -> None:
        self._policy = policy or default_policy()
        self._error = error

    def __call__(self, path: str) -> Policy:
        assert path == "/etc/socker/policy.yaml"
        if self._error is not None:
            raise self._error
        return self._policy
