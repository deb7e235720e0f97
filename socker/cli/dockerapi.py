# SPDX-License-Identifier: Apache-2.0
"""Docker for the command: images, containers and the daemon's facts through the docker SDK, errors as one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import docker
import docker.errors
import requests

from socker.errors import EngineRefused, EngineUnreachable
from socker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SECONDS = 60  # in which each part of an answer has to come


class Docker:
    """The daemon at a socket. Every call raises EngineError with one line."""

    def __init__(self, path: str) -> None:
        self._path = path
        # the version is asked for: no daemon is too old or too new to be looked at
        self._client: Any = self._call(
            lambda: docker.APIClient(base_url=f"unix://{path}", version="auto", timeout=SECONDS)
        )

    def images(self, filters: Iterable[str]) -> list[Mapping[str, Any]]:
        """Return Docker's list of images. A filter is KEY=VALUE, as the docker command takes it."""
        asked: dict[str, list[str]] = {}
        for text in filters:
            key, equals, value = text.partition("=")
            if not equals or not key:
                raise EngineRefused(f"a filter is KEY=VALUE: {one_line(text, 100)}")
            asked.setdefault(key, []).append(value)
        found: list[Mapping[str, Any]] = self._call(lambda: self._client.images(filters=asked or None))
        return found

    def containers(self, label: str) -> list[Mapping[str, Any]]:
        """Return the containers, running or not, that carry a label."""
        found: list[Mapping[str, Any]] = self._call(
            lambda: self._client.containers(all=True, filters={"label": [label]})
        )
        return found

    def image(self, name: str) -> Mapping[str, Any] | None:
        """Return an image's facts, None where there is no such image."""
        try:
            found: Mapping[str, Any] = self._call(lambda: self._client.inspect_image(name))
        except EngineRefused as error:
            if error.status == 404:
                return None
            raise
        return found

    def info(self) -> Mapping[str, Any]:
        """Return the daemon's facts, as docker info has them."""
        found: Mapping[str, Any] = self._call(self._client.info)
        return found

    def _call(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the daemon answers
        try:
            return call()
        except docker.errors.APIError as error:
            raise EngineRefused(
                f"Docker: {one_line(str(error.explanation or error), 300)}", error.status_code or 0
            ) from None
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise EngineUnreachable(f"Docker does not answer at {self._path}: {_below(error)}") from None


def _below(error: BaseException) -> str:
    """Return what lies below the wrappings of the SDK."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, TimeoutError):
            return "not in time"
        if isinstance(found, OSError) and found.strerror:
            return found.strerror.lower()
        found = found.__context__
    return one_line(str(error), 200)
