# SPDX-License-Identifier: Apache-2.0
"""spank/wire.h through cffi: its constants, and values of its structs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cffi

from socker import wire

from .fakes import IMAGE_ID, TOKEN

WIRE_H = Path(__file__).parents[2] / "spank" / "wire.h"


class Header:
    """The declarations of wire.h."""

    def __init__(self) -> None:
        text = WIRE_H.read_text().split("/* cffi: begin */")[1].split("/* cffi: end */")[0]
        self.ffi: Any = cffi.FFI()
        self.ffi.cdef(text)
        self._lib: Any = self.ffi.dlopen(None)

    def constant(self, name: str) -> int:
        return int(getattr(self._lib, name))

    def request(self, **changes: Any) -> Any:
        """Return a request, as the opener fills it."""
        values: dict[str, Any] = {
            "magic": wire.REQUEST_MAGIC,
            "size": self.ffi.sizeof("struct socker_request"),
            "nonce": 0x1122334455667788,
            "job": 4711,
            "step": 0xFFFFFFFB,
            "uid": 65534,
            "gid": 65534,
            "hold_uid": 990,
            "hold_gid": 990,
            "deadline_ms": 4000,
            "group_count": 2,
            "groups": [65534, 2000],
            "reference": b"debian:12",
            "node": b"n1",
            "name": b"socker-abcd-4711-k",
            "token": TOKEN.encode(),
            "cwd": b"/tmp",
            "docker": b"/nonexistent/docker.sock",
            "policy": b"/nonexistent/policy.yaml",
            "hold": b"/usr/lib/socker/hold",
        }
        return self.ffi.new("struct socker_request *", values | changes)

    def plan(self) -> Any:
        """Return room for an answer, full of rubbish."""
        made = self.ffi.new("struct socker_plan *")
        self.ffi.memmove(made, b"\xaa" * self.ffi.sizeof(made[0]), self.ffi.sizeof(made[0]))
        return made

    def close(self, *items: dict[str, Any], **changes: Any) -> Any:
        """Return a question to close or sweep, as root fills it."""
        values: dict[str, Any] = {
            "magic": wire.CLOSE_MAGIC,
            "size": self.ffi.sizeof("struct socker_close"),
            "nonce": 5,
            "deadline_ms": 4000,
            "count": len(items),
            "node": b"n1",
            "token": TOKEN.encode(),
            "docker": b"/nonexistent/docker.sock",
            "items": list(items),
        }
        return self.ffi.new("struct socker_close *", values | changes)

    def save(self, **changes: Any) -> Any:
        """Return a question to save, as root fills it."""
        values: dict[str, Any] = {
            "magic": wire.SAVE_MAGIC,
            "size": self.ffi.sizeof("struct socker_save"),
            "nonce": 5,
            "deadline_ms": 4000,
            "job": 4711,
            "uid": 1000,
            "node": b"n1",
            "token": TOKEN.encode(),
            "docker": b"/nonexistent/docker.sock",
            "name": b"socker-abcd-4711-k",
            "id": b"socker-abcd-4711-k",
            "base": IMAGE_ID.encode(),
            "reference": b"docker.io/site/saved:1",
        }
        return self.ffi.new("struct socker_save *", values | changes)

    def text(self, field: Any) -> str:
        """Return a string of a value."""
        return bytes(self.ffi.string(field)).decode()
