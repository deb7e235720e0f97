# SPDX-License-Identifier: Apache-2.0
"""What a measurement says, as a line of a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """A number against its goal: it holds when value <= goal."""

    what: str
    value: float
    spread: float
    goal: float
    unit: str
    detail: str

    @property
    def holds(self) -> bool:
        """Whether the number is kept."""
        return self.value <= self.goal

    def as_json(self) -> dict[str, object]:
        """The row for bench.json."""
        return {**asdict(self), "holds": self.holds}


def table(rows: Sequence[Row]) -> str:
    """A table for a terminal."""
    head = f"{'what':44} {'value':>9} {'+-':>7} {'goal':>9}  {'':7}{'medians':}"
    lines = [head, "-" * len(head)]
    lines += [
        f"{row.what:44} {row.value:>7.3f}{row.unit:2} {row.spread:>7.3f} {row.goal:>7.3f}{row.unit:2}  "
        f"{'holds' if row.holds else 'MISSES':7}{row.detail}"
        for row in rows
    ]
    return "\n".join(lines)
