# SPDX-License-Identifier: Apache-2.0
"""The index beside a policy file: the same policy, of the file as it is, and nobody's but root's."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from socker.errors import PolicyFileError
from socker.policyfile import indexed, is_indexed, load
from socker.policyindex import head, make_index, read_index
from socker.policyschema import read_policy
from socker.trustedfile import index_path

from .test_policyfile import RULE
from .test_policyfile import WHOLE as RULES
from .test_policygrants import WHOLE as GRANTS

if TYPE_CHECKING:
    from pathlib import Path


class Place:
    """A directory that is trusted, with a policy file and its index."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o755)
        self.policy, self.index = directory / "p.yaml", directory / ".p.yaml.index"
        self.trust: dict[str, Any] = {"owner": os.geteuid(), "anchor": str(directory)}

    def write(self, text: str) -> None:
        self.policy.write_text(text)
        self.policy.chmod(0o644)

    def make_index(self) -> None:
        data = indexed("/p.yaml", **self.trust)
        assert data is not None
        self.index.write_bytes(data)
        self.index.chmod(0o644)

    def names(self) -> list[str]:
        return [rule.name for rule in load("/p.yaml", **self.trust).rules]

    def forge(self, text: str) -> None:
        """The index says something else, of the file as it is."""
        stamp = self.index.read_bytes().partition(b"\n")[0].decode().partition("\t")[2]
        self.index.write_bytes(make_index(read_policy(text.encode(), "/p.yaml"), stamp))


OTHER = RULE.replace("name: r", "name: other")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.write(RULE)
    made.make_index()
    return made


@pytest.mark.parametrize("text", [RULES, GRANTS, RULE, "version: 1\nrules: []"])
def test_an_index_says_what_its_file_says(text: str) -> None:
    policy = read_policy(text.encode(), "/p.yaml")
    assert read_index(make_index(policy, "1 2 3 4"), "/p.yaml") == policy


def test_the_index_is_what_is_read(place: Place) -> None:
    place.forge(OTHER)
    assert place.names() == ["other"]
    assert is_indexed("/p.yaml", **place.trust)


def test_after_a_change_the_file_itself_is_read(place: Place) -> None:
    place.forge(OTHER)
    place.write(RULE)
    assert place.names() == ["r"]
    assert not is_indexed("/p.yaml", **place.trust)
    replaced = place.policy.with_name("new")
    replaced.write_bytes(place.policy.read_bytes())
    place.make_index()
    place.forge(OTHER)
    replaced.rename(place.policy)
    assert place.names() == ["r"]


@pytest.mark.parametrize("mode", [0o666, 0o664])
def test_an_index_that_others_can_write_is_not_read(place: Place, mode: int) -> None:
    place.forge(OTHER)
    place.index.chmod(mode)
    assert place.names() == ["r"]


def test_an_index_that_is_a_link_or_a_directory_is_not_read(place: Place) -> None:
    place.forge(OTHER)
    real = place.index.rename(place.index.with_name("real"))
    place.index.symlink_to(real)
    assert place.names() == ["r"]
    place.index.unlink()
    place.index.mkdir()
    assert place.names() == ["r"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"rules": 1}', b"null", b"[" * 100_000, b'{"grants":[],"rules":[{"grants":0}]}']
)
def test_a_damaged_index_is_not_read(place: Place, content: bytes) -> None:
    first = place.index.read_bytes().partition(b"\n")[0] + b"\n"
    with pytest.raises(PolicyFileError, match=r"/\.p\.yaml\.index: the index is damaged; remove it"):
        read_index(first + content, "/p.yaml")
    place.index.write_bytes(first + content)
    assert place.names() == ["r"]


def test_an_index_of_another_release_is_not_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.forge(OTHER)
    monkeypatch.setattr("socker.policyindex._HEAD", "socker-policy-index 1 0.0.0")
    assert place.names() == ["r"]


def test_without_a_file_there_is_no_index_and_the_built_in_policy_holds(place: Place) -> None:
    place.policy.unlink()
    assert place.names() == ["built-in"]
    assert indexed("/p.yaml", **place.trust) is None
    assert not is_indexed("/p.yaml", **place.trust)


def test_an_index_does_not_hide_that_its_file_cannot_be_trusted(place: Place) -> None:
    place.policy.chmod(0o666)
    with pytest.raises(PolicyFileError, match="others than root can write it"):
        place.names()


def test_an_index_is_read_without_yaml_and_msgspec(place: Place) -> None:
    code = (
        "import sys; from socker.policyfile import load; "
        f"policy = load('/p.yaml', owner={os.geteuid()}, anchor={str(place.policy.parent)!r}); "
        "assert policy.rules[0].name == 'r'; "
        "sys.exit(bool({'yaml', 'msgspec', 'typing', 'dataclasses'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-S", "-c", code], check=False).returncode == 0


def test_where_an_index_is() -> None:
    assert index_path("/etc/socker/policy.yaml") == "/etc/socker/.policy.yaml.index"
    assert head("1 2").endswith(b"\t1 2\n")
