# SPDX-License-Identifier: Apache-2.0
"""A terminal with somebody in front of it, for commands that want one."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress


class Terminal:
    """A command on a pseudo-terminal of its own; what it writes is kept in `output`."""

    def __init__(self, argv: Sequence[str], *, rows: int, columns: int) -> None:
        self.output = ""
        self._seen = 0
        self._pid, self._master = pty.fork()
        if self._pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
            os.execv(argv[0], list(argv))

    def resize(self, rows: int, columns: int) -> None:
        """The window has this size now; the kernel tells the foreground processes."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Presses keys."""
        os.write(self._master, text.encode())

    def expect(self, pattern: str, *, seconds: float = 15) -> re.Match[str]:
        """The command writes this, after what was expected before, or the test fails."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.output[self._seen :], re.DOTALL)):
            assert time.monotonic() < end, f"no {pattern!r} in {self.output[self._seen :]!r}"
            assert self._read(0.1), f"ended without {pattern!r}: {self.output[self._seen :]!r}"
        self._seen += found.end()
        return found

    def wait(self, *, seconds: float = 15) -> int:
        """The command ends by itself; its exit code."""
        end = time.monotonic() + seconds
        while self._read(0.1):
            assert time.monotonic() < end, f"does not end: {self.output!r}"
        return os.waitstatus_to_exitcode(self._reap())

    def close(self) -> None:
        """Ends the command if it still runs."""
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, 9)
            self._reap()
        os.close(self._master)

    def _reap(self) -> int:
        status = os.waitpid(self._pid, 0)[1]
        self._pid = 0
        return status

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return True
        try:
            self.output += os.read(self._master, 4096).decode(errors="replace")
        except OSError:  # EIO: nobody has the other end open any more
            return False
        return True


@contextmanager
def terminal(argv: Sequence[str], *, rows: int = 24, columns: int = 80) -> Iterator[Terminal]:
    """A command on a terminal of this size, ended with the block."""
    opened = Terminal(argv, rows=rows, columns=columns)
    try:
        yield opened
    finally:
        opened.close()
