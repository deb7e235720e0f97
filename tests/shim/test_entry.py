# SPDX-License-Identifier: Apache-2.0
"""entry.c, the program: the image's entry point runs with the command behind it, as if Slurm had executed it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from .driver import ENTRY, lib

PATH = "/usr/local/bin:/usr/bin:/bin"
UNASKED = b"socker: /.socker/entry is run by --container-entrypoint only\n"


def run(
    words: list[str], *arguments: str, command: str | None = "cmd", more: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Runs the program as step.c has Slurm run it."""
    environment = {f"SOCKER_ENTRY_{index}": word for index, word in enumerate(words)}
    environment |= {"PATH": PATH, "SOCKER_ENTRY": str(len(words))}
    if command is not None:
        environment["SOCKER_ENTRY_COMMAND"] = command
    argv = ["/.socker/entry", *arguments]
    return subprocess.run(
        argv, executable=ENTRY, env=environment | (more or {}), capture_output=True, check=False, timeout=20
    )


def test_entry_point_gets_the_command_and_its_arguments_behind_its_own() -> None:
    ended = run(["/usr/bin/printf", "<%s>", "own"], "a", "", "b c", command="cmd")
    assert (ended.stdout, ended.stderr, ended.returncode) == (b"<own><cmd><a><><b c>", b"", 0)


def test_entry_point_without_arguments_of_the_command_gets_the_command() -> None:
    assert run(["/usr/bin/printf", "<%s>"], command="").stdout == b"<>"


def test_entry_point_may_have_empty_words_and_as_many_as_a_plan() -> None:
    most = int(lib.SOCKER_ENTRY_MAX)
    words = ["/usr/bin/printf", "<%s>", *([""] * (most - 2))]
    assert run(words).stdout == b"<>" * (most - 2) + b"<cmd>"


def test_entry_point_is_looked_up_in_the_path(tmp_path: Path) -> None:
    program = tmp_path / "greet"
    program.write_text("#!/bin/sh\necho hello $1\n")
    program.chmod(0o755)
    assert run(["greet"], more={"PATH": f"{tmp_path}:{PATH}"}).stdout == b"hello cmd\n"


def test_entry_point_does_not_see_how_it_was_told() -> None:
    ended = run(["/usr/bin/env", "-u", "GONE"], command="env", more={"KEPT": "a=b", "SOCKER_ENTRY_9": "users own"})
    assert ended.stdout.decode().splitlines() == [f"PATH={PATH}", "KEPT=a=b", "SOCKER_ENTRY_9=users own"]


@pytest.mark.parametrize("status", [0, 1, 7, 255])
def test_entry_points_exit_code_is_the_tasks(status: int) -> None:
    assert run(["/bin/sh", "-c", f"exit {status}"]).returncode == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
def test_entry_points_signal_is_the_tasks(number: signal.Signals) -> None:
    """It is the task's process itself: what Slurm sends, it gets."""
    assert run(["/bin/sh", "-c", f"kill -{int(number)} $$"]).returncode == -number


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        ("absent", "No such file or directory"),
        ("plain", "Permission denied"),
        ("directory", "Permission denied"),
        ("interpreter", "No such file or directory"),
    ],
)
def test_entry_point_that_cannot_be_executed_is_told_with_slurms_exit_code(
    tmp_path: Path, make: str, cause: str
) -> None:
    program = tmp_path / "program"
    if make == "directory":
        program.mkdir()
    elif make != "absent":
        program.write_text("#!/absent/interpreter\n")
        program.chmod(0o644 if make == "plain" else 0o755)
    ended = run([str(program)])
    expected = f"socker: the image's ENTRYPOINT {program} cannot be executed: {cause}\n"
    assert ended.stderr.decode() == expected
    assert (ended.stdout, os.strerror(ended.returncode)) == (b"", cause)


def test_entry_point_that_is_not_in_the_path_is_told() -> None:
    ended = run(["no-such-program"])
    assert (
        ended.stderr
        == b"socker: the image's ENTRYPOINT no-such-program cannot be executed: No such file or directory\n"
    )
    assert ended.returncode == 2


def test_entry_point_that_cannot_be_executed_fails_without_standard_error() -> None:
    environment = {"SOCKER_ENTRY": "1", "SOCKER_ENTRY_0": "/absent", "SOCKER_ENTRY_COMMAND": "cmd"}
    pid = os.fork()
    if pid == 0:
        os.close(2)
        os.execve(ENTRY, ["entry"], environment)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2


@pytest.mark.parametrize("count", ["", "0", "-1", "x", "33", "2", "2147483647", "4294967297", "99999999999999999999"])
def test_entry_point_with_a_count_that_is_none_of_its_words_is_refused(count: str) -> None:
    ended = run(["/bin/true"], more={"SOCKER_ENTRY": count})
    assert (ended.stdout, ended.stderr, ended.returncode) == (b"", UNASKED, 1)


def test_entry_point_without_its_words_is_refused() -> None:
    for ended in (
        run(["/bin/true"], command=None),
        run([], more={"SOCKER_ENTRY": "1"}),
        subprocess.run([ENTRY, "/bin/true"], env={}, capture_output=True, check=False, timeout=20),
    ):
        assert (ended.stdout, ended.stderr, ended.returncode) == (b"", UNASKED, 1)
