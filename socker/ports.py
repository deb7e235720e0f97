# SPDX-License-Identifier: Apache-2.0
"""The seams: what the flow needs from outside, as protocols. Read by type checkers only, never at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from socker.cdi import CdiDevice
    from socker.container import ContainerSpec
    from socker.model import Facts, Found, Image, Mark, Started, User
    from socker.policy import Policy
    from socker.reference import Named, Reference
    from socker.rules import Entry
    from socker.sitepolicy import Decide


class Clock(Protocol):
    """Time that passes."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def time(self) -> float:
        """Return seconds since the epoch."""

    def sleep(self, seconds: float, /) -> None:
        """Return after so many seconds."""


class Accounts(Protocol):
    """The node's accounts."""

    def lookup(self, uid: int) -> tuple[str, str]:
        """Return name and home of a user. Raises UnknownAccount."""

    def group_ids(self, names: Iterable[str]) -> Mapping[str, int]:
        """Return the ids of those groups that the node knows."""

    def lines(self, user: User) -> tuple[str, str]:
        """Return the lines that name the user in a file as /etc/passwd, and the groups in one as /etc/group."""


class Engine(Protocol):
    """What makes containers. All of it raises EngineError, and returns before its deadline."""

    def resolve(self, reference: Reference) -> Image:
        """Return the image on the node that a reference leads to. Raises ImageMissing; never pulls."""

    def shorten(self, until: float) -> None:
        """Let no call last beyond this time of the clock, if it comes before the one that was given at first."""

    def pull(self, reference: Named) -> Named:
        """Return the reference by the digest that a registry gave for it, and have the image. Raises PullFailed."""

    def open(self, spec: ContainerSpec) -> Started:
        """Create a container and start its hold process; after a failure nothing of it is left."""

    def remove(self, target: str, mark: Mark) -> None:
        """Leave no container by this id or name. Raises ForeignContainer where it is not the one of the mark."""

    def list_ours(self, token: str) -> tuple[Found, ...]:
        """Return the containers, running or not, that carry this token."""


class SavesImages(Protocol):
    """What makes images of containers. Raises EngineError, and returns before its deadline."""

    def save(self, container: str, mark: Mark, base: str, reference: Named) -> str:
        """Make an image by this name of a container of the mark, which runs the image `base`; return its id."""

    def remove_commits(self, token: str) -> tuple[str, ...]:
        """Remove what interrupted saves left, and return its ids."""


class Jobs(Protocol):
    """What Slurm knows of its jobs."""

    def live(self, node: str) -> frozenset[int]:
        """Return the jobs of a node that are not over, completing ones included. Raises SlurmError."""


class AuditSink(Protocol):
    """Where decisions and failures are kept, one line each. Never raises."""

    def record(self, event: str, fields: Mapping[str, object]) -> None:
        """Keep one event with its fields."""


class LoadPolicy(Protocol):
    """Where the policy comes from."""

    def __call__(self, path: str) -> Policy:
        """Return the policy in force. Raises PolicyFileError."""


class JobFacts(Protocol):
    """What Slurm knows of one job."""

    def __call__(self, job: int) -> Facts:
        """Return the facts of a job by its own id, array tasks and heterogeneous components too. Raises SlurmError."""


class JobGpus(Protocol):
    """Which GPUs Slurm gave a job."""

    def __call__(self, job: int, node: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return their device files on this node, if any, and those of the node's others. Raises SlurmError."""


class LoadCdi(Protocol):
    """Where the node's CDI devices come from."""

    def __call__(self) -> Mapping[str, CdiDevice]:
        """Return them by their full names. Raises CdiError."""


class Catalogue(Protocol):
    """The images that the site has recorded."""

    def find(self, reference: Reference) -> Entry | None:
        """Return the entry of a reference, None where there is none."""


class LoadCatalogue(Protocol):
    """Where the catalogue comes from."""

    def __call__(self, path: str) -> Catalogue:
        """Return the catalogue. Raises CatalogueError."""


class LoadModule(Protocol):
    """Where a site's own policy module comes from."""

    def __call__(self, path: str) -> Decide:
        """Return its function. Raises PolicyFileError."""


class ReadProfile(Protocol):
    """Where seccomp profiles come from."""

    def __call__(self, path: str) -> str:
        """Return the text of a profile, which is JSON. Raises PolicyFileError."""


class DockerApi(Protocol):
    """
    The calls of Docker's API that are used; each ends before `until`, a time of the monotonic clock.

    Raises EngineUnreachable, EngineTimeout, EngineRefused. Two clients speak it: `engine_http` and `engine_sdk`.
    """

    def inspect_image(self, name: str, until: float) -> Mapping[str, object]:
        """Return an image's facts."""

    def pull(self, name: str, tag: str, until: float) -> str:
        """Pull by tag or digest and return the digest that it has now, "" where Docker does not say."""

    def create(self, name: str, body: Mapping[str, object], until: float) -> Mapping[str, object]:
        """Create a container by that name."""

    def start(self, container: str, until: float) -> None:
        """Start a container."""

    def inspect(self, container: str, until: float) -> Mapping[str, object]:
        """Return a container's facts."""

    def remove(self, container: str, until: float) -> None:
        """Kill and remove a container with its anonymous volumes."""

    def commit(self, container: str, until: float) -> str:
        """Make an image without a name of a container as it is, without pausing it, and return its id."""

    def load(self, archive: bytes, until: float) -> None:
        """Have the images of an archive as `docker save` makes them."""

    def remove_image(self, image: str, until: float) -> None:
        """Remove an image that nothing uses, and no image below it."""

    def list_images(self, labels: Iterable[str], until: float) -> list[object]:
        """Return the images that carry these labels and have no name."""

    def list_labelled(self, labels: Iterable[str], until: float) -> list[object]:
        """Return all containers that carry these labels, running or not."""
