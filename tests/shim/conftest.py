# SPDX-License-Identifier: Apache-2.0
"""Each test gets a fresh SPANK fake, a limit of its time, and must leave no descriptor behind."""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from .driver import EXTRA_GROUP, GROUP, JOB, NODE, REFERENCE, STAGE, USER, Container, ffi, lib, start_container

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TEST_SECONDS = 40

settings.register_profile(
    "shim", max_examples=80, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shim")


def pytest_configure() -> None:
    """A test that hangs in C ends pytest with a trace: no Python code would run before the C returns."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        # what the tests' caller left open is not what slurmstepd would leave to the opener
        if fd > 2 and os.path.exists(f"/proc/self/fd/{fd}"):
            os.set_inheritable(fd, False)
    if os.geteuid() != 0:
        pytest.exit("the shim's tests must be run by root: they make mounts and change ids", returncode=2)
    if os.getppid() != 1:
        pytest.exit("the shim's tests must see no process but their own: start them by tests/shim/run", returncode=2)
    assert lib.shim_private_mounts() == 0
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    faulthandler.register(signal.SIGALRM, file=os.dup(2), chain=True)


@pytest.fixture(autouse=True)
def _limits() -> Iterator[None]:
    signal.alarm(TEST_SECONDS)
    yield
    signal.alarm(0)


@pytest.fixture(autouse=True)
def _no_descriptor_stays() -> Iterator[None]:
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


@pytest.fixture(autouse=True)
def _fake() -> None:
    lib.fake_reset()
    lib.fake_item(lib.S_JOB_UID, USER)
    lib.fake_item(lib.S_JOB_GID, GROUP)
    lib.fake_item(lib.S_JOB_ID, JOB)
    lib.fake_item(lib.S_JOB_STEPID, 3)
    lib.fake_item(lib.S_JOB_NNODES, 1)
    lib.fake_item(lib.S_JOB_LOCAL_TASK_COUNT, 1)
    lib.fake_groups([GROUP, EXTRA_GROUP], 2)
    lib.fake_env(b"SLURM_CONTAINER", REFERENCE)


@pytest.fixture
def trusted() -> Iterator[Path]:
    """An empty directory that root trusts and everybody can enter."""
    path = Path(tempfile.mkdtemp(dir=STAGE))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def directory(trusted: Path) -> Iterator[int]:
    """A descriptor of an empty directory that root trusts."""
    (trusted / "job").mkdir(mode=0o700)
    fd = os.open(trusted / "job", os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def start(trusted: Path) -> Iterator[Callable[..., Container]]:
    """Starts containers that end with the test."""
    root = trusted / "root"
    root.mkdir()
    with ExitStack() as stack:

        def start_one(**how: Any) -> Container:
            return stack.enter_context(contextmanager(start_container)(root, **how))

        yield start_one


@pytest.fixture
def container(start: Callable[..., Container]) -> Container:
    """A container whose hold process is as it should be."""
    return start()


@pytest.fixture
def mnt(container: Container) -> Iterator[int]:
    """The mount namespace of the container."""
    fd = os.open(f"/proc/{container.pid}/ns/mnt", os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def node_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What slurmstepd sets for itself."""
    monkeypatch.setenv("SLURMD_NODENAME", NODE.decode())


__all__ = ["ffi"]
