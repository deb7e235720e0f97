# SPDX-License-Identifier: Apache-2.0
"""Saving a container: the question, the engine on a small Docker, the image's configuration, what is left behind."""

from __future__ import annotations

import io
import json
import tarfile
import time
from typing import TYPE_CHECKING, Any

import pytest

from socker import audit, bridge, savedimage, wire
from socker.container import LABEL_TOKEN, create_body, make_spec
from socker.engine_http import HttpApi
from socker.engine_save import LEFT_SECONDS, SavingEngine
from socker.errors import (
    ContainerGone,
    EngineRefused,
    EngineTimeout,
    ForeignContainer,
    ImageExists,
)
from socker.saving import Saving, save_container

from .daemon import HANG
from .fakes import (
    IMAGE_ID,
    OTHER_ID,
    TOKEN,
    FakeAudit,
    FakeClock,
    make_image,
    make_mark,
    make_request,
    make_step_plan,
    named,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .daemon import Daemon
    from .header import Header

NAME = named("site/saved:1")
CONFIG = {"User": "", "Entrypoint": ["/tini"], "Cmd": ["run"], "Env": ["A=b"], "WorkingDir": "/srv"}


@pytest.fixture
def container(docker: Daemon) -> str:
    """A container of ours, of an image that has something of everything."""
    labels = {"site": "x", "io.socker.token": "stolen"}
    docker.add_image("debian:12", Config={**CONFIG, "Labels": labels}, RootFS={"Layers": ["sha256:base"]})
    body = create_body(make_spec(make_request(), make_image(), make_step_plan()))
    return str(HttpApi(docker.path).create(make_mark().name, body, time.monotonic() + 5)["Id"])


def engine(docker: Daemon, seconds: float = 5.0, grace: float = 1.0) -> SavingEngine:
    return SavingEngine(HttpApi(docker.path), time, time.monotonic() + seconds, grace)


def nameless(docker: Daemon) -> list[str]:
    return [name for name, facts in docker.images.items() if not facts["RepoTags"]]


def test_save_makes_the_image_with_its_bases_configuration_and_nothing_of_ours(docker: Daemon, container: str) -> None:
    made = engine(docker).save(container, make_mark(), IMAGE_ID, NAME)
    image = docker.images[str(NAME)]
    assert image["Id"] == made
    assert image["Config"] == {**CONFIG, "Labels": {"site": "x"}}
    assert image["RootFS"]["Layers"] == ["sha256:base", "sha256:own"]
    assert nameless(docker) == []


def test_save_never_replaces_an_image(docker: Daemon, container: str) -> None:
    docker.images[str(NAME)] = {**docker.images[IMAGE_ID], "RepoTags": [str(NAME)]}
    with pytest.raises(ImageExists, match=r"there is an image docker.io/site/saved:1 on this node already"):
        engine(docker).save(container, make_mark(), IMAGE_ID, NAME)
    assert not any("/commit" in call for call in docker.seen)


@pytest.mark.parametrize(
    ("mark", "base", "what"),
    [
        (make_mark(job=4712), IMAGE_ID, "io.socker.job differs"),
        (make_mark(uid=1001), IMAGE_ID, "io.socker.uid differs"),
        (make_mark(), OTHER_ID, "image differs"),
    ],
)
def test_save_of_another_container_is_refused(docker: Daemon, container: str, mark: Any, base: str, what: str) -> None:
    with pytest.raises(ForeignContainer, match=what):
        engine(docker).save(container, mark, base, NAME)
    assert str(NAME) not in docker.images


def test_save_of_a_container_that_is_gone_says_so(docker: Daemon) -> None:
    with pytest.raises(ContainerGone, match="Docker has lost the container"):
        engine(docker).save("nosuch", make_mark(), IMAGE_ID, NAME)


@pytest.mark.parametrize(
    ("verb", "why"),
    [
        ("POST /commit", "Docker cannot commit the container: no space"),
        ("POST /images/load", "Docker cannot make the image of the layer: no space"),
    ],
)
def test_save_that_docker_refuses_leaves_nothing(docker: Daemon, container: str, verb: str, why: str) -> None:
    docker.misbehave = [(verb, (500, "no space"))]
    with pytest.raises(EngineRefused, match=why):
        engine(docker).save(container, make_mark(), IMAGE_ID, NAME)
    assert str(NAME) not in docker.images
    assert nameless(docker) == []


def test_save_ends_in_time(docker: Daemon, container: str) -> None:
    docker.misbehave = [("POST /commit", HANG)]
    began = time.monotonic()
    with pytest.raises(EngineTimeout):
        engine(docker, seconds=0.3).save(container, make_mark(), IMAGE_ID, NAME)
    assert time.monotonic() - began < 1


def test_commits_of_interrupted_saves_are_removed_when_they_are_old(docker: Daemon, container: str) -> None:
    api = HttpApi(docker.path)
    old, young = (api.commit(container, time.monotonic() + 5) for _ in range(2))
    docker.images[young]["listed"] = int(time.time())
    docker.images[old]["listed"] = int(time.time()) - LEFT_SECONDS - 10
    other = api.commit(container, time.monotonic() + 5)
    docker.images[other]["Config"]["Labels"][LABEL_TOKEN] = "another"
    assert engine(docker).remove_commits(TOKEN) == (old,)
    assert nameless(docker) == [young, other]


def unpacked(data: bytes) -> dict[str, Any]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {name: json.loads(tar.extractfile(name).read()) for name in tar.getnames()}  # type: ignore[union-attr]


def test_archive_of_a_container_that_changed_nothing_has_no_layer_more() -> None:
    base = {"RootFS": {"Layers": ["a", "b"]}, "Architecture": "arm64", "Variant": "v8", "Os": "linux"}
    config = unpacked(savedimage.archive(base, {"RootFS": {"Layers": ["a", "b"]}}, "x/y:1"))["config.json"]
    assert config["rootfs"]["diff_ids"] == ["a", "b"]
    assert [entry.get("empty_layer", False) for entry in config["history"]] == [False, False, True]
    assert (config["architecture"], config["variant"], config["os"]) == ("arm64", "v8", "linux")


@pytest.mark.parametrize("layers", [["b", "c"], ["b"], None, ["a", 1]])
def test_archive_of_layers_that_are_not_the_bases_is_refused(layers: object) -> None:
    with pytest.raises(EngineRefused):
        savedimage.archive({"RootFS": {"Layers": ["a"]}}, {"RootFS": {"Layers": layers}}, "x/y:1")


class FakeSaver:
    """Saves, or fails."""

    def __init__(self, error: EngineRefused | None = None) -> None:
        self.error = error

    def save(self, container: str, mark: object, base: str, reference: object) -> str:
        if self.error is not None:
            raise self.error
        assert (container, mark, base, str(reference)) == ("c", make_mark(), IMAGE_ID, "docker.io/site/saved:1")
        return OTHER_ID

    def remove_commits(self, token: str) -> tuple[str, ...]:
        raise AssertionError(token)


@pytest.mark.parametrize(
    ("reference", "error", "image", "message"),
    [
        ("docker.io/site/saved:1", None, OTHER_ID, ""),
        ("docker.io/site/saved:1", EngineRefused("no space"), "", "no space"),
        ("site/saved@" + IMAGE_ID, None, "", "an image is saved by name and tag"),
        (IMAGE_ID, None, "", "an image is saved by name and tag"),
        ("Site/saved", None, "", 'image reference "Site/saved"'),
    ],
)
def test_what_came_of_a_save_is_on_record(
    reference: str, error: EngineRefused | None, image: str, message: str
) -> None:
    kept = FakeAudit()
    saving = Saving(id="c", mark=make_mark(), step=0, base=IMAGE_ID, reference=reference)
    saved = save_container(saving, FakeSaver(error), kept, FakeClock())
    assert saved.image == image
    assert saved.message.startswith(message)
    assert bool(saved.message) == bool(message)
    ((event, fields),) = kept.events
    assert event == "save"
    assert (fields["digest"], fields["reason"], fields["reference"]) == (image, saved.message, reference)
    assert (fields["job"], fields["uid"], fields["base"]) == (4711, 1000, IMAGE_ID)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Mapping[str, object]]]:
    events: list[tuple[str, Mapping[str, object]]] = []
    monkeypatch.setattr(audit.SyslogAudit, "record", lambda _self, event, fields: events.append((event, fields)))
    return events


def test_bridge_saves(header: Header, docker: Daemon, container: str, log: list[Any]) -> None:
    value = header.save(docker=docker.path.encode(), id=container.encode())
    assert bridge.save_container(header.ffi, value) == wire.POLICY_DONE
    assert (value.saved, header.text(value.message)) == (wire.GRANT, "")
    assert "docker.io/site/saved:1" in docker.images
    assert [event for event, _ in log] == ["save"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "Docker does not answer on this node"),
        ({"node": b"../x"}, 'the node "../x" is not one the opener makes'),
        ({"reference": b"x" * 512}, "a string in the request does not end"),
    ],
)
def test_bridge_that_cannot_save_says_why(header: Header, log: list[Any], changes: dict[str, Any], why: str) -> None:
    value = header.save(**changes)
    assert bridge.save_container(header.ffi, value) == wire.POLICY_DONE
    assert value.saved == wire.REFUSE
    assert header.text(value.message).startswith(why)


@pytest.mark.parametrize("error", [ValueError, MemoryError, SystemExit, KeyboardInterrupt])
def test_bridge_whose_engine_breaks_says_so(
    header: Header, log: list[Any], monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def broken(*_ignored: object) -> None:
        raise error("secret")

    monkeypatch.setattr(SavingEngine, "save", broken)
    value = header.save()
    assert bridge.save_container(header.ffi, value) == wire.POLICY_DONE
    assert value.saved == wire.REFUSE
    said = header.text(value.message)
    assert error.__name__ in said
    assert "secret" not in said


def test_bridge_takes_no_other_value(header: Header) -> None:
    assert bridge.save_container(header.ffi, header.save(magic=1)) != wire.POLICY_DONE
    assert bridge.save_container(header.ffi, header.save(size=8)) != wire.POLICY_DONE
