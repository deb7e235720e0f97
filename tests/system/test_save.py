# SPDX-License-Identifier: Apache-2.0
"""--container-save: what a step left in its container becomes an image, once, and only where policy says so."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .cluster import IMAGE, Cluster, until
from .faults import (
    assert_soon,
    assert_step_refused,
    command_line,
    daemon,
    frozen,
    job_of,
    kill,
    processes,
    said,
    stopped,
    strangers,
    sweep,
    tidy,
    wait_for_no_jobs,
    wait_for_process,
)

POLICY = """\
version: 1
rules:
  - {name: all, effect: allow, images: ["**"], mounts: {home: true, submit_dir: true}, save: ["site/**"]}
"""
DOCKER = re.compile(r"Docker does not answer on this node \([^)]*\); tell your administrator")


@pytest.fixture(autouse=True)
def _policy(cluster: Cluster) -> Iterator[None]:
    """Everybody may save below site/; no test leaves an image."""
    before = images(cluster)
    with cluster.policy(POLICY):
        yield
    wait_for_no_jobs(cluster)
    for image in images(cluster) - before:
        cluster.docker("rmi", "--force", image)


def images(cluster: Cluster) -> set[str]:
    """Every image by its name, by its id where it has none."""
    listed = cluster.docker("images", "--all", "--no-trunc", "--format={{.Repository}}:{{.Tag}} {{.ID}}").splitlines()
    return {number if name == "<none>:<none>" else name for name, number in map(str.split, listed)}


def config(cluster: Cluster, image: str) -> dict[str, Any]:
    """What an image says of itself."""
    found: dict[str, Any] = json.loads(cluster.docker("inspect", "--type=image", image))[0]["Config"]
    return found


def save(name: str) -> str:
    return f"--container-save={name}"


def test_a_saved_image_runs_and_has_what_its_step_left(cluster: Cluster) -> None:
    before = images(cluster)
    script = "echo kept > /tmp/file; cp /bin/id /tmp/own; chmod 4755 /tmp/own"
    done = cluster.srun(save("site/tool:1"), "sh", "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done
    assert images(cluster) - before == {"site/tool:1"}
    assert not config(cluster, "site/tool:1")["Labels"]
    look = "cat /tmp/file; stat -c '%a %U' /tmp/own; cat /etc/socker-image; id -un"
    again = cluster.srun("sh", "-c", look, image="site/tool:1")
    assert (again.returncode, again.stderr) == (0, ""), again
    assert again.stdout == "kept\n4755 alice\ndebian:bookworm\nalice\n"


def layer(cluster: Cluster, image: str) -> list[str]:
    """The paths of an image's topmost layer."""
    top = json.loads(cluster.docker("inspect", "--type=image", image))[0]["GraphDriver"]["Data"]["UpperDir"]
    return sorted(cluster.run("find", top, "-mindepth", "1", "-printf", "%P\\n", user="").stdout.split())


def test_a_saved_layer_has_nothing_of_ours_and_nothing_of_the_hosts(cluster: Cluster) -> None:
    done = cluster.srun(
        save("site/layer:1"), "sh", "-c", "touch /tmp/file; ls -A $HOME | head -1; grep -c alice /etc/passwd"
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.endswith("1\n")
    # the home is where it was mounted, and empty
    assert layer(cluster, "site/layer:1") == ["home", "home/alice", "tmp", "tmp/file"]


@pytest.mark.parametrize("image", ["odd:config", "odd:hostile"])
def test_a_saved_image_has_the_configuration_of_its_base(cluster: Cluster, image: str) -> None:
    done = cluster.srun(save("site/odd:1"), "touch", "/tmp/file", image=image)
    assert done.returncode == 0, done
    wanted, found = config(cluster, image), config(cluster, "site/odd:1")
    wanted["Labels"] = {name: value for name, value in wanted["Labels"].items() if not name.startswith("io.socker.")}
    assert {**found, "Labels": found["Labels"] or {}} == wanted


def test_a_read_only_container_is_saved_too(cluster: Cluster) -> None:
    done = cluster.srun(save("site/ro:1"), "--container-readonly", "true")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert not any(".socker" in path for path in layer(cluster, "site/ro:1"))


def test_a_batch_script_is_saved(cluster: Cluster) -> None:
    job = cluster.sbatch("#!/bin/sh\necho batch > /tmp/file\nexit 3\n", f"--container={IMAGE}", save("site/batch:1"))
    # how a program ends is its own affair
    assert (job.state, job.exit, job.output) == ("FAILED", "3:0", "")
    assert cluster.srun("cat", "/tmp/file", image="site/batch:1").stdout == "batch\n"


@pytest.mark.parametrize("name", ["other/tool:1", "site.example/site/tool:1", "site:1", "debian:bookworm"])
def test_a_name_that_policy_does_not_give_is_refused(cluster: Cluster, name: str) -> None:
    full = {"site:1": "docker.io/library/site:1", "debian:bookworm": "docker.io/library/debian:bookworm"}
    shown = full.get(name, name if "." in name else f"docker.io/{name}")
    why = f'--container-save is denied by rule "all": it does not let users save "{shown}"'
    assert_step_refused(cluster.srun(save(name), "true"), why)
    assert cluster.containers() == []


def test_without_a_policy_file_nobody_saves(cluster: Cluster) -> None:
    (cluster.base / "etc/policy.yaml").unlink()
    why = '--container-save is denied by rule "built-in": it does not let users save "docker.io/site/tool:1"'
    assert_step_refused(cluster.srun(save("site/tool:1"), "true"), why)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("site/Tool:1", '--container-save: image reference "site/Tool:1": the repository must be lower case: "Tool"'),
        (f"site/tool@sha256:{'0' * 64}", "is a digest, which nobody can choose; give a name and a tag"),
        ("site/../etc:1", '--container-save: image reference "site/../etc:1": this is no part of a repository'),
    ],
)
def test_a_name_that_is_none_is_refused(cluster: Cluster, name: str, why: str) -> None:
    done = cluster.srun(save(name), "true")
    ((line,),) = said(done.stderr).values()
    assert why in line
    assert (done.returncode, strangers(done.stderr)) == (1, [])


def test_an_image_that_is_there_is_not_replaced(cluster: Cluster) -> None:
    assert cluster.srun(save("site/tool:1"), "true").returncode == 0
    first = cluster.docker("inspect", "--format={{.Id}}", "site/tool:1")
    why = '--container-save: there is an image "docker.io/site/tool:1" on node {node} already; choose another tag'
    assert_step_refused(cluster.srun(save("docker.io/site/tool:1"), "touch", "/tmp/other"), why)
    assert cluster.docker("inspect", "--format={{.Id}}", "site/tool:1") == first


def test_a_step_on_two_nodes_is_not_saved(cluster: Cluster) -> None:
    why = "--container-save: this step runs on 2 nodes, and one container is saved; run it with --nodes=1"
    assert_step_refused(cluster.srun(save("site/tool:1"), "--nodes=2", "true"), why, nodes=2)


@contextlib.contextmanager
def writer(cluster: Cluster, name: str, script: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A step at work on the cluster's first node that will be saved: its job and its srun."""
    options = (f"--job-name={name}", f"--nodelist={cluster.nodes[0]}", f"--container={IMAGE}", save("site/one:1"))
    step = cluster.popen("srun", *options, "sh", "-c", script)
    try:
        job = job_of(cluster, name)
        wait_for_process(cluster, job, "sleep")
        yield job, step
    finally:
        cluster.run("scancel", f"--name={name}", user="")
        step.communicate(timeout=30)


@contextlib.contextmanager
def go(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """A script that waits for a file of alice's, and the file, which the test makes."""
    path = f"/home/alice/go-{time.monotonic_ns()}"
    try:
        yield f"while ! test -e {path}; do sleep 0.2; done", path
    finally:
        cluster.run("rm", "-f", path)


def test_a_second_writer_is_refused_and_the_first_one_saves(cluster: Cluster) -> None:
    why = "another step on this node saves its container as docker.io/site/one:1; give another name"
    here = f"--nodelist={cluster.nodes[0]}"
    with go(cluster) as (script, path), writer(cluster, "first", script) as (job, first):
        # of another job, spelled otherwise; and of the same job, whose container is the same
        assert_step_refused(cluster.srun(save("docker.io/site/one:1"), here, "true"), why)
        assert_step_refused(cluster.srun(save("site/one:1"), f"--jobid={job}", "--overlap", "true"), why)
        assert cluster.srun(save("site/two:1"), here, "true").returncode == 0
        cluster.run("touch", path)
        _, told = first.communicate(timeout=30)
        assert (first.returncode, told) == (0, "")
    assert {"site/one:1", "site/two:1"} <= images(cluster)


def test_a_writer_whose_slurmstepd_was_killed_leaves_no_lock(cluster: Cluster) -> None:
    with writer(cluster, "killed", "sleep 600") as (job, _):
        (stepd,) = (pid for pid in pids() if f"slurmstepd: [{job}.0]" in command_line(pid)[:1])
        kill(stepd)
    wait_for_no_jobs(cluster)
    assert cluster.srun(save("site/one:1"), f"--nodelist={cluster.nodes[0]}", "true").returncode == 0
    # what Slurm does not remove by itself after that
    tidy(cluster)


def pids() -> list[int]:
    """Every process."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def test_a_cancelled_step_is_not_saved(cluster: Cluster) -> None:
    before = images(cluster)
    with writer(cluster, "cancelled", "sleep 600") as (job, step):
        cluster.run("scancel", str(job), user="")
        _, told = step.communicate(timeout=20)
    assert "socker: the container is not saved: a task of this step was ended by signal 15" in told
    assert images(cluster) == before
    wait_for_no_jobs(cluster)
    assert set(cluster.node_states().values()) == {"idle"}


def test_a_step_that_ends_while_docker_is_silent_says_so_and_another_can_save(cluster: Cluster) -> None:
    late = cluster.plugstack(lambda line: f"{line.rstrip()} save_deadline=2\n")
    with late, go(cluster) as (script, path), cluster.allocation(f"--nodelist={cluster.nodes[0]}") as job:
        step = job.popen(save("site/one:1"), "sh", "-c", f"echo kept > /tmp/file; {script}")
        wait_for_process(cluster, job.id, "sleep")
        with frozen(daemon(cluster, "dockerd")):
            began = time.monotonic()
            cluster.run("touch", path)
            _, told = step.communicate(timeout=30)
            assert_soon(began, 5)
        assert step.returncode == 0
        ((line,),) = said(told).values()
        assert line.startswith("the container is not saved: Docker does not answer in time on this node"), line
        assert "site/one:1" not in images(cluster)
        again = job.srun(save("site/one:1"), "cat", "/tmp/file")
        assert (again.returncode, again.stdout, again.stderr) == (0, "kept\n", ""), again
    assert "site/one:1" in images(cluster)
    wait_for_no_jobs(cluster)
    assert set(cluster.node_states().values()) == {"idle"}


def test_a_batch_job_is_told_too_that_docker_is_down(cluster: Cluster) -> None:
    with go(cluster) as (script, path):
        out = f"{path}.out"
        sent = cluster.run(
            "sbatch", "--parsable", f"--output={out}", f"--container={IMAGE}", save("site/one:1"), f"--wrap={script}"
        )
        job = int(sent.stdout)
        wait_for_process(cluster, job, "sleep")
        with stopped(cluster, "dockerd", how="kill"):
            cluster.run("touch", path)
            until(lambda: cluster.job_field(job, "JobState") == "COMPLETED", what="the end of the job")
            wait_for_no_jobs(cluster)
        output = cluster.run("cat", out).stdout
        cluster.run("rm", out)
    ((line,),) = said(output).values()
    assert re.fullmatch(f"the container is not saved: {DOCKER.pattern}", line), line
    assert set(cluster.node_states().values()) == {"idle"}
    # the epilog had no Docker either
    assert sweep(cluster).returncode == 0


def test_a_step_that_is_cancelled_while_it_is_saved_ends_at_once(cluster: Cluster) -> None:
    with go(cluster) as (script, path), cluster.allocation(f"--nodelist={cluster.nodes[0]}") as job:
        step = job.popen(save("site/one:1"), "sh", "-c", script)
        wait_for_process(cluster, job.id, "sleep")
        with frozen(daemon(cluster, "dockerd")):
            cluster.run("touch", path)
            wait_for_process(cluster, job.id, "socker-policy")
            began = time.monotonic()
            cluster.run("scancel", f"{job.id}.0", user="")
            _, told = step.communicate(timeout=20)
            assert time.monotonic() - began < 7
            until(lambda: not processes(cluster, job.id, "socker-policy"), seconds=1)
        assert "the container is not saved: saving the container was interrupted" in told
    wait_for_no_jobs(cluster)
    assert "site/one:1" not in images(cluster)
    assert set(cluster.node_states().values()) == {"idle"}


def test_an_image_is_saved_where_the_job_is_already_known(cluster: Cluster) -> None:
    """Each image of a job has a container of its own: what one step left is not in another's image."""
    with cluster.allocation(f"--nodelist={cluster.nodes[0]}") as job:
        assert job.srun("touch", "/tmp/plain").returncode == 0
        assert job.srun(save("site/one:1"), "touch", "/tmp/one").returncode == 0
        assert job.srun(save("site/two:1"), "touch", "/tmp/two").returncode == 0
        assert job.srun("ls", "/tmp", image="site/one:1").stdout == "one\n"
        assert job.srun("ls", "/tmp", image="site/two:1").stdout == "two\n"


def test_a_named_container_goes_on_after_it_was_saved(cluster: Cluster) -> None:
    named = "--container-name=n"
    with cluster.allocation(f"--nodelist={cluster.nodes[0]}") as job:
        assert job.srun(save("site/one:1"), named, "touch", "/tmp/one", image="odd:config").returncode == 0
        # its entry point is run by a program of ours in the container
        done = job.srun(named, "--container-entrypoint", "/tmp/two", image="odd:config")
        assert (done.returncode, done.stderr) == (0, ""), done
        assert job.srun(named, "ls", "/tmp", "/traces", image="odd:config").stdout.split() == [
            *("/tmp:", "one", "two"),
            *("/traces:", "entrypoint-ran"),
        ]
        again = job.srun(save("site/two:1"), named, "true", image="odd:config")
        assert "was opened with other options" in again.stderr, again
    assert not any(".socker" in path for path in layer(cluster, "site/one:1"))
