# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socker.text import decoded, escape, one_line, quoted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words, Grüße", "plain words, Grüße"),
        ("a\nb\tc", "a\\x0ab\\x09c"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x7f\x85\x9b", "\\x7f\\x85\\x9b"),
        ("\u202e\u2066\u200e\u061c", "\\u202e\\u2066\\u200e\\u061c"),
        ("\u2028\u2029\ufeff\u00a0", "\\u2028\\u2029\\ufeff\\xa0"),
        ("\U000e0001", "\\U000e0001"),
        ("\ud800\0", "\\ud800\\x00"),
    ],
)
def test_escape_shows_what_is_not_printable(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(st.text(), st.integers(3, 50))
def test_one_line_is_printable_and_bounded(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert line.isprintable()
    assert len(line.encode()) <= limit


def test_one_line_cuts_between_characters_and_says_so() -> None:
    assert one_line("äöü", 6) == "äöü"
    assert one_line("äöüß", 6) == "ä..."


def test_quoted_bounds_what_somebody_typed() -> None:
    assert quoted("a\nb") == '"a\\x0ab"'
    assert len(quoted("x" * 65536)) == 102


@given(st.binary())
def test_decoded_takes_any_bytes(data: bytes) -> None:
    assert escape(decoded(data)).isprintable()
