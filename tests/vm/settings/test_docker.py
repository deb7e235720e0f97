# SPDX-License-Identifier: Apache-2.0
"""Settings of dockerd: where its containers' cgroups are, whose users they have, where images are kept."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, until
from tests.system.packaged import PackagedCluster

DAEMON = Path("/etc/docker/daemon.json")
ARCHIVES = Path("/var/lib/socker-devcluster/cache")

SETTINGS: Mapping[str, Mapping[str, object]] = {
    "cgroupfs driver": {"exec-opts": ["native.cgroupdriver=cgroupfs"]},
    "systemd driver": {"exec-opts": ["native.cgroupdriver=systemd"]},
    "userns-remap": {"userns-remap": "default"},
    "live-restore": {"live-restore": True},
}
FIRST_CONTAINERD_STORE = 24
"""The first Docker release that can keep images in containerd."""


def restart(cluster: Cluster) -> None:
    """dockerd has its settings."""
    cluster.devcluster("restart", "dockerd")


def release(cluster: Cluster) -> int:
    """Docker's first number."""
    return int(cluster.docker("version", "--format={{.Server.Version}}").split(".")[0])


@contextlib.contextmanager
def configured(cluster: Cluster, settings: Mapping[str, object]) -> Iterator[None]:
    """dockerd with these settings, and an image."""
    DAEMON.parent.mkdir(exist_ok=True)
    DAEMON.write_text(json.dumps(settings))
    try:
        restart(cluster)
        (archive,) = ARCHIVES.glob("busybox-latest-*.tar")
        cluster.docker("load", "--quiet", "--input", str(archive))
        yield
    finally:
        DAEMON.unlink()
        restart(cluster)


def assert_works(cluster: Cluster) -> None:
    """A step is its user's in the container, what it writes is the user's, and all is removed afterwards."""
    written = Path("/home/alice/written")
    done = cluster.srun(
        "sh", "-c", f"id -u; test -e /etc/debian_version || echo image; touch {written}", image="busybox"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "20001\nimage\n", "")
    assert written.owner() == "alice"
    written.unlink()
    until(lambda: not cluster.containers() and not cluster.cgroups(), what="the end of the container")
    assert set(cluster.node_states().values()) == {"idle"}


@pytest.mark.parametrize("kind", SETTINGS)
def test_steps_run_whatever_dockerd_is_set_to(kind: str) -> None:
    cluster = PackagedCluster(name="vm")
    with configured(cluster, SETTINGS[kind]):
        assert_works(cluster)


def test_steps_run_with_images_in_containerd_or_dockerd_says_that_it_cannot_keep_them_there() -> None:
    cluster = PackagedCluster(name="vm")
    if release(cluster) < FIRST_CONTAINERD_STORE:
        refused = subprocess.run(
            ["dockerd", "--feature", "containerd-snapshotter=true", "--validate"], capture_output=True, check=False
        )
        assert refused.returncode != 0
        return
    with configured(cluster, {"features": {"containerd-snapshotter": True}}):
        assert "io.containerd.snapshotter" in cluster.docker("info", "--format={{.DriverStatus}}")
        assert_works(cluster)
