# SPDX-License-Identifier: Apache-2.0
"""steprequest.c: identity comes from SPANK's items, never from the environment; what is not told is a refusal."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .driver import EXTRA_GROUP, GROUP, JOB, NODE, REFERENCE, USER, ffi, in_child, lib, strings

BATCH = 0xFFFFFFFB
KEPT: list[Any] = []
pytestmark = pytest.mark.usefixtures("node_name")


def read() -> Any:
    request = ffi.new("struct socker_request *")
    err = ffi.new("struct socker_error *")
    result = lib.steprequest_read(lib.fake_handle(), True, request, ffi.new("struct task_options *"), err)
    assert (bytes(ffi.string(err.text)).decode(), result) == ("", 0)
    # a part of it does not keep the whole alive
    KEPT.append(request)
    return request


def refusal() -> str:
    err = ffi.new("struct socker_error *")
    request, tasks = ffi.new("struct socker_request *"), ffi.new("struct task_options *")
    assert lib.steprequest_read(lib.fake_handle(), True, request, tasks, err) == -1
    return bytes(ffi.string(err.text)).decode()


def test_request_of_a_step_tells_all_of_it() -> None:
    request = read()
    assert (request.job, request.step, request.uid, request.gid) == (JOB, 3, USER, GROUP)
    assert list(request.groups[0 : request.group_count]) == [GROUP, EXTRA_GROUP]
    assert ffi.string(request.reference) == REFERENCE
    assert ffi.string(request.node) == NODE
    assert os.fsdecode(ffi.string(request.cwd)) == str(Path.cwd())
    assert ffi.string(request.script) == b""


@pytest.mark.parametrize("variable", ["SLURM_JOB_UID", "SLURM_JOB_ID", "SLURM_UID", "USER"])
def test_request_does_not_believe_the_environment(variable: str) -> None:
    lib.fake_env(variable.encode(), b"0")
    request = read()
    assert (request.uid, request.job) == (USER, JOB)


@pytest.mark.parametrize("value", [b"", b"x", b"x" * 600])
def test_step_with_the_variable_of_any_value_wants_a_container(value: bytes) -> None:
    lib.fake_env(b"SLURM_CONTAINER", value)
    assert lib.steprequest_wanted(lib.fake_handle())


def test_step_without_the_variable_wants_none() -> None:
    lib.fake_env(b"SLURM_CONTAINER", ffi.NULL)
    assert not lib.steprequest_wanted(lib.fake_handle())


@pytest.mark.parametrize("error", ["ESPANK_ERROR", "ESPANK_BAD_ARG", "ESPANK_NOT_REMOTE"])
def test_step_whose_environment_cannot_be_read_wants_a_container(error: str) -> None:
    """Fail closed: it may have asked for one."""
    lib.fake_env_error(getattr(lib, error))
    assert lib.steprequest_wanted(lib.fake_handle())
    assert refusal() == f"--container: unreadable: {ffi.string(lib.spank_strerror(getattr(lib, error))).decode()}"


def test_request_of_a_step_that_wants_none_has_no_reference_and_no_options() -> None:
    """Whether a container is required is asked all the same."""
    lib.fake_env(b"SLURM_SOCKER_OPTIONS", b"root=ro")
    request, tasks = ffi.new("struct socker_request *"), ffi.new("struct task_options *", {"workdir": b"/left"})
    err = ffi.new("struct socker_error *")
    assert lib.steprequest_read(lib.fake_handle(), False, request, tasks, err) == 0
    assert (ffi.string(request.reference), ffi.string(request.options), ffi.string(tasks.workdir)) == (b"", b"", b"")
    assert (request.job, request.uid, ffi.string(request.node)) == (JOB, USER, NODE)


def test_step_with_a_handle_that_is_none_wants_a_container() -> None:
    assert lib.steprequest_wanted(lib.fake_stale_handle())


def test_request_with_an_empty_reference_is_refused() -> None:
    lib.fake_env(b"SLURM_CONTAINER", b"")
    assert refusal() == "--container: empty; give an image reference such as debian:bookworm"


@pytest.mark.parametrize(("length", "fits"), [(511, True), (512, False), (1000, False)])
def test_request_with_a_reference_of_any_length_is_whole_or_refused(length: int, *, fits: bool) -> None:
    lib.fake_env(b"SLURM_CONTAINER", b"x" * length)
    if fits:
        assert len(ffi.string(read().reference)) == length
    else:
        assert refusal() == "--container: the image reference is longer than 511 bytes"


@pytest.mark.parametrize("item", ["S_JOB_ID", "S_JOB_STEPID", "S_JOB_UID", "S_JOB_GID"])
def test_request_of_a_step_whose_identity_is_not_told_is_refused(item: str) -> None:
    lib.fake_item_error(getattr(lib, item), lib.ESPANK_ERROR)
    assert refusal() == "Slurm does not tell whose job this is"


def test_request_of_a_step_whose_groups_are_not_told_is_refused() -> None:
    lib.fake_item_error(lib.S_JOB_SUPPLEMENTARY_GIDS, lib.ESPANK_ERROR)
    assert refusal() == "Slurm does not tell the job's groups"


def test_request_of_a_step_with_a_negative_number_of_groups_is_refused() -> None:
    lib.fake_groups([1], -1)
    assert refusal() == "Slurm does not tell the job's groups"


@pytest.mark.parametrize(("count", "fits"), [(0, True), (1024, True), (1025, False)])
def test_request_of_a_user_in_many_groups_has_all_or_is_refused(count: int, *, fits: bool) -> None:
    groups = list(range(70000, 70000 + count))
    lib.fake_groups(groups, count)
    if fits:
        request = read()
        assert list(request.groups[0 : request.group_count]) == groups
    else:
        assert refusal() == "the user is in 1025 groups; at most 1024 can be kept in a container"


@pytest.mark.parametrize("item", ["S_JOB_UID", "S_JOB_GID"])
def test_request_of_root_is_refused(item: str) -> None:
    lib.fake_item(getattr(lib, item), 0)
    assert refusal() == "containers do not run as root; submit the job as a normal user"


@pytest.mark.parametrize("node", [None, "", "../up", "a/b", "n" * 256, "n\n"])
def test_request_on_a_node_without_a_plain_name_is_refused(monkeypatch: pytest.MonkeyPatch, node: str | None) -> None:
    if node is None:
        monkeypatch.delenv("SLURMD_NODENAME")
    else:
        monkeypatch.setenv("SLURMD_NODENAME", node)
    if node == "n" * 256:
        # cut to what fits: still one plain component, and the same for every step of the node
        assert len(ffi.string(read().node)) == 255
    else:
        assert refusal() == "no usable node name in SLURMD_NODENAME"


def test_request_of_a_batch_step_has_its_script() -> None:
    words, _kept = strings(["/var/spool/slurmd/job4711/slurm_script", "argument"])
    lib.fake_item(lib.S_JOB_STEPID, BATCH)
    lib.fake_argv(2, words)
    assert ffi.string(read().script) == b"/var/spool/slurmd/job4711/slurm_script"


def no_argv() -> None:
    lib.fake_argv(0, ffi.NULL)


def argv_fails() -> None:
    lib.fake_item_error(lib.S_JOB_ARGV, lib.ESPANK_ERROR)


def long_argv() -> None:
    words, _kept = strings(["/" + "s" * 4095])
    lib.fake_argv(1, words)


@pytest.mark.parametrize("spoil", [no_argv, argv_fails, long_argv])
def test_request_of_a_batch_step_without_a_script_is_refused(spoil: Callable[[], None]) -> None:
    lib.fake_item(lib.S_JOB_STEPID, BATCH)
    spoil()
    assert refusal() == "Slurm does not tell where the batch script is"


def test_request_of_another_step_does_not_take_its_command_for_a_script() -> None:
    words, _kept = strings(["/bin/true"])
    lib.fake_argv(1, words)
    assert ffi.string(read().script) == b""


def test_request_from_a_directory_that_was_removed_has_none(trusted: Path) -> None:
    def from_removed() -> str:
        (trusted / "gone").mkdir()
        os.chdir(trusted / "gone")
        (trusted / "gone").rmdir()
        return bytes(ffi.string(read().cwd)).decode()

    assert in_child(from_removed) == ""


def test_request_from_a_directory_with_too_long_a_path_has_none(trusted: Path) -> None:
    def from_deep() -> str:
        os.chdir(trusted)
        for _ in range(20):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
        return bytes(ffi.string(read().cwd)).decode()

    assert in_child(from_deep) == ""
