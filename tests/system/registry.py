# SPDX-License-Identifier: Apache-2.0
"""A real registry on this machine's loopback: where images with a repository digest come from."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .cluster import Cluster, until

_CONFIG = """
version: 0.1
log: {{accesslog: {{disabled: true}}, level: error}}
storage: {{filesystem: {{rootdirectory: "{directory}"}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """An image that can be pulled: `repository`:latest or `repository`@`digest`."""

    repository: str
    digest: str


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def registry(cluster: Cluster, image: str, directory: Path) -> Iterator[Pushed]:
    """Serves an image of the cluster's Docker, which forgets its name there, for as long as the block lasts."""
    port = _free_port()
    config = directory / "registry.yml"
    config.write_text(_CONFIG.format(directory=directory / "registry", port=port))
    server = subprocess.Popen(
        ["/usr/bin/docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: _answers(port), what="the registry")
        repository = f"localhost:{port}/test"
        cluster.docker("tag", image, f"{repository}:latest")
        cluster.docker("push", "--quiet", f"{repository}:latest")
        named = cluster.docker("image", "inspect", "--format={{index .RepoDigests 0}}", f"{repository}:latest")
        cluster.docker("image", "rm", f"{repository}:latest")
        yield Pushed(repository=repository, digest=named.strip().partition("@")[2])
    finally:
        server.terminate()
        server.wait()
