# SPDX-License-Identifier: Apache-2.0
"""The constants of wire.py and of the plan's limits are those of spank/wire.h."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from socker import plan, reference, wire
from socker.errors import InvalidRequest, PlanError

if TYPE_CHECKING:
    from .header import Header

NAMES = [
    "REQUEST_MAGIC",
    "PLAN_MAGIC",
    "CLOSE_MAGIC",
    "SAVE_MAGIC",
    "POLICY_DONE",
    "GRANT",
    "MOUNT_READONLY",
    "SWEEP_RECORDED",
    "SWEEP_ALL",
    "PLAN_LEFT",
    "PLAN_SUBMIT_DIR",
]


@pytest.mark.parametrize("name", NAMES)
def test_constant_is_the_headers(header: Header, name: str) -> None:
    assert getattr(wire, name) == header.constant(f"SOCKER_{name}")


def test_limits_are_the_headers(header: Header) -> None:
    assert header.constant("SOCKER_ENV_MAX") == plan.MAX_ENV
    assert header.constant("SOCKER_MOUNTS_MAX") == plan.MAX_MOUNTS
    assert header.constant("SOCKER_PATH_SIZE") == plan.MAX_PATH + 1
    assert header.constant("SOCKER_TEXT_SIZE") == plan.MAX_TEXT
    assert header.constant("SOCKER_REFERENCE_SIZE") == reference.MAX_LENGTH + 1


def test_refusing_is_zero_and_no_constant_is() -> None:
    assert wire.REFUSE == 0
    assert all(getattr(wire, name) != 0 for name in NAMES)


@pytest.mark.parametrize("data", [b"x" * 65, b"a\0b"])
def test_string_that_does_not_fit_is_not_cut(header: Header, data: bytes) -> None:
    answer = header.plan()
    with pytest.raises(PlanError, match="do not fit where at most 64 can be"):
        wire._put(header.ffi, answer.id, data)


def test_question_with_more_items_than_it_has_room_for_is_not_read(header: Header) -> None:
    with pytest.raises(InvalidRequest, match="more items than it has room for"):
        wire.read_closing(header.ffi, header.close(count=513))
