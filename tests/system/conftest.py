# SPDX-License-Identifier: Apache-2.0
"""A cluster of four nodes for the system tests; each test must leave it as it found it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .accounting import accounting
from .cluster import DEVCLUSTER, Cluster, own_name
from .faults import tidy
from .packaged import PackagedCluster


@pytest.fixture(scope="session")
def whole_cluster() -> Iterator[Cluster]:
    """
    A running cluster: SOCKER_TEST_CLUSTER names one that is kept, else one is made and taken down.

    With SOCKER_TEST_PACKAGED it is what this machine's own units make.
    """
    if packaged := os.environ.get("SOCKER_TEST_PACKAGED"):
        yield PackagedCluster(name=packaged)
        return
    kept = os.environ.get("SOCKER_TEST_CLUSTER")
    name = kept or own_name("check")
    subprocess.run(
        [str(DEVCLUSTER), "up", "--name", name, "--nodes", "4"], check=True, timeout=600
    ) if not kept else None
    subprocess.run([str(DEVCLUSTER), "images", "--name", name], check=True, timeout=300)
    yield Cluster(name=name)
    if not kept:
        subprocess.run([str(DEVCLUSTER), "down", "--name", name, "--purge"], check=True, timeout=120)


@pytest.fixture(scope="session")
def accounted(whole_cluster: Cluster) -> Iterator[Cluster]:
    """A second cluster of two nodes, with accounts and the Lua examples; SOCKER_TEST_ACCOUNTING names a kept one."""
    with accounting(whole_cluster) as cluster:
        yield cluster


@pytest.fixture
def cluster(whole_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, clean before and after the test."""
    yield whole_cluster
    for silence in (whole_cluster.base / "run/socker").glob("*/silence"):
        # a Docker that a test made hang must not be left alone in the next
        silence.unlink()
    try:
        whole_cluster.assert_clean()
    except AssertionError:
        # told once: what a test leaves is not to fail those after it
        tidy(whole_cluster)
        raise


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory of alice outside of all homes, which everybody may enter."""
    path = Path(tempfile.mkdtemp(prefix="socker-test-", dir="/var/tmp"))
    path.chmod(0o755)
    shutil.chown(path, "alice", "alice")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def catalogue(cluster: Cluster) -> Iterator[Path]:
    """Where the test's catalogue is to be, in a directory that is root's."""
    directory = cluster.base / "etc/catalogue"
    directory.mkdir(mode=0o755)
    yield directory / "images.yaml"
    shutil.rmtree(directory)
