# SPDX-License-Identifier: Apache-2.0
"""sbcast, --bcast, --export, sattach and overlapping steps do with a container what they do without one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import IMAGE, Allocation, Cluster

BOTH = (IMAGE, None)


@pytest.fixture(scope="module")
def job(whole_cluster: Cluster) -> Iterator[Allocation]:
    """One job for all steps here."""
    with whole_cluster.allocation("--nodes=2", "--ntasks=2", "--mem=800") as allocation:
        yield allocation
    whole_cluster.assert_clean()


def test_files_of_sbcast_are_found_where_the_container_has_their_directory(cluster: Cluster, scratch: Path) -> None:
    (scratch / "input").write_text("broadcast\n")
    local = Path(f"/tmp/{scratch.name}")
    script = f"""#!/bin/sh
cd {scratch}
sbcast input {scratch}/copy && srun --container={IMAGE} cat {scratch}/copy
sbcast input {local} && srun cat {local} && srun --container={IMAGE} --container-mounts={local} cat {local}
rm {local}
"""
    done = cluster.sbatch(script, "--nodes=1")
    assert (done.exit, done.output) == ("0:0", "broadcast\n" * 3)


@pytest.mark.parametrize("where", ["", "=copied"], ids=["unnamed", "named"])
def test_a_program_that_srun_broadcasts_runs(job: Allocation, scratch: Path, where: str) -> None:
    program = scratch / "program"
    program.write_text("#!/bin/sh\ncat /etc/socker-image 2>/dev/null || echo host\n")
    program.chmod(0o755)
    # where it goes is relative to the working directory, which the container has
    option = f"--bcast{where.replace('=', f'={scratch}/')}"
    for image, said in ((IMAGE, "debian:bookworm\n"), (None, "host\n")):
        done = job.srun("--ntasks=1", "--nodes=1", option, str(program), image=image, cwd=str(scratch))
        assert (done.returncode, done.stdout) == (0, said), done.stderr


def test_a_program_that_srun_broadcasts_where_the_container_has_nothing_is_not_found(
    job: Allocation, scratch: Path
) -> None:
    program = scratch / "program"
    program.write_text("#!/bin/sh\necho ran\n")
    program.chmod(0o755)
    target = Path(f"/tmp/{scratch.name}")
    done = job.srun("--ntasks=1", "--nodes=1", f"--bcast={target}", str(program), cwd=str(scratch))
    target.unlink(missing_ok=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{target}: No such file or directory" in done.stderr


@pytest.mark.parametrize("export", ["ALL", "NONE", "NIL", "MINE", "MINE,NEW=2", "ALL,NEW=2"])
def test_variables_that_are_exported_are_those_of_a_plain_step(job: Allocation, export: str) -> None:
    show = 'echo "${MINE-unset} ${OTHER-unset} ${NEW-unset} ${SLURM_JOB_ID-unset}"'
    seen = [
        job.cluster.run(
            "srun",
            f"--jobid={job.id}",
            "--ntasks=1",
            "--nodes=1",
            f"--export={export}",
            *([f"--container={image}"] if image else []),
            "/bin/sh",
            "-c",
            show,
            env={"MINE": "1", "OTHER": "1"},
        )
        for image in BOTH
    ]
    assert [step.returncode for step in seen] == [0, 0], seen[0].stderr
    assert seen[0].stdout == seen[1].stdout
    assert seen[0].stdout.endswith(f" {job.id}\n")


def test_sattach_shows_what_a_running_step_says(job: Allocation) -> None:
    node = job.cluster.nodes[0]
    for image in BOTH:
        script = "echo $SLURM_STEP_ID; while :; do echo tick; sleep 0.1; done"
        step = job.popen("--ntasks=1", "--nodes=1", f"--nodelist={node}", "--overlap", "sh", "-c", script, image=image)
        try:
            assert step.stdout
            number = step.stdout.readline().strip()
            attached = job.cluster.popen("sattach", f"{job.id}.{number}")
            assert attached.stdout
            # what was said before is said again
            lines = [attached.stdout.readline() for _ in range(4)]
            assert lines[1:] == ["tick\n"] * 3
            assert lines[0] in {"tick\n", f"{number}\n"}
            attached.terminate()
            attached.communicate(timeout=20)
        finally:
            job.cluster.run("scancel", f"{job.id}.{number}")
            step.communicate(timeout=30)


def test_a_step_that_overlaps_a_running_one_is_in_its_container(job: Allocation) -> None:
    node = job.cluster.nodes[0]
    running = job.popen(
        "--ntasks=1", "--nodes=1", f"--nodelist={node}", "--overlap", "sh", "-c", "echo $$ > /tmp/first; echo; sleep 60"
    )
    try:
        assert running.stdout
        assert running.stdout.readline() == "\n", running.stderr
        looks = "kill -0 $(cat /tmp/first) && tr '\\0' ' ' < /proc/$(cat /tmp/first)/cmdline"
        done = job.srun("--ntasks=1", "--nodes=1", f"--nodelist={node}", "--overlap", "sh", "-c", looks)
        assert (done.returncode, done.stderr) == (0, "")
        assert "/tmp/first" in done.stdout
        plain = job.srun("--ntasks=1", "--nodes=1", f"--nodelist={node}", "--overlap", "cat", "/tmp/first", image=None)
        assert plain.returncode != 0
    finally:
        running.terminate()
        try:
            running.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            running.kill()
            raise
