# SPDX-License-Identifier: Apache-2.0
"""
Slurm: which jobs of a node live, and what the controller knows of a job.

Imported by a sweep, and by an opening whose policy has a rule on accounts, partitions, QOS or reservations. There are
two ways to the same facts: pyslurm, where it is installed and of the release of the Slurm that is there, and Slurm's
own commands everywhere else.
"""

from __future__ import annotations

import re
import subprocess
import time
from importlib.machinery import PathFinder, SourceFileLoader

from socker.errors import SlurmError
from socker.gres import allocated, gpu_files
from socker.model import Facts
from socker.text import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SQUEUE = "/usr/bin/squeue"
SCONTROL = "/usr/bin/scontrol"
SLURMD = "/usr/sbin/slurmd"
MAX_MESSAGE = 200

# What squeue calls a job that holds nothing any more; a state that is not here, known or not, counts as alive.
OVER = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "OUT_OF_MEMORY"}
    | {"PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"}
)
_FIELD = "\x1f"  # between the fields of a job's facts: no name of Slurm's has it
_NONE = frozenset({"", "(null)", "N/A"})  # how squeue shows what a job does not have
_RELEASE = re.compile(r"([0-9]+\.[0-9]+)\.")

_LINE = re.compile(r"([0-9]+) ([A-Z_+]+)")
_PRIVATE = re.compile(r"^PrivateData\s*=\s*(.*)$", re.MULTILINE)


class SlurmCommands:
    """The Jobs protocol on Slurm's own commands. `slurm_conf` is empty for their default; `until` is monotonic time."""

    def __init__(
        self, slurm_conf: str, until: float, *, squeue: str = SQUEUE, scontrol: str = SCONTROL, slurmd: str = SLURMD
    ) -> None:
        self._environment = {"SLURM_CONF": slurm_conf} if slurm_conf else {}
        self._until = until
        self._squeue = squeue
        self._scontrol = scontrol
        self._slurmd = slurmd

    def live(self, node: str) -> frozenset[int]:
        """
        Return the jobs of a node that are not over, completing ones included. Raises SlurmError.

        Every array task and every component of a heterogeneous job is there by its own id. Hidden partitions count;
        where Slurm hides jobs from this user, there is no answer, since a hidden job would look dead.
        """
        self._check_nothing_hidden()
        command = [self._squeue, "--all", "--noheader", "--states=all", "--format=%A %T", f"--nodelist={node}"]
        return parse_jobs(self._run(command))

    def facts(self, job: int) -> Facts:
        """Return what the controller knows of a job, by its own id. Raises SlurmError."""
        wanted = _FIELD.join(("%A", "%a", "%P", "%q", "%v"))
        command = [self._squeue, "--all", "--noheader", "--states=all", f"--jobs={job}", f"--format={wanted}"]
        try:
            return parse_facts(self._run(command), job)
        except SlurmError:
            # a job that is hidden looks like one that is not there
            if self._hides_jobs():
                raise SlurmError("PrivateData hides jobs from the user of the policy engine") from None
            raise

    def gpus(self, job: int, node: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """
        Return the device files of the GPUs that Slurm gave a job on this node, if any, and of the node's others.

        The controller says which, slurmd's own reading of gres.conf says where they are; nothing of it is the user's.
        Raises SlurmError.
        """
        numbers = allocated(self._run([self._scontrol, "--all", "--details", "show", "job", str(job)]), job, node)
        if not numbers:
            return (), ()
        # slurmd writes to its standard error what it shows
        files = gpu_files(self._run([self._slurmd, "-G", "-N", node], errors=True))
        found = tuple(files[number] if number < len(files) else "" for number in numbers)
        if not all(found):
            raise SlurmError("gres.conf names no device file for a GPU of this job, or more than one")
        return found, tuple(file for file in files if file and file not in found)

    def release(self) -> str:
        """Return the release of Slurm, as "25.11". Raises SlurmError."""
        found = _RELEASE.search(self._run([self._squeue, "--version"]))
        if found is None:
            raise SlurmError("squeue does not say of which release it is")
        return found[1]

    def _hides_jobs(self) -> bool:
        """Tell whether it is certain that this user does not see every job."""
        try:
            setting = _PRIVATE.search(self._run([self._scontrol, "show", "config"]))
        except SlurmError:
            return False
        return setting is not None and _is_private(setting[1])

    def _check_nothing_hidden(self) -> None:
        setting = _PRIVATE.search(self._run([self._scontrol, "show", "config"]))
        if setting is None:
            raise SlurmError("scontrol does not say what PrivateData is")
        if _is_private(setting[1]):
            raise SlurmError("PrivateData hides jobs from the user of the policy engine, so none can be called dead")

    def _run(self, command: list[str], *, errors: bool = False) -> str:
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
            # its last line says what went wrong, those before it how it came to that
            lines = done.stderr.decode(errors="replace").strip().split("\n")
            said = one_line(lines[-1], MAX_MESSAGE)
            raise SlurmError(f"{name} failed ({done.returncode}): {said}")
        return (done.stdout + (done.stderr if errors else b"")).decode(errors="replace")


def _is_private(setting: str) -> bool:
    return "jobs" in re.split(r"[,\s]+", setting.lower()) or setting.strip().lower() == "all"


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


def parse_facts(text: str, job: int) -> Facts:
    """
    Return the facts in the line of a job.

    There may be others: the tasks of an array, or the components of a heterogeneous job, whose first has its id.
    Raises SlurmError unless exactly one line is the job's own.
    """
    lines = [line.split(_FIELD) for line in text.split("\n") if line.strip()]
    own = [fields for fields in lines if fields[0].strip() == str(job)]
    if len(own) != 1 or len(own[0]) != 5:
        raise SlurmError(f"squeue does not tell the facts of job {job}: {one_line(text.strip(), MAX_MESSAGE)}")
    account, partition, qos, reservation = ("" if field.strip() in _NONE else field.strip() for field in own[0][1:])
    return Facts(account=account, partition=partition, qos=qos, reservation=reservation)


class PyslurmFacts:
    """
    The same facts through pyslurm, whose module is given.

    A call has no deadline but Slurm's own (MessageTimeout); the opener's ends it with its process.
    """

    def __init__(self, pyslurm: Any) -> None:  # noqa: ANN401 - it has no types
        self._pyslurm = pyslurm

    def facts(self, job: int) -> Facts:
        """Return what the controller knows of a job, by its own id. Raises SlurmError."""
        try:
            found = self._pyslurm.Job.load(job)
            if found.id != job:
                # asked for the id of an array, it gives whichever task comes first
                found = self._pyslurm.Jobs.load()[job]
        except KeyError:
            raise SlurmError(f"Slurm does not know the job {job}") from None
        except self._pyslurm.PyslurmError as error:
            raise SlurmError(f"pyslurm: {one_line(str(error), MAX_MESSAGE)}") from None
        fields = {name: getattr(found, name) or "" for name in ("account", "partition", "qos", "reservation")}
        return Facts(**fields)


def job_facts(commands: SlurmCommands, slurm_conf: str, path: list[str] | None = None) -> Callable[[int], Facts]:
    """
    Return the way to a job's facts: pyslurm where it is installed and of Slurm's release, else the commands.

    It is imported only then: with another Slurm, or without its configuration, importing it ends the process. It reads
    the configuration at its default place, so another one (`slurm_conf`) is left to the commands.
    """
    release = "" if slurm_conf else _pyslurm_release(path)
    if not release or release != commands.release():
        return commands.facts
    try:
        import pyslurm  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - 43 ms
    except ImportError:
        return commands.facts
    return PyslurmFacts(pyslurm).facts


def _pyslurm_release(path: list[str] | None) -> str:
    """Return of which release of Slurm the installed pyslurm is, "" where there is none; it is not imported."""
    package = PathFinder.find_spec("pyslurm", path)
    for place in package.submodule_search_locations or () if package else ():
        version = PathFinder.find_spec("version", [place])
        loader = version.loader if version else None
        source = loader.get_source("version") if isinstance(loader, SourceFileLoader) else None
        found = _RELEASE.search(source or "")
        if found is not None:
            return found[1]
    return ""
