# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from socker.errors import InvalidRequest
from socker.model import Mount, Started, is_plain_path, step_name

from .fakes import CONTAINER_ID, IMAGE_ID, OTHER_ID, make_image, make_mark, make_request


def test_request_of_a_user_is_made() -> None:
    assert make_request().mark() == make_mark()
    assert make_request(uid=2**31 - 1, gid=1).uid == 2**31 - 1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"uid": 0}, "containers do not run as root; submit the job as a normal user"),
        ({"gid": 0}, "containers do not run as root; submit the job as a normal user"),
        ({"uid": 2**31}, "the id 2147483648 cannot be used in a container"),
        ({"gid": 2**32 - 1}, "the id 4294967295 cannot be used in a container"),
        ({"hold_uid": 0}, "the id 0 cannot be used in a container"),
        ({"hold_gid": 2**31}, "the id 2147483648 cannot be used"),
        ({"hold_uid": 1000}, "the user of the hold process runs no jobs"),
        ({"docker": "docker.sock"}, '"docker.sock" in the plugin\'s configuration is not a plain absolute path'),
        ({"policy": ""}, "is not a plain absolute path"),
        ({"hold": "/a/../b"}, "is not a plain absolute path"),
        ({"node": ""}, "the node"),
        ({"node": "../n1"}, "the node"),
        ({"name": "a/b"}, "the name"),
        ({"name": "-v"}, "the name"),
        ({"token": ""}, "the token"),
        ({"token": "a b"}, "the token"),
    ],
)
def test_request_that_cannot_be_served_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make_request(**changes)
    assert why in str(caught.value)


@pytest.mark.parametrize("path", ["/", "/a", "/a/b.c/..d"])
def test_plain_paths(path: str) -> None:
    assert is_plain_path(path)


@pytest.mark.parametrize("path", ["", "a", "//", "/a/", "/a//b", "/./a", "/a/..", "/a\0b"])
def test_paths_that_are_not_plain(path: str) -> None:
    assert not is_plain_path(path)
    with pytest.raises(ValueError, match="not a plain path"):
        Mount(source="/a", target=path, read_only=False)


@pytest.mark.parametrize(("container", "pid"), [("", 5), (CONTAINER_ID[1:], 5), (CONTAINER_ID, 1), (CONTAINER_ID, 0)])
def test_started_needs_an_id_and_a_pid(container: str, pid: int) -> None:
    with pytest.raises(ValueError, match="not a container that was started"):
        Started(id=container, pid=pid)


def test_digests_of_an_image_are_its_id_and_its_repositories() -> None:
    assert make_image("debian:12", f"debian@{OTHER_ID}").digests() == {IMAGE_ID, OTHER_ID}


def test_steps_have_slurms_names() -> None:
    names = [step_name(step) for step in (0, 0xFFFFFFFB, 0xFFFFFFFA, 0xFFFFFFFC)]
    assert names == [0, "batch", "interactive", "extern"]
