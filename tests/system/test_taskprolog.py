# SPDX-License-Identifier: Apache-2.0
"""
TaskProlog and TaskEpilog of slurm.conf, and the user's own: prologs run in the container, epilogs on the node.

Slurm runs a prolog in the task, after the join; so socker mounts the site's, wherever it lies, over what is there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .cluster import Cluster, Result, until

PLACE = Path("/etc/socker-test")  # where an image's own files are never covered
PROLOG = """\
#!/bin/sh
echo "export FROM_SITE=yes"
echo "export WHERE=$(cat /etc/socker-image 2>/dev/null)"
echo "print prolog of $SLURM_PROCID"
"""
EPILOG = """\
#!/bin/sh
{ id -un; echo "$SLURM_PROCID"; ls /etc/socker-image 2>&1; } > /home/alice/epilog-ran
exit 0
"""


@contextmanager
def configured(cluster: Cluster, *lines: str) -> Iterator[None]:
    """slurm.conf has these lines, and all daemons know them."""
    path = cluster.base / "etc/slurm.conf"
    before = path.read_text()

    def write(text: str) -> None:
        # whole at any time: each slurmstepd reads it
        new = path.with_suffix(".new")
        new.write_text(text)
        new.rename(path)
        assert cluster.run("scontrol", "reconfigure", user="").returncode == 0

    write("\n".join(lines) + "\n" + before)
    try:
        yield
        cluster.assert_clean()
    finally:
        write(before)


@pytest.fixture(scope="module")
def scripts() -> Iterator[Path]:
    """Both scripts, in a directory of the system."""
    PLACE.mkdir()
    for name, text in (("prolog", PROLOG), ("epilog", EPILOG)):
        (PLACE / name).write_text(text)
        (PLACE / name).chmod(0o755)
    yield PLACE
    shutil.rmtree(PLACE)


@pytest.fixture
def site(cluster: Cluster, scripts: Path) -> Iterator[Cluster]:
    """A cluster with a TaskProlog and a TaskEpilog."""
    ran = Path("/home/alice/epilog-ran")
    with configured(cluster, f"TaskProlog={scripts}/prolog", f"TaskEpilog={scripts}/epilog"):
        yield cluster
    ran.unlink(missing_ok=True)


def assert_refused(done: Result, why: str) -> None:
    """One line of ours, with the cause; nothing ran."""
    assert (done.returncode, done.stdout) == (1, "")
    lines = [line for line in done.stderr.splitlines() if "socker:" in line]
    assert len(lines) == 1, done.stderr
    assert why in lines[0]


def test_prolog_of_the_site_runs_in_the_container_and_sets_variables(site: Cluster) -> None:
    show = ("sh", "-c", "echo $FROM_SITE $WHERE; test -w /etc/socker-test/prolog && echo writable; true")
    inside, plain = site.srun(*show), site.srun(*show, image=None)
    assert (plain.returncode, plain.stdout, plain.stderr) == (0, "prolog of 0\nyes\n", "")
    assert (inside.returncode, inside.stdout, inside.stderr) == (0, "prolog of 0\nyes debian:bookworm\n", "")


def test_prolog_of_the_site_runs_for_each_task_of_each_step_and_for_a_batch_script(site: Cluster) -> None:
    with site.allocation("--ntasks=2") as job:
        for _ in range(2):
            done = job.srun("--ntasks=2", "true")
            assert (done.returncode, sorted(done.stdout.splitlines())) == (0, ["prolog of 0", "prolog of 1"])
        assert len(job.containers()) == 1
    job_ended = site.sbatch("#!/bin/sh\necho $WHERE\n", "--container=debian:bookworm")
    assert (job_ended.exit, job_ended.output) == ("0:0", "prolog of 0\ndebian:bookworm\n")


def test_prolog_of_the_site_is_there_whatever_the_user_mounts_in_its_place(site: Cluster, scratch: Path) -> None:
    (scratch / "prolog").write_text("#!/bin/sh\necho print false prolog\n")
    (scratch / "prolog").chmod(0o755)
    for mount in (f"{scratch}/prolog:{PLACE}/prolog", f"{scratch}:{PLACE}"):
        done = site.srun(f"--container-mounts={mount}", "true")
        assert (done.returncode, done.stdout) == (0, "prolog of 0\n"), done.stderr


def test_prolog_of_the_site_that_the_node_lacks_refuses_by_name(site: Cluster, scripts: Path) -> None:
    (scripts / "prolog").rename(scripts / "away")
    try:
        done = site.srun("echo", "ran")
    finally:
        (scripts / "away").rename(scripts / "prolog")
    assert_refused(done, f"Slurm's TaskProlog: {scripts}/prolog cannot be mounted: No such file or directory")


def test_prolog_of_the_site_that_has_no_place_in_the_container_refuses_by_name(site: Cluster, scratch: Path) -> None:
    done = site.srun(f"--container-mounts={scratch}:{PLACE}", "echo", "ran")
    assert_refused(done, f"nothing can be mounted at {PLACE}/prolog in this container")


def test_prolog_of_the_site_without_its_interpreter_in_the_image_ends_the_task(site: Cluster) -> None:
    done = site.srun("/hello", image="static:latest")
    assert (done.returncode != 0, done.stdout) == (True, "")
    assert "TaskProlog failed" in done.stderr


def test_epilog_of_the_site_runs_on_the_node_as_the_user(site: Cluster) -> None:
    ran = Path("/home/alice/epilog-ran")
    texts = []
    for image in ("debian:bookworm", None):
        done = site.srun("true", image=image)
        assert done.returncode == 0, done.stderr
        until(ran.exists, seconds=5)
        texts.append(ran.read_text())
        ran.unlink()
    assert texts[0] == texts[1]
    assert texts[0].startswith("alice\n0\n")
    assert "No such file" in texts[0]


def test_prolog_of_the_user_that_the_container_lacks_ends_the_task_by_name(cluster: Cluster, scratch: Path) -> None:
    script = scratch / "mine"
    script.write_text("#!/bin/sh\necho print mine\n")
    script.chmod(0o755)
    option = f"--task-prolog={script}"
    done = cluster.srun(option, "echo", "ran")
    assert (done.returncode != 0, done.stdout) == (True, "")
    missing = [line for line in done.stderr.splitlines() if "user task_prolog" in line and str(script) in line]
    assert missing, done.stderr
    assert "No such file or directory" in missing[0]
    done = cluster.srun(option, f"--container-mounts={script}", "echo", "ran")
    assert (done.returncode, done.stdout) == (0, "mine\nran\n")
