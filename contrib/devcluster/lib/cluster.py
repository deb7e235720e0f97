# SPDX-License-Identifier: Apache-2.0
"""What a cluster is: the options of `up`, its nodes and their ports; kept on disk."""

import dataclasses
import fcntl
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lib.errors import DevclusterError
from lib.layout import Layout

# Below the range from which the kernel takes ports for outgoing connections.
_PORTS = range(20000, 32000)
_NODES_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `up` was asked for. The tuples hold words as typed, in their order."""

    nodes: int = 2
    socker: bool = True
    prefix: str | None = None
    socker_args: tuple[str, ...] = ()
    plugstack: tuple[str, ...] = ()
    conf: tuple[str, ...] = ()
    cgroup_conf: tuple[str, ...] = ()
    docker_args: tuple[str, ...] = ()
    accounting: bool = False
    etc: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no cluster can be made of."""
        if not 1 <= self.nodes <= _NODES_MAX:
            raise DevclusterError(f"{self.nodes} nodes: from 1 to {_NODES_MAX} are possible")
        for word in self.conf + self.cgroup_conf + self.socker_args:
            if "=" not in word or "\n" in word:
                raise DevclusterError(f"{word!r} is not KEY=VALUE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A slurmd: its NodeName and its port."""

    name: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster that is up, or was asked to be."""

    layout: Layout
    options: Options
    controller_port: int
    nodes: tuple[Node, ...]
    database_port: int | None = None

    @property
    def prefix(self) -> Path:
        """The tree that holds lib/socker."""
        return Path(self.options.prefix or self.layout.software)

    @property
    def ports(self) -> frozenset[int]:
        """The TCP ports that its daemons listen on."""
        database = () if self.database_port is None else (self.database_port,)
        return frozenset({self.controller_port, *database, *(node.port for node in self.nodes)})


def load(layout: Layout) -> Cluster | None:
    """The cluster of this layout, unless it is down."""
    try:
        text = layout.definition.read_text()
    except FileNotFoundError:
        return None
    data: dict[str, Any] = json.loads(text)
    options: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data["options"].items()
    }
    return Cluster(
        layout=layout,
        options=Options(**options),
        controller_port=data["controller_port"],
        nodes=tuple(Node(**node) for node in data["nodes"]),
        database_port=data.get("database_port"),
    )


def demand(layout: Layout) -> Cluster:
    """The cluster of this layout, which has to be up."""
    cluster = load(layout)
    if cluster is None:
        raise DevclusterError(f"{layout.name} is not up")
    return cluster


def create(layout: Layout, options: Options) -> Cluster:
    """A cluster with free ports, on disk from now on. Call it with the lock held."""
    wanted = options.nodes + 2
    ports = list(islice(_free_ports(layout.root), wanted))
    if len(ports) < wanted:
        raise DevclusterError("there are not enough free ports")
    numbered = enumerate(ports[2:], start=1)
    cluster = Cluster(
        layout=layout,
        options=options,
        controller_port=ports[0],
        nodes=tuple(Node(name=layout.node(n), port=port) for n, port in numbered),
        database_port=ports[1] if options.accounting else None,
    )
    data = dataclasses.asdict(cluster)
    del data["layout"]
    layout.definition.write_text(json.dumps(data, indent=2) + "\n")
    return cluster


def _free_ports(root: Path) -> Iterator[int]:
    others = (load(Layout(root=root, name=path.parent.name)) for path in root.glob("*/cluster.json"))
    taken = {port for cluster in others if cluster for port in cluster.ports}
    return (port for port in _PORTS if port not in taken and _bindable(port))


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """One command at a time changes something below the root directory."""
    layout.root.mkdir(mode=0o755, parents=True, exist_ok=True)
    with layout.lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
