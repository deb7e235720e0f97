# SPDX-License-Identifier: Apache-2.0
"""saving.c, and what step.c does when the tasks of a step that saves have ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from .driver import Child, done, ffi, in_child, lib, messages, new_request, refused, strings
from .test_plan import Draft

NAME = b"docker.io/site/tool:1"
BUSY = "another step on this node saves its container as docker.io/site/tool:1; give another name"


@pytest.fixture
def state(trusted: Path) -> Path:
    return trusted / "state"


def opened(state: Path) -> int:
    return done(lib.saving_open, os.fsencode(state))


def locked(fd: int, state: Path, name: bytes = NAME) -> bool:
    return bool(lib.saving_lock(fd, os.fsencode(state), name, ffi.new("struct socker_error *")) == 0)


def test_the_file_is_roots_and_ends_with_an_exec(state: Path) -> None:
    fd = opened(state)
    status = os.fstat(fd)
    assert (status.st_uid, status.st_mode & 0o7777, os.get_inheritable(fd)) == (0, 0o600, False)
    os.close(fd)


def test_a_name_is_one_steps_until_its_last_descriptor_is_closed(state: Path) -> None:
    one, other = opened(state), opened(state)
    kept = os.dup(one)
    done(lib.saving_lock, one, os.fsencode(state), NAME)
    assert refused(lib.saving_lock, other, os.fsencode(state), NAME) == BUSY
    assert locked(other, state, b"docker.io/site/tool:2")
    os.close(one)
    assert not locked(other, state)
    os.close(kept)
    assert locked(other, state)
    os.close(other)


def test_an_opener_locks_for_the_step_that_it_serves(state: Path) -> None:
    """The lock is the open file's: what a child sets is its parent's, and stays when the child has gone."""
    one, other = opened(state), opened(state)
    in_child(lambda: done(lib.saving_lock, one, os.fsencode(state), NAME))
    assert not locked(other, state)
    os.close(one)
    assert locked(other, state)
    os.close(other)


def test_a_step_that_was_killed_leaves_no_lock(state: Path) -> None:
    other = opened(state)
    ready, told = os.pipe()

    def hold() -> None:
        done(lib.saving_lock, opened(state), os.fsencode(state), NAME)
        os.write(told, b"x")
        signal.pause()

    child = Child(hold)
    os.read(ready, 1)
    assert not locked(other, state)
    child.kill()
    assert locked(other, state)
    for fd in (ready, told, other):
        os.close(fd)


def test_another_file_is_not_locked(state: Path, trusted: Path) -> None:
    """What an opener that was given none has by the number; a lock of it would keep nobody away."""
    os.close(opened(state))
    why = "the opener cannot lock the image docker.io/site/tool:1; the plugin is of another version"
    (trusted / "saving").touch()
    for path in ("/dev/null", str(trusted / "saving"), str(trusted)):
        fd = os.open(path, os.O_RDONLY)
        assert refused(lib.saving_lock, fd, os.fsencode(state), NAME) == why
        os.close(fd)
    assert refused(lib.saving_lock, 99, os.fsencode(state), NAME) == why


def test_a_state_directory_of_others_is_refused(trusted: Path) -> None:
    (trusted / "state").mkdir()
    (trusted / "state").chmod(0o777)
    assert "others" in refused(lib.saving_open, os.fsencode(trusted / "state"))


@pytest.mark.parametrize(
    ("options", "saves"),
    [(b"", False), (b"save=x/y:1\n", True), (b"gpus=yes\nsave=x/y:1", True), (b"mounts=/save=\n", False)],
)
def test_a_request_saves_where_its_options_say_so(options: bytes, saves: bool) -> None:
    assert lib.request_saves(new_request(options=options)) is saves


# The plan


def check(save: bytes, options: bytes = b"save=tool\n") -> str:
    draft = Draft()
    draft.plan.save = draft.text(save)
    err = ffi.new("struct socker_error *")
    result = lib.plan_check(draft.plan, new_request(nonce=draft.plan.nonce, options=options), err)
    assert (result == 0) is not bool(ffi.string(err.text))
    return bytes(ffi.string(err.text)).decode()


def test_a_plan_saves_what_was_asked_for() -> None:
    assert check(NAME) == ""
    assert check(b"localhost:5000/a/b_c.d-e:V1.0_") == ""


@pytest.mark.parametrize(
    ("save", "options"),
    [
        (NAME, b""),
        (NAME, b"mounts=/a\n"),
        (b"", b"save=tool\n"),
        (b"tool", b"save=tool\n"),
        (b"docker.io/site/tool:1\x1b", b"save=tool\n"),
        (b"docker.io/site/tool 1:1", b"save=tool\n"),
        (b"docker.io/" + b"x" * 600 + b":1", b"save=tool\n"),
    ],
)
def test_a_plan_that_saves_anything_else_is_refused(save: bytes, options: bytes) -> None:
    assert check(save, options) == "the plan's image to save is malformed or was not asked for"


def test_a_plan_whose_name_lies_outside_is_refused() -> None:
    draft = Draft(save=0x7FFFFFFF)
    reason = refused(lib.plan_check, draft.plan, new_request(nonce=draft.plan.nonce, options=b"save=tool\n"))
    assert reason == "the plan's image to save is malformed or was not asked for"


# The step


def ended(state: Path, opening: str, saving: str, *statuses: int, tasks: int | None = None) -> None:
    """A step whose opener does one thing and whose saving does another, when its tasks have ended so."""
    lib.fake_env(b"SLURM_CONTAINER", b"debian")
    lib.fake_env(b"SLURM_SOCKER_OPTIONS", b"save=site/tool:1\n")
    lib.fake_item(lib.S_JOB_LOCAL_TASK_COUNT, len(statuses) if tasks is None else tasks)

    def stepd() -> None:
        kept = []
        for name, behaviour in (("user_init", opening), *(("task_exit", saving) for _ in statuses)):
            argv, words = strings((f"state={state}", "save_deadline=1", f"policy=/fake/{behaviour}"))
            kept.append((argv, words))
            if name == "task_exit":
                lib.fake_item(lib.S_TASK_EXIT_STATUS, statuses[len(kept) - 2])
            assert getattr(lib, f"slurm_spank_{name}")(lib.fake_handle(), 3, argv) == 0
            if name == "user_init":
                # a task waits for the opener
                Child(lambda: lib.slurm_spank_task_init_privileged(lib.fake_handle(), 0, ffi.NULL)).wait()

    in_child(stepd)


pytestmark = pytest.mark.usefixtures("node_name")


def test_a_step_is_saved_when_the_last_of_its_tasks_has_ended(state: Path) -> None:
    ended(state, "grant", "grant", 0, 3 << 8)
    assert messages() == []


@pytest.mark.parametrize(
    ("saving", "why"),
    [
        ("refuse/no space", "no space"),
        ("speechless", "refused without a reason"),
        ("short", "saving the container was interrupted"),
        ("fail", "saving the container was interrupted"),
    ],
)
def test_a_step_that_cannot_be_saved_says_why_once(state: Path, saving: str, why: str) -> None:
    ended(state, "grant", saving, 0, 0, 0)
    assert messages() == [f"error: socker: the container is not saved: {why}"]


def test_a_step_whose_tasks_are_not_all_over_is_not_saved_yet(state: Path) -> None:
    ended(state, "grant", "refuse/x", 0, 0, tasks=3)
    assert messages() == []


@pytest.mark.parametrize("statuses", [(15,), (9, 0), (0, 15)])
def test_a_step_with_a_task_that_a_signal_ended_is_not_saved(state: Path, statuses: tuple[int, ...]) -> None:
    ended(state, "grant", "refuse/asked all the same", *statuses)
    number = max(statuses)
    line = f"error: socker: the container is not saved: a task of this step was ended by signal {number}"
    assert messages() == [line]


def test_a_step_that_was_refused_has_nothing_to_save(state: Path) -> None:
    ended(state, "refuse/no", "refuse/x", 1 << 8)
    assert messages() == []


def test_a_step_on_several_nodes_is_refused() -> None:
    lib.fake_env(b"SLURM_SOCKER_OPTIONS", b"save=site/tool:1\n")
    lib.fake_item(lib.S_JOB_NNODES, 2)
    assert refusal() == "--container-save: this step runs on 2 nodes, and one container is saved; run it with --nodes=1"


def test_a_step_whose_nodes_are_not_told_is_refused() -> None:
    lib.fake_env(b"SLURM_SOCKER_OPTIONS", b"save=site/tool:1\n")
    lib.fake_item_error(lib.S_JOB_NNODES, lib.ESPANK_ERROR)
    assert refusal() == "Slurm does not tell on how many nodes this step runs"


def refusal() -> str:
    lib.fake_env(b"SLURM_CONTAINER", b"debian")
    request, tasks = ffi.new("struct socker_request *"), ffi.new("struct task_options *")
    err: Any = ffi.new("struct socker_error *")
    assert lib.steprequest_read(lib.fake_handle(), True, request, tasks, err) == -1
    return bytes(ffi.string(err.text)).decode()
