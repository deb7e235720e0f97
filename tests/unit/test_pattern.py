# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socker.errors import InvalidPattern
from socker.pattern import glob, parse_pattern
from socker.reference import parse

from .fakes import IMAGE_ID

DIGEST = f"debian@{IMAGE_ID}"


@pytest.mark.parametrize(
    ("pattern", "reference"),
    [
        ("debian", "debian"),
        ("debian", "docker.io/library/debian:12"),
        ("debian", DIGEST),
        ("debian:12", "debian:12"),
        ("debian:12*", "debian:12.5-slim"),
        ("debian:latest", "debian"),
        ("docker.io/library/*", "debian"),
        ("docker.io/library/*", DIGEST),
        ("docker.io/**", "debian"),
        ("docker.io/**", "team/a"),
        ("team/*", "team/app:7"),
        ("team/**", "team/a/b/c"),
        ("team/app-*", "team/app-gpu"),
        ("ghcr.io/**", "ghcr.io/a"),
        ("ghcr.io/team/**:v*", "ghcr.io/team/x/y:v2"),
        ("*.example.org/**", "reg.example.org/a/b"),
        ("reg.example.org:5000/**", "reg.example.org:5000/a"),
        ("reg.example.org:*/**", "reg.example.org:5000/a"),
        ("localhost/**", "localhost/a"),
        ("[fd00::1]:5000/**", "[fd00::1]:5000/a"),
        ("**", "debian"),
        ("**", IMAGE_ID),
        ("**", DIGEST),
        ("**:latest", "ghcr.io/x"),
    ],
)
def test_pattern_covers(pattern: str, reference: str) -> None:
    assert parse_pattern(pattern).covers(parse(reference))


@pytest.mark.parametrize(
    ("pattern", "reference"),
    [
        ("debian", "debian2"),
        ("debian", "team/debian"),
        ("debian", "ghcr.io/library/debian"),
        ("debian", IMAGE_ID),
        ("debian:12", "debian:12.5"),
        ("debian:12", "debian"),
        ("debian:12", DIGEST),
        ("debian:*", DIGEST),
        ("docker.io/library/*", "docker.io/library/a/b"),
        ("docker.io/library/*", "docker.io/team/a"),
        ("team/**", "team2/a"),
        ("team/**", "docker.io/team"),
        ("team/a/**", "team/a"),
        ("team/a/**", "team/ab/c"),
        ("ghcr.io/**", "ghcr.io.evil.org/a"),
        ("allowed.example.com/**", "allowed.example.com.evil.org/x"),
        ("allowed.example.com/**", "evil.org/allowed.example.com/x"),
        ("*.example.org/**", "a.b.example.org/x"),
        ("*.example.org/**", "evil-example.org/x"),
        ("*.example.org/**", "example.org/x"),
        ("reg.example.org/**", "reg.example.org:5000/x"),
        ("reg.example.org:5000/**", "reg.example.org/x"),
        ("**:latest", "debian:12"),
        ("**:latest", IMAGE_ID),
        ("**:*", DIGEST),
    ],
)
def test_pattern_does_not_cover(pattern: str, reference: str) -> None:
    assert not parse_pattern(pattern).covers(parse(reference))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a part of the repository is empty"),
        ("*", 'write "**" for every image'),
        ("*:12", 'write "**" for every image'),
        ("*/app", "name the registry"),
        ("a/**/b", '"**" stands alone, or at the end behind a slash'),
        ("a**", '"**" stands alone'),
        ("Debian", "must be lower case"),
        ("a/../b", "no part of a repository"),
        ("/a", "a part of the repository is empty"),
        ("debian:", "this is no tag"),
        ("debian@sha256:1", "this is no digest"),
        (f"debian:12@{IMAGE_ID}", "a tag beside a digest decides nothing"),
        ("sha256:*", "this is no digest"),
        ("GHCR.io/**", "must be lower case"),
        ("a b", "no part of a repository"),
        ("deb[ia]n", "no part of a repository"),
    ],
)
def test_pattern_that_cannot_be_meant_is_an_error(text: str, why: str) -> None:
    with pytest.raises(InvalidPattern, match="^image pattern ") as caught:
        parse_pattern(text)
    assert why in str(caught.value)


@given(st.text(alphabet="ab*", max_size=12), st.text(alphabet="ab", max_size=12))
def test_glob_agrees_with_fnmatch(pattern: str, text: str) -> None:
    assert glob(pattern, text) == fnmatchcase(text, pattern)


def test_glob_takes_linear_steps() -> None:
    assert not glob("*a" * 200 + "b", "a" * 100_000)


@given(st.text(alphabet="aA1./:@-_*\n", max_size=20))
def test_pattern_of_anything_is_a_pattern_or_our_error(text: str) -> None:
    try:
        parse_pattern(text)
    except InvalidPattern as error:
        assert str(error).isprintable()


@given(st.sampled_from(["debian", "team/app:1", "ghcr.io/a/b:x", f"reg.example.org:1/a@{IMAGE_ID}"]))
def test_a_full_reference_as_pattern_covers_itself(text: str) -> None:
    assert parse_pattern(str(parse(text))).covers(parse(text))
