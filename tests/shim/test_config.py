# SPDX-License-Identifier: Apache-2.0
"""config.c: the words behind the plugin's path in plugstack.conf."""

from __future__ import annotations

from typing import Any

import pytest

from .driver import done, ffi, lib, refused, strings

FIELDS = ("state", "token", "docker", "policy", "user", "hold_user", "slurm_conf", "option_prefix")


def parse(*words: str) -> dict[str, Any]:
    config = ffi.new("struct socker_config *")
    argv, _kept = strings(list(words))
    done(lib.config_parse, config, len(words), argv)
    values: dict[str, Any] = {name: ffi.string(getattr(config, name)).decode() for name in FIELDS}
    return values | {"deadline": config.deadline}


def refusal(*words: str) -> str:
    argv, _kept = strings(list(words))
    return refused(lib.config_parse, ffi.new("struct socker_config *"), len(words), argv)


DEFAULTS = {
    "state": "/run/socker",
    "token": "/var/lib/socker/token",
    "docker": "/run/docker.sock",
    "policy": "/etc/socker/policy.yaml",
    "user": "dockerroot",
    "hold_user": "socker",
    "slurm_conf": "",
    "option_prefix": "container",
    "deadline": 60,
}


def test_config_without_words_has_the_defaults() -> None:
    assert parse() == DEFAULTS


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("state", "/a"),
        ("token", "/b"),
        ("docker", "/c"),
        ("policy", "/d"),
        ("slurm_conf", "/e"),
        ("user", "f"),
        ("hold_user", "g"),
        ("option_prefix", "socker"),
        ("option_prefix", "x"),
        ("option_prefix", "a-b-"),
        ("option_prefix", "abcdefghijklmnopqrst"),
    ],
)
def test_config_with_a_word_changes_that_value_only(word: str, value: str) -> None:
    assert parse(f"{word}={value}") == DEFAULTS | {word: value}


def test_config_with_a_word_twice_takes_the_last() -> None:
    assert parse("user=a", "user=b")["user"] == "b"


@pytest.mark.parametrize("word", ["state", "token", "docker", "policy", "slurm_conf"])
@pytest.mark.parametrize("value", ["run/socker", "", "./x"])
def test_config_with_a_relative_path_is_refused(word: str, value: str) -> None:
    assert refusal(f"{word}={value}") == f"plugstack line: {word}={value}: give an absolute path"


@pytest.mark.parametrize("word", ["stat=/a", "state", "State=/a", "", "=", " state=/a", "deadline", "states=/a"])
def test_config_with_an_unknown_word_is_refused(word: str) -> None:
    assert refusal("user=x", word) == f"plugstack line: unknown word '{word}'"


@pytest.mark.parametrize("word", ["plain=ask", "plain=host"])
def test_config_with_what_is_asked_of_plain_steps_is_as_without(word: str) -> None:
    assert parse(word) == DEFAULTS


@pytest.mark.parametrize("word", ["plain=", "plain=Ask", "plain", "plain=ask "])
def test_config_with_something_else_of_plain_steps_is_refused(word: str) -> None:
    assert refusal(word) == f"plugstack line: unknown word '{word}'"


@pytest.mark.parametrize(
    ("words", "asks"),
    [((), False), (("plain=ask",), True), (("nonsense", "plain=ask"), True), (("plain=host", "user=plain=ask"), False)],
)
def test_config_asks_only_where_a_word_says_so(words: tuple[str, ...], *, asks: bool) -> None:
    argv, _kept = strings(words)
    assert lib.config_asks(len(words), argv) is asks


@pytest.mark.parametrize(("value", "seconds"), [("1", 1), ("3600", 3600), ("007", 7)])
def test_config_with_a_deadline_within_bounds_takes_it(value: str, seconds: int) -> None:
    assert parse(f"deadline={value}") == DEFAULTS | {"deadline": seconds}


@pytest.mark.parametrize(
    "value", ["0", "3601", "-1", "+1", " 1", "1s", "", "1.5", "0x10", "18446744073709551617", "4294967297"]
)
def test_config_with_a_deadline_out_of_bounds_is_refused(value: str) -> None:
    assert refusal(f"deadline={value}") == f"plugstack line: deadline={value}: give 1 to 3600 seconds"


@pytest.mark.parametrize("value", ["", "-x", "X", "a_b", "a b", "a=b", "c0", "ä", "abcdefghijklmnopqrstu", "a%s"])
def test_config_with_an_unplain_option_prefix_is_refused(value: str) -> None:
    reason = f"plugstack line: option_prefix={value}: give 1 to 20 small letters and dashes"
    assert refusal(f"option_prefix={value}") == reason
