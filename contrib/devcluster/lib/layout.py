# SPDX-License-Identifier: Apache-2.0
"""Where everything of a cluster lives. No other module makes up a path."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from lib.errors import DevclusterError

REPOSITORY = Path(__file__).resolve().parents[3]
SOURCES = Path(__file__).resolve().parents[1] / "images"

MARKER = "SOCKER_DEVCLUSTER"
"""The environment variable, with base as its value, by which what our daemons start is known."""

# A name ends in a letter, so that no node <name><number> belongs to two clusters.
_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,14}[a-z])?")
_SOCKET_PATH_MAX = 107
_LONGEST_SOCKET = "run/docker/containerd/containerd-debug.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The paths of one cluster, all below base, and the names that are its own."""

    root: Path
    name: str

    def __post_init__(self) -> None:
        """Refuse a name or a place with which the daemons would not work."""
        if not _NAME.fullmatch(self.name):
            raise DevclusterError(
                f"{self.name!r} is no cluster name: it is up to 16 of a-z, 0-9 and -, begins and ends with a letter"
            )
        if not self.root.is_absolute():
            raise DevclusterError(f"{self.root}: not an absolute path")
        if len(str(self.base / _LONGEST_SOCKET)) > _SOCKET_PATH_MAX:
            raise DevclusterError(f"{self.base}: too long for the sockets below it")

    @property
    def base(self) -> Path:
        """The directory of the cluster."""
        return self.root / self.name

    @property
    def lock(self) -> Path:
        """Held by every command that changes something, in any cluster."""
        return self.root / "lock"

    @property
    def cache(self) -> Path:
        """Finished image archives, shared by the clusters."""
        return self.root / "cache"

    @property
    def definition(self) -> Path:
        """What was asked of `up`; there from `up` to `down`."""
        return self.base / "cluster.json"

    @property
    def etc(self) -> Path:
        """Configuration and keys."""
        return self.base / "etc"

    @property
    def log(self) -> Path:
        """Logs; they outlive the cluster."""
        return self.base / "log"

    @property
    def run(self) -> Path:
        """Sockets, pid files and records of what runs."""
        return self.base / "run"

    @property
    def state(self) -> Path:
        """Slurmctld's state."""
        return self.base / "state"

    @property
    def spool(self) -> Path:
        """The slurmds' spool directories."""
        return self.base / "spool"

    @property
    def scratch(self) -> Path:
        """
        TmpFS of the nodes: a directory for each, since PMIx makes one of the same name on every node.

        Below /tmp, as users have it: programs in a container can make theirs there.
        """
        return Path("/tmp") / f"devcluster-{self.name}"

    @property
    def docker_data(self) -> Path:
        """Docker's images and containers."""
        return self.base / "docker"

    @property
    def docker_exec(self) -> Path:
        """Docker's and containerd's sockets and state."""
        return self.run / "docker"

    @property
    def containerd_pid(self) -> Path:
        """The pid file of the containerd that dockerd starts."""
        return self.docker_exec / "containerd/containerd.pid"

    @property
    def software(self) -> Path:
        """Where socker is installed unless `up --prefix` names another tree."""
        return self.base / "sw"

    @property
    def slurm_conf(self) -> Path:
        """The file that SLURM_CONF names."""
        return self.etc / "slurm.conf"

    @property
    def plugstack(self) -> Path:
        """The list of SPANK plugins."""
        return self.etc / "plugstack.conf"

    @property
    def munge_key(self) -> Path:
        """The secret that the daemons share."""
        return self.etc / "munge.key"

    @property
    def munge_socket(self) -> Path:
        """The socket of munged."""
        return self.run / "munge.sock"

    @property
    def slurmdbd_conf(self) -> Path:
        """The configuration of slurmdbd, which only root may read."""
        return self.etc / "slurmdbd.conf"

    @property
    def slurmdbd_pid(self) -> Path:
        """The file into which slurmdbd writes its pid."""
        return self.run / "slurmdbd.pid"

    @property
    def database(self) -> Path:
        """MariaDB's data."""
        return self.base / "database"

    @property
    def database_run(self) -> Path:
        """Where MariaDB has its socket; its own directory, since it is not root."""
        return self.run / "mariadb"

    @property
    def database_socket(self) -> Path:
        """The socket of MariaDB."""
        return self.database_run / "socket"

    @property
    def docker_socket(self) -> Path:
        """The socket of dockerd."""
        return self.run / "docker.sock"

    @property
    def docker_url(self) -> str:
        """The value of DOCKER_HOST."""
        return f"unix://{self.docker_socket}"

    @property
    def docker_cgroup(self) -> str:
        """The cgroup parent of the containers, relative to each hierarchy."""
        return f"socker-dev-{self.name}"

    @property
    def slurm_cgroups(self) -> re.Pattern[str]:
        """Matches the top cgroups of our slurmds: cgroup v1, cgroup v2."""
        node = f"{re.escape(self.name)}[0-9]+"
        return re.compile(f"slurm_{node}|{node}_slurmstepd\\.scope")

    def node(self, number: int) -> str:
        """The name of a node, counted from 1."""
        return f"{self.name}{number}"

    @property
    def slurmctld_pid(self) -> Path:
        """The file into which slurmctld writes its pid."""
        return self.run / "slurmctld.pid"

    def slurmd_pid(self, node: str) -> Path:
        """The file into which a slurmd writes its pid; Slurm's %n stands for the node."""
        return self.run / f"slurmd-{node}.pid"

    def record(self, daemon: str) -> Path:
        """Which process the daemon is."""
        return self.run / f"{daemon}.json"


def layout(name: str) -> Layout:
    """The layout of a cluster below SOCKER_DEVCLUSTER_DIR."""
    root = os.environ.get("SOCKER_DEVCLUSTER_DIR", "/var/lib/socker-devcluster")
    return Layout(root=Path(root), name=name)
