# SPDX-License-Identifier: Apache-2.0
"""
A small Docker on a unix socket: as much of it as socker uses, and what a real one does not do on demand.

`misbehave` maps the beginning of "METHOD /path" (without the version) to what comes instead of an answer: bytes that
are sent as they are, HANG, DRIP, or a tuple of status and message. The list is worked off from its front.
"""

from __future__ import annotations

import io
import json
import re
import socket
import tarfile
import threading
import time
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from .fakes import IMAGE_ID

if TYPE_CHECKING:
    from pathlib import Path

HANG = b"<hang>"
DRIP = b"<drip>"
Misbehaviour = bytes | tuple[int, str]


class Daemon:
    """The daemon; `with Daemon(path) as docker:`."""

    def __init__(self, path: Path, oldest: str = "1.24") -> None:
        self.path = str(path)
        self.oldest = oldest
        self.images: dict[str, dict[str, Any]] = {}
        self.containers: dict[str, dict[str, Any]] = {}
        self.remote: dict[str, dict[str, Any]] = {}
        self.progress = 3
        self.seen: list[str] = []
        self.bodies: list[Any] = []
        self.misbehave: list[tuple[str, Misbehaviour]] = []
        self._stop = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._threads: list[threading.Thread] = []

    def add_image(self, *tags: str, **changes: Any) -> None:
        config = {"Env": ["PATH=/bin"], "WorkingDir": "/srv", "Volumes": None, "Labels": None}
        facts = {"Id": IMAGE_ID, "RepoTags": list(tags), "RepoDigests": [], "Config": config} | changes
        for tag in tags:
            self.images[f"docker.io/library/{tag}"] = facts
        for name in facts["RepoDigests"]:
            self.images[f"docker.io/library/{name}"] = facts
        self.images[str(facts["Id"])] = facts

    def __enter__(self) -> Self:
        self._listener.bind(self.path)
        self._listener.listen(16)
        self._start(self._accept)
        return self

    def __exit__(self, *_ignored: object) -> None:
        self._stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, target: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._answer(connection)
            except OSError:
                return

    def _answer(self, connection: socket.socket) -> None:
        head, _, body = self._receive(connection)
        method, url, _ = head.split("\r\n")[0].split(" ")
        version, path = re.fullmatch(r"/v([0-9.]+)(/.*)", url).groups()  # type: ignore[union-attr]
        self.seen.append(f"{method} {path}")
        self.bodies.append((json.loads(body) if body.startswith((b"{", b"[")) else body) if body else None)
        if _number(version) < _number(self.oldest):
            said = (
                f"client version {version} is too old. Minimum supported API version is {self.oldest}, please upgrade"
            )
            self._send(connection, 400, {"message": said})
            return
        for index, (prefix, instead) in enumerate(self.misbehave):
            if f"{method} {path}".startswith(prefix):
                del self.misbehave[index]
                self._misbehave(connection, instead)
                return
        self._send(connection, *self._route(method, path, self.bodies[-1]))

    def _receive(self, connection: socket.socket) -> tuple[str, str, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                raise OSError
            data += piece
        head, blank, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *([0-9]+)", head)
        while length and len(body) < int(length[1]):
            body += connection.recv(65536)
        return head.decode(), blank.decode(), body

    def _misbehave(self, connection: socket.socket, instead: Misbehaviour) -> None:
        if isinstance(instead, tuple):
            self._send(connection, instead[0], {"message": instead[1]})
        elif instead == HANG:
            self._stop.wait(10)
        elif instead == DRIP:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not self._stop.wait(0.02):
                connection.sendall(b"x")
        else:
            connection.sendall(instead)

    def _send(self, connection: socket.socket, status: int, answer: Any) -> None:
        if isinstance(answer, list) and status == 200 and answer and "status" in answer[0]:
            # a pull or a load tells line by line how far it is; how long that will be nobody knows
            head = "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"
            connection.sendall(head.encode() + b"".join(json.dumps(line).encode() + b"\r\n" for line in answer))
            return
        body = b"" if answer is None else json.dumps(answer).encode()
        head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\nConnection: close\r\n"
        connection.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def _route(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        way = unquote(parts.path)
        if way in {"/commit", "/images/load", "/images/json"} or (method == "DELETE" and way.startswith("/images/")):
            return self._save(way, query, body)
        if way.startswith("/images/"):
            return self._images(way, query)
        if way == "/containers/create":
            return self._create(query["name"], body)
        if way == "/containers/json":
            return 200, self._list(json.loads(query["filters"])["label"])
        if found := re.fullmatch("/containers/([^/]*)/?(json|start)?", way):
            return self._container(method, found[1], found[2])
        return 404, {"message": "page not found"}

    def _image(self, name: str) -> tuple[int, Any]:
        if name not in self.images:
            return 404, {"message": f"No such image: {name}"}
        return 200, self.images[name]

    def _images(self, way: str, query: dict[str, str]) -> tuple[int, Any]:
        if found := re.fullmatch("/images/(.*)/json", way):
            return self._image(found[1])
        return self._pull(query["fromImage"], query["tag"])

    def _save(self, way: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if way == "/commit":
            return self._commit(query["container"])
        if way == "/images/load":
            return 200, self._load(body)
        if way == "/images/json":
            return 200, self._list_images(json.loads(query["filters"])["label"])
        return self._remove_image(way.removeprefix("/images/"))

    def _commit(self, name: str) -> tuple[int, Any]:
        """As the real one: the labels are the container's, and the base image's layers lie below its own."""
        status, facts = self._container("GET", name, "json")
        if status != 200:
            return status, facts
        layers = [*self.images[facts["Image"]].get("RootFS", {}).get("Layers", []), "sha256:own"]
        made = f"sha256:{len(self.seen):064x}"
        self.images[made] = {
            "Id": made,
            "RepoTags": [],
            "RepoDigests": [],
            "Created": "2026-01-01T00:00:00Z",
            "Config": {"Labels": dict(facts["Config"]["Labels"]), "User": "990:990", "Entrypoint": ["/.socker/hold"]},
            "RootFS": {"Type": "layers", "Layers": layers},
        }
        return 201, {"Id": made}

    def _load(self, body: bytes) -> list[Any]:
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            files = {name: json.loads(tar.extractfile(name).read()) for name in tar.getnames()}  # type: ignore[union-attr]
        (wanted,) = files["manifest.json"]
        config = files[wanted["Config"]]
        known = {layer for facts in self.images.values() for layer in facts.get("RootFS", {}).get("Layers", [])}
        layers = config["rootfs"]["diff_ids"]
        if not known.issuperset(layers) or len(layers) != len(wanted["Layers"]):
            return [{"status": ""}, {"error": "open 0.tar: no such file or directory"}]
        (name,) = wanted["RepoTags"]
        made = f"sha256:{len(self.seen):064x}"
        self.images[made] = self.images[name] = {
            "Id": made,
            "RepoTags": [name],
            "RepoDigests": [],
            "Config": config["config"],
            "RootFS": {"Type": "layers", "Layers": layers},
        }
        return [{"status": ""}, {"stream": f"Loaded image: {name}"}]

    def _list_images(self, labels: list[str]) -> list[Any]:
        wanted = dict(label.split("=") for label in labels)
        return [
            {"Id": name, "RepoTags": ["<none>:<none>"], "Created": facts.get("listed", 0)}
            for name, facts in self.images.items()
            if not facts["RepoTags"] and wanted.items() <= (facts["Config"].get("Labels") or {}).items()
        ]

    def _remove_image(self, name: str) -> tuple[int, Any]:
        if name not in self.images:
            return 404, {"message": f"No such image: {name}"}
        del self.images[name]
        return 200, [{"Deleted": name}]

    def _pull(self, name: str, tag: str) -> tuple[int, Any]:
        reference = f"{name}@{tag}" if tag.startswith("sha256:") else f"{name}:{tag}"
        if reference not in self.remote:
            return 404, {"message": f"manifest for {reference} not found: manifest unknown"}
        facts = self.remote[reference]
        digest = f"sha256:{'d' * 64}"
        self.images |= {reference: facts, f"{name}@{digest}": facts}
        return 200, [
            *({"status": "Downloading", "progress": f"{number}"} for number in range(self.progress)),
            {"status": f"Digest: {digest}"},
            {"status": f"Status: Downloaded newer image for {reference}"},
        ]

    def _create(self, name: str, body: Any) -> tuple[int, Any]:
        for container in self.containers.values():
            if container["Name"] == f"/{name}":
                return 409, {"message": f'Conflict. The container name "/{name}" is already in use'}
        made = f"{len(self.seen):064x}"
        mounts = [{"Type": mount["Type"], "Destination": mount["Target"]} for mount in body["HostConfig"]["Mounts"]]
        self.containers[made] = {
            "Id": made,
            "Name": f"/{name}",
            "Image": body["Image"],
            "Config": {"Labels": dict(body["Labels"])},
            "Mounts": mounts,
            "State": {"Running": False, "Pid": 0, "ExitCode": 0},
        }
        return 201, {"Id": made, "Warnings": []}

    def _list(self, labels: list[str]) -> list[Any]:
        wanted = dict(label.split("=") for label in labels)
        return [
            {"Id": made, "Names": [facts["Name"]], "Labels": facts["Config"]["Labels"]}
            for made, facts in self.containers.items()
            if wanted.items() <= facts["Config"]["Labels"].items()
        ]

    def _container(self, method: str, name: str, verb: str | None) -> tuple[int, Any]:
        for made, facts in list(self.containers.items()):
            if name in {made, facts["Name"][1:]}:
                break
        else:
            return 404, {"message": f"No such container: {name}"}
        if method == "DELETE":
            del self.containers[made]
            return 204, None
        if verb == "start":
            facts["State"] = {"Running": True, "Pid": 4242, "ExitCode": 0}
            return 204, None
        return 200, facts


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def soon(seconds: float = 5.0) -> float:
    """Return a time of the monotonic clock so many seconds away."""
    return time.monotonic() + seconds
