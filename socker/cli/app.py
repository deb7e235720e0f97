# SPDX-License-Identifier: Apache-2.0
"""The command's frame: verbs that are imported when they are asked for, exit codes, one line for each failure."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

import click

from socker import __version__
from socker.errors import SockerError
from socker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

# Exit codes, which socker(1) documents.
YES = 0  # done; allowed; valid; nothing fails
NO = 1  # denied; not valid; something fails; a sweep left something
USAGE = 2  # click's own
FAILED = 3  # it could not be found out or done; the line on stderr says why
INTERRUPTED = 130

MAX_LINE = 2000  # bytes of a failure's line

_VERBS = {
    "check": "socker.cli.check:check",
    "doctor": "socker.cli.doctor:doctor",
    "explain": "socker.cli.explain:explain",
    "images": "socker.cli.images:images",
    "ps": "socker.cli.ps:ps",
    "report": "socker.cli.report:report",
    "sweep": "socker.cli.sweep:sweep",
}


class CannotTell(SockerError):
    """The command cannot do what was asked; the text is its line."""


class _Verbs(click.Group):
    """A group whose verbs are imported one by one: each pays for its own imports only."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Return the verbs' names."""
        return list(_VERBS)

    def get_command(self, _context: click.Context, cmd_name: str) -> click.Command | None:
        """Return a verb, None where there is none of that name."""
        if cmd_name not in _VERBS:
            return None
        module, _, name = _VERBS[cmd_name].partition(":")
        found = getattr(importlib.import_module(module), name)
        assert isinstance(found, click.Command)  # noqa: S101 - the table above is ours
        return found


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--verbose", is_flag=True, help="Tell on stderr what is read and asked.")
@click.version_option(__version__, prog_name="socker")
@click.pass_context
def cli(context: click.Context, *, verbose: bool) -> None:
    """
    Administer socker: Slurm steps in Docker containers.

    Exit codes: 0 done, allowed or valid; 1 denied, not valid or failing; 2 wrong usage; 3 it could not be done or
    found out, and the line on stderr says why.

    Example: socker explain --user alice --image debian:12
    """
    context.obj = verbose


def tell(text: str) -> None:
    """Say a line on stderr where --verbose was given."""
    context = click.get_current_context(silent=True)
    if context is not None and context.find_root().obj is True:
        click.echo(f"socker: {text}", err=True)


def require_root(what: str) -> None:
    """Raise CannotTell unless root runs the command."""
    if os.geteuid() != 0:
        raise CannotTell(f"only root may {what}; run it as root")


def leave(code: int) -> NoReturn:
    """End the verb with an exit code."""
    raise click.exceptions.Exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code. Whatever happens is one line on stderr, never a traceback."""
    return _guarded(lambda: cli.main(arguments, prog_name="socker", standalone_mode=False))


def _guarded(call: Callable[[], object]) -> int:
    try:
        code = call()
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):
        if "_SOCKER_COMPLETE" in os.environ:
            raise
        # whoever read has read enough (click ends the process then); what Python would say at its end goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return YES
    except Exception as error:
        if "--verbose" in sys.argv and not isinstance(error, SockerError):
            raise
        click.echo(f"socker: {one_line(_line(error), MAX_LINE)}", err=True)
        return FAILED
    return code if isinstance(code, int) else YES


def _line(error: Exception) -> str:
    if isinstance(error, SockerError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'input or output'}: {(error.strerror or str(error)).lower()}"
    return f"internal error ({type(error).__name__}); socker --verbose shows where"
