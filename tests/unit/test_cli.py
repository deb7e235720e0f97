# SPDX-License-Identifier: Apache-2.0
"""The command's frame: verbs, help, exit codes, one line for each failure; and the manual, which must say the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from socker import __version__
from socker.cli import app, show
from socker.cli.app import FAILED, INTERRUPTED, USAGE, YES, cli, run
from socker.errors import EngineUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
MANUAL = (REPOSITORY / "docs/socker.md").read_text()


def verbs() -> Iterator[tuple[str, click.Command]]:
    """Yield every verb by its words, groups and what is in them."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {below}", one) for below, one in command.commands.items())


VERBS = dict(verbs())


def section(words: str) -> str:
    """The manual's section of a verb."""
    heads = {"images": "images [list]", "images list": "images [list]", "check": "check [FILE]"}
    found = re.search(rf"(?ms)^### socker {re.escape(heads.get(words, words))}$(.*?)^##", MANUAL)
    assert found, f"the manual has no section for {words}"
    return found[1]


def flags(command: click.Command) -> set[str]:
    return {flag for option in command.params if isinstance(option, click.Option) for flag in option.opts}


@pytest.mark.parametrize("words", VERBS)
def test_help_of_a_verb_has_an_example(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words.split(), "--help"]) == YES
    said = capsys.readouterr().out
    assert re.search(rf"Example: socker {words}\b", said)


@pytest.mark.parametrize("words", VERBS)
def test_the_manual_has_the_options_of_a_verb_and_no_others(words: str) -> None:
    told = set(re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", "".join(re.findall(r"(?m)^\|[^|]*\|", section(words)))))
    assert told == flags(VERBS[words])


@pytest.mark.parametrize("words", VERBS)
def test_the_manual_has_an_example_of_a_verb(words: str) -> None:
    assert re.search(rf"(?m)^    socker {words.split(maxsplit=1)[0]}\b", section(words))


def test_the_manual_has_no_section_of_a_verb_that_is_not_there() -> None:
    assert {words.partition(" [")[0] for words in re.findall(r"(?m)^### socker (.*)$", MANUAL)} <= set(VERBS)


def test_exit_codes_are_in_the_manual_and_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    codes = {"YES": 0, "NO": 1, "USAGE": 2, "FAILED": 3, "INTERRUPTED": 130}
    assert {name: getattr(app, name) for name in codes} == codes
    assert all(re.search(rf"(?m)^\| {code} \| ", MANUAL) for code in codes.values())
    assert all(f"{code} " in said for code in (0, 1, 2, 3))


@pytest.mark.parametrize("page", ["socker.1", "socker-policy.5", "socker-images.5"])
def test_each_man_page_is_made_without_a_warning(page: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "docs/manpages.py"), str(tmp_path), page],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    made = (tmp_path / page).read_text()
    name, _, number = page.partition(".")
    assert re.search(rf'(?m)^\.TH "{name}" "?{number}"? ""? ?"{re.escape(__version__)}"', made), made[:2000]
    assert f"\n.SH Name\n{name} \\- " in made
    assert made.count("\n.SH ") > 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == YES
    assert capsys.readouterr().out == f"socker, version {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nosuch"], "No such command 'nosuch'"),
        (["images", "--nosuch"], "No such option"),
        (["images", "--format", "xml"], "'xml' is not one of 'table', 'json', 'names'"),
        (["check", "/nosuch"], "File '/nosuch' does not exist"),
        (["report", "--since", "yesterday"], "'yesterday' is no time"),
    ],
)
def test_wrong_usage_is_told_with_its_own_code(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == USAGE
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (EngineUnreachable("nobody is there"), FAILED, "socker: nobody is there\n"),
        (PermissionError(13, "Permission denied", "/etc/x"), FAILED, "socker: /etc/x: permission denied\n"),
        (RuntimeError("what"), FAILED, "socker: internal error (RuntimeError); socker --verbose shows where\n"),
        (KeyboardInterrupt(), INTERRUPTED, "\n"),
        (click.Abort(), INTERRUPTED, ""),
    ],
)
def test_a_failure_is_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_ignored: object, **_too: object) -> None:
        raise error

    monkeypatch.setattr("socker.cli.images.load", fail)
    assert run(["images"]) == code
    assert capsys.readouterr() == ("", line)


def test_verbose_shows_where_a_mistake_of_ours_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_path: str) -> None:
        raise RuntimeError("what")

    monkeypatch.setattr("socker.cli.images.load", fail)
    monkeypatch.setattr(sys, "argv", ["socker", "--verbose", "images"])
    with pytest.raises(RuntimeError, match="what"):
        run(["--verbose", "images"])


def test_a_reader_that_has_read_enough_is_no_error() -> None:
    code = (
        "import sys; from socker.cli import app, images; "
        "images._print = lambda *a, **k: sys.stdout.write('x' * 1000000); sys.exit(app.run(['images']))"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", f'{{ {sys.executable} -c "$0"; echo $? >&2; }} | true', code],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    assert done.stderr == "0\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_comes_from_the_command(shell: str) -> None:
    words = {"bash": {"COMP_WORDS": "socker ", "COMP_CWORD": "1"}, "zsh": {"COMP_WORDS": "socker ", "COMP_CWORD": "1"}}
    asked = words.get(shell, {"COMP_WORDS": "socker ", "COMP_CWORD": ""})
    argv = [sys.executable, "-m", "socker.cli"]
    for what, expected in (("source", "_SOCKER_COMPLETE"), ("complete", "explain")):
        done = subprocess.run(
            argv,
            env={"PATH": os.environ["PATH"], "_SOCKER_COMPLETE": f"{shell}_{what}", **asked},
            capture_output=True,
            text=True,
            check=True,
            cwd=REPOSITORY,
        )
        assert expected in done.stdout


# Tables


def test_columns_are_padded_and_what_could_move_the_cursor_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    show.print_table(("A", "B"), [("x", "one"), ("yyyy", "\x1b[2Jtwo\n"), ("", "")])
    assert capsys.readouterr().out == "A     B\nx     one\nyyyy  \\x1b[2Jtwo\\x0a\n\n"


def test_a_terminal_gets_a_table_without_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    show.print_table(("A", "B"), [("[red]x[/red]", "one")])
    said = capsys.readouterr().out
    assert "[red]x[/red]" in said
    assert len(said.splitlines()) > 2
