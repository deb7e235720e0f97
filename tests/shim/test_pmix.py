# SPDX-License-Identifier: Apache-2.0
"""pmix.c: slurmd's spool is found by what Slurm tells the PMIx library."""

from __future__ import annotations

import os

import pytest

from .driver import JOB, ffi, in_child, lib, new_request


@pytest.mark.parametrize(
    ("directory", "spool"),
    [
        pytest.param(f"/var/spool/slurmd/pmix.{JOB}.3/", b"/var/spool/slurmd", id="as Slurm says it"),
        pytest.param(f"/var/spool/slurmd/pmix.{JOB}.3", b"/var/spool/slurmd", id="without the slash"),
        pytest.param(f"/spool/pmix.{JOB}.33/", f"/spool/pmix.{JOB}.33".encode(), id="another step's name"),
        pytest.param("/spool/elsewhere", b"/spool/elsewhere", id="another name"),
        pytest.param(f"/pmix.{JOB}.3/", f"/pmix.{JOB}.3".encode(), id="never the root"),
        pytest.param(f"pmix.{JOB}.3", b"", id="not absolute"),
        pytest.param("", b"", id="empty"),
        pytest.param("/" + "x" * 4095, b"", id="too long"),
        pytest.param(None, b"", id="no PMIx"),
    ],
)
def test_spool_is_where_pmix_has_its_directory(directory: str | None, spool: bytes) -> None:
    def read() -> str:
        os.environ.pop("PMIX_SERVER_TMPDIR", None)
        if directory is not None:
            os.environ["PMIX_SERVER_TMPDIR"] = directory
        request = new_request(step=3)
        lib.pmix_read_spool(request)
        return bytes(ffi.string(request.spool)).decode()

    assert in_child(read).encode() == spool
