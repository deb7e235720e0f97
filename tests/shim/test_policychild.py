# SPDX-License-Identifier: Apache-2.0
"""policychild.c: socker-policy runs with nothing of root's, and whatever it does, it ends (T32, T35)."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .driver import STAGE, Child, eventually, ffi, lib, refused, runs

ANSWER = 2048
QUESTION = bytes(range(1, 255)) * 8
USER = "nobody"


def ask(verb: str, *, user: str = USER, libdir: Path = STAGE, deadline_ms: int = 10000, cancel: int = -1) -> bytes:
    answer = ffi.new("char[]", ANSWER)
    err = ffi.new("struct socker_error *")
    arguments = (os.fsencode(libdir), user.encode(), verb.encode(), QUESTION, len(QUESTION), answer, ANSWER)
    assert lib.policychild_ask(*arguments, deadline_ms, cancel, err) == 0, bytes(ffi.string(err.text))
    return bytes(ffi.buffer(answer))


def refusal(verb: str, *, user: str = USER, libdir: Path = STAGE, deadline_ms: int = 10000, cancel: int = -1) -> str:
    answer = ffi.new("char[]", b"\xa5" * ANSWER)
    arguments = (os.fsencode(libdir), user.encode(), verb.encode(), QUESTION, len(QUESTION), answer, ANSWER)
    reason = refused(lib.policychild_ask, *arguments, deadline_ms, cancel)
    assert set(bytes(ffi.buffer(answer))[:ANSWER]) == {0xA5}, "the answer was touched"
    return reason


def programs() -> list[int]:
    """The processes that run the fake socker-policy."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "exe").readlink() == STAGE / "socker-policy":
                found.append(int(path.name))
        except OSError:
            continue
    return found


def test_ask_brings_the_question_there_and_the_answer_back() -> None:
    assert ask("echo") == QUESTION[:ANSWER] + b"\0" * (ANSWER - len(QUESTION))


def test_ask_runs_the_program_without_anything_of_roots() -> None:
    os.environ["PYTHONPATH"] = "/tmp"
    leaked = os.open("/", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    seen = dict(line.split(" ", 1) for line in ask("see").rstrip(b"\0").decode().splitlines())
    os.close(leaked)
    del os.environ["PYTHONPATH"]
    account = pwd.getpwnam(USER)
    assert seen == {
        "uid": f"{account.pw_uid} {account.pw_uid} {account.pw_uid}",
        "gid": f"{account.pw_gid} {account.pw_gid} {account.pw_gid}",
        "groups": f"1 {account.pw_gid}",
        "environment": "0",
        "descriptors": "3",
        "core": "0",
        "death": str(int(signal.SIGKILL)),
        "privileges": "1",
        "name": "socker-policy",
        "capabilities": "\t0000000000000000",
    }


@pytest.mark.parametrize("verb", ["short", "long", "silent"])
def test_ask_with_an_answer_of_another_size_is_refused(verb: str) -> None:
    assert refusal(verb) == "the policy engine gave no whole answer; tell your administrator"


def test_ask_of_a_program_that_fails_quotes_its_error_without_control_characters() -> None:
    assert refusal("fail") == (
        r"the policy engine failed on this node (exit 1: no \x1b[31mred\x1b[0m daemon\x07); tell your administrator"
    )


def test_ask_of_a_program_that_fails_silently_tells_its_status() -> None:
    assert refusal("unknown") == "the policy engine failed on this node (exit 1); tell your administrator"


def test_ask_of_a_program_that_fails_with_a_traceback_quotes_the_line_that_names_the_error() -> None:
    assert refusal("traceback") == (
        "the policy engine failed on this node (exit 1: ValueError: bad thing); tell your administrator"
    )


def test_ask_of_a_program_that_fails_with_a_long_line_cuts_it() -> None:
    reason = refusal("babble")
    assert reason.startswith("the policy engine failed on this node (exit 1: xxxx")
    assert reason.endswith("xxx); tell your administrator")
    assert len(reason) < 400


def test_ask_of_a_program_that_crashes_is_refused() -> None:
    assert refusal("crash") == (
        f"the policy engine failed on this node (signal {int(signal.SIGSEGV)}); tell your administrator"
    )


def test_ask_of_a_program_that_hangs_ends_it_at_the_deadline() -> None:
    began = time.monotonic()
    assert refusal("hang", deadline_ms=1100) == (
        "Docker took longer than 1 s on this node and was given up; try again later, or tell your administrator"
    )
    assert 1.1 <= time.monotonic() - began < 5
    assert programs() == []


def test_ask_that_is_cancelled_ends_the_program_at_once() -> None:
    cancel, cancelling = os.pipe()
    os.write(cancelling, b"x")
    assert refusal("hang", cancel=cancel) == "cancelled"
    assert programs() == []
    os.close(cancelling)
    os.close(cancel)


def test_ask_whose_tasks_are_all_gone_is_cancelled() -> None:
    cancel, cancelling = os.pipe()
    os.close(cancelling)
    assert refusal("hang", cancel=cancel) == "cancelled"
    os.close(cancel)


def test_program_dies_with_the_opener() -> None:
    opener = Child(lambda: ask("hang"))
    assert eventually(lambda: bool(programs()))
    (program,) = programs()
    os.kill(opener.pid, signal.SIGKILL)
    assert opener.wait().status == -signal.SIGKILL
    assert eventually(lambda: not runs(program))


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("no-such-user", "the user no-such-user does not exist on this node; tell your administrator"),
        ("", "the user  does not exist on this node; tell your administrator"),
        ("root", "the user root is root; the policy engine does not run as root"),
    ],
)
def test_ask_as_nobody_it_could_run_as_is_refused(user: str, reason: str) -> None:
    assert refusal("echo", user=user) == reason


def other_accounts(trusted: Path, passwd: str, group: str) -> None:
    """Other files of accounts, in this process's own mounts."""
    (trusted / "passwd").write_text(passwd)
    (trusted / "group").write_text(group)
    assert lib.shim_private_mounts() == 0
    for name in ("passwd", "group"):
        assert lib.shim_mount(os.fsencode(trusted / name), f"/etc/{name}".encode(), b"", 4096) == 0


@pytest.mark.parametrize(
    ("passwd", "group", "reason"),
    [
        pytest.param(
            "engine:x:61500:0::/:/bin/false\n",
            "root:x:0:\n",
            "the user engine is root; the policy engine does not run as root",
            id="root's group",
        ),
        pytest.param(
            "engine:x:0:61500::/:/bin/false\n",
            "engine:x:61500:\n",
            "the user engine is root; the policy engine does not run as root",
            id="root by another name",
        ),
        pytest.param(
            "engine:x:61500:61500::/:/bin/false\n",
            "root:x:0:engine\nengine:x:61500:\n",
            "the user engine is in group root",
            id="member of root's group",
        ),
        pytest.param(
            "engine:x:61500:61500::/:/bin/false\n",
            "engine:x:61500:\n" + "".join(f"g{gid}:x:{gid}:engine\n" for gid in range(62000, 62040)),
            "the user engine is in too many groups",
            id="too many groups",
        ),
    ],
)
def test_ask_as_a_user_with_roots_rights_is_refused(trusted: Path, passwd: str, group: str, reason: str) -> None:
    def as_engine() -> str:
        other_accounts(trusted, passwd, group)
        return refusal("echo", user="engine")

    assert Child(as_engine).wait().said == reason


def test_ask_as_a_member_of_dockers_group_keeps_that_group_alone(trusted: Path) -> None:
    def as_engine() -> str:
        other_accounts(trusted, "engine:x:61500:61501::/:/bin/false\n", "docker:x:61502:engine\nother:x:61503:\n")
        return next(line for line in ask("see", user="engine").decode().splitlines() if line.startswith("groups"))

    assert Child(as_engine).wait().said == "groups 2 61501"


def spoil_mode(path: Path) -> None:
    path.chmod(0o775)


def spoil_owner(path: Path) -> None:
    os.chown(path, 61000, 0)


def spoil_link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def spoil_absent(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (spoil_mode, "others than root can write it"),
        (spoil_owner, "belongs to uid 61000, not to root"),
        (spoil_link, "is a symlink"),
        (spoil_absent, "No such file or directory"),
    ],
)
def test_ask_of_a_program_that_is_not_trusted_is_refused(
    trusted: Path, spoil: Callable[[Path], None], why: str
) -> None:
    program = trusted / "socker-policy"
    shutil.copy(STAGE / "socker-policy", program)
    (trusted / "venv" / "lib").mkdir(parents=True)
    spoil(program)
    assert refusal("echo", libdir=trusted) == f"{program}: {why}"


def packages_are_writable(packages: Path) -> None:
    packages.chmod(0o777)


def packages_are_below_a_users_directory(packages: Path) -> None:
    os.chown(packages.parent, 61000, 0)


def packages_are_elsewhere(packages: Path) -> None:
    packages.rename(packages.with_name("real"))
    packages.symlink_to("real")


def packages_are_absent(packages: Path) -> None:
    packages.rmdir()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (packages_are_writable, "others than root can write it"),
        (packages_are_below_a_users_directory, "belongs to uid 61000, not to root"),
        (packages_are_elsewhere, "is a symlink"),
        (packages_are_absent, "No such file or directory"),
    ],
)
def test_ask_of_a_program_whose_python_code_is_not_trusted_is_refused(
    trusted: Path, spoil: Callable[[Path], None], why: str
) -> None:
    shutil.copy(STAGE / "socker-policy", trusted / "socker-policy")
    (trusted / "venv" / "lib").mkdir(parents=True)
    spoil(trusted / "venv" / "lib")
    assert refusal("echo", libdir=trusted) == f"{trusted}/venv/lib: {why}"


@pytest.mark.parametrize("content", [b"#!/bin/sh\nexit 0\n", b"", b"no program"])
def test_ask_of_what_is_no_binary_is_refused(trusted: Path, content: bytes) -> None:
    """A script would be opened again by its name."""
    (trusted / "venv" / "lib").mkdir(parents=True)
    (trusted / "socker-policy").write_bytes(content)
    (trusted / "socker-policy").chmod(0o755)
    reason = "the policy engine failed on this node (exit 126); tell your administrator"
    assert refusal("echo", libdir=trusted) == reason


def test_ask_without_standard_descriptors_is_refused_or_answered_whole() -> None:
    """The opener may be started by a timer with none; the program's descriptors then have the low numbers."""

    def without() -> Any:
        os.closerange(0, 3)
        answer = ffi.new("char[]", ANSWER)
        err = ffi.new("struct socker_error *")
        arguments = (os.fsencode(STAGE), USER.encode(), b"echo", QUESTION, len(QUESTION), answer, ANSWER)
        result = lib.policychild_ask(*arguments, 5000, -1, err)
        return [result, bytes(ffi.buffer(answer)).rstrip(b"\0") == QUESTION, bytes(ffi.string(err.text)).decode()]

    result, whole, reason = Child(without).wait().said
    assert (result, whole, reason) == (0, True, "") or (result == -1 and reason)
