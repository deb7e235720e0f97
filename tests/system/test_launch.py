# SPDX-License-Identifier: Apache-2.0
"""The ways to ask for a container, and to which part of a job each applies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .clientimage import client_image
from .cluster import IMAGE, Cluster, until
from .terminal import terminal

# debian:bookworm has this file, the host has not.
WHERE = "cat /etc/socker-image 2>/dev/null || echo host"
INSIDE = "debian:bookworm\n"
OUTSIDE = "host\n"


@pytest.mark.short
@pytest.mark.parametrize(
    "size",
    [
        ("--ntasks=1",),
        ("--ntasks=8",),
        pytest.param(("--nodes=4", "--ntasks=8"), marks=pytest.mark.native),
    ],
    ids=" ".join,
)
def test_srun_runs_every_task_once_in_the_image(cluster: Cluster, size: tuple[str, ...]) -> None:
    done = cluster.srun(*size, "sh", "-c", f"echo $SLURM_PROCID $SLURMD_NODENAME $({WHERE})")
    assert done.returncode == 0, done.stderr
    seen = sorted(line.split() for line in done.stdout.splitlines())
    tasks = int(size[-1].partition("=")[2])
    nodes = cluster.nodes[:4] if "--nodes=4" in size else cluster.nodes[:1]
    assert [int(task) for task, _, _ in seen] == list(range(tasks))
    assert {node for _, node, _ in seen} == set(nodes)
    assert {image for _, _, image in seen} == {"debian:bookworm"}


def test_srun_in_a_salloc_chooses_for_itself_and_salloc_s_own_container_is_not_its(cluster: Cluster) -> None:
    script = f"""
        srun --container={IMAGE} sh -c '{WHERE}'
        srun sh -c '{WHERE}'
        srun --container=busybox:latest sh -c 'test -e /etc/socker-image || ls -l /bin/ls'
        echo "$SLURM_CONTAINER"
    """
    done = cluster.run("salloc", "--quiet", "--ntasks=2", f"--container={IMAGE}", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:4] == ["debian:bookworm"] * 2 + ["host"] * 2
    assert [line.split()[-1] for line in lines[4:6]] == ["busybox", "busybox"]
    assert lines[6:] == [IMAGE]


@pytest.mark.parametrize("by", ["option", "variable"])
def test_salloc_with_a_container_gives_a_shell_in_it_on_a_terminal(cluster: Cluster, by: str) -> None:
    option = [f"--container={IMAGE}"] if by == "option" else []
    variable = [f"SALLOC_CONTAINER={IMAGE}"] if by == "variable" else []
    argv = cluster.argv(["env", *variable, "salloc", *option])
    with terminal(argv, rows=31, columns=97) as screen:
        screen.expect(r"\$ ")
        screen.type("cat /etc/socker-image; tty; stty size; echo $0 $SLURM_PROCID\n")
        screen.expect(r"debian:bookworm\r\n/dev/pts/\d+\r\n31 97\r\n/bin/bash 0\r\n")
        screen.type("exit 7\n")
        assert screen.wait() == 7


@pytest.mark.short
def test_batch_script_runs_in_the_container_that_its_option_line_or_variable_names(cluster: Cluster) -> None:
    script = f"{WHERE}; only-in-image; pwd; echo $0 $SLURM_CONTAINER; exit 3\n"
    wanted = re.compile(rf"{INSIDE}only-in-image\n/home/alice\n(?P<spool>{cluster.base}/\S+) {IMAGE}\n")
    jobs = [
        cluster.sbatch(f"#!/bin/sh\n{script}", f"--container={IMAGE}"),
        cluster.sbatch(f"#!/bin/bash\n#SBATCH --container={IMAGE}\n{script}"),
    ]
    for job in jobs:
        found = wanted.fullmatch(job.output)
        assert found, job.output
        assert (job.state, job.exit) == ("FAILED", "3:0")
        assert cluster.job_field(job.id, "Container") == IMAGE


def test_variables_ask_for_containers_like_the_options(cluster: Cluster, scratch: Path) -> None:
    done = cluster.srun("sh", "-c", WHERE, image=None, env={"SRUN_CONTAINER": IMAGE})
    assert (done.stdout, done.stderr) == (INSIDE, "")
    wins = cluster.srun("sh", "-c", WHERE, image=IMAGE, env={"SRUN_CONTAINER": "nosuch:1"})
    assert (wins.stdout, wins.stderr) == (INSIDE, "")
    out = scratch / "out"
    sent = ("sbatch", "--wait", f"--output={out}", f"--wrap={WHERE}")
    done = cluster.run(*sent, env={"SBATCH_CONTAINER": IMAGE})
    assert done.returncode == 0, done.stderr
    assert out.read_text() == INSIDE


def test_container_variable_of_an_outer_job_is_forgotten(cluster: Cluster, scratch: Path) -> None:
    outer = {"SLURM_CONTAINER": "nosuch:1"}
    shown = f"{WHERE}; echo $SLURM_CONTAINER"
    plain = cluster.srun("sh", "-c", shown, image=None, env=outer)
    assert (plain.returncode, plain.stdout) == (0, f"{OUTSIDE}\n"), plain.stderr
    own = cluster.srun("sh", "-c", shown, env=outer)
    assert (own.returncode, own.stdout) == (0, f"{INSIDE}{IMAGE}\n"), own.stderr
    out = scratch / "out"
    sent = cluster.run("sbatch", "--parsable", f"--output={out}", f"--wrap={shown}", env=outer)
    until(lambda: out.exists() and out.read_text().count("\n") == 2, what=f"output of {sent.stdout}")
    assert out.read_text() == f"{OUTSIDE}\n"


def test_array_runs_each_of_its_jobs_in_a_container_of_its_own(cluster: Cluster, scratch: Path) -> None:
    commands = f"{WHERE}\ntouch /tmp/$SLURM_ARRAY_TASK_ID\nls /tmp\n"
    script = f"#!/bin/sh\n#SBATCH --array=1-3\n#SBATCH --container={IMAGE}\n{commands}"
    sent = cluster.run("sbatch", f"--output={scratch}/%a", stdin=script)
    assert sent.returncode == 0, sent.stderr
    until(lambda: not cluster.run("squeue", "--noheader").stdout, what="the end of the array")
    assert [(scratch / task).read_text() for task in "123"] == [f"{INSIDE}{task}\n" for task in "123"]


def test_commands_of_a_container_batch_script_start_outside_unless_they_ask(cluster: Cluster, scratch: Path) -> None:
    inner = scratch / "inner"
    script = f"""#!/bin/sh
#SBATCH --container=socker-test:client
#SBATCH --chdir={cluster.base}
{WHERE}
srun sh -c '{WHERE}; echo "[$SLURM_CONTAINER]"'
srun --container=busybox:latest sh -c 'readlink /bin/ls; echo "[$SLURM_CONTAINER]"'
sbatch --quiet --output={inner} --wrap='{WHERE}; echo "[$SLURM_CONTAINER]"'
"""
    with client_image(cluster, IMAGE, "socker-test:client"):
        job = cluster.sbatch(script)
        until(lambda: inner.exists() and inner.read_text().count("\n") == 2, what=f"inner job; {job.output}")
        cluster.assert_clean()
    assert job.output == f"{INSIDE}{OUTSIDE}[]\nbusybox\n[busybox:latest]\n"
    assert inner.read_text() == f"{OUTSIDE}[]\n"


@pytest.mark.parametrize("variable", [False, True])
def test_components_of_one_srun_do_not_take_each_other_s_image(cluster: Cluster, scratch: Path, variable: bool) -> None:
    """Slurm gives every component the first one's SLURM_CONTAINER."""
    first = () if variable else (f"--container={IMAGE}",)
    words = ("srun", *first, "touch", str(scratch / "a"), ":", "touch", str(scratch / "b"))
    done = cluster.run("salloc", "--quiet", "--nodes=2", *words, env={"SRUN_CONTAINER": IMAGE} if variable else {})
    assert done.returncode != 0
    assert 'socker: --container does not work together with ":"' in done.stderr
    assert not list(scratch.iterdir())


def test_components_without_a_container_are_slurm_s_own(cluster: Cluster, scratch: Path) -> None:
    words = ("srun", "touch", str(scratch / "a"), ":", "touch", str(scratch / "b"))
    plain = cluster.run("salloc", "--quiet", "--nodes=2", *words)
    assert "socker" not in plain.stderr
    assert plain.returncode == 0, plain.stderr
    assert sorted(path.name for path in scratch.iterdir()) == ["a", "b"]
