# SPDX-License-Identifier: Apache-2.0
"""Running the distribution's programs."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from lib.errors import DevclusterError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OWN = "/usr/sbin:/usr/bin:/sbin:/bin"
_POLL = 0.05
_TOO_LATE = 124


def tool(name: str) -> str:
    """The absolute path of a program of the distribution."""
    found = shutil.which(name, path=_OWN)
    if found is None:
        raise DevclusterError(f"{name}: not found in {_OWN}; is its package installed?")
    return found


def run(
    *argv: str,
    env: Mapping[str, str] | None = None,
    timeout: float = 60,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, in a clean environment; with check it has exited 0.

    One that takes longer than the timeout (seconds) is killed and has exited with 124.
    """
    command = [tool(argv[0]), *argv[1:]]
    try:
        done = subprocess.run(
            command,
            env={"PATH": PATH, "LC_ALL": "C.UTF-8", **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        said = f"no end after {timeout:.0f} s"
        done = subprocess.CompletedProcess(command, _TOO_LATE, stdout="", stderr=said)
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise DevclusterError(f"{' '.join(argv)}: exit {done.returncode}: {said[-2000:]}")
    return done


def wait_until(true: Callable[[], bool], timeout: float) -> bool:
    """Whether it became true within the timeout (seconds)."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True


def takes_connections(path: Path) -> bool:
    """Whether somebody listens at a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
