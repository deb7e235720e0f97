# SPDX-License-Identifier: Apache-2.0
"""The contract of both clients of Docker's API, and that their deadlines hold whatever the daemon does."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socker.engine_http import HttpApi, error_message, parse_answer, quote
from socker.engine_sdk import SdkApi
from socker.errors import EngineError, EngineRefused, EngineTimeout, EngineUnreachable
from socker.savedimage import archive

from .daemon import DRIP, HANG, Daemon, soon
from .fakes import IMAGE_ID

if TYPE_CHECKING:
    from pathlib import Path

    from socker.ports import DockerApi

APIS = pytest.mark.parametrize("api_of", [HttpApi, SdkApi])
BODY: dict[str, object] = {"Image": IMAGE_ID, "Labels": {"a": "b"}, "HostConfig": {"Mounts": []}}


@APIS
def test_api_speaks_each_call(docker: Daemon, api_of: type[DockerApi]) -> None:
    api = api_of(docker.path)  # type: ignore[call-arg]
    assert api.inspect_image("docker.io/library/debian:12", soon())["Id"] == IMAGE_ID
    made = str(api.create("name", BODY, soon())["Id"])
    assert docker.bodies[-1] == BODY
    api.start(made, soon())
    assert api.inspect("name", soon())["State"] == {"Running": True, "Pid": 4242, "ExitCode": 0}
    assert [entry["Id"] for entry in api.list_labelled(["a=b"], soon())] == [made]  # type: ignore[index]
    assert api.list_labelled(["a=c"], soon()) == []
    docker.remote["docker.io/library/debian:13"] = docker.images[IMAGE_ID]
    assert api.pull("docker.io/library/debian", "13", soon()) == f"sha256:{'d' * 64}"
    with pytest.raises(EngineRefused, match="manifest unknown"):
        api.pull("docker.io/library/debian", "14", soon())
    docker.misbehave = [("POST", b'HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{"error":"no space"}\r\n')]
    with pytest.raises(EngineRefused, match="no space"):
        api.pull("docker.io/library/debian", "13", soon())
    docker.images[IMAGE_ID]["RootFS"] = {"Layers": ["sha256:base"]}
    committed = api.commit("name", soon())
    assert api.inspect_image(committed, soon())["RootFS"] == {"Type": "layers", "Layers": ["sha256:base", "sha256:own"]}
    assert parse_qs(docker.seen[-2].partition("?")[2])["pause"][0] in {"0", "False"}
    assert [entry["Id"] for entry in api.list_images(["a=b"], soon())] == [committed]  # type: ignore[index]
    facts = api.inspect_image(committed, soon())
    api.load(archive(docker.images[IMAGE_ID], facts, "docker.io/library/saved:1"), soon())
    assert api.inspect_image("docker.io/library/saved:1", soon())["RepoTags"] == ["docker.io/library/saved:1"]
    lost = {**facts, "RootFS": {"Layers": ["sha256:base", "sha256:lost"]}}
    with pytest.raises(EngineRefused, match="no such file"):
        api.load(archive(docker.images[IMAGE_ID], lost, "docker.io/library/saved:2"), soon())
    api.remove_image(committed, soon())
    assert committed not in docker.images
    assert parse_qs(docker.seen[-1].partition("?")[2])["noprune"][0] in {"1", "True"}
    api.remove(made, soon())
    assert docker.containers == {}
    path, _, query = docker.seen[-1].partition("?")
    wishes = parse_qs(query)
    assert path == f"DELETE /containers/{made}"
    assert (wishes["force"][0], wishes["v"][0]) in {("1", "1"), ("True", "True")}


@APIS
def test_api_passes_on_dockers_words(docker: Daemon, api_of: type[DockerApi]) -> None:
    api = api_of(docker.path)  # type: ignore[call-arg]
    with pytest.raises(EngineRefused, match="^No such container: nosuch$") as caught:
        api.inspect("nosuch", soon())
    assert caught.value.status == 404
    docker.misbehave = [("POST", (500, "no \x1b[31m luck\nat all" + "x" * 1000))]
    with pytest.raises(EngineRefused) as caught:
        api.start("x", soon())
    assert caught.value.status == 500
    assert str(caught.value).startswith("no \\x1b[31m luck\\x0aat all")
    assert len(str(caught.value)) <= 300


@APIS
def test_api_goes_on_with_a_newer_daemons_oldest_version(short_path: Path, api_of: type[DockerApi]) -> None:
    with Daemon(short_path / "new.sock", oldest="1.44") as docker:
        docker.add_image("debian:12")
        api = api_of(docker.path)  # type: ignore[call-arg]
        for _ in range(2):
            assert api.inspect_image("docker.io/library/debian:12", soon())["Id"] == IMAGE_ID
        assert len(docker.seen) == 3


@APIS
def test_api_with_a_daemon_that_is_too_old_says_so(docker: Daemon, api_of: type[DockerApi]) -> None:
    api = api_of(docker.path)  # type: ignore[call-arg]
    docker.misbehave = [("GET", (400, "client version 1.41 is too new. Maximum supported API version is 1.40"))]
    with pytest.raises(EngineRefused, match=r"too new\. Maximum supported"):
        api.inspect("x", soon())


@APIS
def test_api_without_a_socket_is_unreachable(short_path: Path, api_of: type[DockerApi]) -> None:
    path = f"{short_path}/none.sock"
    api = api_of(path)  # type: ignore[call-arg]
    with pytest.raises(EngineUnreachable) as caught:
        api.inspect("x", soon())
    said = f"Docker does not answer on this node ({path}: no such file or directory); tell your administrator"
    assert str(caught.value) == said


@APIS
def test_api_with_nobody_behind_the_socket_is_unreachable(short_path: Path, api_of: type[DockerApi]) -> None:
    path = f"{short_path}/dead.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
    api = api_of(path)  # type: ignore[call-arg]
    with pytest.raises(EngineUnreachable, match="connection refused"):
        api.inspect("x", soon())


@APIS
@pytest.mark.parametrize("misbehaviour", [HANG, DRIP])
def test_api_keeps_the_deadline(docker: Daemon, api_of: type[DockerApi], misbehaviour: bytes) -> None:
    docker.misbehave = [("GET", misbehaviour)]
    api = api_of(docker.path)  # type: ignore[call-arg]
    began = time.monotonic()
    with pytest.raises(EngineTimeout, match="does not answer in time on this node"):
        api.inspect("x", began + 0.3)
    assert 0.2 < time.monotonic() - began < 1.0


@APIS
def test_api_after_the_deadline_asks_nothing(docker: Daemon, api_of: type[DockerApi]) -> None:
    api = api_of(docker.path)  # type: ignore[call-arg]
    with pytest.raises(EngineTimeout):
        api.inspect("x", time.monotonic() - 1)
    assert docker.seen == []


def test_connecting_to_a_full_queue_keeps_the_deadline(short_path: Path) -> None:
    path = f"{short_path}/full.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(0)
        waiting = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(3)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(path)
        began = time.monotonic()
        with pytest.raises(EngineTimeout):
            HttpApi(path).inspect("x", began + 0.3)
        assert time.monotonic() - began < 1.0
        for client in waiting:
            client.close()


@APIS
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"9" * 10_000,
        b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe",
        b"HTTP/1.1 500 Oops\r\n\r\n<html>\x00",
        b"HTTP/9.9 200 OK\r\n\r\n{}",
        b"\x00\r\n" * 1000,
    ],
)
def test_api_with_garbage_for_an_answer_is_one_line(docker: Daemon, api_of: type[DockerApi], answer: bytes) -> None:
    docker.misbehave = [("GET", answer)]
    api = api_of(docker.path)  # type: ignore[call-arg]
    with pytest.raises(EngineError) as caught:
        api.inspect("x", soon())
    assert str(caught.value).isprintable()
    assert 0 < len(str(caught.value)) < 400


@APIS
def test_api_reads_no_more_than_an_answer_may_have(docker: Daemon, api_of: type[DockerApi]) -> None:
    docker.misbehave = [("GET", b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (9 << 20))]
    api = api_of(docker.path)  # type: ignore[call-arg]
    with pytest.raises(EngineRefused, match="longer than 8 MiB"):
        api.inspect("x", soon())


@APIS
def test_api_with_a_list_for_an_object_or_the_reverse(docker: Daemon, api_of: type[DockerApi]) -> None:
    api = api_of(docker.path)  # type: ignore[call-arg]
    docker.misbehave = [("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")]
    with pytest.raises(EngineRefused, match="not an object"):
        api.inspect("x", soon())
    docker.misbehave = [("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")]
    with pytest.raises(EngineRefused, match="not a list"):
        api.list_labelled([], soon())


def test_sdk_reads_no_environment_and_no_home(
    docker: Daemon, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (short_path / ".docker").mkdir()
    config = '{"HttpHeaders": {"X-Evil": "1"}, "proxies": {"default": {"httpProxy": "http://192.0.2.1"}}}'
    (short_path / ".docker" / "config.json").write_text(config)
    for name in ("HOME", "DOCKER_CONFIG"):
        monkeypatch.setenv(name, str(short_path / ".docker" if name == "DOCKER_CONFIG" else short_path))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "DOCKER_HOST"):
        monkeypatch.setenv(name, "http://192.0.2.1:1")
    opened: list[str] = []
    real = os.path.exists

    def exists(path: str) -> bool:
        opened.append(str(path))
        return real(path)

    monkeypatch.setattr(os.path, "exists", exists)
    api = SdkApi(docker.path)
    assert api.inspect_image("docker.io/library/debian:12", soon())["Id"] == IMAGE_ID
    assert not any(".docker" in path for path in opened)
    assert not api._client._general_configs
    assert not api._client.trust_env


def test_quote_leaves_nothing_that_leads_elsewhere() -> None:
    assert quote("docker.io/library/a:1@x") == "docker.io/library/a:1@x"
    assert quote("a b?c#d%\r\n\0é") == "a%20b%3Fc%23d%25%0D%0A%00%C3%A9"


@given(st.binary(max_size=200))
def test_parse_answer_of_anything_is_an_answer_or_our_error(data: bytes) -> None:
    try:
        status, _ = parse_answer(data)
    except EngineRefused:
        return
    assert 100 <= status < 600


@given(st.text(max_size=400))
def test_error_message_is_one_short_line(text: str) -> None:
    message = error_message(text)
    assert message.isprintable()
    assert 0 < len(message.encode()) <= 300
