# SPDX-License-Identifier: Apache-2.0
"""
Image references: Docker's grammar, normalised as Docker normalises them.

`debian` is `docker.io/library/debian:latest`. A reference with a digest keeps no tag, since Docker looks at the digest
only: what was not looked at must not decide anything. `sha256:<64 hex>` alone is an image's id. The short forms of ids
that the docker command accepts are no references here: they would be spelled like names.
"""

from __future__ import annotations

import re

from socker.errors import InvalidReference
from socker.text import quoted
from socker.value import Value

MAX_LENGTH = 511  # of the whole as typed: what the wire holds
MAX_NAME = 255  # of domain and path together, Docker's own limit
DOCKER_IO = "docker.io"
DEFAULT_TAG = "latest"

_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:]+\])(?::[0-9]{{1,5}})?")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile("sha256:[0-9a-f]{64}")


class Named(Value):
    """An image by name, normalised: `domain/path` with either a tag or a digest."""

    domain: str
    path: str
    tag: str | None
    digest: str | None

    def _check(self) -> None:
        check_domain(self.domain)
        for component in self.path.split("/"):
            check_component(component)
        if len(self.domain) + 1 + len(self.path) > MAX_NAME:
            raise InvalidReference(f"the name is longer than {MAX_NAME} characters", self.path)
        if (self.tag is None) is (self.digest is None):
            raise InvalidReference("either a tag or a digest is needed")
        if self.tag is not None:
            check_tag(self.tag)
        if self.digest is not None:
            check_digest(self.digest)

    def __str__(self) -> str:
        """Give the full form, which `parse` turns into an equal value and Docker resolves to nothing else."""
        return f"{self.domain}/{self.path}" + (f":{self.tag}" if self.digest is None else f"@{self.digest}")


class ImageId(Value):
    """An image by its id."""

    digest: str

    def _check(self) -> None:
        check_digest(self.digest)

    def __str__(self) -> str:
        """Give the id, `sha256:` and 64 hex digits."""
        return self.digest


Reference = Named | ImageId


def parse(text: str) -> Reference:
    """Read what a user typed. Raises InvalidReference, whose text says which part is wrong, and where."""
    try:
        _check_characters(text)
        if text.startswith("sha256:"):
            return ImageId(digest=text)
        return _parse_named(text)
    except InvalidReference as error:
        place = text.find(error.part) + 1 if error.part else 0
        where = f" (character {place})" if place else ""
        raise InvalidReference(f"{error.why}{where}", error.part, f"image reference {quoted(text)}: ") from None


def _check_characters(text: str) -> None:
    if not text:
        raise InvalidReference("it is empty")
    if len(text) > MAX_LENGTH:
        raise InvalidReference(f"it is longer than {MAX_LENGTH} characters")
    for char in text:
        if not "!" <= char <= "~":
            raise InvalidReference(f"the character {quoted(char)} is not allowed", char)


def _parse_named(text: str) -> Named:
    if text.startswith("/"):
        raise InvalidReference("a path is no image; give its name, such as debian:bookworm (bundles are not run)")
    name, at, digest = text.partition("@")
    name, tag = split_tag(name)
    if tag is not None:
        check_tag(tag)
    if re.fullmatch("[0-9a-f]{64}", name):
        raise InvalidReference("64 hex digits are an image id; write sha256: before them")
    domain, path = split_domain(name)
    if at:
        return Named(domain=domain, path=path, tag=None, digest=digest)
    return Named(domain=domain, path=path, tag=DEFAULT_TAG if tag is None else tag, digest=None)


def split_tag(name: str) -> tuple[str, str | None]:
    """Split at the colon of the tag, which is the one behind the last slash."""
    slash = name.rfind("/")
    colon = name.find(":", slash + 1)
    return (name, None) if colon < 0 else (name[:colon], name[colon + 1 :])


def split_domain(name: str) -> tuple[str, str]:
    """Split a name into registry and path as Docker does, with its defaults for what was left out."""
    first, slash, rest = name.partition("/")
    if not slash or not _is_domain(first):
        domain, path = DOCKER_IO, name
    else:
        domain, path = first, rest
    if domain == "index.docker.io":
        domain = DOCKER_IO
    if domain == DOCKER_IO and "/" not in path:
        path = f"library/{path}"
    return domain, path


def _is_domain(first: str) -> bool:
    return "." in first or ":" in first or first == "localhost" or first != first.lower()


def check_domain(domain: str) -> None:
    """Raise InvalidReference unless this is a registry, with or without a port."""
    if _DOMAIN.fullmatch(domain):
        return
    if _DOMAIN.fullmatch(domain.lower()):
        raise InvalidReference(f"the registry must be lower case: {quoted(domain)}", domain)
    raise InvalidReference(f"this is no registry: {quoted(domain)}", domain)


def check_component(component: str) -> None:
    """Raise InvalidReference unless this is one component of a path."""
    if _COMPONENT.fullmatch(component):
        return
    if not component:
        raise InvalidReference("a part of the repository is empty")
    if _COMPONENT.fullmatch(component.lower()):
        raise InvalidReference(f"the repository must be lower case: {quoted(component)}", component)
    raise InvalidReference(
        f"this is no part of a repository: {quoted(component)}; it has letters and digits, and . _ __ - between them",
        component,
    )


def check_tag(tag: str) -> None:
    """Raise InvalidReference unless this is a tag."""
    if not _TAG.fullmatch(tag):
        raise InvalidReference(f"this is no tag: {quoted(tag)}", tag)


def check_digest(digest: str) -> None:
    """Raise InvalidReference unless this is a digest."""
    if not _DIGEST.fullmatch(digest):
        raise InvalidReference(f"this is no digest, sha256: and 64 hex digits: {quoted(digest)}", digest)
