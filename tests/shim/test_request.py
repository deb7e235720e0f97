# SPDX-License-Identifier: Apache-2.0
"""request.c: what C relies on before a request is used, and which requests are the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .driver import GROUP, USER, done, ffi, key_of, lib, new_request, refused

MALFORMED = "malformed request; the plugin and the opener are of different versions"
NO_ROOT = "containers do not run as root; submit the job as a normal user"
NO_NODE = "no usable node name in SLURMD_NODENAME"


def test_request_init_clears_all_and_sets_magic_and_size() -> None:
    request = ffi.new("struct socker_request *")
    ffi.memmove(request, b"\xff" * ffi.sizeof("struct socker_request"), ffi.sizeof("struct socker_request"))
    lib.request_init(request)
    assert (request.magic, request.size) == (lib.SOCKER_REQUEST_MAGIC, ffi.sizeof("struct socker_request"))
    rest = ffi.buffer(request)[ffi.offsetof("struct socker_request", "nonce") :]
    assert not any(rest)


def test_request_check_of_a_users_request_accepts_it() -> None:
    done(lib.request_check, new_request())


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        pytest.param({"magic": 0}, MALFORMED, id="magic"),
        pytest.param({"size": 4711}, MALFORMED, id="size"),
        pytest.param({"group_count": 1025}, MALFORMED, id="groups"),
        pytest.param({"reference": b"x" * 512}, MALFORMED, id="reference without end"),
        pytest.param({"options": b"o" * 8192}, MALFORMED, id="options without end"),
        pytest.param({"shared": b"s" * 64}, MALFORMED, id="name without end"),
        pytest.param({"node": b"n" * 256}, MALFORMED, id="node without end"),
        pytest.param({"cwd": b"/" * 4096}, MALFORMED, id="directory without end"),
        pytest.param({"script": b"/" * 4096}, MALFORMED, id="script without end"),
        pytest.param({"spool": b"/" * 4096}, MALFORMED, id="spool without end"),
        pytest.param({"prolog": b"/" * 4096}, MALFORMED, id="prolog without end"),
        pytest.param({"uid": 0}, NO_ROOT, id="root"),
        pytest.param({"gid": 0}, NO_ROOT, id="root's group"),
        pytest.param(
            {"uid": 2**31}, f"uid {2**31}, gid {GROUP}: ids from 2^31 on cannot be used in a container", id="large uid"
        ),
        pytest.param(
            {"gid": 2**32 - 1},
            f"uid {USER}, gid {2**32 - 1}: ids from 2^31 on cannot be used in a container",
            id="gid -1",
        ),
        pytest.param({"node": b""}, NO_NODE, id="no node"),
        pytest.param({"node": b".."}, NO_NODE, id="node that leads up"),
        pytest.param({"node": b".hidden"}, NO_NODE, id="node with a dot in front"),
        pytest.param({"node": b"a/b"}, NO_NODE, id="node with a slash"),
        pytest.param({"node": b"a b"}, NO_NODE, id="node with a space"),
        pytest.param({"node": b"a\n"}, NO_NODE, id="node with a line end"),
        pytest.param({"node": "ä".encode()}, NO_NODE, id="node with a letter beyond ASCII"),
    ],
)
def test_request_check_of_what_is_not_a_users_request_refuses_it(fields: dict[str, Any], reason: str) -> None:
    assert refused(lib.request_check, new_request(**fields)) == reason


@pytest.mark.parametrize(
    "fields",
    [
        {"uid": 1, "gid": 1},
        {"uid": 2**31 - 1, "gid": 2**31 - 1},
        {"groups": range(1024)},
        {"node": b"n" * 255},
        {"node": b"Node-1_a.example"},
        {"reference": b"x" * 511},
        {"options": b"o" * 8191, "shared": b"s" * 63},
    ],
)
def test_request_check_at_its_bounds_accepts(fields: dict[str, Any]) -> None:
    done(lib.request_check, new_request(**fields))


def test_request_key_is_16_hex_digits() -> None:
    key = key_of(new_request())
    assert len(key) == 16
    assert set(key) <= set(b"0123456789abcdef")


@pytest.mark.parametrize(
    "fields",
    [
        {"uid": USER + 1},
        {"node": b"node2"},
        {"reference": b"debian:trixie"},
        {"options": b"root=ro\n"},
        {"shared": b"debian:bookworm"},
    ],
)
def test_request_key_of_another_user_node_reference_options_or_name_differs(fields: dict[str, Any]) -> None:
    assert key_of(new_request(**fields)) != key_of(new_request())


@pytest.mark.parametrize("fields", [{}, {"reference": b"alpine"}, {"options": b"root=ro\n"}, {"share": 3}])
def test_request_key_with_a_name_is_the_names_alone(fields: dict[str, Any]) -> None:
    assert key_of(new_request(shared=b"mine", **fields)) == key_of(new_request(shared=b"mine"))
    assert key_of(new_request(shared=b"mine", **fields)) != key_of(new_request(shared=b"other", **fields))


def test_request_key_does_not_run_reference_and_options_into_each_other() -> None:
    one = new_request(reference=b"ab", options=b"c")
    other = new_request(reference=b"a", options=b"bc")
    assert key_of(one) != key_of(other)


def test_request_key_does_not_run_node_and_reference_into_each_other() -> None:
    one = new_request(node=b"ab", reference=b"c")
    other = new_request(node=b"a", reference=b"bc")
    assert key_of(one) != key_of(other)


@pytest.mark.parametrize(
    "fields", [{"job": 1}, {"step": 9}, {"cwd": b"/x"}, {"groups": [1]}, {"nonce": 5}, {"script": b"/s"}]
)
def test_request_key_of_another_step_is_the_same(fields: dict[str, Any]) -> None:
    assert key_of(new_request(**fields)) == key_of(new_request())


ANOTHERS: list[dict[str, Any]] = [
    {"job": 1},
    {"uid": USER + 1},
    {"gid": GROUP + 1},
    {"node": b"node2"},
    {"shared": b"mine"},
]
IN_OTHER_WORDS: list[dict[str, Any]] = [{"reference": b"debian"}, {"options": b"root=ro\n"}]


@pytest.mark.parametrize("fields", ANOTHERS)
def test_request_shares_with_another_job_user_node_or_name_is_false(fields: dict[str, Any]) -> None:
    assert not lib.request_shares(new_request(), new_request(**fields))


@pytest.mark.parametrize("fields", [{}, {"share": 3}, *IN_OTHER_WORDS])
def test_request_shares_in_other_words_is_true(fields: dict[str, Any]) -> None:
    assert lib.request_shares(new_request(shared=b"mine"), new_request(shared=b"mine", **fields))


@pytest.mark.parametrize("fields", [*ANOTHERS, *IN_OTHER_WORDS])
def test_request_fits_of_another_job_user_node_name_or_in_other_words_is_false(fields: dict[str, Any]) -> None:
    assert not lib.request_fits(new_request(), new_request(**fields))


@pytest.mark.parametrize(
    ("opened", "asked", "fits"),
    [
        (b"", b"", True),
        (b"root=ro\n", b"", True),
        (b"gpus=yes\nroot=ro\n", b"root=ro\n", True),
        (b"gpus=yes\nroot=ro\n", b"root=ro\ngpus=yes\n", True),
        (b"gpus=yes\nroot=ro", b"root=ro\n", True),
        (b"root=ro\n", b"root=ro", True),
        (b"", b"root=ro\n", False),
        (b"root=ro\n", b"root=rw\n", False),
        (b"root=ro\n", b"root=r\n", False),
        (b"root=r\n", b"root=ro\n", False),
        (b"mounts=/a\n", b"mounts=/a\nroot=ro\n", False),
        (b"mounts=root=ro\n", b"root=ro\n", False),
    ],
)
def test_request_fits_a_named_container_where_it_asks_for_nothing_more(opened: bytes, asked: bytes, fits: bool) -> None:
    one, other = (new_request(shared=b"n", options=options) for options in (opened, asked))
    assert lib.request_fits(one, other) is fits


def test_request_fits_without_a_name_in_the_same_words_alone() -> None:
    one, other = (new_request(options=options) for options in (b"gpus=yes\nroot=ro\n", b"root=ro\n"))
    assert not lib.request_fits(one, other)
    assert lib.request_fits(one, one)


LINES = st.lists(st.sampled_from([b"a", b"b", b"ab", b"a=b"]), max_size=5)


@given(opened=LINES, asked=LINES)
def test_request_fits_a_named_container_as_sets_of_lines_do(opened: list[bytes], asked: list[bytes]) -> None:
    one, other = (
        new_request(shared=b"n", options=b"".join(line + b"\n" for line in lines)) for lines in (opened, asked)
    )
    assert lib.request_fits(one, other) is (set(asked) <= set(opened))


@pytest.mark.parametrize("fields", [{}, {"step": 9, "cwd": b"/x", "nonce": 5, "groups": [1]}])
def test_request_fits_of_another_step_is_true(fields: dict[str, Any]) -> None:
    assert lib.request_fits(new_request(), new_request(**fields))


@pytest.mark.parametrize(
    ("path", "base", "below"),
    [
        (b"/home/u", b"/home/u", True),
        (b"/home/u/x", b"/home/u", True),
        (b"/home/u/x", b"/home/u/", True),
        (b"/home/user", b"/home/u", False),
        (b"/home", b"/home/u", False),
        (b"/a", b"/", True),
        (b"/", b"/", True),
        (b"/a", b"//", True),
        (b"a", b"/", False),
        (b"/", b"/a", False),
    ],
)
def test_path_below_compares_whole_components(path: bytes, base: bytes, below: bool) -> None:
    assert lib.path_below(path, base) is below


PARTS = st.lists(st.sampled_from(["a", "b", "ab", "a.b"]), max_size=4)


@given(path=PARTS, base=PARTS)
def test_path_below_is_the_order_of_lists_of_components(path: list[str], base: list[str]) -> None:
    below = lib.path_below(("/" + "/".join(path)).encode(), ("/" + "/".join(base)).encode())
    assert below is (path[: len(base)] == base)
