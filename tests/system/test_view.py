# SPDX-License-Identifier: Apache-2.0
"""What programs see of the user and of the machine: names, processors, memory; as without a container."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from .cluster import Cluster

NAMES = "id -un; id -gn; id -Gn; whoami; ls -ld /home/alice | tr -s ' ' | cut -d' ' -f3,4"


def test_user_and_groups_have_their_names(cluster: Cluster) -> None:
    plain = cluster.srun("sh", "-c", NAMES, image=None).stdout
    inside = cluster.srun("sh", "-c", NAMES)
    assert (inside.returncode, inside.stdout) == (0, plain), inside.stderr
    assert plain.splitlines()[0] == "alice"
    shown = cluster.srun("sh", "-c", "getent passwd alice; getent group hpcdev; getent passwd root").stdout
    account = pwd.getpwnam("alice")
    passwd, group, root = shown.splitlines()
    assert passwd == f"alice:x:{account.pw_uid}:{account.pw_gid}::/home/alice:{account.pw_shell}"
    assert group.startswith("hpcdev:x:")
    assert root.startswith("root:x:0:0:"), "the image's accounts have their names, too"


@pytest.mark.parametrize("image", ["odd:hostile", "busybox:latest"])
def test_names_are_the_node_s_whatever_the_image_says(cluster: Cluster, image: str) -> None:
    """One image has accounts that lie, the other has none."""
    uid = pwd.getpwnam("alice").pw_uid
    done = cluster.srun("/bin/sh", "-c", "/bin/busybox id -un; /bin/busybox id -u; head -1 /etc/passwd", image=image)
    assert done.stdout.splitlines()[:2] == ["alice", str(uid)], done
    assert done.stdout.splitlines()[2].startswith(f"alice:x:{uid}:")


def test_the_image_s_account_files_are_not_written(cluster: Cluster) -> None:
    with cluster.allocation() as job:
        assert job.srun("true").returncode == 0
        changed = cluster.docker("diff", job.containers()[0]).splitlines()
        assert not [line for line in changed if line.endswith(("/etc/passwd", "/etc/group"))], changed
        denied = job.srun("sh", "-c", "echo x >> /etc/passwd")
        assert denied.returncode != 0


def test_home_shell_and_user_are_the_host_s(cluster: Cluster) -> None:
    script = "echo $HOME $SHELL $USER $LOGNAME"
    plain = cluster.srun("sh", "-c", script, image=None).stdout
    for image in ("debian:bookworm", "odd:hostile"):
        assert cluster.srun("/bin/sh", "-c", script, image=image).stdout == plain


def test_processors_are_those_of_the_step(cluster: Cluster) -> None:
    script = "nproc; grep -E 'Cpus_allowed_list|Mems_allowed_list' /proc/self/status; perl -e 'print `nproc`'"
    for words in (("--cpus-per-task=1",), ("--cpus-per-task=2",)):
        plain = cluster.srun(*words, "--cpu-bind=cores", "sh", "-c", script, image=None)
        inside = cluster.srun(*words, "--cpu-bind=cores", "sh", "-c", script)
        assert (inside.returncode, inside.stdout) == (plain.returncode, plain.stdout), inside
        assert plain.stdout


def test_memory_limits_are_those_of_the_step(cluster: Cluster) -> None:
    """As programs read them: by their own cgroup's path, below the cgroup file system that they see."""
    script = (
        "path=$(grep -m1 ':memory:' /proc/self/cgroup | cut -d: -f3); "
        "cat /sys/fs/cgroup/memory$path/../memory.limit_in_bytes; ulimit -v; ulimit -n"
    )
    plain = cluster.srun("--mem=300", "sh", "-c", script, image=None)
    inside = cluster.srun("--mem=300", "sh", "-c", script)
    if not Path("/sys/fs/cgroup/memory").is_dir():
        script = "cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/../../memory.max"
        plain = cluster.srun("--mem=300", "sh", "-c", script, image=None)
        inside = cluster.srun("--mem=300", "sh", "-c", script)
    assert (inside.returncode, inside.stdout) == (0, plain.stdout), inside
    assert plain.stdout.startswith(f"{300 << 20}\n"), plain
