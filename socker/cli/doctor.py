# SPDX-License-Identifier: Apache-2.0
"""socker doctor: is this host set up as socker needs it?"""

from __future__ import annotations

import click

from socker import __version__
from socker.cli.app import NO, leave
from socker.cli.show import json_option, print_json
from socker.cli.site import slurm_conf_option
from socker.text import escape

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@slurm_conf_option
@json_option
def doctor(*, slurm_conf: str | None, as_json: bool) -> None:
    """
    Check the installation on this host: a line each, ok, warn or fail, with what to do.

    Run it as root on a compute node. Nothing is changed.

    Exit codes: 0 nothing fails, 1 something does.

    Example: socker doctor
    """
    from socker.cli.diagnosis import diagnose  # noqa: PLC0415 - the docker SDK is 100 ms
    from socker.cli.facts import gather  # noqa: PLC0415

    findings = diagnose(gather(slurm_conf))
    if as_json:
        lines = [{name: getattr(each, name) for name in ("status", "what", "found", "todo")} for each in findings]
        print_json({"version": __version__, "findings": lines})
    else:
        click.echo(f"socker {__version__}")
        for each in findings:
            todo = f"; {each.todo}" if each.todo else ""
            click.echo(
                f"{click.style(f'{each.status:4}', fg=_COLOURS[each.status])}  {each.what}: {escape(each.found + todo)}"
            )
    if any(each.status == "fail" for each in findings):
        leave(NO)
