# SPDX-License-Identifier: Apache-2.0
"""What of the host is in a container without being asked for: home and submit directory, as the user may reach them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .cluster import Cluster


@contextmanager
def bind_mounted(source: str, target: Path, *options: str) -> Iterator[None]:
    """The host has a mount there for as long as the block lasts."""
    subprocess.run(["mount", *options, source, str(target)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(target)], check=True)


def mount_points(cluster: Cluster, *, cwd: str) -> dict[str, str]:
    """Mount points of a container in which a step of alice runs, with their options."""
    done = cluster.srun("cat", "/proc/self/mountinfo", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return {line.split()[4]: line.split()[5] for line in done.stdout.splitlines()}


@pytest.mark.short
def test_home_and_submit_directory_are_the_user_s_own_on_the_host(cluster: Cluster, scratch: Path) -> None:
    written = Path("/home/alice") / f"written-{scratch.name}"
    done = cluster.srun(
        "sh",
        "-c",
        f"umask 027; echo x > {written}; echo y > here; cat /etc/socker-image > image; mkdir sub; ln -s here link",
        cwd=str(scratch),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    try:
        assert (written.read_text(), written.owner(), written.group()) == ("x\n", "alice", "alice")
        assert written.stat().st_mode & 0o777 == 0o640
    finally:
        written.unlink()
    assert (scratch / "link").read_text() == "y\n"
    assert (scratch / "sub").owner() == "alice"
    assert (scratch / "image").read_text() == "debian:bookworm\n"


@pytest.mark.short
def test_nothing_else_of_the_host_is_mounted(cluster: Cluster, scratch: Path) -> None:
    (scratch / "sibling").mkdir()
    (scratch / "submit").mkdir()
    points = mount_points(cluster, cwd=str(scratch / "submit"))
    kernels = {"/", "/proc", "/dev", "/sys"}
    dockers = {"/etc/resolv.conf", "/etc/hostname", "/etc/hosts"}
    ours = {"/.socker/hold", "/.socker/entry", "/etc/passwd", "/etc/group", "/home/alice", f"{scratch}/submit"}
    rest = {point for point in points if point not in kernels | dockers | ours}
    assert ours <= points.keys()
    assert {point for point in rest if not point.startswith(("/proc/", "/dev/", "/sys/"))} == set()
    # what is the user's is as Docker would not make it: by nobody's path, and no way to new privileges
    for point in ours:
        assert {"nosuid", "nodev"} <= set(points[point].split(",")), point
    seen = cluster.srun("sh", "-c", f"ls {scratch} /home; ls /var/lib/socker-devcluster", cwd=str(scratch / "submit"))
    assert seen.stdout.split() == ["/home:", "alice", f"{scratch}:", "submit"]
    assert "No such file" in seen.stderr


def test_submit_directory_below_home_is_not_mounted_twice(cluster: Cluster) -> None:
    place = Path(f"/home/alice/below-{os.getpid()}")
    place.mkdir()
    shutil.chown(place, "alice", "alice")
    try:
        points = mount_points(cluster, cwd=str(place))
        assert [point for point in points if point.startswith("/home")] == ["/home/alice"]
        assert cluster.srun("pwd", cwd=str(place)).stdout == f"{place}\n"
    finally:
        place.rmdir()


def test_home_that_its_user_may_not_enter_is_not_mounted_and_the_step_says_so_and_runs(
    cluster: Cluster, scratch: Path
) -> None:
    home = Path("/home/bob")
    mode = home.stat().st_mode & 0o7777
    script = "pwd; ls -d /home/bob || echo none; echo $SLURM_PROCID"
    home.chmod(0)
    try:
        done = cluster.srun("--ntasks=2", "--label", "sh", "-c", script, user="bob", cwd=str(scratch))
    finally:
        home.chmod(mode)
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == [
        f"{task}: {line}" for task in (0, 1) for line in sorted([str(scratch), "none", str(task)])
    ]
    said = [line for line in done.stderr.splitlines() if "socker" in line]
    assert len(said) == 1, done.stderr
    assert said[0].endswith("socker: /home/bob is not mounted in the container: Permission denied")
    assert "error" not in said[0]


def test_directory_is_mounted_for_whom_a_group_lets_in_and_for_nobody_else(cluster: Cluster, scratch: Path) -> None:
    place = scratch / "project"
    place.mkdir()
    shutil.chown(place, "root", "alicegrp2")
    place.chmod(0o770)
    (place / "file").write_text("of the group\n")
    member = cluster.srun("sh", "-c", "pwd; cat file; echo new > new", cwd=str(place))
    assert (member.returncode, member.stdout, member.stderr) == (0, f"{place}\nof the group\n", "")
    assert (place / "new").owner() == "alice"
    # bob's step is sent there by hand; his own directory is none of the job's then, and root does not open it for him
    other = cluster.srun(f"--chdir={place}", "sh", "-c", f"pwd; cat {place}/file", user="bob", cwd="/tmp")
    assert other.stdout == "/tmp\n"
    assert other.returncode == 1
    assert f"{place}/file: No such file" in other.stderr


def test_home_and_submit_directory_behind_symbolic_links_are_found(cluster: Cluster, scratch: Path) -> None:
    real = scratch / "real"
    real.mkdir()
    (real / "file").write_text("behind a link\n")
    (scratch / "link").symlink_to("real")
    done = cluster.srun("sh", "-c", "pwd -P; cat file /etc/socker-image", cwd=str(scratch / "link"))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{real}\nbehind a link\ndebian:bookworm\n", "")
    home, moved = Path("/home/bob"), Path("/home/bob-moved")
    home.rename(moved)
    home.symlink_to(moved)
    try:
        done = cluster.srun(
            "sh", "-c", "echo x > $HOME/through-a-link; cd; echo $HOME; ls through-a-link", user="bob", cwd="/tmp"
        )
    finally:
        home.unlink()
        moved.rename(home)
    assert (done.returncode, done.stdout, done.stderr) == (0, "/home/bob\nthrough-a-link\n", "")
    (home / "through-a-link").unlink()


def test_submit_directory_is_where_the_image_has_its_links(cluster: Cluster) -> None:
    written = Path(f"/home/alice/linked-{os.getpid()}")
    done = cluster.srun("sh", "-c", f"readlink -f /home/alice; echo $HOME; echo x > {written}", image="odd:homelink")
    assert (done.returncode, done.stdout, done.stderr) == (0, "/mnt/realhome/alice\n/home/alice\n", "")
    assert (written.read_text(), written.owner()) == ("x\n", "alice")
    written.unlink()


def test_mounts_below_a_directory_come_along_and_keep_what_they_forbid(cluster: Cluster, scratch: Path) -> None:
    for name in ("tmpfs", "source", "readonly"):
        (scratch / name).mkdir()
        shutil.chown(scratch / name, "alice", "alice")
    (scratch / "source/file").write_text("bound\n")
    with (
        bind_mounted("none", scratch / "tmpfs", "-t", "tmpfs", "-o", "mode=1777"),
        bind_mounted(str(scratch / "source"), scratch / "readonly", "-o", "bind,ro"),
    ):
        (scratch / "tmpfs/file").write_text("on a tmpfs\n")
        script = "cat */file; cp /etc/socker-image tmpfs/copy; touch readonly/new"
        with cluster.allocation() as job:
            done = job.srun("sh", "-c", script, cwd=str(scratch))
        assert done.stdout == "bound\nbound\non a tmpfs\n"
        assert "Read-only file system" in done.stderr
        assert (scratch / "tmpfs/copy").read_text() == "debian:bookworm\n"
        cluster.assert_clean()


def test_mounts_of_the_host_do_not_change_with_what_a_container_gets(cluster: Cluster, scratch: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    with cluster.allocation() as job:
        assert job.srun("cat", "/etc/socker-image", cwd=str(scratch)).returncode == 0
        during = Path("/proc/self/mountinfo").read_text()
    # dockerd itself mounts the container's layers; other clusters on this machine are nobody's business here
    added = {line.split()[4] for line in during.splitlines()} - {line.split()[4] for line in before.splitlines()}
    places = ("/home", str(scratch), str(cluster.base))
    assert {point for point in added if point.startswith(places) and "/docker/overlay2/" not in point} == set()


def test_kernel_file_systems_are_not_mounted_as_submit_directory(cluster: Cluster) -> None:
    with cluster.allocation() as job:
        for place in ("/proc/sys", "/sys/kernel", "/dev/shm"):
            done = job.srun("cat", "/proc/self/mountinfo", cwd=place)
            assert done.returncode == 0, done.stderr
            types = {line.split()[4]: line.partition(" - ")[2].split()[0] for line in done.stdout.splitlines()}
            assert types["/proc"] == "proc"
            assert types["/sys"] == "sysfs"
            assert {"nosuid", "nodev"} <= set(done.stdout.split(" /proc ", 1)[1].split(" ", 1)[0].split(","))
