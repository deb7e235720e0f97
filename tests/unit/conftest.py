# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the unit tests."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from .daemon import Daemon
from .header import Header

if TYPE_CHECKING:
    from collections.abc import Iterator


# the machine is shared with clusters and daemons: how long an example takes says nothing
settings.register_profile("socker", deadline=None, database=None)
settings.load_profile("socker")


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path leaves room for the name of a unix socket."""
    path = Path(tempfile.mkdtemp(prefix="sk"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def docker(short_path: Path) -> Iterator[Daemon]:
    """A small Docker that has one image, debian:12."""
    with Daemon(short_path / "d.sock") as daemon:
        daemon.add_image("debian:12")
        yield daemon


@pytest.fixture(scope="session")
def header() -> Header:
    """The declarations of spank/wire.h."""
    return Header()
