# SPDX-License-Identifier: Apache-2.0
"""socker sweep: root's opener does it; here its words are found and its account is read."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import click

from socker.cli.app import NO, CannotTell, leave, require_root, tell
from socker.cli.show import json_option, print_json
from socker.cli.site import find_site, slurm_conf_option
from socker.text import escape

if TYPE_CHECKING:
    from socker.cli.site import Site

_CLOSED = re.compile(r"(?:closed|would close) job ([0-9]+) on (\S+)")


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@slurm_conf_option
@json_option
def sweep(*, dry_run: bool, slurm_conf: str | None, as_json: bool) -> None:
    """
    Remove what a crash left on this node: containers, records and cgroups of jobs that Slurm does not know any more.

    Where Slurm does not answer nothing is removed. Several sweeps at once, or beside epilogs, do no harm. The timer
    socker-sweep.timer runs it.

    Exit codes: 0 nothing is left, 1 something could not be removed (stderr says what).

    Example: socker sweep --dry-run
    """
    require_root("sweep")
    site = find_site(slurm_conf)
    argv = [
        os.path.join(site.libdir(), "socker-opener"),
        "sweep",
        *(["--dry-run"] if dry_run else []),
        *_words(site, slurm_conf),
    ]
    tell(" ".join(argv))
    try:
        done = subprocess.run(  # noqa: S603 - the program that slurmstepd runs, too
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", env={}, check=False
        )
    except OSError as error:
        raise CannotTell(f"{argv[0]}: {(error.strerror or '').lower()}; is socker installed here?") from None
    _show(done.stdout, dry_run=dry_run, as_json=as_json)
    for line in done.stderr.splitlines():
        click.echo(escape(line), err=True)
    if done.returncode:
        leave(NO)


def _words(site: Site, slurm_conf: str | None) -> tuple[str, ...]:
    """Return the words of socker's line, with Slurm's configuration where it was named here or is not said there."""
    line = site.line()
    if line is None:
        why = "so it is not known what to sweep; see socker doctor"
        raise CannotTell(f"{site.plugstack} has no line for socker.so, {why}")
    said = any(word.startswith("slurm_conf=") for word in line.words)
    if site.slurm_conf and (slurm_conf or not said):
        return (*line.words, f"slurm_conf={os.path.abspath(site.slurm_conf)}")  # of equal words the last counts
    return line.words


def _show(said: str, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        found = filter(None, map(_CLOSED.fullmatch, said.splitlines()))
        print_json([{"job": int(each[1]), "node": each[2], "removed": not dry_run} for each in found])
        return
    for line in said.splitlines():
        click.echo(escape(line))
