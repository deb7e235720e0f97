# SPDX-License-Identifier: Apache-2.0
"""A second cluster, with accounts in a real database and with the Lua examples; made once for all tests that use it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .cluster import DEVCLUSTER, REPOSITORY, Cluster, own_name

SCRIPTS = ("socker.lua", "job_submit.lua", "cli_filter.lua")


@contextmanager
def accounting(socker: Cluster) -> Iterator[Cluster]:
    """A cluster of two nodes with partitions main and gpu; SOCKER_TEST_ACCOUNTING names one that is kept."""
    kept = os.environ.get("SOCKER_TEST_ACCOUNTING")
    if kept:
        yield Cluster(name=kept)
        return
    name = own_name("acct")
    with tempfile.TemporaryDirectory(prefix="socker-lua-") as scripts:
        up(name, Path(scripts), "--prefix", str(socker.prefix))
    try:
        yield Cluster(name=name)
    finally:
        subprocess.run([str(DEVCLUSTER), "down", "--name", name, "--purge"], check=True, timeout=120)


def up(name: str, scripts: Path, *words: str) -> None:
    """Start such a cluster; its nodes have the feature socker."""
    etc = Cluster(name=name).base / "etc"
    for script in SCRIPTS:
        text = (REPOSITORY / "slurm" / script).read_text()
        for place in ("/etc/slurm/socker.lua", "/var/lib/socker/images.txt"):
            text = text.replace(place, str(etc / Path(place).name))
        (scripts / script).write_text(text)
    options = ["--nodes", "2", "--accounting", "--conf", "NodeName=DEFAULT Feature=socker", *words]
    options += ["--conf", f"PartitionName=gpu Nodes={name}1,{name}2"]
    # a heterogeneous job waits for the backfill scheduler
    scheduler = "batch_sched_delay=0,sched_interval=5,sched_min_interval=0,bf_interval=1"
    options += ["--conf", f"SchedulerParameters={scheduler}"]
    options += [word for plugin in ("JobSubmit", "CliFilter") for word in ("--conf", f"{plugin}Plugins=lua")]
    options += [word for script in SCRIPTS for word in ("--etc", str(scripts / script))]
    subprocess.run([str(DEVCLUSTER), "up", "--name", name, *options], check=True, timeout=600)


def set_features(cluster: Cluster, nodes: str, features: str) -> None:
    """The nodes have these features and no others."""
    done = cluster.run(
        "scontrol",
        "update",
        f"NodeName={nodes}",
        f"AvailableFeatures={features}",
        f"ActiveFeatures={features}",
        user="",
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def catalogue_names(cluster: Cluster, *names: str) -> Iterator[None]:
    """The list that the Lua examples read has these names."""
    path = cluster.base / "etc/images.txt"
    path.write_text("".join(f"{name}\n" for name in names))
    try:
        yield
    finally:
        path.unlink()
