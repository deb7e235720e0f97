# SPDX-License-Identifier: Apache-2.0
"""What the Debian package brings, says and takes away again."""

from __future__ import annotations

import grp
import pwd
import re
import subprocess
from pathlib import Path

import pytest

from tests.system.packaged import PackagedCluster


def package(field: str, name: str = "socker") -> str:
    """A field of an installed package."""
    words = ["dpkg-query", "--show", f"--showformat=${{{field}}}", name]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def slurm_release() -> str:
    """The release of the slurmd that runs here, as 24.11."""
    shown = subprocess.run(["slurmd", "-V"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"slurm(?:-wlm)? (\d+\.\d+)\.", shown)
    assert found, shown
    return found[1]


def test_the_package_names_the_slurm_release_it_is_for_and_breaks_others() -> None:
    release = slurm_release()
    assert package("Version").endswith(f"+slurm{release}")
    assert f"(for Slurm {release})" in package("binary:Summary")
    year, month = map(int, release.split("."))
    beyond = f"{year}.{month + 1:02}~"
    for name in ("slurmd", "slurm-client"):
        assert f"{name} (<< {release}~)" in package("Breaks")
        assert f"{name} (>= {beyond})" in package("Breaks")


def test_the_two_system_users_have_no_group_but_their_own() -> None:
    hold, engine = pwd.getpwnam("socker"), pwd.getpwnam("dockerroot")
    assert grp.getgrgid(hold.pw_gid).gr_name == "socker"
    assert grp.getgrgid(engine.pw_gid).gr_name == "docker"
    for user in (hold, engine):
        assert [group.gr_name for group in grp.getgrall() if user.pw_name in group.gr_mem] == []
        assert user.pw_shell == "/usr/sbin/nologin"


@pytest.mark.parametrize("path", ["/run/socker", "/var/lib/socker"])
def test_state_directories_are_root_s_alone(path: str) -> None:
    status = Path(path).stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (0, 0, 0o700)


def test_the_plugstack_line_is_a_conffile_and_names_the_plugin() -> None:
    conffile = "/etc/slurm/plugstack.conf.d/socker.conf"
    assert conffile in package("Conffiles")
    lines = [line for line in Path(conffile).read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["required /usr/lib/socker/socker.so"]


def test_the_sweep_has_a_timer_that_runs_it() -> None:
    active = subprocess.run(
        ["systemctl", "is-active", "socker-sweep.timer"], capture_output=True, text=True, check=False
    )
    enabled = subprocess.run(
        ["systemctl", "is-enabled", "socker-sweep.timer"], capture_output=True, text=True, check=False
    )
    assert (active.stdout, enabled.stdout) == ("active\n", "enabled\n")
    subprocess.run(["systemctl", "start", "socker-sweep.service"], check=True, timeout=120)


def test_nothing_of_the_package_names_the_directory_of_its_build() -> None:
    files = subprocess.run(["dpkg", "-L", "socker"], capture_output=True, text=True, check=True).stdout.split("\n")
    texts = [path for path in map(Path, files) if path.is_file() and "site-packages" not in str(path)]
    assert [path for path in texts if b"debian/socker/" in path.read_bytes()] == []


def test_a_purge_leaves_steps_to_slurm_and_no_file() -> None:
    """The last test here: what a step has of socker afterwards is Slurm's own option, which does nothing."""
    cluster = PackagedCluster(name="vm")
    subprocess.run(["dpkg", "--purge", "socker"], check=True, capture_output=True)
    left = ["/usr/lib/socker", "/etc/slurm/plugstack.conf.d/socker.conf", "/run/socker", "/var/lib/socker"]
    assert [path for path in left if Path(path).exists()] == []
    assert cluster.srun("hostname", image=None).stdout == "vm1\n"
