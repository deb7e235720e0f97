# SPDX-License-Identifier: Apache-2.0
"""Settings of Slurm: its own containers, what it constrains, a plugin of another release."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cluster import IMAGE, until
from tests.system.faults import marker
from tests.system.packaged import PackagedCluster

PLUGIN = Path("/usr/local/lib/socker/socker.so")


@pytest.fixture
def cluster() -> Iterator[PackagedCluster]:
    """The machine's cluster; all nodes are in service afterwards."""
    found = PackagedCluster(name="vm")
    yield found
    until(lambda: not found.run("squeue", "--noheader", user="").stdout.strip(), what="the end of the jobs")
    until(lambda: set(found.node_states().values()) == {"idle"}, what="idle nodes")


@contextlib.contextmanager
def changed(path: Path, text: str) -> Iterator[None]:
    """A file with this text; what it was comes back."""
    before = path.read_text() if path.exists() else None
    path.write_text(text)
    try:
        yield
    finally:
        path.unlink() if before is None else path.write_text(before)


@contextlib.contextmanager
def cgroup_conf(cluster: PackagedCluster, **values: str) -> Iterator[None]:
    """slurmd with these lines in cgroup.conf in place of its own."""
    path = cluster.base / "etc/cgroup.conf"
    text = path.read_text()
    for key, value in values.items():
        text, count = re.subn(rf"^{key}=.*$", f"{key}={value}", text, flags=re.MULTILINE)
        assert count == 1, key
    with changed(path, text):
        cluster.devcluster("restart", "slurmd")
        yield
    cluster.devcluster("restart", "slurmd")


def test_steps_run_where_slurm_constrains_nothing(cluster: PackagedCluster) -> None:
    nothing = {"ConstrainCores": "no", "ConstrainDevices": "no", "ConstrainRAMSpace": "no", "ConstrainSwapSpace": "no"}
    with cgroup_conf(cluster, **nothing):
        done = cluster.srun("cat", "/etc/socker-image")
        assert (done.returncode, done.stdout, done.stderr) == (0, "debian:bookworm\n", "")
        until(lambda: not cluster.containers() and not cluster.cgroups(), what="the end of the container")


@contextlib.contextmanager
def slurm_conf(cluster: PackagedCluster, *lines: str) -> Iterator[None]:
    """All daemons with these lines in slurm.conf, in place of those of the same keys."""
    path = cluster.base / "etc/slurm.conf"
    before = path.read_text()
    keys = tuple(f"{line.partition('=')[0]}=" for line in lines)
    kept = [line for line in before.splitlines() if not line.startswith(keys)]
    path.write_text("".join(f"{line}\n" for line in (*lines, *kept)))
    try:
        for daemons in ("slurmctld", "slurmd"):
            cluster.devcluster("restart", daemons)
        until(lambda: set(cluster.node_states().values()) == {"idle"}, what="idle nodes")
        yield
    finally:
        path.write_text(before)
        for daemons in ("slurmctld", "slurmd"):
            cluster.devcluster("restart", daemons)


def release() -> tuple[int, int]:
    """The release of Slurm, as (24, 11)."""
    shown = subprocess.run(["slurmd", "-V"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)\.(\d+)\.", shown)
    assert found, shown
    return int(found[1]), int(found[2])


def test_steps_run_where_spank_is_contained(cluster: PackagedCluster) -> None:
    with slurm_conf(cluster, "SlurmdParameters=config_overrides,contain_spank", "PrologFlags=Contain"):
        done = cluster.srun("cat", "/etc/socker-image")
        assert (done.returncode, done.stdout, done.stderr) == (0, "debian:bookworm\n", "")
        until(lambda: not cluster.containers() and not cluster.cgroups(), what="the end of the container")


def test_steps_run_where_jobs_have_a_tmp_of_their_own(cluster: PackagedCluster) -> None:
    """The container has its image's /tmp all the same, and what is left of it goes with the job."""
    base = cluster.base / "tmpfs"
    base.mkdir(exist_ok=True)
    new = release() >= (25, 11)
    conf = "namespace" if new else "job_container"
    kind = f"{'NamespaceType' if new else 'JobContainerType'}={conf}/tmpfs"
    written = cluster.base / f"etc/{conf}.conf"
    link = Path(f"/etc/slurm/{conf}.conf")
    with changed(written, f"AutoBasePath=true\nBasePath={base}\n"):
        link.symlink_to(written)
        try:
            with slurm_conf(cluster, kind, "PrologFlags=Contain"):
                done = cluster.srun("sh", "-c", "cat /etc/socker-image; echo x > /tmp/mine; cat /tmp/mine")
                assert (done.returncode, done.stdout, done.stderr) == (0, "debian:bookworm\nx\n", "")
                until(lambda: not cluster.containers() and not cluster.cgroups(), what="the end of the container")
                assert not Path("/tmp/mine").exists()
        finally:
            link.unlink()


def test_with_an_oci_conf_nothing_runs_on_the_host(cluster: PackagedCluster) -> None:
    """Slurm runs --container itself then, takes the image for a bundle, and does not find it."""
    conf = cluster.base / "etc/oci.conf"
    link = Path("/etc/slurm/oci.conf")
    with changed(conf, 'RunTimeRun="/usr/bin/true"\nRunTimeQuery="/usr/bin/true"\n'), marker() as ran:
        link.symlink_to(conf)
        try:
            done = cluster.srun("/bin/touch", str(ran))
        finally:
            link.unlink()
        assert done.returncode != 0, done
        assert done.stderr, done


def test_a_plugin_of_another_slurm_release_lets_nothing_run(cluster: PackagedCluster) -> None:
    other = PLUGIN.with_name("other.so")
    shutil.copy(PLUGIN, other)
    symbols = subprocess.run(["nm", "-D", str(other)], capture_output=True, text=True, check=True).stdout
    (address,) = (int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(" plugin_version"))
    data = bytearray(other.read_bytes())
    # constants lie in the file where they lie in memory; the release is the third byte from below and the second
    data[address + 1] ^= 1
    other.write_bytes(data)
    line = f"required {other}\n"
    try:
        with changed(cluster.base / "etc/plugstack.conf", line), marker() as ran:
            done = cluster.srun("/bin/touch", str(ran))
            assert (done.returncode, done.stdout) == (1, "")
            assert "socker" in done.stderr or "other.so" in done.stderr
            sent = cluster.run("sbatch", f"--container={IMAGE}", "--wrap", f"touch {ran}")
            assert (sent.returncode, sent.stdout) == (1, "")
    finally:
        other.unlink()
