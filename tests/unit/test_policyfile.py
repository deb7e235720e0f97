# SPDX-License-Identifier: Apache-2.0
"""The policy file as an administrator meets it: what loads, and which line says what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socker.errors import PolicyFileError
from socker.pattern import parse_pattern
from socker.policy import Grants, Policy, Rule, default_policy
from socker.policyfile import load, read_profile
from socker.policyschema import read_policy

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = """
# what we allow
version: 1
defaults:
  mounts: {home: true, submit_dir: true}
rules:
  - name: no-old-centos
    effect: deny
    images: ["centos:6*"]
    reason: CentOS 6 is not supported any more
  - name: staff
    effect: allow
    users: [alice, 1234]
    groups: [staff, "domain users"]
    images: ["docker.io/library/**", "ghcr.io/team/*:v*"]
    mounts: {home: true}
  - name: everybody
    effect: allow
    images: [debian]
"""
RULE = "version: 1\nrules:\n  - name: r\n    effect: allow\n"


def test_whole_file() -> None:
    assert read_policy(WHOLE.encode(), "/p") == Policy(
        source="/p",
        rules=(
            Rule(
                name="no-old-centos",
                effect="deny",
                images=(parse_pattern("centos:6*"),),
                reason="CentOS 6 is not supported any more",
            ),
            Rule(
                name="staff",
                effect="allow",
                users=frozenset({"alice", 1234}),
                groups=frozenset({"staff", "domain users"}),
                images=(parse_pattern("docker.io/library/**"), parse_pattern("ghcr.io/team/*:v*")),
                grants=Grants(home=True),
            ),
            Rule(
                name="everybody",
                effect="allow",
                images=(parse_pattern("debian"),),
                grants=Grants(home=True, submit_dir=True),
            ),
        ),
    )


def test_file_without_rules_allows_nothing_and_without_defaults_mounts_nothing() -> None:
    assert read_policy(b"version: 1\nrules: []\n", "/p").rules == ()
    assert read_policy(RULE.encode(), "/p").rules[0].grants == Grants()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "/p: expected a mapping, got nothing"),
        ("[]", "/p, line 1: expected a mapping, got a list"),
        ("just words", "expected a mapping, got a word"),
        ("rules: []", "it lacks the key"),
        ("version: 1", "it lacks the key"),
        ("version: 2\nrules: []", ", line 1, version: there is no such choice: 2"),
        ('version: "1"\nrules: []', ", line 1, version: "),
        ("version: true\nrules: []", ", line 1, version: "),
        ("version: 1\nrules: {}", ", line 2, rules: expected"),
        ("version: 1\nrules: []\nextra: 1", "/p, line 3, extra: there is no such key"),
        (
            "version: 1\nrules: []\ndefaults: {mounts: {tmp: true}}",
            ", line 3, defaults.mounts.tmp: there is no such key",
        ),
        ("version: 1\nrules: []\ndefaults: {mounts: {home: 1}}", ", line 3, defaults.mounts.home: expected"),
        (RULE + "    usres: [a]", "/p, line 5, rules[0].usres: there is no such key"),
        (RULE + "    users: a", ", line 5, rules[0].users: expected"),
        (RULE + "    users: []", ", line 5, rules[0].users: expected"),
        (RULE + "    users: [a, [b]]", ", line 5, rules[0].users[1]: expected"),
        (RULE + "    users: [true]", ", line 5, rules[0].users[0]: expected"),
        (RULE + "    users: null", ", line 5, rules[0].users: expected"),
        (RULE + '    users: ["7"]', ", line 5, rules[0].users[0]: this is no name"),
        (RULE + '    users: [""]', "this is no name"),
        (RULE + '    users: [" a"]', "this is no name"),
        (RULE + '    groups: ["a\\nb"]', 'rules[0].groups[0]: this is no name (ids stand without quotes): "a\\x0ab"'),
        (RULE + "    groups: [-1]", "rules[0].groups[0]: this is no id: -1"),
        (RULE + "    groups: [4294967296]", "this is no id: 4294967296"),
        (RULE + "    images: []", ", line 5, rules[0].images: expected"),
        (RULE + "    images: [1]", "rules[0].images[0]: expected a word, got a number"),
        (RULE + '    images: [debian, "*"]', 'rules[0].images[1]: image pattern "*": write "**"'),
        (RULE + "    images:\n    - debian\n    - Debian\n", "/p, line 7, rules[0].images[1]: image pattern"),
        (RULE + "    mounts: {home: yes}", 'line 5, rules[0].mounts.home: write "yes" in quotes if it is a word'),
        (RULE + "    mounts: true", "rules[0].mounts: expected a mapping, got true or false"),
        (RULE + '    reason: "a\\u001bb"', "rules[0].reason: a reason is one printable line"),
        (RULE + f"    reason: {'x' * 301}", "a reason is one printable line of at most 300 bytes"),
        (RULE + "  - name: r\n    effect: allow", '/p, line 5, rules[1].name: two rules have the name "r"'),
        ("version: 1\nrules:\n- {name: a b, effect: allow}", "/p, line 3, rules[0].name: a name has 1 to 64 letters"),
        ("version: 1\nrules:\n- {name: a, effect: maybe}", "rules[0].effect: there is no such choice: 'maybe'"),
        ("version: 1\nrules:\n- {name: a}", 'rules[0]: it lacks the key "effect"'),
        ("version: 1\nrules:\n- {effect: allow}", 'rules[0]: it lacks the key "name"'),
        ("version: 1\nrules:\n- {name: a, effect: deny}", "rules[0].reason: a rule that denies needs a reason"),
        ("version: 1\nrules:\n- {name: a, effect: deny, reason: ' '}", "a rule that denies needs a reason"),
        (
            "version: 1\nrules:\n- {name: a, effect: deny, reason: b, mounts: {}}",
            'a rule that denies gives nothing; leave "mounts" out',
        ),
        ("version: 1\nversion: 1\nrules: []", '/p, line 2: the key "version" is there twice'),
        (RULE + "    name: r", '/p, line 5, rules[0]: the key "name" is there twice'),
        ("a: &x 1\nb: *x", "/p, line 1: anchors are not used here"),
        ("b: *x", "/p, line 1: aliases are not used here"),
        ("a: !!python/object:os.system x", '/p, line 1: tags are not used here: "tag:yaml.org,2002:python/object'),
        ("a: !x 1", "tags are not used here"),
        ("version: 1\n---\nversion: 1", "/p, line 2: it has more than one document"),
        ("[" * 17 + "]" * 17, "it is nested deeper than 16 levels"),
        ("[" * 500_000, "it is nested deeper than 16 levels"),
        ("1: 2", "a key must be a word"),
        ("{[a]: 2}", "a key must be a word"),
        ("on: 2", "a key must be a word"),
        ("<<: {a: 1}", "a key must be a word"),
        ("a: 012", 'line 1, a: write "012" in quotes if it is a word; as it stands YAML reads a int in it'),
        ("a: 12:30", "as it stands YAML reads a int in it"),
        ("a: 0x1", "as it stands YAML reads a int in it"),
        ("a: 1.5", "as it stands YAML reads a float in it"),
        ("a: 2001-01-01", "as it stands YAML reads a timestamp in it"),
        ("a: off", "as it stands YAML reads a bool in it"),
        ("a: True", "as it stands YAML reads a bool in it"),
        ("a: =", "as it stands YAML reads a value in it"),
        ("a: [1", "did not find expected"),
        ("a: 1\n\tb: 2", "/p, line 2: "),
        ("a: \x01", "/p: it is not YAML"),
        ("version: 1\n# \udcff", "/p, line 2: it is not UTF-8"),
    ],
)
def test_what_cannot_be_meant_is_an_error_with_its_place(text: str, why: str) -> None:
    with pytest.raises(PolicyFileError) as caught:
        read_policy(text.encode(errors="surrogateescape"), "/p")
    shown = str(caught.value)
    assert why in shown
    assert shown.startswith("/p")
    assert shown.isprintable()
    assert len(shown) < 700


@given(st.binary(max_size=200))
def test_any_bytes_are_a_policy_or_our_error(data: bytes) -> None:
    with pytest.raises(PolicyFileError) as caught:
        read_policy(data, "/p")
    assert str(caught.value).isprintable()


def test_load_without_a_file_gives_the_built_in_policy(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert load("/none.yaml", owner=os.geteuid(), anchor=str(tmp_path)) == default_policy()
    assert load("/none/none.yaml", owner=os.geteuid(), anchor=str(tmp_path)) == default_policy()


def test_load_reads_the_file(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "p.yaml").write_text(WHOLE)
    (tmp_path / "p.yaml").chmod(0o644)
    policy = load("/p.yaml", owner=os.geteuid(), anchor=str(tmp_path))
    assert [rule.name for rule in policy.rules] == ["no-old-centos", "staff", "everybody"]
    assert policy.source == "/p.yaml"


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (
            "version: 1\nrulez: []",
            0o644,
            "the policy file /p.yaml, line 2, rulez: there is no such key; tell your administrator",
        ),
        (
            WHOLE,
            0o666,
            "the policy file /p.yaml: others than root can write it (mode 0666); tell your administrator",
        ),
    ],
)
def test_load_says_in_one_line_what_is_wrong(tmp_path: Path, text: str, mode: int, said: str) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "p.yaml").write_text(text)
    (tmp_path / "p.yaml").chmod(mode)
    with pytest.raises(PolicyFileError) as caught:
        load("/p.yaml", owner=os.geteuid(), anchor=str(tmp_path))
    assert str(caught.value) == said


PROFILE = '{"defaultAction": "SCMP_ACT_ALLOW"}'


def test_a_seccomp_profile_is_the_text_of_a_trusted_file(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "p.json").write_text(PROFILE)
    (tmp_path / "p.json").chmod(0o644)
    assert read_profile("/p.json", owner=os.geteuid(), anchor=str(tmp_path)) == PROFILE


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        (PROFILE, 0o666, "/p.json: others than root can write it (mode 0666)"),
        ("[]", 0o644, "/p.json: it is not a JSON object"),
        ("{", 0o644, "/p.json: it is not JSON"),
        ("[" * 100_000, 0o644, "/p.json: it is not JSON"),
        ("\udcff", 0o644, "/p.json: it is not JSON"),
    ],
)
def test_a_seccomp_profile_that_cannot_be_used_is_said(tmp_path: Path, text: str, mode: int, why: str) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "p.json").write_bytes(text.encode(errors="surrogateescape"))
    (tmp_path / "p.json").chmod(mode)
    for path, said in (("/p.json", why), ("/none.json", "/none.json: there is no such file")):
        with pytest.raises(PolicyFileError) as caught:
            read_profile(path, owner=os.geteuid(), anchor=str(tmp_path))
        assert str(caught.value) == f"the seccomp profile {said}; tell your administrator"


def test_load_without_a_file_imports_neither_yaml_nor_msgspec() -> None:
    code = (
        "import sys; from socker.policyfile import load; "
        "load('/nonexistent/p.yaml'); "
        "sys.exit(bool({'yaml', 'msgspec', 'typing', 'dataclasses'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-S", "-c", code], check=False).returncode == 0
