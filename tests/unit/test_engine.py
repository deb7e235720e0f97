# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from socker.container import make_spec
from socker.engine import DockerEngine
from socker.engine_http import HttpApi
from socker.errors import (
    EngineError,
    EngineRefused,
    EngineTimeout,
    EngineUnreachable,
    ForeignContainer,
    ImageMissing,
    PullFailed,
)
from socker.model import Found, Image, Started
from socker.reference import parse

from .daemon import HANG
from .fakes import HEX, IMAGE_ID, OTHER_ID, TOKEN, make_image, make_mark, make_request, make_step_plan, named

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .daemon import Daemon


def engine(docker: Daemon, seconds: float = 5.0, grace: float = 1.0) -> DockerEngine:
    return DockerEngine(HttpApi(docker.path), time, time.monotonic() + seconds, grace)


SPEC = make_spec(make_request(), make_image(), make_step_plan())


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("debian:12", "docker.io/library/debian:12"),
        (f"debian@{OTHER_ID}", f"docker.io/library/debian@{OTHER_ID}"),
        (IMAGE_ID, IMAGE_ID),
    ],
)
def test_resolve_leads_to_the_image_by_its_full_name(docker: Daemon, asked: str, sent: str) -> None:
    docker.add_image("debian:12", RepoDigests=[f"debian@{OTHER_ID}"])
    image = engine(docker).resolve(parse(asked))
    assert image == Image(
        id=IMAGE_ID,
        names=(named("debian:12"), named(f"debian@{OTHER_ID}")),
        env=("PATH=/bin",),
        workdir="/srv",
        volumes=(),
    )
    assert docker.seen == [f"GET /images/{sent}/json"]


@pytest.mark.parametrize("asked", ["nosuch:1", f"sha256:{'0' * 64}", "debian", HEX[:12]])
def test_resolve_of_an_image_that_is_not_there(docker: Daemon, asked: str) -> None:
    with pytest.raises(ImageMissing, match=f"the image {parse(asked)} is not on this node"):
        engine(docker).resolve(parse(asked))


def test_resolve_reads_what_is_missing_as_nothing(docker: Daemon) -> None:
    docker.add_image("debian:12", RepoTags=None, RepoDigests=[f"debian@{OTHER_ID}"], Config={})
    image = engine(docker).resolve(parse(IMAGE_ID))
    assert (image.env, image.workdir, image.volumes) == ((), "", ())


def test_resolve_leaves_out_names_that_are_no_references(docker: Daemon) -> None:
    docker.add_image("debian:12")
    docker.images[IMAGE_ID]["RepoTags"] += ["<none>:<none>", "Upper:1", 7, IMAGE_ID]
    assert engine(docker).resolve(parse(IMAGE_ID)).names == (named("debian:12"),)


def test_resolve_believes_no_other_image(docker: Daemon) -> None:
    docker.images["docker.io/library/fedora:40"] = docker.images[IMAGE_ID]
    with pytest.raises(EngineRefused, match=f"Docker gave another image than .*fedora:40; ask for it as {IMAGE_ID}"):
        engine(docker).resolve(parse("fedora:40"))
    docker.images[f"sha256:{'1' * 64}"] = docker.images[IMAGE_ID]
    with pytest.raises(EngineRefused, match="Docker gave another image than sha256:1111"):
        engine(docker).resolve(parse(f"sha256:{'1' * 64}"))


@pytest.mark.parametrize("facts", [{}, {"Id": "x", "Config": {}}, {"Id": IMAGE_ID}, {"Id": 7, "Config": {}}])
def test_resolve_of_an_answer_without_the_facts_is_an_error(docker: Daemon, facts: dict[str, Any]) -> None:
    docker.images["docker.io/library/odd:1"] = facts
    with pytest.raises(EngineRefused, match="Docker's answer has no "):
        engine(docker).resolve(parse("odd:1"))


def test_resolve_with_a_failing_docker_says_so(docker: Daemon) -> None:
    docker.misbehave = [("GET /images", (500, "layer does not exist"))]
    with pytest.raises(EngineRefused, match=r"cannot look up the image docker.io/library/debian:12: layer does not"):
        engine(docker).resolve(parse("debian:12"))


def test_open_creates_starts_and_tells_the_pid(docker: Daemon) -> None:
    started = engine(docker).open(SPEC)
    assert started == Started(id=next(iter(docker.containers)), pid=4242)
    assert [line.split("?")[0].replace(started.id, "ID") for line in docker.seen] == [
        "POST /containers/create",
        "POST /containers/ID/start",
        "GET /containers/ID/json",
    ]


def test_open_replaces_what_a_killed_opener_left(docker: Daemon) -> None:
    first = engine(docker).open(SPEC)
    second = engine(docker).open(SPEC)
    assert list(docker.containers) == [second.id]
    assert first.id != second.id


@pytest.mark.parametrize("change", [{"token": "8" * 32}, {"job": 47}, {"uid": 1001}, {"node": "n2"}])
def test_open_leaves_a_container_of_the_same_name_that_is_not_ours(docker: Daemon, change: dict[str, Any]) -> None:
    theirs = engine(docker).open(make_spec(make_request(**change), make_image(), make_step_plan()))
    with pytest.raises(ForeignContainer, match=r"is not the one of job 4711 \(io.socker.* differs\); it is kept"):
        engine(docker).open(SPEC)
    assert list(docker.containers) == [theirs.id]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("POST /containers/create", "Docker cannot create the container: no space left"),
        ("POST /containers/0", "Docker cannot start the container: no space left"),
        ("GET /containers/0", "Docker cannot start the container: no space left"),
    ],
)
def test_open_that_fails_leaves_nothing(docker: Daemon, call: str, said: str) -> None:
    docker.misbehave = [(call, (500, "no space left"))]
    with pytest.raises(EngineRefused, match=said):
        engine(docker).open(SPEC)
    assert docker.containers == {}


def test_open_with_a_hold_process_that_ends_at_once_leaves_nothing(
    docker: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = docker._container

    def dead(method: str, name: str, verb: str | None) -> tuple[int, Any]:
        status, facts = real(method, name, verb)
        if verb == "json":
            facts["State"] = {"Running": False, "Pid": 0, "ExitCode": 127}
        return status, facts

    monkeypatch.setattr(docker, "_container", dead)
    with pytest.raises(EngineRefused, match=r"the hold process ended at once \(exit code 127\)"):
        engine(docker).open(SPEC)
    assert docker.containers == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Image": OTHER_ID}, "a container of another image"),
        ({"Mounts": []}, "mounts that were not asked for"),
        ({"Mounts": None}, "mounts that were not asked for"),
        (
            {"Mounts": [{"Type": "bind", "Destination": "/.socker/hold"}, {"Type": "volume", "Destination": "/d"}]},
            "mounts that were not asked for",
        ),
        ({"Config": {"Labels": {}}}, "io.socker.token differs"),
        ({"Config": {"Labels": None}}, "io.socker.token differs"),
        ({"Name": "/other"}, "name differs"),
    ],
)
def test_open_refuses_another_container_than_was_asked_for(
    docker: Daemon, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], said: str
) -> None:
    real = docker._container
    once = [change]

    def changed(method: str, name: str, verb: str | None) -> tuple[int, Any]:
        status, facts = real(method, name, verb)
        return (status, facts | once.pop()) if verb == "json" and once else (status, facts)

    monkeypatch.setattr(docker, "_container", changed)
    with pytest.raises(EngineRefused, match=said):
        engine(docker).open(SPEC)
    assert docker.containers == {}


@pytest.mark.parametrize("call", ["POST /containers/create", "POST /containers/0", "GET /containers/0"])
def test_open_with_a_docker_that_hangs_ends_in_time_and_leaves_nothing(docker: Daemon, call: str) -> None:
    docker.misbehave = [(call, HANG)]
    began = time.monotonic()
    with pytest.raises(EngineTimeout):
        engine(docker, seconds=0.4).open(SPEC)
    assert time.monotonic() - began < 2.0
    assert docker.containers == {}


def test_open_with_a_docker_that_dies_is_one_line(docker: Daemon) -> None:
    docker.misbehave = [("POST /containers/0", b""), ("GET /containers/0", b""), ("DELETE", b"")]
    with pytest.raises(EngineError, match="closed the connection without an answer"):
        engine(docker).open(SPEC)


def test_remove_by_id_and_by_name(docker: Daemon) -> None:
    engine(docker).remove(engine(docker).open(SPEC).id, make_mark(uid=None))
    assert docker.containers == {}
    engine(docker).open(SPEC)
    engine(docker).remove(SPEC.mark.name, make_mark(uid=None))
    assert docker.containers == {}


def test_remove_of_what_is_gone_is_success(docker: Daemon) -> None:
    engine(docker).remove("nosuch", make_mark())
    started = engine(docker).open(SPEC)
    docker.misbehave = [("DELETE", (404, "No such container"))]
    engine(docker).remove(started.id, make_mark())


@pytest.mark.parametrize("change", [{"token": "8" * 32}, {"job": 1}, {"node": "n2"}, {"name": "socker-x"}, {"uid": 5}])
def test_remove_of_a_container_with_another_mark_keeps_it(docker: Daemon, change: dict[str, Any]) -> None:
    started = engine(docker).open(SPEC)
    with pytest.raises(ForeignContainer, match="differs"):
        engine(docker).remove(started.id, make_mark(**change))
    assert list(docker.containers) == [started.id]


def test_remove_waits_for_a_removal_under_way(docker: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    started = engine(docker).open(SPEC)
    docker.misbehave = [("DELETE", (409, "removal of container is already in progress"))]
    looks: list[str] = []
    real = docker._container

    def going(method: str, name: str, verb: str | None) -> tuple[int, Any]:
        looks.append(method)
        if len(looks) > 3:
            docker.containers.clear()
        return real(method, name, verb)

    monkeypatch.setattr(docker, "_container", going)
    engine(docker).remove(started.id, make_mark())
    assert len(looks) == 4


def test_remove_that_never_ends_is_given_up(docker: Daemon) -> None:
    started = engine(docker).open(SPEC)
    docker.misbehave = [("DELETE", (409, "removal of container is already in progress"))]
    with pytest.raises(EngineTimeout, match="is being removed, but Docker does not finish it"):
        engine(docker, seconds=0.3).remove(started.id, make_mark())


def test_remove_that_docker_refuses_is_one_line(docker: Daemon) -> None:
    started = engine(docker).open(SPEC)
    docker.misbehave = [("DELETE", (500, "device or resource busy"))]
    with pytest.raises(EngineRefused, match="cannot remove the container 0.*: device or resource busy"):
        engine(docker).remove(started.id, make_mark())
    docker.misbehave = [("GET", (500, "cannot look"))]
    with pytest.raises(EngineRefused, match="cannot look"):
        engine(docker).remove(started.id, make_mark())


def test_list_ours_finds_by_token(docker: Daemon) -> None:
    ours = engine(docker).open(SPEC)
    other = engine(docker).open(make_spec(make_request(node="n2", name="socker-n2"), make_image(), make_step_plan()))
    engine(docker).open(make_spec(make_request(token="8" * 32, name="socker-8"), make_image(), make_step_plan()))
    assert engine(docker).list_ours(TOKEN) == (
        Found(id=ours.id, name=SPEC.mark.name, node="n1", job=4711),
        Found(id=other.id, name="socker-n2", node="n2", job=4711),
    )


@pytest.mark.parametrize(
    "change", [{"io.socker.job": "47x"}, {"io.socker.job": "²"}, {"io.socker.name": None}, {"io.socker.node": None}]
)
def test_list_ours_leaves_out_what_has_not_our_other_labels(docker: Daemon, change: dict[str, Any]) -> None:
    started = engine(docker).open(SPEC)
    docker.containers[started.id]["Config"]["Labels"].update(change)
    assert engine(docker).list_ours(TOKEN) == ()


def test_engine_without_docker_is_unreachable(short_path: Path) -> None:
    nobody = DockerEngine(HttpApi(f"{short_path}/none"), time, time.monotonic() + 5, 1.0)
    for call in (
        lambda: nobody.resolve(parse("debian")),
        lambda: nobody.open(SPEC),
        lambda: nobody.remove("x", make_mark()),
        lambda: nobody.list_ours(TOKEN),
    ):
        with pytest.raises(EngineUnreachable, match="Docker does not answer on this node"):
            call()


@pytest.mark.parametrize(
    ("failure", "left"),
    [
        (EngineUnreachable("broke off"), True),
        (EngineRefused("broke off"), True),
        (EngineRefused("no such image", 404), False),
    ],
)
def test_open_whose_create_fails_tells_whether_a_container_may_be_left(failure: EngineError, *, left: bool) -> None:
    class Api(HttpApi):
        def create(self, *_: object) -> Mapping[str, object]:
            raise failure

    broken = DockerEngine(Api("/nowhere"), time, time.monotonic() + 5, 1)
    with pytest.raises(type(failure)):
        broken.open(SPEC)
    assert broken.left is left


FACTS: dict[str, Any] = {
    "Id": IMAGE_ID,
    "RepoTags": [],
    "RepoDigests": [f"debian@sha256:{'d' * 64}"],
    "Config": {"Env": [], "WorkingDir": "", "Volumes": None},
}


@pytest.mark.parametrize("asked", ["debian:13", f"debian@{OTHER_ID}"])
def test_pull_leads_to_the_image_by_the_digest_that_the_registry_gave(docker: Daemon, asked: str) -> None:
    reference = named(asked)
    docker.remote[str(reference)] = FACTS
    pinned = engine(docker).pull(reference)
    assert str(pinned) == f"docker.io/library/debian@sha256:{'d' * 64}"
    assert engine(docker).resolve(pinned).id == IMAGE_ID


def test_pull_that_tells_much_of_its_way_is_no_longer_than_its_digest(docker: Daemon) -> None:
    docker.progress = 200_000
    docker.remote["docker.io/library/debian:13"] = FACTS
    assert engine(docker, seconds=20).pull(named("debian:13")).digest == f"sha256:{'d' * 64}"


@pytest.mark.parametrize(
    ("instead", "why"),
    [
        (
            (500, 'Get "https://registry/v2/": dial tcp: connection refused'),
            r'docker.io: Get "https://registry/v2/": d',
        ),
        ((404, "manifest unknown"), "could not be pulled from docker.io: manifest unknown"),
        (b'HTTP/1.0 200 OK\r\n\r\n{"status":"x"}\r\n{"errorDetail":{},"error":"no space left"}\r\n', "no space left"),
        (b'HTTP/1.0 200 OK\r\n\r\n{"status":"Status: done"}\r\n', "Docker did not say which digest it has"),
        (b'HTTP/1.0 200 OK\r\n\r\n{"status":"Digest: sha256:zz"}\r\n', "Docker did not say which digest it has"),
        (b"HTTP/1.0 200 OK\r\n\r\n{broken\r\n", "Docker's answer is not JSON"),
        (HANG, "it takes longer than a step may wait"),
    ],
)
def test_pull_that_fails_says_why_in_time(docker: Daemon, instead: Any, why: str) -> None:
    docker.misbehave = [("POST /images/create", instead)]
    began = time.monotonic()
    with pytest.raises(PullFailed, match=why) as caught:
        engine(docker, seconds=0.5).pull(named("debian:13"))
    assert str(caught.value).startswith("the image docker.io/library/debian:13 could not be pulled from docker.io: ")
    assert time.monotonic() - began < 3


def test_a_shorter_time_is_kept_and_a_longer_one_is_not(docker: Daemon) -> None:
    docker.misbehave = [("GET", HANG), ("GET", HANG)]
    for until in (0.2, 0.2 + 60):
        hurried = engine(docker, seconds=0.4)
        hurried.shorten(time.monotonic() + until)
        began = time.monotonic()
        with pytest.raises(EngineTimeout):
            hurried.resolve(named("debian:12"))
        assert time.monotonic() - began < 2
