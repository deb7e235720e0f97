# SPDX-License-Identifier: Apache-2.0
"""error.c: the first cause is the one that is told, and what is told cannot harm a terminal or a log."""

from __future__ import annotations

import errno

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from .driver import exact, ffi, lib, text

MESSAGE_SIZE = int(lib.SOCKER_MESSAGE_SIZE)
HARMFUL = (
    set(range(0x20)) | set(range(0x7F, 0xA0)) | {0x61C, 0x200E, 0x200F} | set(range(0x2028, 0x202F))
    | set(range(0x2066, 0x206A))
)  # fmt: skip


def printable(raw: bytes, size: int) -> bytes:
    """socker_printable into exactly size bytes, then once more with a guard behind them."""
    out = exact(size)
    lib.socker_printable(out, size, raw)
    guarded = ffi.new("char[]", b"\xa5" * (size + 8))
    lib.socker_printable(guarded, size, raw)
    assert bytes(ffi.buffer(guarded)[size : size + 8]) == b"\xa5" * 8
    assert ffi.string(guarded, size) == ffi.string(out, size)
    assert b"\0" in bytes(ffi.buffer(out, size)), "not ended"
    return bytes(ffi.string(out))


def expected(raw: bytes) -> bytes:
    """The same, told by Python's decoder: what is not UTF-8 comes out of it as lone surrogates."""
    pieces = []
    for char in raw.decode(errors="surrogateescape"):
        encoded = char.encode(errors="surrogateescape")
        harmless = ord(char) not in HARMFUL and not 0xDC80 <= ord(char) <= 0xDCFF
        pieces.append(encoded if harmless else b"".join(b"\\x%02x" % byte for byte in encoded))
    return b"".join(pieces)


def without_nul(raw: bytes) -> bytes:
    return raw.replace(b"\0", b"")


# Bytes at large, and texts in which the dangerous characters are frequent.
RAW = st.one_of(
    st.binary(max_size=80),
    st.text(st.sampled_from("a\\é€𝄞\x1b\x7f\x85\u061c\u200e\u202e\u2066\u2028\n\t"), max_size=40).map(str.encode),
    st.lists(st.sampled_from([b"\xe2", b"\x82", b"\xac", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"x"]))
    .map(b"".join),
).map(without_nul)  # fmt: skip


def test_fail_on_an_empty_error_fills_it_and_returns_minus_one() -> None:
    err = ffi.new("struct socker_error *")
    assert lib.socker_fail(err, b"job %u: %s", ffi.cast("unsigned int", 7), ffi.new("char[]", b"why")) == -1
    assert text(err) == "job 7: why"


def test_fail_on_a_filled_error_keeps_the_first_cause() -> None:
    err = ffi.new("struct socker_error *")
    lib.socker_fail(err, b"the first")
    assert lib.socker_fail(err, b"the second") == -1
    assert text(err) == "the first"


def test_fail_with_m_tells_errno() -> None:
    err = ffi.new("struct socker_error *")
    ffi.errno = errno.ENOTDIR
    lib.socker_fail(err, b"x: %m")
    assert text(err) == "x: Not a directory"


def test_fail_with_too_long_a_text_cuts_it_at_the_end() -> None:
    err = ffi.new("struct socker_error *")
    lib.socker_fail(err, b"%s", ffi.new("char[]", b"a" * 2 * MESSAGE_SIZE))
    assert text(err) == "a" * (MESSAGE_SIZE - 1)


def test_fail_in_puts_the_context_in_front_of_the_cause() -> None:
    err = ffi.new("struct socker_error *")
    lib.socker_fail(err, b"the cause")
    assert lib.socker_fail_in(err, b"while %s", ffi.new("char[]", b"opening")) == -1
    assert text(err) == "while opening: the cause"


def test_fail_in_with_two_long_parts_keeps_the_begin_of_both() -> None:
    err = ffi.new("struct socker_error *")
    lib.socker_fail(err, b"%s", ffi.new("char[]", b"b" * MESSAGE_SIZE))
    lib.socker_fail_in(err, b"%s", ffi.new("char[]", b"a" * MESSAGE_SIZE))
    assert text(err) == "a" * 400 + ": " + "b" * 600


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        pytest.param(b"plain \\ text", b"plain \\ text", id="plain"),
        pytest.param("Öl für 5 €, 𝄞".encode(), "Öl für 5 €, 𝄞".encode(), id="utf-8"),
        pytest.param(b"a\nslurmd: forged", b"a\\x0aslurmd: forged", id="line end"),
        pytest.param(b"\x1b[31mred", b"\\x1b[31mred", id="escape"),
        pytest.param(b"\x7f", b"\\x7f", id="delete"),
        pytest.param(b"\xc2\x9b31m", b"\\xc2\\x9b31m", id="C1 control sequence introducer"),
        pytest.param(b"\x9b31m", b"\\x9b31m", id="C1 as one byte"),
        pytest.param("\u202egpj".encode(), b"\\xe2\\x80\\xaegpj", id="right-to-left override"),
        pytest.param("\u2066x\u2069".encode(), b"\\xe2\\x81\\xa6x\\xe2\\x81\\xa9", id="isolates"),
        pytest.param(b"\xc0\xaf", b"\\xc0\\xaf", id="overlong slash"),
        pytest.param(b"\xed\xa0\x80", b"\\xed\\xa0\\x80", id="surrogate"),
        pytest.param(b"\xf4\x90\x80\x80", b"\\xf4\\x90\\x80\\x80", id="above U+10FFFF"),
        pytest.param(b"\xf8\x88\x80\x80\x80", b"\\xf8\\x88\\x80\\x80\\x80", id="five bytes"),
        pytest.param(b"\xe2\x82", b"\\xe2\\x82", id="cut off at its end"),
    ],
)
def test_printable_shows_what_is_harmful_as_bytes(raw: bytes, shown: bytes) -> None:
    assert printable(raw, 100) == shown


@given(raw=RAW)
@example(raw=b"\xf0\x9d\x84")
def test_printable_is_what_an_independent_decoder_makes_of_it(raw: bytes) -> None:
    assert printable(raw, 4 * len(raw) + 1) == expected(raw)


@given(raw=RAW, size=st.integers(min_value=1, max_value=40))
def test_printable_into_any_size_is_a_clean_beginning_of_the_whole(raw: bytes, size: int) -> None:
    out = printable(raw, size)
    assert len(out) < size
    assert expected(raw).startswith(out)
    assert not {ord(char) for char in out.decode()} & HARMFUL
    # cut only where the next character does not fit any more
    assert out == expected(raw) or len(out) > size - 1 - 16


@given(raw=RAW, size=st.integers(min_value=1, max_value=60))
def test_printable_of_what_is_printable_changes_nothing(raw: bytes, size: int) -> None:
    out = printable(raw, size)
    assert printable(out, size) == out
