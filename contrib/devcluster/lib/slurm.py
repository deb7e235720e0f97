# SPDX-License-Identifier: Apache-2.0
"""Talking to the cluster's slurmctld."""

from subprocess import CompletedProcess

from lib.layout import Layout
from lib.tools import run, wait_until

# Longer than Slurm's own MessageTimeout.
_TIMEOUT = 15.0


def slurm(paths: Layout, *argv: str, check: bool = True) -> CompletedProcess[str]:
    """Run one of Slurm's commands against the cluster."""
    env = {"SLURM_CONF": str(paths.slurm_conf)}
    return run(*argv, env=env, timeout=_TIMEOUT, check=check)


def answers(paths: Layout) -> bool:
    """Whether slurmctld answers a ping."""
    return slurm(paths, "scontrol", "ping", check=False).returncode == 0


def slurmd_answers(paths: Layout, node: str) -> bool:
    """Whether the slurmd of a node on this machine answers."""
    env = {"SLURM_CONF": str(paths.slurm_conf), "SLURMD_NODENAME": node}
    argv = ("scontrol", "show", "slurmd")
    return run(*argv, env=env, timeout=_TIMEOUT, check=False).returncode == 0


def node_states(paths: Layout) -> dict[str, tuple[str, str]]:
    """NodeName to state, as sinfo spells it, and reason."""
    argv = ("sinfo", "--all", "--noheader", "--Node", "--format=%N|%T|%E")
    states = {}
    for line in slurm(paths, *argv, check=False).stdout.splitlines():
        name, state, reason = line.split("|", 2)
        states[name] = (state, "" if reason == "none" else reason)
    return states


def register_nodes(paths: Layout) -> None:
    """Nodes that slurmctld had lost sight of are asked at once, not at its next ping."""
    slurm(paths, "scontrol", "reconfigure", check=False)


def end_jobs(paths: Layout) -> None:
    """No job is left, if all of them could be ended in time."""

    def jobs() -> list[str]:
        return slurm(paths, "squeue", "--all", "--noheader", "--format=%A", check=False).stdout.split()

    if found := jobs():
        slurm(paths, "scancel", *found, check=False)
        wait_until(lambda: not jobs(), _TIMEOUT)
