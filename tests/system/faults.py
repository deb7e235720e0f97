# SPDX-License-Identifier: Apache-2.0
"""What tests of failures share: breaking a part, what users are told then, and what must hold whatever is broken."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .cluster import IMAGE, PATIENCE, Cluster, Job, Result, until

KEY = 16  # hex digits

_SAID = re.compile(r"slurmstepd-(?P<node>[a-z0-9-]+): error: socker: (?P<text>.*)")
_SRUNS = re.compile(
    r"srun: error: [a-z0-9-]+: tasks? [0-9,-]+: Exited with exit code 1"
    r"|srun: job [0-9]+ (?:queued and waiting for|has been allocated) resources"
)


def said(text: str) -> dict[str, list[str]]:
    """What socker said on each node."""
    lines: dict[str, list[str]] = {}
    for found in map(_SAID.fullmatch, text.splitlines()):
        if found:
            lines.setdefault(found["node"], []).append(found["text"])
    return lines


def strangers(text: str) -> list[str]:
    """The lines that are neither socker's nor srun's own account: of its job, and of tasks that exited with 1."""
    return [line for line in text.splitlines() if not _SAID.fullmatch(line) and not _SRUNS.fullmatch(line)]


def assert_step_refused(done: Result, reason: str, *, nodes: int = 1) -> None:
    """A step ended with 1; each of its nodes gave the reason, {node} being its name, in one line and nothing else."""
    lines = said(done.stderr)
    assert lines == {node: [reason.replace("{node}", node)] for node in lines}, done.stderr
    assert len(lines) == nodes, done.stderr
    assert not strangers(done.stderr), done.stderr
    assert (done.returncode, done.stdout) == (1, ""), done


def assert_job_refused(job: Job, reason: str) -> None:
    """A batch job failed with 1, and its output is one line with the reason."""
    lines = said(job.output)
    assert lines == {node: [reason.replace("{node}", node)] for node in lines}, job
    assert job.output.count("\n") == 1, job
    assert (job.state, job.exit) == ("FAILED", "1:0"), job


def marker_script(marker: Path) -> str:
    """A batch script that leaves a mark where it runs: on the host, and in a container that has the user's home."""
    return f"#!/bin/sh\ntouch {marker}\n"


@contextlib.contextmanager
def marker() -> Iterator[Path]:
    """A path in alice's home that does not exist, before and after."""
    path = Path(f"/home/alice/ran-{time.monotonic_ns()}")
    yield path
    ran = path.exists()
    path.unlink(missing_ok=True)
    assert not ran, "the command ran"


def assert_refused(cluster: Cluster, reason: str, *, image: str = IMAGE, seconds: float = 8.0) -> None:
    """
    srun on two nodes and then sbatch are refused for this reason, each in so many seconds, and nothing of them runs.

    A step without a container works meanwhile, and no node leaves service.
    """
    with marker() as path, ThreadPoolExecutor() as pool:
        began = time.monotonic()
        plain = pool.submit(cluster.srun, "/bin/echo", "plain", image=None)
        assert_step_refused(
            cluster.srun("--nodes=2", "--ntasks=4", "/bin/touch", str(path), image=image), reason, nodes=2
        )
        assert_soon(began, seconds)
        assert (plain.result().returncode, plain.result().stdout) == (0, "plain\n"), plain.result()
        began = time.monotonic()
        assert_job_refused(cluster.sbatch(marker_script(path), f"--container={image}"), reason)
        assert_soon(began, seconds)
        wait_for_no_jobs(cluster)
    assert set(cluster.node_states().values()) == {"idle"}, cluster.node_states()


def assert_srun_refused(cluster: Cluster, reason: str) -> None:
    """srun on one node is refused for this reason, and nothing of it runs: the short form of `assert_refused`."""
    with marker() as path:
        assert_step_refused(cluster.srun("--ntasks=2", "/bin/touch", str(path)), reason)
        wait_for_no_jobs(cluster)


def assert_soon(began: float, seconds: float) -> None:
    """Since it began no more than so many seconds have passed."""
    passed = time.monotonic() - began
    assert passed < seconds * PATIENCE, f"it took {passed:.1f} s"


def assert_works(cluster: Cluster, *, nodes: int = 1) -> None:
    """A step runs in its container."""
    done = cluster.srun(f"--nodes={nodes}", "cat", "/etc/socker-image")
    assert (done.returncode, done.stdout, done.stderr) == (0, "debian:bookworm\n" * nodes, ""), done


def jobs(cluster: Cluster) -> list[str]:
    """The jobs that Slurm has not finished, with those whose epilog runs."""
    return cluster.run("squeue", "--noheader", "--format=%A %T", user="").stdout.splitlines()


def wait_for_no_jobs(cluster: Cluster, *, seconds: float = 20.0) -> None:
    """All jobs are finished, their epilogs too; the test fails after so many seconds."""
    until(lambda: not jobs(cluster), seconds=seconds, what="the end of all jobs")


def words(cluster: Cluster) -> list[str]:
    """The words of the plugstack line behind the plugin, which are the sweep's, too."""
    _, _, *found = (cluster.base / "etc/plugstack.conf").read_text().split()
    if not any(word.startswith("slurm_conf=") for word in found):
        found.append(f"slurm_conf={cluster.base}/etc/slurm.conf")
    return found


def sweep(cluster: Cluster, *options: str, timeout: float = 90, added: tuple[str, ...] = ()) -> Result:
    """Runs `socker-opener sweep` as an administrator's timer would; of words given twice the last one counts."""
    argv = [str(cluster.prefix / "lib/socker/socker-opener"), "sweep", *options, *words(cluster), *added]
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout * PATIENCE, check=False, env={})


def daemon(cluster: Cluster, name: str) -> int:
    """The pid of one of the cluster's daemons."""
    return cluster.pid(name)


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that is stopped."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def stopped(cluster: Cluster, name: str, *, how: str = "stop") -> Iterator[None]:
    """A daemon that is down; how is devcluster's verb for taking it down."""
    cluster.devcluster(how, name)
    try:
        yield
    finally:
        cluster.devcluster("start", name)


def cgroup_members(cluster: Cluster, job: int) -> set[int]:
    """The processes in the cgroups of a job."""
    found = set()
    name = cluster.job_directory(job)
    for top in cluster.cgroups():
        for procs in (top if top.name == name else top / name).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found |= set(map(int, procs.read_text().split()))
    return found


def command_line(pid: int) -> list[str]:
    """The words of a process; none when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def processes(cluster: Cluster, job: int, program: str) -> list[int]:
    """The processes of a job, on all nodes, whose first word is a program, given with or without its directory."""
    first = ((pid, command_line(pid)[:1]) for pid in cgroup_members(cluster, job))
    return [pid for pid, word in first if word and re.match(rf"(?:.*/)?{re.escape(program)}(?::|$)", word[0])]


def wait_for_process(cluster: Cluster, job: int, program: str, *, seconds: float = 10.0) -> int:
    """The pid of a job's process, when there is one."""
    until(lambda: processes(cluster, job, program), seconds=seconds, what=f"{program} in job {job}")
    return processes(cluster, job, program)[0]


def kill(pid: int) -> None:
    """A process has ended: killed, if it had not by itself."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), what=f"the end of process {pid}")


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def job_of(cluster: Cluster, name: str, *, seconds: float = 10.0) -> int:
    """The id of the job with this name, when it has begun."""
    wanted = ("squeue", "--noheader", f"--name={name}", "--states=RUNNING", "--format=%A")
    found: list[str] = []
    until(lambda: found.extend(cluster.run(*wanted, user="").stdout.split()) or found, seconds=seconds, what=name)
    return int(found[0])


def in_use(cluster: Cluster) -> bool:
    """Whether all three are there: a container, a record and our cgroup directory."""
    ours = [path for path in cluster.cgroups() if path.name == "socker"]
    return bool(cluster.containers() and cluster.records() and ours)


def leave_behind(cluster: Cluster) -> int:
    """A job that has ended and whose epilog could close nothing: its container and record are there. The job's id."""
    with cluster.allocation() as job:
        assert job.srun("true").returncode == 0
        with cluster.plugstack(lambda line: f"{line.rstrip()} user=nosuchuser\n"):
            cluster.run("scancel", str(job.id), user="")
            wait_for_no_jobs(cluster)
    assert cluster.containers(), "the epilog has closed it all the same"
    assert cluster.records(), "the epilog has closed it all the same"
    return job.id


def record_of(cluster: Cluster, job: int) -> Path:
    """The one record of a job."""
    (found,) = (path for path in (cluster.base / "run/socker").glob(f"*/{job}/*") if len(path.name) == KEY)
    return found


def tidy(cluster: Cluster) -> None:
    """
    The cluster is as new, whatever a test that has failed left in it: no jobs, containers, records or cgroup
    directories, and all nodes in service.
    """
    if found := [line.split()[0] for line in jobs(cluster)]:
        cluster.run("scancel", *found, user="")
    cluster.run("scontrol", "update", f"nodename={','.join(cluster.nodes)}", "state=resume", user="")
    with contextlib.suppress(AssertionError):
        wait_for_no_jobs(cluster)
    if cluster.containers():
        cluster.docker("rm", "--force", *cluster.containers())
    for record in cluster.records():
        shutil.rmtree(record) if record.is_dir() and not record.is_symlink() else record.unlink()
    for top in cluster.cgroups():
        for directory in [*sorted(top.rglob("*/"), reverse=True), top]:
            with contextlib.suppress(OSError):
                directory.rmdir()
