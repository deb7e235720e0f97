# SPDX-License-Identifier: Apache-2.0
"""
The cluster that a Debian's own packages and units make, on the machine that the tests run on (tests/vm has such).

Its base directory has what the devcluster's has: the configuration files that Slurm's link to, the spool directories
by the names of the nodes, a second socket of dockerd.
"""

from __future__ import annotations

import functools
import os
import pwd
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .cluster import Cluster, Result

FIRST = "vm1"  # the node of the package's own unit
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


_swept = [0]
"""How many epilogs had been given up at the last sweep."""


def _systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"systemctl {' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


@functools.cache
def _login(user: str) -> tuple[str, ...]:
    account = pwd.getpwnam(user)
    known = {"HOME": account.pw_dir, "USER": user, "LOGNAME": user, "SHELL": account.pw_shell}
    return tuple(f"{name}={value}" for name, value in known.items())


@dataclass(frozen=True, kw_only=True)
class PackagedCluster(Cluster):
    """The machine's own Slurm and Docker."""

    @property
    def prefix(self) -> Path:
        """Where socker is installed: SOCKER_TEST_PREFIX, or make install's own choice."""
        return Path(os.environ.get("SOCKER_TEST_PREFIX", "/usr/local"))

    def devcluster(self, *words: str, timeout: float = 300) -> Result:  # noqa: ARG002 - each unit has its own
        """What the devcluster tool does to daemons, done to units."""
        verb, name = words
        units = self._units(name)
        # or systemd refuses the fourth start within a minute
        _systemctl("reset-failed", *units)
        if verb == "restart":
            _systemctl("restart", *units)
        elif verb == "start":
            _systemctl("start", *reversed(units))
        else:
            self._end(verb, units)
        self._wait(name, up=verb in {"start", "restart"})
        return Result(args=words, returncode=0, stdout="", stderr="")

    def is_clean(self) -> bool:
        """
        As for any cluster; what an epilog has left because its 12 seconds were over is the sweep's, as on a site.

        Emulated processors can be that slow, and the tests' cluster has no timer for it.
        """
        self.sweep_what_epilogs_left()
        return super().is_clean()

    def sweep_what_epilogs_left(self) -> None:
        """An epilog that gave up since the last call has what it left swept."""
        if (given_up := self._epilogs_given_up()) > _swept[0]:
            _swept[0] = given_up
            words = (self.base / "etc/plugstack.conf").read_text().split()[2:]
            argv = [str(self.prefix / "lib/socker/socker-opener"), "sweep", *words]
            subprocess.run(argv, capture_output=True, timeout=120, check=False, env={})

    def _epilogs_given_up(self) -> int:
        logs = (self.base / f"log/{node}.log" for node in self.nodes)
        return sum(log.read_text(errors="replace").count("the sweep will finish it") for log in logs if log.exists())

    def cgroups(self) -> list[Path]:
        """Cgroup directories of jobs, which have their ids or, from Slurm 25.11 on, their SLUIDs as names; and ours."""
        if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
            return super().cgroups()
        scopes = Path("/sys/fs/cgroup/system.slice").glob("*slurmstepd.scope")
        found = [path for scope in scopes for path in scope.glob("*/") if path.name != "system"]
        return [*found, *(inner for path in found for inner in path.glob("socker"))]

    def job_directory(self, job: int) -> str:
        """The name of the cgroup of a job whose container is open: from Slurm 25.11 on no id, but the job's SLUID."""
        held = self.docker("ps", "--quiet", f"--filter=label=io.socker.job={job}").split()
        pids = self.docker("inspect", "--format={{.State.Pid}}", *held).split() if held else []
        shown = Path(f"/proc/{pids[0]}/cgroup").read_text() if pids else ""
        found = re.search(r"/([^/]+)/socker$", shown, re.MULTILINE)
        return found[1] if found else super().job_directory(job)

    def pid(self, name: str) -> int:
        """The main process of a daemon's unit."""
        return int(_systemctl("show", "--property=MainPID", "--value", self._units(name)[0]))

    def argv(self, argv: Sequence[str], *, user: str = "alice", cwd: str | None = None) -> list[str]:
        """The command line that runs argv in the cluster's environment as a user ("" for root)."""
        words = ["/usr/bin/env"]
        if user:
            account = pwd.getpwnam(user)
            become = ("/usr/bin/setpriv", f"--reuid={user}", f"--regid={account.pw_gid}", "--init-groups")
            words = [*become, "/usr/bin/env", "-i", f"--chdir={cwd or account.pw_dir}", *_login(user)]
        elif cwd:
            words.append(f"--chdir={cwd}")
        known = {
            "PATH": PATH,
            "SLURM_CONF": f"{self.base}/etc/slurm.conf",
            "DOCKER_HOST": f"unix://{self.base}/run/docker.sock",
        }
        return [*words, *(f"{name}={value}" for name, value in known.items()), *argv]

    def _units(self, name: str) -> list[str]:
        match name:
            case "dockerd":
                return ["docker.service", "docker.socket"]
            case "munged":
                return ["munge.service"]
            case "slurmd":
                return [unit for node in self.nodes for unit in self._units(node)]
            case "slurmctld":
                return ["slurmctld.service"]
            case _:
                return ["slurmd.service" if name == FIRST else f"slurmd@{name}.service"]

    def _end(self, verb: str, units: list[str]) -> None:
        if verb == "kill":
            _systemctl("kill", "--signal=KILL", "--kill-who=main", units[0])
        # or systemd starts it again; a dockerd that was killed leaves its sockets
        _systemctl("stop", *units)
        if verb == "stop" and "docker.socket" in units:
            for path in (self.base / "run/docker.sock", Path("/run/docker.sock")):
                path.unlink(missing_ok=True)

    def _wait(self, name: str, *, up: bool) -> None:
        asked = {"dockerd": ["docker", "version"], "slurmctld": ["scontrol", "ping"]}.get(name)
        end = time.monotonic() + 60
        while up and asked and self.run(*asked, user="").returncode != 0:
            assert time.monotonic() < end, f"{name} does not answer"
            time.sleep(0.2)
