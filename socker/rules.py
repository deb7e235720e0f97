# SPDX-License-Identifier: Apache-2.0
"""Rules as values, and what is asked of them."""

from __future__ import annotations

from socker.errors import SlurmError
from socker.grants import Grants
from socker.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal, Protocol

    from socker.model import Facts, Image, User
    from socker.pattern import Pattern
    from socker.reference import Reference

    Effect = Literal["allow", "deny"]

    class Entry(Protocol):
        """An entry of the catalogue: the digest that was recorded, "" where none was, and the image's id."""

        @property
        def digest(self) -> str:
            """Return `sha256:` and 64 hex digits, or nothing."""

        @property
        def id(self) -> str:
            """Return the id, whole or as the docker command prints it."""


CATALOGUE = "/var/lib/socker/images.yaml"


class Required(Value):
    """A rule's word that steps must run in a container. `image` is for those that name none, "" if they must."""

    image: str = ""


class Rule(Value):
    """One rule. A selector that is None selects everything; names and patterns are never both missing and meant."""

    name: str
    effect: Effect
    users: frozenset[str | int] | None = None
    groups: frozenset[str | int] | None = None
    accounts: frozenset[str] | None = None
    partitions: frozenset[str] | None = None
    qos: frozenset[str] | None = None
    reservations: frozenset[str] | None = None
    images: tuple[Pattern, ...] | None = None
    catalogue: bool = False  # selects the images of the catalogue, and nothing by `images`
    reason: str = ""
    grants: Grants = Grants()
    required: Required | None = None


class Policy(Value):
    """Rules in the order in which they are asked, and where they come from. `module` is a site's own Python, or ""."""

    rules: tuple[Rule, ...]
    source: str
    catalogue: str = CATALOGUE
    module: str = ""
    may_allow: bool = False


def no_facts() -> Facts:
    """Stand for a Slurm that says nothing of the job. Raises SlurmError."""
    raise SlurmError("it was not asked")


def nothing_catalogued(_reference: Reference) -> None:
    """Stand for an empty catalogue."""


class Subject(Value):
    """
    Who asks.

    `group_ids` gives the ids of the group names in `group_names`; a name the node does not know is not in it. `facts`
    tells what Slurm knows of the job, and raises SlurmError; it is called only where a rule needs it.
    """

    user: User
    group_ids: Mapping[str, int]
    facts: Callable[[], Facts] = no_facts


class Case(Subject):
    """
    Who asks, and for which reference.

    `image` is what the reference was resolved to, None before that. `find` gives a reference's entry in the catalogue.
    """

    reference: Reference
    image: Image | None = None
    find: Callable[[Reference], Entry | None] = nothing_catalogued
