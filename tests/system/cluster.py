# SPDX-License-Identifier: Apache-2.0
"""The devcluster as tests see it: commands of users, and what is left on the nodes afterwards."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DEVCLUSTER = REPOSITORY / "contrib/devcluster/devcluster"
IMAGE = "debian:bookworm"
PATIENCE = float(os.environ.get("SOCKER_TEST_PATIENCE", "1"))
"""How much longer than on a machine of its own everything may take; tests/vm emulates processors."""

Result = subprocess.CompletedProcess[str]


@functools.cache
def _environment(name: str) -> tuple[str, ...]:
    exports = subprocess.run(
        [str(DEVCLUSTER), "env", "--name", name], capture_output=True, text=True, check=True
    ).stdout
    return tuple(word for word in shlex.split(exports) if word != "export")


def until(condition: Callable[[], object], *, seconds: float = 20.0, what: str = "") -> None:
    """The condition is true, or the test fails after so many seconds."""
    end = time.monotonic() + seconds * PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(0.05)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A batch job that has ended."""

    id: int
    state: str
    exit: str  # Slurm's CODE:SIGNAL
    output: str


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """A job that runs nothing by itself, for steps of a test."""

    cluster: Cluster
    id: int
    user: str

    def srun(self, *argv: str, image: str | None = IMAGE, **options: object) -> Result:
        """Runs a step of the job, with --container=IMAGE unless image is None."""
        return self.cluster.srun(f"--jobid={self.id}", *argv, image=image, user=self.user, **options)

    def popen(self, *argv: str, image: str | None = IMAGE, cwd: str | None = None) -> subprocess.Popen[str]:
        """Starts a step of the job; the test ends it."""
        container = [] if image is None else [f"--container={image}"]
        return self.cluster.popen("srun", f"--jobid={self.id}", *container, *argv, user=self.user, cwd=cwd)

    def containers(self) -> list[str]:
        """Names of the job's containers on all nodes."""
        return self.cluster.docker("ps", "--all", f"--filter=name=-{self.id}-", "--format={{.Names}}").split()


def own_name(name: str) -> str:
    """The name of a cluster of this test worker's own, of which several may be at work; it ends in a letter."""
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return name + "".join(chr(ord("a") + int(digit)) for digit in number)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """One running cluster of contrib/devcluster."""

    name: str

    def devcluster(self, *words: str, timeout: float = 300) -> Result:
        """Runs the devcluster tool; its failure is the test's."""
        argv = [str(DEVCLUSTER), *words, "--name", self.name]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    @property
    def base(self) -> Path:
        """The directory that holds everything of the cluster."""
        return Path(os.environ.get("SOCKER_DEVCLUSTER_DIR", "/var/lib/socker-devcluster")) / self.name

    @property
    def prefix(self) -> Path:
        """Where socker is installed for this cluster."""
        definition = json.loads((self.base / "cluster.json").read_text())
        return Path(definition["options"].get("prefix") or self.base / "sw")

    def pid(self, name: str) -> int:
        """The process of one of its daemons."""
        pid = json.loads((self.base / f"run/{name}.json").read_text())["pid"]
        assert isinstance(pid, int)
        return pid

    @property
    def nodes(self) -> list[str]:
        """The names of its nodes."""
        return sorted(path.name for path in (self.base / "spool").iterdir())

    def argv(self, argv: Sequence[str], *, user: str = "alice", cwd: str | None = None) -> list[str]:
        """The command line that runs argv in the cluster's environment as a user ("" for root)."""
        if not user and not cwd:
            # what `exec` would do, without starting Python each time that a test looks at something
            return ["/usr/bin/env", *_environment(self.name), *argv]
        options = ["--user", user] if user else []
        options += ["--cwd", cwd] if cwd else []
        return [str(DEVCLUSTER), "exec", "--name", self.name, *options, "--", *argv]

    def run(
        self,
        *argv: str,
        user: str = "alice",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout: float = 60,
    ) -> Result:
        """Runs a command to its end; env is added to the user's own environment."""
        words = ["/usr/bin/env", *(f"{key}={value}" for key, value in (env or {}).items()), *argv]
        return subprocess.run(
            self.argv(words, user=user, cwd=cwd),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout * PATIENCE,
            check=False,
        )

    def popen(self, *argv: str, user: str = "alice", cwd: str | None = None) -> subprocess.Popen[str]:
        """Starts a command; the test ends it."""
        return subprocess.Popen(
            self.argv(argv, user=user, cwd=cwd),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def srun(self, *argv: str, image: str | None = IMAGE, **options: object) -> Result:
        """Runs srun, with --container=IMAGE unless image is None."""
        container = [] if image is None else [f"--container={image}"]
        return self.run("srun", *container, *argv, **options)  # type: ignore[arg-type]

    def sbatch(self, script: str, *options: str, user: str = "alice", timeout: float = 90) -> Job:
        """Runs a batch script to its end; its output is both streams."""
        home = Path(f"/home/{user}")
        path = home / f"test-{time.monotonic_ns()}.sh"
        path.write_text(script)
        path.chmod(0o755)
        out = path.with_suffix(".out")
        sent = self.run("sbatch", "--parsable", f"--output={out}", *options, str(path), user=user)
        assert sent.returncode == 0, sent.stderr
        job = int(sent.stdout.split(";")[0])
        until(
            lambda: self.job_field(job, "JobState") not in {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING"},
            seconds=timeout,
            what=f"the end of job {job}",
        )
        until(out.exists, seconds=5, what="the job's output")
        text = out.read_text(errors="replace")
        path.unlink()
        out.unlink()
        return Job(id=job, state=self.job_field(job, "JobState"), exit=self.job_field(job, "ExitCode"), output=text)

    @contextlib.contextmanager
    def allocation(self, *options: str, user: str = "alice") -> Iterator[Allocation]:
        """A job for steps of the test, which ends with it."""
        granted = self.run("salloc", "--no-shell", *options, user=user)
        found = re.search(r"Granted job allocation (\d+)", granted.stderr)
        assert found, granted.stderr
        job = Allocation(cluster=self, id=int(found[1]), user=user)
        try:
            yield job
        finally:
            self.run("scancel", str(job.id), user="")

    def job_field(self, job: int, field: str) -> str:
        """A field of `scontrol show job`."""
        shown = self.run("scontrol", "--oneliner", "show", "job", str(job), user="").stdout
        found = re.search(rf"\b{field}=(\S*)", shown)
        return found.group(1) if found else ""

    def job_directory(self, job: int) -> str:
        """The name of a job's cgroup."""
        return f"job_{job}"

    def docker(self, *words: str) -> str:
        """The output of a Docker command on the cluster's daemon."""
        done = self.run("docker", *words, user="")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def containers(self) -> list[str]:
        """Names of all containers, running or not."""
        return self.docker("ps", "--all", "--format", "{{.Names}}").split()

    def records(self) -> list[Path]:
        """What socker has written about open containers, on all nodes."""
        state = self.base / "run/socker"
        return [path for path in state.glob("*/*") if path.name.isdigit()] if state.exists() else []

    def cgroups(self) -> list[Path]:
        """Cgroup directories of jobs, and ours in them."""
        top = Path("/sys/fs/cgroup")
        scope = f"{self.name}[0-9]*_slurmstepd.scope/job_*"
        # version 1: in each hierarchy; version 2, which may be mounted beside it: with and without systemd's slice
        patterns = (f"*/slurm_{self.name}[0-9]*/uid_*", scope, f"*/{scope}", f"*/*/{scope}")
        while True:
            try:
                found = [path for pattern in patterns for path in top.glob(pattern)]
                return [*found, *(inner for path in found for inner in path.rglob("socker"))]
            except FileNotFoundError:
                # a directory has gone while it was looked at
                continue

    def node_states(self) -> dict[str, str]:
        """State of each node as sinfo shows it, with its flags ("idle", "drained*")."""
        lines = self.run("sinfo", "--noheader", "--Node", "--format=%N %T", user="").stdout.split("\n")
        return dict(line.split() for line in lines if line)

    def is_clean(self) -> bool:
        """No job, no container, no record, no cgroup directory, every node idle."""
        return (
            not self.run("squeue", "--noheader", user="").stdout.strip()
            and not self.records()
            and not self.cgroups()
            and set(self.node_states().values()) == {"idle"}
            and not self.containers()
        )

    def assert_clean(self, *, seconds: float = 20.0) -> None:
        """The cluster becomes clean, or the test says what is left."""
        end = time.monotonic() + seconds * PATIENCE
        while not self.is_clean():
            if time.monotonic() > end:
                left = {
                    "jobs": self.run("squeue", "--noheader", user="").stdout,
                    "containers": self.containers(),
                    "records": self.records(),
                    "cgroups": self.cgroups(),
                    "nodes": self.node_states(),
                }
                raise AssertionError(f"left behind: {left}")
            time.sleep(0.1)

    @contextlib.contextmanager
    def policy(self, text: str, *, mode: int = 0o644, owner: int = 0) -> Iterator[Path]:
        """The cluster's policy file has this text."""
        path = self.base / "etc/policy.yaml"
        path.write_text(text)
        path.chmod(mode)
        os.chown(path, owner, 0)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def plugstack(self, change: Callable[[str], str]) -> Iterator[None]:
        """plugstack.conf is changed; slurmstepd and the clients read it at each start."""
        path = self.base / "etc/plugstack.conf"
        before = path.read_text()
        path.write_text(change(before))
        try:
            yield
        finally:
            path.write_text(before)

    @contextlib.contextmanager
    def installation(self, change: Callable[[Path], object]) -> Iterator[Path]:
        """A copy of lib/socker that the test changes, in use for as long as it lasts."""
        copy = self.base / f"broken-{time.monotonic_ns()}"
        subprocess.run(["/bin/cp", "-a", str(self.prefix / "lib/socker"), str(copy)], check=True)
        try:
            change(copy)
            with self.plugstack(lambda line: line.replace(str(self.prefix / "lib/socker"), str(copy))):
                yield copy
        finally:
            subprocess.run(["/bin/rm", "-rf", str(copy)], check=True)
