# SPDX-License-Identifier: Apache-2.0
"""Audit: every decision and every failure is one JSON line in the node's log, printable ASCII whatever is in it."""

from __future__ import annotations

import json
import socket

from socker.text import escape, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LOG_SOCKET = "/dev/log"
MAX_FIELD = 2048  # bytes of one field
_PRIORITY = 10 * 8 + 6  # LOG_AUTHPRIV and LOG_INFO
_IDENT = "socker-policy"


def audit_line(event: str, fields: Mapping[str, object]) -> str:
    """Return the line: a JSON object, one line of printable ASCII."""
    shown = {key: one_line(value, MAX_FIELD) if isinstance(value, str) else value for key, value in fields.items()}
    return escape(json.dumps({"event": event, **shown}, ensure_ascii=True))


class SyslogAudit:
    """The AuditSink protocol on the local log socket. A node without one loses the line, never the step."""

    def __init__(self, path: str = LOG_SOCKET) -> None:
        self._path = path

    def record(self, event: str, fields: Mapping[str, object]) -> None:
        """Send one line; a log that is full or absent is not waited for."""
        line = f"<{_PRIORITY}>{_IDENT}: {audit_line(event, fields)}"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as log:
                log.connect(self._path)
                log.send(line.encode("ascii"))
        except OSError:
            return
