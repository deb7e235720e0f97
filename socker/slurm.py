# SPDX-License-Identifier: Apache-2.0
"""
Slurm: which jobs of a node live. Imported by a sweep only.

Facts about a job (account, partition, QOS, reservation) get their place here, with pyslurm as a second way to them.
"""

from __future__ import annotations

import re
import subprocess
import time

from socker.errors import SlurmError
from socker.text import one_line

SQUEUE = "/usr/bin/squeue"
SCONTROL = "/usr/bin/scontrol"
MAX_MESSAGE = 200

# What squeue calls a job that holds nothing any more; a state that is not here, known or not, counts as alive.
OVER = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "OUT_OF_MEMORY"}
    | {"PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"}
)
_LINE = re.compile(r"([0-9]+) ([A-Z_+]+)")
_PRIVATE = re.compile(r"^PrivateData\s*=\s*(.*)$", re.MULTILINE)


class SlurmCommands:
    """The Jobs protocol on Slurm's own commands. `slurm_conf` is empty for their default; `until` is monotonic time."""

    def __init__(self, slurm_conf: str, until: float, *, squeue: str = SQUEUE, scontrol: str = SCONTROL) -> None:
        self._environment = {"SLURM_CONF": slurm_conf} if slurm_conf else {}
        self._until = until
        self._squeue = squeue
        self._scontrol = scontrol

    def live(self, node: str) -> frozenset[int]:
        """
        Return the jobs of a node that are not over, completing ones included. Raises SlurmError.

        Every array task and every component of a heterogeneous job is there by its own id. Hidden partitions count;
        where Slurm hides jobs from this user, there is no answer, since a hidden job would look dead.
        """
        self._check_nothing_hidden()
        command = [self._squeue, "--all", "--noheader", "--states=all", "--format=%A %T", f"--nodelist={node}"]
        return parse_jobs(self._run(command))

    def _check_nothing_hidden(self) -> None:
        setting = _PRIVATE.search(self._run([self._scontrol, "show", "config"]))
        if setting is None:
            raise SlurmError("scontrol does not say what PrivateData is")
        if "jobs" in re.split(r"[,\s]+", setting[1].lower()) or setting[1].strip().lower() == "all":
            raise SlurmError("PrivateData hides jobs from the user of the policy engine, so none can be called dead")

    def _run(self, command: list[str]) -> str:
        name = command[0].rsplit("/", 1)[-1]
        try:
            done = subprocess.run(  # noqa: S603 - absolute path, no shell, arguments of our own
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=max(0.0, self._until - time.monotonic()),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SlurmError(f"{name} does not answer in time") from None
        except OSError as error:
            raise SlurmError(f"{command[0]}: {error.strerror}") from None
        if done.returncode != 0:
            said = one_line(done.stderr.decode(errors="replace").strip(), MAX_MESSAGE)
            raise SlurmError(f"{name} failed ({done.returncode}): {said}")
        return done.stdout.decode(errors="replace")


def parse_jobs(text: str) -> frozenset[int]:
    """Return the jobs that are not over. Raises SlurmError for any line that is not `<id> <STATE>`."""
    jobs: set[int] = set()
    for line in text.splitlines():
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise SlurmError(f"squeue printed something else than a job and its state: {one_line(line, MAX_MESSAGE)}")
        if found[2] not in OVER:
            jobs.add(int(found[1]))
    return frozenset(jobs)
