# SPDX-License-Identifier: Apache-2.0
"""What administrators copy from works: the example file and every example of docs/policy.md."""

from __future__ import annotations

import json
import os
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from socker.grantschema import Settings
from socker.pattern import parse_pattern
from socker.policy import Allow, Deny
from socker.policyschema import _File, _Rule, read_policy
from socker.sitepolicy import judged, load_module

from .fakes import make_rule, make_user
from .test_lifecycle import World
from .test_policyfacts import World as Cases

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = (REPOSITORY / "docs/policy.md").read_text()
EXAMPLE = (REPOSITORY / "slurm/policy.example.yaml").read_text()
# paragraphs that are indented, which are examples
BLOCKS = [
    textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", DOCS, re.MULTILINE) if block.strip()
]
POLICIES = [block.strip("\n") + "\n" for block in BLOCKS if "version: 1" in block]


def test_there_are_examples() -> None:
    assert len(POLICIES) == 3


@pytest.mark.parametrize("text", [*POLICIES, EXAMPLE])
def test_every_example_of_a_policy_is_valid(text: str) -> None:
    assert read_policy(text.encode(), "/p").rules


def keys(kind: Any) -> set[str]:
    return set(kind.__struct_fields__)


def test_every_key_is_in_the_docs_and_in_the_example() -> None:
    wanted = keys(_File) | keys(_Rule) | keys(Settings)
    assert {key for key in wanted if f"`{key}`" not in DOCS and f"`{key}." not in DOCS} == set()
    left_out = {"users", "qos", "reservations", "save", "ipc", "uts"}
    assert {key for key in wanted - left_out if f"{key}:" not in EXAMPLE} == set()


def test_every_pattern_of_the_docs_is_one() -> None:
    table = DOCS.partition("| pattern | matches |")[2].partition("\n\n")[0]
    shown = re.findall(r"^\| `([^`]*)`", table, re.MULTILINE)
    assert len(shown) == 9
    for text in shown:
        parse_pattern(text.replace("...", "a" * 64))


def test_the_module_of_the_docs_denies_and_lets_be(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "site.py").write_text(DOCS.partition("```python\n")[2].partition("```")[0])
    (tmp_path / "site.py").chmod(0o644)
    decide = load_module("/site.py", owner=os.geteuid(), anchor=str(tmp_path))
    allow = Allow(rule="r", grants=make_rule("allow").grants)
    student = make_user(groups=frozenset({4000}))
    for case, expected in (
        (Cases().case("ghcr.io/x/y:1"), allow),
        (Cases().case("debian:12", user=student), allow),
        (
            Cases().case("ghcr.io/x/y:1", user=student),
            Deny(rule="(module)", reason="students have the images of docker.io"),
        ),
    ):
        assert judged(decide, case, allow, may_allow=False) == (expected, None)


def test_the_audit_line_of_the_docs_has_the_fields_of_a_real_one() -> None:
    shown = next(block for block in BLOCKS if '"event"' in block)
    world = World()
    world.open()
    event, fields = world.audit.events[0]
    assert set(json.loads(shown)) == {"event", *fields}
    assert event == json.loads(shown)["event"]
