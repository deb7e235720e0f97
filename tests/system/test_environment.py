# SPDX-License-Identifier: Apache-2.0
"""What a command in a container finds: its variables, its commands, its directory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .cluster import IMAGE, Cluster, Result, until

DEBIAN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def variables(done: Result) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


@pytest.mark.short
def test_image_s_variables_win_and_the_job_s_stay(cluster: Cluster) -> None:
    mine = {"FOO": "from-job", "BAR": "from-job", "EMPTY": "", "SPACES": " a  b ", "PATH": "/usr/bin:/nosuch"}
    with cluster.allocation() as job:
        inside = variables(job.srun("env", image="odd:config", env=mine))
        plain = variables(job.srun("env", image=None, env=mine))
    assert inside["FOO"] == "from-image"
    assert inside["PATH"] == "/opt/odd/bin:/bin"
    for name in ("BAR", "EMPTY", "SPACES"):
        assert inside[name] == mine[name]
    for name in ("HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "SLURM_CONF", "SLURM_JOB_ID", "SLURM_PROCID"):
        assert inside[name] == plain[name], name
    assert inside["HOME"] == "/home/alice"
    # nothing is lost, and nothing is added but Slurm's own
    assert inside.keys() - plain.keys() == {"SLURM_CONTAINER"}
    assert plain.keys() - inside.keys() == set()


def test_commands_are_found_through_the_image_s_path_and_not_the_job_s(cluster: Cluster, scratch: Path) -> None:
    (scratch / "only-mine").write_text("#!/bin/sh\necho only-mine\n")
    (scratch / "only-mine").chmod(0o755)
    mine = {"PATH": f"{scratch}:{DEBIAN_PATH}"}
    with cluster.allocation() as job:
        for image, command in ((IMAGE, "only-in-image"), ("odd:config", "odd-command")):
            found = job.srun(command, image=image, env=mine)
            assert (found.returncode, found.stdout, found.stderr) == (0, f"{command}\n", "")
        lost = job.srun("only-mine", env=mine)
        assert (lost.returncode, lost.stdout) == (2, "")
        # by a path, the job's commands are there
        named = job.srun("./only-mine", env=mine, cwd=str(scratch))
        assert (named.returncode, named.stdout, named.stderr) == (0, "only-mine\n", "")
        # neither is there on the host
        for command in ("only-in-image", "odd-command"):
            assert job.srun(command, image=None).returncode == 2


def test_image_that_sets_nothing_gets_docker_s_path(cluster: Cluster, tmp_path: Path) -> None:
    tag = "socker-test:bare"
    files = tmp_path / "files.tar"
    made = cluster.docker("create", "busybox:latest").strip()
    cluster.docker("export", f"--output={files}", made)
    cluster.docker("rm", made)
    cluster.docker("import", str(files), tag)
    try:
        assert variables(cluster.srun("env", image=tag, env={"PATH": "/usr/bin:/nosuch"}))["PATH"] == DEBIAN_PATH
    finally:
        cluster.docker("image", "rm", "--force", tag)


@pytest.mark.parametrize(
    "name", ["plain", "with space", "quote ' \" $HOME", "ünï", "-n", "a:b,c=d", "back\\slash", "line\nbreak"]
)
def test_submit_directory_of_any_name_is_mounted_and_entered(cluster: Cluster, scratch: Path, name: str) -> None:
    place = scratch / name
    place.mkdir()
    shutil.chown(place, "alice", "alice")
    (place / "file").write_text("from the host\n")
    done = cluster.srun("sh", "-c", "cat /etc/socker-image ./file; pwd; cp file copy", cwd=str(place))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"debian:bookworm\nfrom the host\n{place}\n", "")
    assert (place / "copy").read_text() == "from the host\n"
    assert (place / "copy").owner() == "alice"


def test_directory_that_both_sides_have_is_entered_but_the_system_s_are_the_image_s(
    cluster: Cluster, scratch: Path
) -> None:
    shown = ("sh", "-c", "pwd; ls -d /etc/socker-image; ls /home")
    with cluster.allocation() as job:
        for place in ("/", "/etc", "/usr/lib", "/var", "/home", "/sys"):
            done = job.srun(*shown, cwd=place)
            assert (done.returncode, done.stdout, done.stderr) == (0, f"{place}\n/etc/socker-image\nalice\n", "")
        for place in ("/tmp", "/var/tmp"):
            mark = Path(place) / scratch.name
            mark.touch()
            try:
                done = job.srun(*shown, cwd=place)
                assert (done.returncode, done.stdout, done.stderr) == (0, f"{place}\n/etc/socker-image\nalice\n", "")
            finally:
                mark.unlink() if mark.is_file() else None


def test_directory_that_the_container_lacks_gives_way_to_the_image_s(cluster: Cluster) -> None:
    with cluster.allocation() as job:
        for place, image, wanted in (
            ("/proc/self", "odd:config", "/opt/odd/work"),
            ("/proc", IMAGE, "/"),
            ("/usr/lib/python3", "odd:config", "/opt/odd/work"),
            ("/usr/share", "busybox:latest", "/"),
            ("/var", "odd:config", "/var"),
        ):
            done = job.srun("pwd", image=image, cwd=place)
            assert (done.returncode, done.stdout, done.stderr) == (0, f"{wanted}\n", ""), place


@pytest.mark.short
def test_submit_directory_that_was_removed_is_replaced_as_on_the_host(cluster: Cluster, scratch: Path) -> None:
    seen = []
    for option in ([f"--container={IMAGE}"], []):
        gone = scratch / "gone"
        gone.mkdir()
        out = scratch / "out"
        words = (
            "--parsable",
            "--hold",
            f"--chdir={gone}",
            f"--output={out}",
            "--wrap=cat /etc/socker-image || echo host; pwd",
        )
        sent = cluster.run("sbatch", *option, *words)
        assert sent.returncode == 0, sent.stderr
        gone.rmdir()
        cluster.run("scontrol", "release", sent.stdout.strip())
        until(lambda: out.exists() and "\n/tmp\n" in f"\n{out.read_text()}", what="the job's output")  # noqa: B023
        seen.append(out.read_text().splitlines())
        out.unlink()
    inside, plain = seen
    assert inside[-2:] == ["debian:bookworm", "/tmp"]
    assert plain[-2:] == ["host", "/tmp"]
    assert f"couldn't chdir to `{scratch}/gone'" in inside[0]
