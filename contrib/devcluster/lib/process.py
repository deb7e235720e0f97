# SPDX-License-Identifier: Apache-2.0
"""Processes: which one exactly, started detached, ended by identity and never by name."""

import os
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.tools import wait_until

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that no later one with its pid can be taken for."""

    pid: int
    started: int
    """Clock ticks since boot, field 22 of /proc/PID/stat."""
    boot: str

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """The process that has the pid now; None when it has ended, reaped or not."""
        try:
            text = (_PROC / str(pid) / "stat").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = text.rpartition(")")[2].split()
        if fields[0] in "ZX":
            return None
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return cls(pid=pid, started=int(fields[19]), boot=boot)

    def alive(self) -> bool:
        """Whether it has not ended."""
        return Process.of(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """It got the signal, if it was alive. No other process can get it."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive():
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(handle)


def spawn(argv: Sequence[str], env: Mapping[str, str], output: Path) -> Process | None:
    """A process in a session of its own; None when it has ended already."""
    with output.open("ab") as log:
        child = subprocess.Popen(
            argv,
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Process.of(child.pid)


def end(processes: Iterable[Process], number: signal.Signals, patience: float) -> None:
    """All have ended: by the signal, or killed after so many seconds."""
    left = list(processes)

    def gone() -> bool:
        return not any(process.alive() for process in left)

    for process in left:
        process.send(number)
    if wait_until(gone, patience):
        return
    for process in left:
        process.send(signal.SIGKILL)
    wait_until(gone, patience)


def marks(name: str) -> Iterator[tuple[Process, str]]:
    """Root's processes that have this environment variable, and its value."""
    prefix = f"{name}=".encode()
    for directory in _PROC.iterdir():
        if not directory.name.isdecimal():
            continue
        try:
            entries = (directory / "environ").read_bytes().split(b"\0")
            ours = directory.stat().st_uid == 0
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        values = [entry.removeprefix(prefix).decode() for entry in entries if entry.startswith(prefix)]
        process = Process.of(int(directory.name)) if ours and values else None
        if process:
            yield process, values[0]
