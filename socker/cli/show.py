# SPDX-License-Identifier: Apache-2.0
"""What the verbs print: tables for people, columns for pipes, JSON for programs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from socker.text import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_RICH = 500  # rows; rich takes about a millisecond for each

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: object) -> None:
    """Print a value as JSON."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a head: as a table on a terminal, else in columns that other programs can split."""
    shown = [[escape(cell) for cell in row] for row in rows]
    if sys.stdout.isatty() and len(shown) <= MAX_RICH:
        _rich(head, shown)
    else:
        _columns(head, shown)


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    form = "  ".join(f"%-{width}s" for width in widths[:-1]) + "  %s\n"
    sys.stdout.write("".join((form % tuple(line)).rstrip() + "\n" for line in lines))


def _rich(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box  # noqa: PLC0415 - 80 ms of imports, for terminals only
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*head, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))  # Text: nothing in it is markup
    Console().print(table)
