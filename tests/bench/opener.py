# SPDX-License-Identifier: Apache-2.0
"""Running the opener as the epilog does."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

import cffi

WIRE = Path(__file__).resolve().parents[2] / "spank/wire.h"


def wire() -> cffi.FFI:
    """wire.h for Python, without a compiler."""
    ffi = cffi.FFI()
    ffi.cdef(WIRE.read_text().split("/* cffi: begin */")[1].split("/* cffi: end */")[0])
    return ffi


def close_by_hand(base: Path, prefix: Path, job: int) -> float:
    """Seconds that `socker-opener close` takes for the job's containers on its one node."""
    ffi = wire()
    words = (base / "etc/plugstack.conf").read_text().split()[2:]
    node = next(path.name for path in (base / "run/socker").iterdir() if (path / str(job)).is_dir())
    request = ffi.new("struct socker_request *")
    request.magic = 0x71736B73
    request.size = ffi.sizeof("struct socker_request")
    request.job = job
    request.node = node.encode()
    with tempfile.TemporaryFile() as stdin:
        stdin.write(bytes(ffi.buffer(request)))
        stdin.flush()
        start = time.perf_counter()
        subprocess.run([str(prefix / "lib/socker/socker-opener"), "close", *words], stdin=stdin, check=True)
        return time.perf_counter() - start
