# SPDX-License-Identifier: Apache-2.0
"""The options of a user, as the plugin sends them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socker.errors import InvalidRequest, PlanError
from socker.grants import Grants, SiteMount
from socker.model import Mount
from socker.options import AskedMount, Options, absolute, format_mounts, parse_mounts, read_options
from socker.plan import Plan, make_plan
from socker.policy import Allow

from .fakes import make_image, make_user

PATHS = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda text: text not in {".", "..", "tmpfs"}
)
ABSOLUTE = st.lists(PATHS, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
BINDS = st.builds(
    AskedMount, source=st.one_of(ABSOLUTE, PATHS), target=ABSOLUTE, read_only=st.booleans(), flat=st.booleans()
).map(lambda mount: mount.but(target="") if mount.target == mount.source else mount)
MOUNTS = st.one_of(BINDS, st.builds(AskedMount, source=st.just(""), target=ABSOLUTE))


def wish(text: str) -> Options:
    return read_options(text)


def plan(text: str, cwd: str = "/work", **grants: Any) -> Plan:
    given_ = Grants(**({"mount_sources": None} | grants))
    return make_plan(make_user(), Allow(rule="r", grants=given_), make_image(), wish(text), cwd)


def test_nothing_is_asked_by_nothing() -> None:
    assert wish("") == Options()


def test_every_line_is_read() -> None:
    text = "device=/dev/fuse\ngpus=yes\nhome=no\nmounts=/a:/b:ro\nroot=ro\nsave=x:1\nunshare=uts,net\n"
    assert wish(text) == Options(
        mounts=(AskedMount(source="/a", target="/b", read_only=True),),
        home=False,
        read_only=True,
        private=("net", "uts"),
        gpus=True,
        devices=("/dev/fuse",),
        save="x:1",
    )
    assert wish("home=yes\nroot=rw\n") == Options(home=True, read_only=False)


@pytest.mark.parametrize("line", ["privileged=yes", "mounts", "=x", "workdir=/x", "\x85", "MOUNTS=/a"])
def test_line_that_is_no_option_is_refused(line: str) -> None:
    with pytest.raises(InvalidRequest, match="there is no option .*; plugin and policy engine are of two versions"):
        wish(line + "\n")


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/a", AskedMount(source="/a", target="")),
        ("/a:/a", AskedMount(source="/a", target="")),
        ("a/b", AskedMount(source="a/b", target="")),
        ("/a:/b", AskedMount(source="/a", target="/b")),
        ("/a:/b/../c/", AskedMount(source="/a", target="/c")),
        ("/a:/b:rw", AskedMount(source="/a", target="/b")),
        ("/a:/b:rbind+ro", AskedMount(source="/a", target="/b", read_only=True)),
        ("/a:/b:bind", AskedMount(source="/a", target="/b", flat=True)),
        (r"/a\:b\,c:/x y", AskedMount(source="/a:b,c", target="/x y")),
        (r"\\:/x", AskedMount(source="\\", target="/x")),
        ("tmpfs:/x", AskedMount(source="", target="/x")),
        ("./tmpfs:/x", AskedMount(source="./tmpfs", target="/x")),
    ],
)
def test_mount_is_read_as_it_was_meant(text: str, mount: AskedMount) -> None:
    assert parse_mounts(text) == (mount,)


@given(st.lists(MOUNTS, min_size=1, max_size=4).map(tuple))
def test_format_and_parse_are_inverse(mounts: tuple[AskedMount, ...]) -> None:
    assert parse_mounts(format_mounts(mounts)) == mounts


@given(st.text(max_size=60))
def test_any_text_gives_mounts_with_plain_targets_or_our_error(text: str) -> None:
    try:
        mounts = parse_mounts(text)
    except InvalidRequest as error:
        assert str(error).isprintable()
        assert str(error).startswith("--container-mounts: ")
        return
    assert mounts
    for mount in mounts:
        assert mount.target in {"", absolute(mount.target, "/")}
        assert mount.source or mount.target


@given(st.binary(max_size=80))
def test_any_bytes_as_options_raise_only_our_error(data: bytes) -> None:
    try:
        read_options(data.decode(errors="surrogateescape"))
    except InvalidRequest as error:
        assert str(error).isprintable()


@pytest.mark.parametrize(
    ("path", "directory", "expected"),
    [
        ("x", "/w", "/w/x"),
        ("./x/../y", "/w", "/w/y"),
        ("../../..", "/w", "/"),
        ("/x//y/", "/w", "/x/y"),
        ("//x", "/w", "/x"),
        ("x", "", "/x"),
    ],
)
def test_absolute_is_as_text(path: str, directory: str, expected: str) -> None:
    assert absolute(path, directory) == expected


def test_mounts_of_the_user_are_asked_and_come_last() -> None:
    made = plan("mounts=sub:/b:ro,/c,tmpfs:/t\n", home=True)
    assert made.mounts == (
        Mount(source="/home/alice", target="/home/alice", read_only=False),
        Mount(source="/work/sub", target="/b", read_only=True, asked=True),
        Mount(source="/c", target="/c", read_only=False, asked=True),
        Mount(source="mode=1777", target="/t", read_only=False, kind="tmpfs", asked=True),
    )


def test_what_is_asked_for_takes_the_place_of_what_is_given() -> None:
    site = SiteMount(name="d", source="/gpfs", target="/data")
    made = plan("mounts=/mine:/data,/other:/home/alice\n", home=True, site_mounts=(site,))
    assert [(mount.source, mount.target) for mount in made.mounts] == [("/mine", "/data"), ("/other", "/home/alice")]


def test_site_s_mount_by_its_name_is_as_read_only_as_the_site_says() -> None:
    site = SiteMount(name="d", source="/gpfs", target="/data", read_only=True, default=False)
    grants: dict[str, Any] = {"site_mounts": (site,), "mount_sources": ()}
    assert plan("mounts=d\n", **grants).mounts == (Mount(source="/gpfs", target="/data", read_only=True, asked=True),)
    assert plan("mounts=d:/x:rw\n", **grants).mounts[0].read_only
    with pytest.raises(PlanError, match='"/work/e" is in none of the directories'):
        plan("mounts=e\n", **grants)


def test_source_lies_in_the_deepest_directory_of_policy_s() -> None:
    sources = ("/a", "/a/b", "/ab")
    assert plan("mounts=/a/b/c:/x\n", mount_sources=sources).mounts[0].base == "/a/b"
    assert plan("mounts=/a/bc:/x\n", mount_sources=sources).mounts[0].base == "/a"
    for outside in ("/abc", "/a/../etc", "/", "../c"):
        with pytest.raises(PlanError, match=r"--container-mounts is denied by rule \"r\": .* \(/a, /a/b, /ab\)"):
            plan(f"mounts={outside}:/x\n", mount_sources=sources, cwd="/q")
    with pytest.raises(PlanError, match=r"lets users mount \(none\)"):
        plan("mounts=/a\n", mount_sources=())


def test_device_of_policy_s_may_be_mounted_elsewhere() -> None:
    made = plan("mounts=/dev/fuse:/dev/f\n", devices=("/dev/fuse",), mount_sources=())
    assert made.mounts == (Mount(source="/dev/fuse", target="/dev/f", read_only=False, kind="device", asked=True),)


@pytest.mark.parametrize(
    ("text", "grants", "said"),
    [
        ("home=yes\n", {"mount_sources": ()}, '--container-mount-home is denied by rule "r"'),
        ("root=rw\n", {"read_only": True}, "--container-writable is denied .*: its containers are read-only"),
        ("gpus=yes\n", {}, "--container-gpus is denied"),
        ("device=/dev/x\n", {}, 'it names no device "/dev/x"'),
        ("save=x:1\n", {}, "--container-save is denied"),
    ],
)
def test_what_the_rule_does_not_give_is_refused(text: str, grants: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        plan(text, **grants)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("home=Yes", '--container-mount-home: "Yes" is neither yes nor no'),
        ("home=", '--container-mount-home: "" is neither yes nor no'),
        ("root=w", '--container-readonly: "w" is neither ro nor rw'),
        ("gpus=1", '--container-gpus: "1" is neither yes nor no'),
    ],
)
def test_choice_that_is_none_is_refused(line: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{re.escape(reason)}$"):
        read_options(f"{line}\n")


def test_home_is_given_taken_and_asked_for() -> None:
    assert plan("home=no\n", home=True).mounts == ()
    assert [mount.asked for mount in plan("home=yes\n", home=True).mounts] == [True]
    assert [mount.target for mount in plan("home=yes\n", mount_sources=("/home",)).mounts] == ["/home/alice"]


def test_namespaces_of_policy_and_user_add_up() -> None:
    assert plan("unshare=uts\n", network="private").private == ("net", "uts")
    assert plan("", ipc="private").private == ("ipc",)


def test_read_only_root_has_scratch_unless_something_else_is_mounted_there() -> None:
    made = plan("root=ro\nmounts=/mine:/tmp\n")
    assert made.read_only
    assert [(mount.target, mount.kind) for mount in made.mounts] == [("/var/tmp", "tmpfs"), ("/tmp", "bind")]
