# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from socker.audit import SyslogAudit, audit_line

if TYPE_CHECKING:
    from pathlib import Path


def test_record_is_one_json_line_in_the_log(short_path: Path) -> None:
    path = f"{short_path}/log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(path)
        log.settimeout(5)
        SyslogAudit(path).record("open", {"job": 7, "reason": "a\nb\x1b\u202e\x7fä"})
        line = log.recv(65536).decode()
    assert line.startswith("<86>socker-policy: {")
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line.partition(": ")[2]) == {"event": "open", "job": 7, "reason": "a\\x0ab\\x1b\\u202e\\x7fä"}


def test_record_without_a_log_is_lost_and_nothing_else(short_path: Path) -> None:
    SyslogAudit(f"{short_path}/none").record("open", {})


def test_record_does_not_wait_for_a_full_log(short_path: Path) -> None:
    path = f"{short_path}/log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(path)
        began = time.monotonic()
        for _ in range(3000):
            SyslogAudit(path).record("open", {"filler": "x" * 1000})
        assert time.monotonic() - began < 5


@given(st.dictionaries(st.text(max_size=10), st.one_of(st.text(), st.integers(), st.none(), st.booleans())))
def test_line_is_always_printable_json(fields: dict[str, object]) -> None:
    line = audit_line("open", fields)
    assert line.isprintable()
    assert line.isascii()
    json.loads(line)


def test_fields_are_bounded() -> None:
    assert len(audit_line("open", {"reference": "x" * 100_000})) < 2200
