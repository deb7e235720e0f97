# SPDX-License-Identifier: Apache-2.0
"""
Image patterns of rules. They are normalised as references are and compared component by component, never as strings.

    debian                          docker.io/library/debian, any tag or digest
    debian:12*                      the tags that begin with 12
    ghcr.io/team/*                  every repository directly below ghcr.io/team
    ghcr.io/team/**                 every repository at any depth below it; not ghcr.io/team2, not ghcr.io/team itself
    *.example.org/**                every registry with one label before example.org
    **                              every image, also one that is asked for by its id
    **:latest                       every image that is asked for by the tag latest, or by none
    sha256:<64 hex>                 the image with this id or digest, however it is asked for
    debian@sha256:<64 hex>          the same, if it is asked for as docker.io/library/debian

`*` stands for any characters inside one component (of a path, of a registry's name between dots, of a tag).
"""

from __future__ import annotations

from socker.errors import InvalidPattern, InvalidReference
from socker.reference import (
    ImageId,
    Reference,
    check_component,
    check_digest,
    check_domain,
    check_tag,
    split_domain,
    split_tag,
)
from socker.text import quoted
from socker.value import Value


class Pattern(Value):
    """A pattern, normalised. Without a domain it covers every registry and repository."""

    domain: str | None = None
    components: tuple[str, ...] = ()
    deep: bool = False
    tag: str | None = None
    digest: str | None = None

    def covers(self, reference: Reference) -> bool:
        """Tell whether name and tag of the reference fit. The pattern's digest is not looked at: that is policy's."""
        if self.domain is None:
            named = True
        elif isinstance(reference, ImageId):
            named = False
        else:
            named = _domain_fits(self.domain, reference.domain) and self._path_fits(reference.path.split("/"))
        return named and self._tag_fits(reference)

    def _tag_fits(self, reference: Reference) -> bool:
        if self.tag is None:
            return True
        return not isinstance(reference, ImageId) and reference.tag is not None and glob(self.tag, reference.tag)

    def _path_fits(self, path: list[str]) -> bool:
        count = len(self.components)
        if len(path) <= count if self.deep else len(path) != count:
            return False
        return all(glob(pattern, component) for pattern, component in zip(self.components, path, strict=False))


def parse_pattern(text: str) -> Pattern:
    """Read a pattern from a rule. Raises InvalidPattern, whose text quotes it and says what is wrong."""
    try:
        return _parse(text)
    except InvalidReference as error:
        raise InvalidPattern(f"image pattern {quoted(text)}: {error.why}") from None


def _parse(text: str) -> Pattern:
    if text.startswith("sha256:"):
        check_digest(text)
        return Pattern(digest=text)
    name, at, digest = text.partition("@")
    name, tag = split_tag(name)
    if at:
        check_digest(digest)
        if tag is not None:
            raise InvalidReference("a tag beside a digest decides nothing; leave it out")
    if tag is not None:
        check_tag(tag.replace("*", "0"))
    domain, components, deep = _split_name(name)
    return Pattern(domain=domain, components=components, deep=deep, tag=tag, digest=digest if at else None)


def _split_name(name: str) -> tuple[str | None, tuple[str, ...], bool]:
    if name == "**":
        return None, (), False
    if name == "*":
        raise InvalidReference('write "**" for every image or "docker.io/library/*" for Docker\'s own')
    if name.startswith("*/"):
        raise InvalidReference('name the registry, as in "docker.io/*/..."; "*" is one part of a path', "*")
    deep = name.endswith("/**")
    if deep:
        # two more parts, so that no default is put in where any depth is meant
        domain, path = split_domain(f"{name[:-3]}/x/x")
        components = path.split("/")[:-2]
    else:
        domain, path = split_domain(name)
        components = path.split("/")
    check_domain(domain.replace("*", "0"))
    for component in components:
        if "**" in component:
            raise InvalidReference('"**" stands alone, or at the end behind a slash')
        check_component(component.replace("*", "0"))
    return domain, tuple(components), deep


def _domain_fits(pattern: str, domain: str) -> bool:
    wanted, given = _labels(pattern), _labels(domain)
    return len(wanted) == len(given) and all(map(glob, wanted, given))


def _labels(domain: str) -> list[str]:
    """Labels of the host, then its port, or an empty one."""
    host, _, port = domain.partition(":")
    return [*host.split("."), port]


def glob(pattern: str, text: str) -> bool:
    """Tell whether the whole text fits the pattern, in which `*` stands for any characters. Takes linear steps."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    *middle, last = rest
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    place, end = len(first), len(text) - len(last)
    for piece in middle:
        place = text.find(piece, place, end)
        if place < 0:
            return False
        place += len(piece)
    return True
