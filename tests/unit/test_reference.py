# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socker.errors import InvalidReference
from socker.reference import ImageId, Named, parse
from socker.text import decoded

from .fakes import HEX, IMAGE_ID

LABEL = st.from_regex("[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
COMPONENT = st.from_regex("[a-z0-9]{1,5}(([._]|__|-{1,3})[a-z0-9]{1,5}){0,3}", fullmatch=True)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
DOMAIN = st.builds(
    lambda labels, port: ".".join(labels) + port,
    st.lists(LABEL, min_size=2, max_size=4),
    st.sampled_from(["", ":5000"]),
)
REST = st.one_of(TAG.map(lambda tag: f":{tag}"), st.just(f"@{IMAGE_ID}"), st.just(""))


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("debian:bookworm", "docker.io/library/debian:bookworm"),
        ("library/debian", "docker.io/library/debian:latest"),
        ("docker.io/debian:12", "docker.io/library/debian:12"),
        ("index.docker.io/debian:12", "docker.io/library/debian:12"),
        ("team/app", "docker.io/team/app:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
        ("reg.example.org/a/b/c:V1.0-x_y", "reg.example.org/a/b/c:V1.0-x_y"),
        ("[fd00::1]:5000/app", "[fd00::1]:5000/app:latest"),
        ("docker.io", "docker.io/library/docker.io:latest"),
        (f"debian@{IMAGE_ID}", f"docker.io/library/debian@{IMAGE_ID}"),
        (f"debian:12@{IMAGE_ID}", f"docker.io/library/debian@{IMAGE_ID}"),
        (IMAGE_ID, IMAGE_ID),
        ("a__b/c--d.e", "docker.io/a__b/c--d.e:latest"),
    ],
)
def test_parse_normalises(text: str, full: str) -> None:
    assert str(parse(text)) == full


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ("x" * 2048, "it is longer than 511 characters"),
        ("x" * 65536, "it is longer than 511 characters"),
        ("a" * 250, "the name is longer than 255 characters"),
        ("Debian", 'the repository must be lower case: "Debian"'),
        ("team/App:1", 'the repository must be lower case: "App" (character 6)'),
        ("GHCR.io/x", 'the registry must be lower case: "GHCR.io"'),
        ("Team/app", 'the registry must be lower case: "Team"'),
        ("../x", 'this is no registry: ".." (character 1)'),
        ("a/../x", 'this is no part of a repository: ".."'),
        ("-v", 'this is no part of a repository: "-v"'),
        ("--privileged", 'this is no part of a repository: "--privileged"'),
        ("%n", 'this is no part of a repository: "%n"'),
        ("a%2f..", 'this is no part of a repository: "a%2f.."'),
        ("x?fromSrc=-", 'this is no part of a repository: "x?fromSrc=-"'),
        ("/etc/passwd", "a path is no image; give its name"),
        ("a//b", "a part of the repository is empty"),
        ("a/", "a part of the repository is empty"),
        ("docker.io/", "a part of the repository is empty"),
        ("a b", 'the character " " is not allowed (character 2)'),
        ("a\r\nDELETE / HTTP/1.1", 'the character "\\x0d" is not allowed (character 2)'),
        ("a\0b", 'the character "\\x00" is not allowed'),
        ("a\x1b[31m", 'the character "\\x1b" is not allowed'),
        ("debiañ", 'the character "ñ" is not allowed'),
        ("a:", 'this is no tag: ""'),
        ("a:-1", 'this is no tag: "-1"'),
        ("a:1:2", 'this is no tag: "1:2"'),
        ("a:" + "t" * 129, "this is no tag"),
        ("a@", "this is no digest"),
        ("a@sha256:12", "this is no digest"),
        (f"a@sha512:{HEX}", "this is no digest"),
        (f"a@sha256:{HEX.upper()}", "this is no digest"),
        (f"a@{IMAGE_ID}@{IMAGE_ID}", "this is no digest"),
        ("sha256:abc", "this is no digest"),
        (HEX, "64 hex digits are an image id; write sha256: before them"),
        ("-reg.example.org/x", "this is no registry"),
        ("reg.example.org:port/x", "this is no registry"),
        ("http://reg/x", 'this is no registry: "http:"'),
    ],
)
def test_parse_refuses_and_says_why(text: str, why: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse(text)
    assert why in str(caught.value)
    assert str(caught.value).startswith("image reference ")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@given(DOMAIN, st.lists(COMPONENT, min_size=1, max_size=3), REST)
def test_parse_and_str_are_inverse(domain: str, path: list[str], rest: str) -> None:
    reference = parse(f"{domain}/{'/'.join(path)}{rest}")
    assert parse(str(reference)) == reference
    assert isinstance(reference, Named)
    assert (reference.domain, reference.path) == (domain, "/".join(path))


@given(st.lists(COMPONENT, min_size=1, max_size=3), REST)
def test_parse_of_the_full_form_changes_nothing(path: list[str], rest: str) -> None:
    full = str(parse("docker.io/" + "/".join(path) + rest))
    assert str(parse(full)) == full


@given(st.one_of(st.binary(max_size=600).map(decoded), st.text(alphabet="aA1./:@-_*%~\n\0", max_size=30)))
def test_parse_of_anything_is_a_reference_or_our_error(text: str) -> None:
    try:
        reference = parse(text)
    except InvalidReference as error:
        assert str(error).isprintable()
    else:
        assert parse(str(reference)) == reference


@given(st.text(alphabet="0123456789abcdef", min_size=1, max_size=64))
def test_no_reference_is_spelled_like_a_short_id(digits: str) -> None:
    try:
        full = str(parse(digits))
    except InvalidReference:
        return
    assert full == f"docker.io/library/{digits}:latest"


def test_named_is_always_valid() -> None:
    good = {"domain": "docker.io", "path": "library/x", "tag": "1", "digest": None}
    assert str(Named(**good)) == "docker.io/library/x:1"  # type: ignore[arg-type]
    for change in ({"domain": "-"}, {"path": ""}, {"path": "X"}, {"tag": None}, {"tag": "-"}, {"digest": IMAGE_ID}):
        with pytest.raises(InvalidReference):
            Named(**good | change)  # type: ignore[arg-type]
    with pytest.raises(InvalidReference):
        ImageId(digest="sha256:")
