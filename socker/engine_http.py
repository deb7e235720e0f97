# SPDX-License-Identifier: Apache-2.0
"""
Docker's API over its unix socket, for the calls that a job waits for.

The docker SDK speaks the same API and takes 75 ms to import, which is more than half of a whole `docker run`; this is
the part of it that opening and closing a container need. HTTP/1.0, one connection a call: no chunks, no keep-alive, no
redirects, no proxies, no retries. Everything is bounded by the deadline, also an answer that comes in drops.
"""

from __future__ import annotations

import json
import re
import socket
import time

from socker.errors import EngineRefused, EngineTimeout, EngineUnreachable
from socker.text import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

API_VERSION = "1.41"  # Docker 20.10's; a daemon that is too new for it says its own oldest, which is then used
CONNECT_SECONDS = 2.0
MAX_ANSWER = 8 << 20  # bytes
MAX_MESSAGE = 300  # bytes of Docker's own words that are passed on

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:/@")
_TOO_OLD = re.compile(r"client version [0-9.]+ is too old\. Minimum supported API version is ([0-9]+\.[0-9]+)")
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]{1,12}) *\r\n", re.IGNORECASE)


def quote(text: str) -> str:
    """Return text as part of an URL's path or query: every byte but letters, digits and -._~:/@ percent-encoded."""
    return "".join(
        chr(byte) if chr(byte) in _PLAIN else f"%{byte:02X}" for byte in text.encode(errors="surrogateescape")
    )


class HttpApi:
    """The DockerApi protocol over a unix socket."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._version = API_VERSION

    def inspect_image(self, name: str, until: float) -> Mapping[str, object]:
        """Return an image's facts."""
        return _mapping(self._call("GET", f"/images/{quote(name)}/json", None, until))

    def pull(self, name: str, tag: str, until: float) -> str:
        """Pull by tag or digest and return the digest that it has now, "" where Docker does not say."""
        path = f"/images/create?fromImage={quote(name)}&tag={quote(tag)}"
        return pulled_digest(self._ask("POST", path, None, until, _gist).splitlines())

    def create(self, name: str, body: Mapping[str, object], until: float) -> Mapping[str, object]:
        """Create a container by that name."""
        return _mapping(self._call("POST", f"/containers/create?name={quote(name)}", body, until))

    def start(self, container: str, until: float) -> None:
        """Start a container."""
        self._call("POST", f"/containers/{quote(container)}/start", None, until)

    def inspect(self, container: str, until: float) -> Mapping[str, object]:
        """Return a container's facts."""
        return _mapping(self._call("GET", f"/containers/{quote(container)}/json", None, until))

    def remove(self, container: str, until: float) -> None:
        """Kill and remove a container with its anonymous volumes."""
        self._call("DELETE", f"/containers/{quote(container)}?force=1&v=1", None, until)

    def commit(self, container: str, until: float) -> str:
        """Make an image without a name of a container as it is, without pausing it, and return its id."""
        return committed_id(self._call("POST", f"/commit?container={quote(container)}&pause=0", {}, until))

    def load(self, archive: bytes, until: float) -> None:
        """Have the images of an archive as `docker save` makes them."""
        pulled_digest(self._ask("POST", "/images/load?quiet=1", archive, until).splitlines())

    def remove_image(self, image: str, until: float) -> None:
        """Remove an image that nothing uses, and no image below it."""
        self._call("DELETE", f"/images/{quote(image)}?noprune=1", None, until)

    def list_images(self, labels: Iterable[str], until: float) -> list[object]:
        """Return the images that carry these labels and have no name."""
        filters = json.dumps({"label": list(labels), "dangling": ["true"]})
        return _list(self._call("GET", f"/images/json?filters={quote(filters)}", None, until))

    def list_labelled(self, labels: Iterable[str], until: float) -> list[object]:
        """Return all containers that carry these labels, running or not."""
        filters = json.dumps({"label": list(labels)})
        return _list(self._call("GET", f"/containers/json?all=1&filters={quote(filters)}", None, until))

    def _call(self, method: str, path: str, body: Mapping[str, object] | None, until: float) -> object:
        text = self._ask(method, path, body, until)
        return _json(text) if text.strip() else None

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | bytes | None,
        until: float,
        gist: Callable[[bytes], bytes] | None = None,
    ) -> str:
        """Return the body of an answer, or the `gist` of it, where the answer is longer than what matters of it."""
        status, text = self._exchange(method, path, body, until, gist)
        wanted = _TOO_OLD.search(text) if status == 400 else None
        if wanted is not None and self._version == API_VERSION:
            # refused before it was looked at, so asking again repeats nothing
            self._version = wanted[1]
            status, text = self._exchange(method, path, body, until, gist)
        if status >= 300:
            raise EngineRefused(error_message(text), status)
        return text

    def _exchange(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | bytes | None,
        until: float,
        gist: Callable[[bytes], bytes] | None,
    ) -> tuple[int, str]:
        raw = isinstance(body, bytes)
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        head = (
            f"{method} /v{self._version}{path} HTTP/1.0\r\n"
            "Host: docker\r\nUser-Agent: socker\r\nConnection: close\r\n"
            f"Content-Type: application/{'x-tar' if raw else 'json'}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                _connect(connection, self._path, until)
                connection.settimeout(_remaining(until))
                connection.sendall(head.encode("ascii") + content)
                return parse_answer(_receive(connection, until, gist))
        except TimeoutError:
            raise EngineTimeout(silent(self._path)) from None
        except OSError as error:
            raise EngineUnreachable(unreachable(self._path, error.strerror or "no answer")) from None


def silent(path: str) -> str:
    """Return what a user is told when Docker does not answer in time."""
    return f"Docker does not answer in time on this node ({path}); try again, or tell your administrator"


def unreachable(path: str, why: str) -> str:
    """Return what a user is told when nobody answers at Docker's socket."""
    return f"Docker does not answer on this node ({path}: {why[:1].lower()}{why[1:]}); tell your administrator"


def error_message(text: str) -> str:
    """Return Docker's own words from the body of an error answer, as one short line."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    message = said.get("message") if isinstance(said, dict) else None
    return one_line(message if isinstance(message, str) else text, MAX_MESSAGE) or "no reason given"


def _remaining(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _connect(connection: socket.socket, path: str, until: float) -> None:
    """Connect; a full queue of a unix socket is an error at once, so it is tried again for a while."""
    until = min(until, time.monotonic() + CONNECT_SECONDS)
    while True:
        connection.settimeout(_remaining(until))
        try:
            connection.connect(path)
        except BlockingIOError:
            time.sleep(0.01)
        else:
            return


def _receive(connection: socket.socket, until: float, gist: Callable[[bytes], bytes] | None) -> bytes:
    data = bytearray()
    while True:
        connection.settimeout(_remaining(until))
        piece = connection.recv(65536)
        if not piece:
            return bytes(data)
        data += piece
        if gist is not None:
            data = bytearray(gist(bytes(data)))
        if len(data) > MAX_ANSWER:
            raise EngineRefused(f"Docker's answer is longer than {MAX_ANSWER >> 20} MiB")


def _gist(data: bytes) -> bytes:
    """Leave out the lines of a pull's answer that only tell how far it is."""
    head, blank, body = data.partition(b"\r\n\r\n")
    *lines, last = body.split(b"\n")
    kept = [line for line in lines if b'"status"' not in line or b'"Digest: ' in line]
    return b"".join((head, blank, b"\n".join([*kept, last])))


def pulled_digest(lines: Iterable[str]) -> str:
    """Return the digest that the answer to a pull or a load tells, "" for none. Raises EngineRefused with its error."""
    digest = ""
    for line in lines:
        said = _json(line) if line.strip() else None
        if not isinstance(said, dict):
            continue
        if "error" in said:
            raise EngineRefused(one_line(str(said["error"]), MAX_MESSAGE))
        status = said.get("status")
        if isinstance(status, str) and status.startswith("Digest: "):
            digest = status.removeprefix("Digest: ")
    return digest


def parse_answer(data: bytes) -> tuple[int, str]:
    """Return status and body of an HTTP answer that ended with its connection. Raises EngineRefused."""
    head, blank, body = data.partition(b"\r\n\r\n")
    status = _STATUS.match(head + b"\r\n")
    if status is None or not blank:
        raise EngineRefused("Docker's answer is not HTTP" if data else "Docker closed the connection without an answer")
    length = _LENGTH.search(head + b"\r\n")
    if length is not None and int(length[1]) != len(body):
        raise EngineRefused("Docker's answer broke off")
    return int(status[1]), body.decode(errors="replace")


def _json(text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        raise EngineRefused("Docker's answer is not JSON") from None
    return value


def committed_id(answer: object) -> str:
    """Return the image's id from the answer to a commit. Raises EngineRefused."""
    made = _mapping(answer).get("Id")
    if not isinstance(made, str) or not made:
        raise EngineRefused("Docker's answer has no Id")
    return made


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise EngineRefused("Docker's answer is not a list")
    return value


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise EngineRefused("Docker's answer is not an object")
    return value
