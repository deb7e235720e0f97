# SPDX-License-Identifier: Apache-2.0
"""confine.c: what a task gives up, in order, read back by the test from /proc (T07, T08, T09)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .driver import (
    EXTRA_GROUP,
    GROUP,
    USER,
    Container,
    become_user,
    done,
    in_child,
    lib,
    new_request,
    process_status,
    refused,
)

PR_SET_DUMPABLE, PR_GET_DUMPABLE, PR_SET_KEEPCAPS, PR_GET_KEEPCAPS, PR_SET_NO_NEW_PRIVS = 4, 3, 8, 7, 38
CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
NEEDED = 1 << 21 | 1 << 18 | 1 << 8  # SYS_ADMIN, SYS_CHROOT, SETPCAP
NOTHING = "0" * 16


@pytest.fixture
def record(container: Container) -> Any:
    return container.record()


def as_task(record: Any, attr: int = -1) -> None:
    """All that a task does, in order, but for the join itself."""
    done(lib.confine_keep)
    become_user()
    done(lib.confine_narrow)
    done(lib.confine_drop, record, attr)


def test_confined_task_has_no_capability_in_any_set(record: Any) -> None:
    def task() -> dict[str, str]:
        as_task(record)
        done(lib.confine_verify, new_request())
        return process_status()

    status = in_child(task)
    assert {name: status[name] for name in CAPABILITY_SETS} == dict.fromkeys(CAPABILITY_SETS, NOTHING)
    assert (status["NoNewPrivs"], status["Seccomp"], status["Seccomp_filters"]) == ("1", "2", "2")
    assert status["Uid"].split() == [str(USER)] * 4
    assert status["Gid"].split() == [str(GROUP)] * 4
    assert status["Groups"].split() == [str(GROUP), str(EXTRA_GROUP)]


def test_keep_leaves_the_permitted_set_over_the_change_of_ids() -> None:
    def task() -> tuple[int, str, str]:
        done(lib.confine_keep)
        dumpable = lib.shim_prctl(PR_GET_DUMPABLE, 0, 0)
        become_user()
        status = process_status()
        return dumpable, status["CapPrm"], status["CapEff"]

    dumpable, permitted, effective = in_child(task)
    assert dumpable == 0
    assert int(permitted, 16) & NEEDED == NEEDED
    assert int(effective, 16) == 0


def test_narrow_keeps_three_capabilities_and_nobody_may_trace() -> None:
    def task() -> tuple[dict[str, str], int]:
        done(lib.confine_keep)
        become_user()
        # slurmstepd does that on its way
        lib.shim_prctl(PR_SET_DUMPABLE, 1, 0)
        done(lib.confine_narrow)
        return process_status(), lib.shim_prctl(PR_GET_DUMPABLE, 0, 0)

    # /proc/self of an undumpable process belongs to root; its status can be read by all
    status, dumpable = in_child(task)
    assert dumpable == 0
    assert [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [0, NEEDED, NEEDED, 0]


def test_narrow_without_kept_capabilities_is_refused() -> None:
    def task() -> str:
        become_user()
        return refused(lib.confine_narrow)

    assert in_child(task) == "the capabilities for the join were lost: Operation not permitted"


def test_drop_without_the_right_to_empty_the_bounding_set_is_refused(record: Any) -> None:
    def task() -> str:
        become_user()
        return refused(lib.confine_drop, record, -1)

    assert in_child(task) == "the bounding set cannot be emptied: Operation not permitted"


def test_drop_ends_keepcaps(record: Any) -> None:
    def task() -> int:
        as_task(record)
        return int(lib.shim_prctl(PR_GET_KEEPCAPS, 0, 0))

    assert in_child(task) == 0


def test_drop_of_a_container_with_a_profile_writes_it_for_the_next_exec(record: Any) -> None:
    record.label = b"docker-default"

    def task() -> str:
        attr, write = os.pipe()
        as_task(record, write)
        return os.read(attr, 100).decode()

    assert in_child(task) == "exec docker-default"


@pytest.mark.parametrize("attr", ["absent", "closed to it"])
def test_drop_of_a_container_whose_profile_cannot_be_had_is_refused(record: Any, attr: str) -> None:
    record.label = b"docker-default"

    def task() -> str:
        fd = -1 if attr == "absent" else os.open("/dev/full", os.O_WRONLY)
        done(lib.confine_keep)
        become_user()
        done(lib.confine_narrow)
        return refused(lib.confine_drop, record, fd)

    assert in_child(task).startswith("the AppArmor profile docker-default of the container cannot be taken on: ")


# confine_verify: each part missing once


def without_user() -> None:
    pass


def with_saved_root() -> None:
    os.setgroups([GROUP, EXTRA_GROUP])
    os.setresgid(GROUP, GROUP, GROUP)
    os.setresuid(USER, USER, 0)


def with_saved_group() -> None:
    os.setgroups([GROUP, EXTRA_GROUP])
    os.setresgid(GROUP, GROUP, 0)
    os.setresuid(USER, USER, USER)


@pytest.mark.parametrize("become", [without_user, with_saved_root, with_saved_group])
def test_verify_of_a_task_with_other_ids_is_refused(become: Callable[[], None]) -> None:
    def task() -> str:
        become()
        return refused(lib.confine_verify, new_request())

    assert in_child(task) == "the task is not the user"


@pytest.mark.parametrize(
    "groups",
    [
        pytest.param((), id="none"),
        pytest.param((GROUP,), id="one less"),
        pytest.param((GROUP, EXTRA_GROUP, 4), id="one more"),
        pytest.param((GROUP, 4), id="another"),
        pytest.param((0, GROUP), id="root's"),
    ],
)
def test_verify_of_a_task_with_other_groups_is_refused(groups: tuple[int, ...]) -> None:
    def task() -> str:
        become_user(groups=groups)
        return refused(lib.confine_verify, new_request())

    assert in_child(task) == "the task has other groups than the job"


def test_verify_of_a_task_with_another_group_where_the_job_has_one_twice_is_refused(record: Any) -> None:
    def task() -> None:
        done(lib.confine_keep)
        become_user(groups=(GROUP, 4))
        done(lib.confine_narrow)
        done(lib.confine_drop, record, -1)
        assert (
            refused(lib.confine_verify, new_request(groups=[GROUP, GROUP])) == "the task has other groups than the job"
        )

    in_child(task)


def test_verify_of_a_task_with_the_jobs_groups_in_another_order_accepts(record: Any) -> None:
    def task() -> None:
        as_task(record)
        done(lib.confine_verify, new_request(groups=[EXTRA_GROUP, GROUP]))

    in_child(task)


def keeps_capabilities(_record: Any) -> None:
    done(lib.confine_keep)
    become_user()
    done(lib.confine_narrow)


def keeps_inheritable(_record: Any) -> None:
    assert lib.shim_inheritable(13) == 0
    become_user()


def keeps_bounding_set(_record: Any) -> None:
    become_user()


def sets_secure_bits(record: Any) -> None:
    as_task(record)
    lib.shim_prctl(PR_SET_KEEPCAPS, 1, 0)


def may_gain_privileges(record: Any) -> None:
    done(lib.seccomp_install, record)
    lib.shim_bounding_drop()
    become_user()


def is_unfiltered(record: Any) -> None:
    record.filter_count = 0
    as_task(record)


@pytest.mark.parametrize(
    ("confine", "reason"),
    [
        (keeps_capabilities, "the task has kept a capability"),
        (keeps_inheritable, "the task has kept a capability"),
        (keeps_bounding_set, "capability 0 is still in the task's bounding set"),
        (sets_secure_bits, "the task has secure bits set"),
        (may_gain_privileges, "the task has no no_new_privs"),
        (is_unfiltered, "the task has no seccomp filter"),
    ],
)
def test_verify_of_a_task_that_lacks_one_part_is_refused(
    record: Any, confine: Callable[[Any], None], reason: str
) -> None:
    def task() -> str:
        confine(record)
        return refused(lib.confine_verify, new_request())

    assert in_child(task) == reason


def test_verify_finds_the_last_capability_of_the_kernel() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())

    def task() -> str:
        for capability in range(last):
            lib.shim_prctl(24, capability, 0)  # PR_CAPBSET_DROP
        become_user()
        return refused(lib.confine_verify, new_request())

    assert in_child(task) == f"capability {last} is still in the task's bounding set"
