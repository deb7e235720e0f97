# SPDX-License-Identifier: Apache-2.0
"""Talking to the cluster's dockerd."""

import http.client
import socket
from pathlib import Path
from subprocess import CompletedProcess

from lib.layout import Layout
from lib.tools import run

_TIMEOUT = 5.0
_LONG = 120.0
_OK = 200


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(str(self._path))


def answers(paths: Layout) -> bool:
    """Whether dockerd answers /_ping."""
    connection = _UnixConnection(paths.docker_socket)
    try:
        connection.request("GET", "/_ping")
        return connection.getresponse().status == _OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def docker(paths: Layout, *argv: str, check: bool = True) -> CompletedProcess[str]:
    """Run the docker client against the cluster's dockerd."""
    env = {"DOCKER_HOST": paths.docker_url, "DOCKER_CONFIG": str(paths.etc / "docker-client")}
    return run("docker", *argv, env=env, timeout=_LONG, check=check)


def remove_containers(paths: Layout) -> None:
    """No container is left, nor an anonymous volume, if Docker could remove them all."""
    found = docker(paths, "ps", "--all", "--quiet", "--no-trunc", check=False).stdout.split()
    if found:
        docker(paths, "rm", "--force", "--volumes", *found, check=False)


def remove_shim_sockets(paths: Layout) -> None:
    """Shims that were killed leave no socket. containerd puts those in /run."""
    tasks = paths.docker_exec / "containerd/daemon/io.containerd.runtime.v2.task"
    for address in tasks.glob("*/*/address"):
        Path(address.read_text().removeprefix("unix://")).unlink(missing_ok=True)
