# SPDX-License-Identifier: Apache-2.0
"""socker doctor on the cluster: each thing that is in the way is found."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .cluster import Cluster
from .command import YES, doctor, socker
from .faults import stopped


def bad(cluster: Cluster) -> set[str]:
    """What the doctor finds wrong, but for what is so on every devcluster."""
    return {f"{each['status']} {each['what']}" for each in doctor(cluster) if each["status"] != "ok"} - USUAL


USUAL = {"warn live-restore", "warn group docker"}


def test_the_doctor_finds_nothing_wrong_with_the_cluster(cluster: Cluster) -> None:
    assert bad(cluster) == set()
    lines = socker(cluster, "doctor").stdout.splitlines()
    assert any(line.startswith("ok    Docker: ") for line in lines)
    # without root it still says what it can
    assert "run it as root" in socker(cluster, "doctor", user="alice").stdout


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(lambda line: line.replace("required", "optional"), {"fail plugstack line"}, id="optional"),
        pytest.param(lambda _line: "# none\n", {"fail plugstack line"}, id="no line"),
        pytest.param(lambda line: f"{line}required /usr/lib/nosuch/other.so\n", {"warn plugstack line"}, id="not last"),
        pytest.param(lambda line: f"{line.rstrip()} colour=red\n", {"fail plugstack line"}, id="unknown word"),
        pytest.param(lambda line: f"{line.rstrip()} docker=/nosuch\n", {"fail Docker"}, id="no Docker"),
        pytest.param(lambda line: f"{line.rstrip()} user=nosuchuser\n", {"fail system users"}, id="no user"),
        pytest.param(lambda line: f"{line.rstrip()} user=alice\n", {"fail system users"}, id="user in other groups"),
        pytest.param(lambda line: f"{line.rstrip()} hold_user=root\n", {"fail system users"}, id="root as hold user"),
    ],
)
def test_the_doctor_finds_a_wrong_plugstack_line(
    cluster: Cluster, change: Callable[[str], str], expected: set[str]
) -> None:
    with cluster.plugstack(change):
        assert bad(cluster) >= expected
    assert bad(cluster) == set()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(lambda lib: (lib / "hold").unlink(), {"fail programs"}, id="no hold"),
        pytest.param(lambda lib: (lib / "socker-opener").chmod(0o777), {"fail programs"}, id="writable"),
        pytest.param(lambda lib: os.chown(lib / "socker-policy", 20001, 0), {"fail programs"}, id="a user's"),
        pytest.param(lambda lib: (lib / "socker.so").write_text("x"), {"fail plugin"}, id="no plugin of this Slurm"),
    ],
)
def test_the_doctor_finds_a_broken_installation(
    cluster: Cluster, change: Callable[[Path], object], expected: set[str]
) -> None:
    with cluster.installation(change):
        assert bad(cluster) == expected


@contextlib.contextmanager
def setting(cluster: Cluster, name: str, line: str) -> Iterator[None]:
    """A line more at the end of one of Slurm's files; daemons do not read it again."""
    path = cluster.base / "etc" / name
    before = path.read_text() if path.exists() else None
    path.write_text(f"{before or ''}{line}\n")
    try:
        yield
    finally:
        path.write_text(before) if before is not None else path.unlink()


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("oci.conf", "RunTimeRun=/bin/false", {"fail oci.conf"}),
        ("slurm.conf", "TaskProlog=/bin/true", {"warn TaskProlog"}),
        ("slurm.conf", "ProctrackType=proctrack/linuxproc", {"fail ProctrackType"}),
        ("slurm.conf", "PrivateData=jobs", {"warn PrivateData"}),
        ("slurm.conf", "LaunchParameters=test_exec", {"warn LaunchParameters"}),
        ("cgroup.conf", "ConstrainDevices=no", {"warn ConstrainDevices"}),
    ],
)
def test_the_doctor_finds_what_is_in_the_way(cluster: Cluster, name: str, line: str, expected: set[str]) -> None:
    with setting(cluster, name, line):
        assert bad(cluster) == expected


def test_the_doctor_finds_a_wrong_policy_and_a_wrong_catalogue(cluster: Cluster, catalogue: Path) -> None:
    with cluster.policy("version: 3\n"):
        assert bad(cluster) == {"fail policy"}
    with cluster.policy("version: 1\nrules: []\n", mode=0o600):
        assert bad(cluster) == {"fail rights", "warn policy"}
    with cluster.policy(f"version: 1\ncatalogue: {catalogue}\nrules: []\n"):
        assert bad(cluster) == {"warn policy"}
        assert socker(cluster, "check", "--index").returncode == YES
        assert bad(cluster) == set()
        catalogue.write_text("a:1: {}\n")
        assert bad(cluster) == {"warn catalogue"}
        assert socker(cluster, "images", "index", "-c", str(catalogue)).returncode == YES
        assert bad(cluster) == set()
        catalogue.write_text("- a\n")
        assert bad(cluster) == {"fail catalogue"}
        catalogue.parent.chmod(0o700)
        assert "fail rights" in bad(cluster)
        catalogue.parent.chmod(0o755)
    (cluster.base / "etc/.policy.yaml.index").unlink()


def test_the_doctor_finds_dockerd_gone(cluster: Cluster) -> None:
    with stopped(cluster, "dockerd"):
        assert bad(cluster) == {"fail Docker"}
