# SPDX-License-Identifier: Apache-2.0
"""Text for people: one line, printable, bounded. Everything that leaves socker for a terminal or a log passes here."""

from __future__ import annotations

ELLIPSIS = "..."


def escape(text: str) -> str:
    r"""
    Return the text with every character that is not printable as \xNN, \uNNNN or \UNNNNNNNN.

    Not printable are C0, C1 and DEL, line and paragraph separators, bidirectional and other invisible marks,
    surrogates, and every space but the ASCII one.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _code(ord(char)) for char in text)


def _code(number: int) -> str:
    if number < 0x100:
        return f"\\x{number:02x}"
    if number < 0x10000:
        return f"\\u{number:04x}"
    return f"\\U{number:08x}"


def one_line(text: str, limit: int) -> str:
    """Return the text escaped and cut so that it takes at most `limit` bytes in UTF-8."""
    line = escape(text)
    encoded = line.encode()
    if len(encoded) <= limit:
        return line
    return encoded[: limit - len(ELLIPSIS)].decode(errors="ignore") + ELLIPSIS


def quoted(text: str, limit: int = 100) -> str:
    """Return the text escaped, cut to `limit` bytes, in double quotes: how messages show what somebody typed."""
    return f'"{one_line(text, limit)}"'


def decoded(data: bytes) -> str:
    r"""Return bytes from outside as text; what is not UTF-8 becomes a surrogate, which `escape` then shows."""
    return data.decode(errors="surrogateescape")
