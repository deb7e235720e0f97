# SPDX-License-Identifier: Apache-2.0
"""socker explain."""

from __future__ import annotations

import click


@click.command()
def explain() -> None:
    """Explain."""
