# SPDX-License-Identifier: Apache-2.0
"""
Docker's API through the docker SDK: the only importer of `docker`, for what no job waits for.

The SDK is taken without its surroundings: no environment, no ~/.docker, no proxies, no credentials. Its sockets keep
one deadline for a whole call, which its own time-out does not: that one begins again with every byte.
"""

from __future__ import annotations

import math
import re
import socket
import time
from typing import TYPE_CHECKING, Any

import docker.errors
import requests
from docker import APIClient
from docker.transport import UnixHTTPAdapter
from docker.transport.unixconn import UnixHTTPConnection, UnixHTTPConnectionPool
from docker.utils.proxy import ProxyConfig

from socker.engine_http import (
    API_VERSION,
    CONNECT_SECONDS,
    MAX_ANSWER,
    MAX_MESSAGE,
    committed_id,
    pulled_digest,
    silent,
    unreachable,
)
from socker.errors import EngineRefused, EngineTimeout, EngineUnreachable
from socker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MAX_PROGRESS = 1 << 30  # bytes in which a pull tells how far it is

_BASE_URL = "http+docker://localhost"
_TOO_OLD = re.compile(r"client version [0-9.]+ is too old\. Minimum supported API version is ([0-9]+\.[0-9]+)")


class _Deadline:
    """The end of the call under way, shared with the sockets it uses."""

    until = 0.0
    most = MAX_ANSWER  # bytes of one answer

    def remaining(self) -> float:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("deadline")
        return left


class _Socket(socket.socket):
    """A socket with one deadline for all that it does, and a bound on all that it reads."""

    deadline: _Deadline
    received = 0

    def recv_into(self, *args: Any, **kwargs: Any) -> int:  # noqa: ANN401 - socket's own signature
        self.settimeout(self.deadline.remaining())
        count = super().recv_into(*args, **kwargs)
        self.received += count
        if self.received > self.deadline.most:
            raise EngineRefused(f"Docker's answer is longer than {self.deadline.most >> 20} MiB")
        return count


class _Connection(UnixHTTPConnection):
    """A connection over such a socket."""

    deadline: _Deadline

    def connect(self) -> None:
        made = _Socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.deadline = self.deadline
        try:
            made.settimeout(min(CONNECT_SECONDS, self.deadline.remaining()))
            made.connect(self.unix_socket)
            made.settimeout(self.deadline.remaining())
        except BaseException:
            made.close()
            raise
        self.sock = made


class _Pool(UnixHTTPConnectionPool):
    """A pool of such connections."""

    deadline: _Deadline

    def _new_conn(self) -> _Connection:  # type: ignore[override]  # the SDK's own stubs disagree with urllib3's
        made = _Connection(self.base_url, self.socket_path)
        made.deadline = self.deadline
        return made


class _Adapter(UnixHTTPAdapter):
    """What makes the SDK use them."""

    def __init__(self, path: str, deadline: _Deadline) -> None:
        super().__init__(f"http+unix://{path}")
        self._deadline = deadline
        self._pool: _Pool | None = None

    def get_connection(self, url: str | bytes, _proxies: object = None) -> _Pool:
        """Return a pool for one call: a connection is not used again, so that its count begins at nothing."""
        self.drop()
        self._pool = _Pool(str(url), self.socket_path, maxsize=1)
        self._pool.deadline = self._deadline
        return self._pool

    def drop(self) -> None:
        """Close what the last call used."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


class _Client(APIClient):
    """The SDK's client, set up by hand: its own constructor reads the environment and the home directory."""

    def __init__(self, path: str, version: str, deadline: _Deadline) -> None:
        requests.Session.__init__(self)
        self.trust_env = False
        self.base_url = _BASE_URL
        self.timeout = math.ceil(CONNECT_SECONDS)
        self.credstore_env = None
        self._version = version
        self._general_configs: dict[str, object] = {}
        self._proxy_configs = ProxyConfig()
        self._custom_adapter = _Adapter(path, deadline)
        self.adapters.clear()
        self.mount("http+docker://", self._custom_adapter)


class SdkApi:
    """The DockerApi protocol through the docker SDK."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._deadline = _Deadline()
        self._client: Any = _Client(path, API_VERSION, self._deadline)  # parts of the SDK have no types

    def inspect_image(self, name: str, until: float) -> Mapping[str, object]:
        """Return an image's facts."""
        return _mapping(self._call(lambda: self._client.inspect_image(name), until))

    def pull(self, name: str, tag: str, until: float) -> str:
        """Pull by tag or digest and return the digest that it has now, "" where Docker does not say."""

        def call() -> str:
            # the SDK's own pull would look for credentials in files
            url, wish = self._client._url("/images/create"), {"fromImage": name, "tag": tag}  # noqa: SLF001
            answer = self._client._post(url, params=wish, stream=True)  # noqa: SLF001
            self._client._raise_for_status(answer)  # noqa: SLF001
            return pulled_digest(line.decode(errors="replace") for line in answer.iter_lines())

        self._deadline.most = MAX_PROGRESS
        try:
            return str(self._call(call, until))
        finally:
            self._deadline.most = MAX_ANSWER

    def create(self, name: str, body: Mapping[str, object], until: float) -> Mapping[str, object]:
        """Create a container by that name."""
        return _mapping(self._call(lambda: self._client.create_container_from_config(dict(body), name), until))

    def start(self, container: str, until: float) -> None:
        """Start a container."""
        self._call(lambda: self._client.start(container), until)

    def inspect(self, container: str, until: float) -> Mapping[str, object]:
        """Return a container's facts."""
        return _mapping(self._call(lambda: self._client.inspect_container(container), until))

    def remove(self, container: str, until: float) -> None:
        """Kill and remove a container with its anonymous volumes."""
        self._call(lambda: self._client.remove_container(container, v=True, force=True), until)

    def commit(self, container: str, until: float) -> str:
        """Make an image without a name of a container as it is, without pausing it, and return its id."""

        def call() -> object:
            wish = {"container": container, "pause": False}
            answer = self._client._post_json(self._client._url("/commit"), data={}, params=wish)  # noqa: SLF001
            return self._client._result(answer, json=True)  # noqa: SLF001

        return committed_id(self._call(call, until))

    def load(self, archive: bytes, until: float) -> None:
        """Have the images of an archive as `docker save` makes them."""

        def call() -> None:
            # the SDK's own load would take an error that is told in the answer for progress
            url = self._client._url("/images/load")  # noqa: SLF001
            answer = self._client._post(url, data=archive, params={"quiet": True}, stream=True)  # noqa: SLF001
            self._client._raise_for_status(answer)  # noqa: SLF001
            pulled_digest(line.decode(errors="replace") for line in answer.iter_lines())

        self._call(call, until)

    def remove_image(self, image: str, until: float) -> None:
        """Remove an image that nothing uses, and no image below it."""
        self._call(lambda: self._client.remove_image(image, noprune=True), until)

    def list_images(self, labels: Iterable[str], until: float) -> list[object]:
        """Return the images that carry these labels and have no name."""
        wish = {"label": list(labels), "dangling": True}
        return _list(self._call(lambda: self._client.images(filters=wish), until))

    def list_labelled(self, labels: Iterable[str], until: float) -> list[object]:
        """Return all containers that carry these labels, running or not."""
        return _list(self._call(lambda: self._client.containers(all=True, filters={"label": list(labels)}), until))

    def _call(self, call: Callable[[], object], until: float) -> object:
        self._deadline.until = until
        try:
            return call()
        except docker.errors.APIError as error:
            said = str(error.explanation or error)
            wanted = _TOO_OLD.search(said)
            if wanted is None or self._client.api_version != API_VERSION:
                raise EngineRefused(one_line(said, MAX_MESSAGE), error.status_code or 0) from None
        except (requests.RequestException, OSError, ValueError, RecursionError) as error:
            raise _translated(self._path, error) from None
        finally:
            self._client.get_adapter(_BASE_URL).drop()
        # refused before it was looked at, so asking again repeats nothing
        self._client = _Client(self._path, wanted[1], self._deadline)
        return self._call(call, until)


def _translated(path: str, error: Exception) -> EngineRefused | EngineTimeout | EngineUnreachable:
    """Find what lies below the wrappings of requests and urllib3."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, TimeoutError):
            return EngineTimeout(silent(path))
        if isinstance(below, OSError) and below.strerror:
            return EngineUnreachable(unreachable(path, below.strerror))
        below = below.__context__
    return EngineRefused("Docker's answer is not one")


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise EngineRefused("Docker's answer is not a list")
    return value


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise EngineRefused("Docker's answer is not an object")
    return value
