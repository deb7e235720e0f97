# SPDX-License-Identifier: Apache-2.0
"""Docker's socket with a test in the middle: requests that wait or are changed, answers that Docker never gave."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .cluster import Cluster
from .faults import wait_for_no_jobs

Change = Callable[[str, bytes], bytes]
Answer = Callable[[str], bytes | None]

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def _unchanged(_line: str, body: bytes) -> bytes:
    return body


def _dockers(_line: str) -> bytes | None:
    return None


@dataclass(frozen=True, kw_only=True)
class Between:
    """A socket that passes requests on to dockerd; those whose first line fits `waits_at` wait for `release`."""

    path: Path
    docker: Path
    waits_at: re.Pattern[str] | None = None
    change: Change = _unchanged
    answer: Answer = _dockers
    seen: list[str] = field(default_factory=list)
    waiting: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: float = 10) -> None:
        """Returns when a request has begun to wait."""
        assert self.waiting.wait(seconds), f"no request came to {self.waits_at}, only {self.seen}"

    def release(self) -> None:
        """What waits goes on to dockerd, and nothing waits any more."""
        self.released.set()

    def serve(self, listener: socket.socket) -> None:
        """Serves until the listener is closed."""
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_one, args=(client,), daemon=True).start()

    def _serve_one(self, client: socket.socket) -> None:
        # a client that was killed is no fault of the test's
        with client, contextlib.suppress(OSError):
            head, body = _receive(client)
            line = head.split(b"\r\n", 1)[0].decode()
            self.seen.append(line)
            if self.waits_at and self.waits_at.search(line) and not self.released.is_set():
                self.waiting.set()
                self.released.wait(60)
            canned = self.answer(line)
            if canned is not None:
                client.sendall(canned)
                return
            body = self.change(line, body)
            answer = self._ask(_LENGTH.sub(b"Content-Length: %d" % len(body), head) + b"\r\n\r\n" + body)
            client.sendall(answer)

    def _ask(self, request: bytes) -> bytes:
        pieces = []
        with socket.socket(socket.AF_UNIX) as daemon:
            daemon.connect(str(self.docker))
            daemon.sendall(request)
            while piece := daemon.recv(65536):
                pieces.append(piece)
        return b"".join(pieces)


def _receive(client: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(client)
    head, _, body = data.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    while length and len(body) < int(length[1]):
        body += _some(client)
    return head, body


def _some(client: socket.socket) -> bytes:
    piece = client.recv(65536)
    if not piece:
        raise ConnectionResetError
    return piece


@contextlib.contextmanager
def between(
    cluster: Cluster, *, waits_at: str = "", change: Change = _unchanged, answer: Answer = _dockers, words: str = ""
) -> Iterator[Between]:
    """socker finds a Between where dockerd's socket was; words are added to the plugstack line."""
    real = cluster.base / "run/docker.sock"
    path = cluster.base / "run/between.sock"
    pattern = re.compile(waits_at) if waits_at else None
    middle = Between(path=path, docker=real, waits_at=pattern, change=change, answer=answer)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        shutil.chown(path, "root", "docker")
        path.chmod(0o660)
        listener.listen(64)
        threading.Thread(target=middle.serve, args=(listener,), daemon=True).start()
        try:
            with cluster.plugstack(lambda text: text.replace(f"docker={real}", f"docker={path} {words}".rstrip())):
                yield middle
                # the epilog reads the same line, so the socket serves until no job is left
                middle.release()
                wait_for_no_jobs(cluster)
        finally:
            middle.release()
            listener.shutdown(socket.SHUT_RDWR)
            path.unlink()
