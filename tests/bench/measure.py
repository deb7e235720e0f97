# SPDX-License-Identifier: Apache-2.0
"""The measurements, one method each."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import policy, steps
from .opener import close_by_hand
from .sample import Case, Shell, in_turns, ratio_spread
from .table import Row

IMAGE = "debian:bookworm"
CONTAINER = f"--container={IMAGE}"


def milliseconds(case: Case) -> str:
    """A median for people."""
    return f"{case.median * 1000:.1f} ms"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A cluster and how often to measure on it."""

    user: Shell
    root: Shell
    base: Path
    prefix: Path
    rounds: int

    def all(self) -> list[Row]:
        """Every row of the table."""
        return [
            self.later_step(),
            self.first_step(),
            self.plain_step(),
            self.many_tasks(),
            steps.pmix_hello(self),
            steps.ten_mounts(self),
            self.memory(),
            self.libpython(),
            self.epilog(),
            *policy.rows(max(self.rounds // 3, 8)),
        ]

    # -- scaffolding

    def wait_idle(self) -> None:
        """No job is left and the node is idle, so that no allocation waits."""
        while True:
            jobs = self.user.run(["squeue", "--noheader"]).stdout.strip()
            if not jobs and self.user.run(["sinfo", "--noheader", "--format=%T"]).stdout.strip() == "idle":
                return
            time.sleep(0.02)

    @contextlib.contextmanager
    def allocation(self, *options: str) -> Iterator[list[str]]:
        """A job without a step; yields the words by which srun starts one in it."""
        self.wait_idle()
        granted = self.user.run(["salloc", "--no-shell", "--nodes=1", *options]).stderr
        job = re.findall(r"Granted job allocation (\d+)", granted)[-1]
        try:
            yield ["srun", f"--jobid={job}"]
        finally:
            self.user.run(["scancel", job])
            self.wait_idle()

    def compare(self, what: str, goal: float, cases: dict[str, Case], rounds: int) -> Row:
        """Times two cases and gives the ratio of the second to the first."""
        in_turns(cases, rounds)
        under, over = cases.values()
        value, spread = ratio_spread(over, under)
        detail = ", ".join(f"{name} {milliseconds(case)}" for name, case in cases.items())
        return Row(what=what, value=value, spread=spread, goal=goal, unit="x", detail=detail)

    # -- rows

    def later_step(self) -> Row:
        """A step of a job whose container is open, against a plain step of the same job."""
        with self.allocation("--ntasks=1") as srun:
            self.user.run([*srun, CONTAINER, "true"])
            cases = {
                "plain": Case(action=lambda: self.user.run([*srun, "true"])),
                "container": Case(action=lambda: self.user.run([*srun, CONTAINER, "true"])),
            }
            return self.compare("a later step", 1.03, cases, self.rounds * 2)

    def first_step(self) -> Row:
        """srun --container outside a job, against a plain one plus docker run --rm."""
        cases = {
            "plain": Case(action=lambda: self.user.run(["srun", "true"]), prepare=self.wait_idle),
            "docker run --rm": Case(
                action=lambda: self.root.run(["docker", "run", "--rm", IMAGE, "true"]), prepare=self.wait_idle
            ),
            "container": Case(action=lambda: self.user.run(["srun", CONTAINER, "true"]), prepare=self.wait_idle),
        }
        in_turns(cases, self.rounds)
        plain, docker, container = cases.values()
        ratios = sorted(c / (p + d) for p, d, c in zip(plain.seconds, docker.seconds, container.seconds, strict=True))
        quarter = len(ratios) // 4
        return Row(
            what="the first step of a job",
            value=container.median / (plain.median + docker.median),
            spread=(ratios[-1 - quarter] - ratios[quarter]) / 2,
            goal=1.0,
            unit="x",
            detail=", ".join(f"{name} {milliseconds(case)}" for name, case in cases.items()),
        )

    def plain_step(self) -> Row:
        """A step without a container, with the plugin configured and without."""
        path = self.base / "etc/plugstack.conf"
        line = path.read_text()
        with self.allocation("--ntasks=1") as srun:
            step = [*srun, "true"]
            cases = {
                "without plugin": Case(action=lambda: self.user.run(step), prepare=lambda: path.write_text("# none\n")),
                "with plugin": Case(action=lambda: self.user.run(step), prepare=lambda: path.write_text(line)),
            }
            try:
                return self.compare("a step without --container", 1.01, cases, self.rounds * 4)
            finally:
                path.write_text(line)

    def many_tasks(self) -> Row:
        """64 tasks on a node, in an open container and plain."""
        with self.allocation("--ntasks=1", "--exclusive") as srun:
            many = [*srun, "--ntasks=64", "--overcommit"]
            self.user.run([*srun, CONTAINER, "true"])
            cases = {
                "plain": Case(action=lambda: self.user.run([*many, "true"])),
                "container": Case(action=lambda: self.user.run([*many, CONTAINER, "true"])),
            }
            return self.compare("64 tasks on a node", 1.05, cases, max(self.rounds // 2, 8))

    def stepd(self, srun: list[str], *options: str) -> tuple[int, str]:
        """Resident KiB of slurmstepd while a step runs, and its memory map."""
        step = subprocess.Popen(
            ["setpriv", "--reuid=alice", "--regid=alice", "--init-groups", *srun, *options, "sleep", "60"],
            env=dict(self.user.environment),
            cwd="/home/alice",
            stdin=subprocess.DEVNULL,
        )
        try:
            job = srun[1].removeprefix("--jobid=")
            while True:
                found = subprocess.run(
                    ["pgrep", "-f", rf"^slurmstepd: \[{job}\.[0-9]+\]"], capture_output=True, text=True, check=False
                ).stdout.split()
                tasks = subprocess.run(
                    ["pgrep", "-u", "alice", "-x", "sleep"], capture_output=True, text=True, check=False
                ).stdout.split()
                if found and tasks:
                    break
                time.sleep(0.05)
            time.sleep(0.2)
            status = Path(f"/proc/{found[0]}/status").read_text()
            maps = Path(f"/proc/{found[0]}/maps").read_text()
            return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]), maps
        finally:
            step.terminate()
            step.wait()

    def memory(self) -> Row:
        """What slurmstepd is larger by in a container step."""
        plain, container = [], []
        with self.allocation("--ntasks=1") as srun:
            self.user.run([*srun, CONTAINER, "true"])
            for _ in range(5):
                plain.append(self.stepd(srun)[0])
                container.append(self.stepd(srun, CONTAINER)[0])
        difference = (sorted(container)[2] - sorted(plain)[2]) / 1024
        return Row(
            what="slurmstepd in a container step, larger by",
            value=difference,
            spread=(max(container) - min(container)) / 2048,
            goal=1.0,
            unit="M",
            detail=f"plain {sorted(plain)[2]} KiB, container {sorted(container)[2]} KiB",
        )

    def libpython(self) -> Row:
        """slurmstepd never maps libpython."""
        with self.allocation("--ntasks=1") as srun:
            maps = self.stepd(srun)[1] + self.stepd(srun, CONTAINER)[1]
        return Row(
            what="libpython mapped by slurmstepd",
            value=float(maps.count("libpython")),
            spread=0.0,
            goal=0.0,
            unit="",
            detail="plugin mapped" if "socker.so" in maps else "plugin NOT mapped",
        )

    def epilog(self) -> Row:
        """What the epilog does for a job with a container, against docker rm -f of one like it, in milliseconds."""
        removed, closed = [], []
        for _ in range(max(self.rounds // 3, 8)):
            identity = self.root.run(
                ["docker", "run", "--detach", "--entrypoint=/bin/sleep", IMAGE, "1000"]
            ).stdout.strip()
            start = time.perf_counter()
            self.root.run(["docker", "rm", "--force", identity])
            removed.append(time.perf_counter() - start)
            with self.allocation("--ntasks=1") as srun:
                self.user.run([*srun, CONTAINER, "true"])
                job = int(srun[1].removeprefix("--jobid="))
                closed.append(close_by_hand(self.base, self.prefix, job))
        middle = len(removed) // 2
        remove, close = sorted(removed)[middle] * 1000, sorted(closed)[middle] * 1000
        return Row(
            what="epilog over `docker rm -f`",
            value=close - remove,
            spread=(max(closed) - min(closed)) * 500,
            goal=20.0,
            unit="ms",
            detail=f"docker rm -f {remove:.1f} ms, socker-opener close {close:.1f} ms",
        )
