# SPDX-License-Identifier: Apache-2.0
"""options.c: what the clients are given reaches slurmstepd, or is refused where it was typed."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .driver import Child, ffi, in_child, job_environment, lib, messages, strings, text

LINES = "SLURM_SOCKER_OPTIONS"
NAMES = [
    "%s-image",
    "%s-mounts",
    "%s-mount-home",
    "no-%s-mount-home",
    "%s-workdir",
    "%s-env",
    "%s-name",
    "%s-save",
    "%s-writable",
    "%s-readonly",
    "%s-entrypoint",
    "no-%s-entrypoint",
    "%s-unshare",
    "%s-gpus",
    "%s-device",
]
VALUES = {"image", "mounts", "workdir", "env", "name", "save", "unshare", "device"}
INHERITED = ("_SLURM_SPANK_OPTION_socker_", "SLURM_SPANK__SLURM_SPANK_OPTION_socker_")
FORGOTTEN = f"{INHERITED[1]}container_mounts"


def said(reason: str) -> list[str]:
    return [f"error: socker: {reason}"]


# In the clients


class Client:
    """A client command: what it is given, and what it leaves in the environment that Slurm sends."""

    def __init__(self) -> None:
        self.words: tuple[str, ...] = ()
        self.context = "S_CTX_ALLOCATOR"

    def run(self, *options: tuple[str, str | None], **environment: str) -> list[Any]:
        """What it ends with or the hook's result, and then SLURM_SOCKER_OPTIONS and SLURM_CONTAINER."""
        lib.fake_context(getattr(lib, self.context))

        def client() -> list[Any]:
            for name in [name for name in os.environ if name.startswith(("SOCKER_", "SLURM_"))]:
                del os.environ[name]
            argv, _kept = strings(self.words)
            # what an outer job left behind
            os.environ |= {"SLURM_CONTAINER": "outer", LINES: "mounts=/outer\n", FORGOTTEN: "/outer"}
            assert lib.slurm_spank_init(lib.fake_handle(), len(self.words), argv) == 0
            for name, value in options:
                given = ffi.NULL if value is None else os.fsencode(value)
                assert lib.fake_option_give(name.encode(), given) == 0, name
            for name, value in environment.items():
                lib.setenv(name.encode(), os.fsencode(value), 1)
            # it ends the process where it refuses
            result = lib.slurm_spank_init_post_opt(lib.fake_handle(), 0, ffi.NULL)
            found = [lib.getenv(name) for name in (LINES.encode(), b"SLURM_CONTAINER", FORGOTTEN.encode())]
            assert found.pop() == ffi.NULL
            return [result, *(None if value == ffi.NULL else os.fsdecode(ffi.string(value)) for value in found)]

        ending = Child(client).wait()
        assert ending.status in (0, 1)
        return ending.said if ending.status == 0 else [1, None, None]

    def lines(self, *options: tuple[str, str | None], **environment: str) -> list[str]:
        """The lines that are sent, for a command that has asked for a container."""
        result, lines, container = self.run(*options, **{"SLURM_CONTAINER": "debian"} | environment)
        assert (result, container, messages()) == (0, environment.get("SLURM_CONTAINER", "debian"), [])
        return [] if lines is None else lines.splitlines()

    def refusal(self, *options: tuple[str, str | None], **environment: str) -> list[str]:
        """What a command that has asked for a container says when it fails."""
        result, lines, _container = self.run(*options, **{"SLURM_CONTAINER": "debian"} | environment)
        assert (result, lines) == (1, None)
        return messages()


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.mark.parametrize("context", ["S_CTX_LOCAL", "S_CTX_ALLOCATOR", "S_CTX_REMOTE"])
@pytest.mark.parametrize(("words", "prefix"), [((), "container"), (("option_prefix=my-own",), "my-own")])
def test_options_are_registered_by_the_prefix(context: str, words: tuple[str, ...], prefix: str) -> None:
    lib.fake_context(getattr(lib, context))
    argv, _kept = strings(words)
    in_child(lambda: lib.slurm_spank_init(lib.fake_handle(), len(words), argv))
    count = lib.fake_option_count()
    names = [ffi.string(lib.fake_option_name(index)).decode() for index in range(count)]
    assert names == [name % prefix for name in NAMES]
    for index, name in enumerate(names):
        takes_value = lib.fake_option_argument(index) != ffi.NULL
        assert takes_value is (name.removeprefix(f"{prefix}-") in VALUES), name
        assert ffi.string(lib.fake_option_usage(index)).startswith(b"[socker] ")


def test_options_of_a_line_that_cannot_be_read_are_none() -> None:
    words = ("option_prefix=UPPER",)
    argv, _kept = strings(words)
    in_child(lambda: lib.slurm_spank_init(lib.fake_handle(), len(words), argv))
    assert lib.fake_option_count() == 0


def test_client_without_options_or_container_sends_nothing(client: Client) -> None:
    assert client.run() == [0, None, None]
    assert messages() == []


@pytest.mark.parametrize("context", ["S_CTX_LOCAL", "S_CTX_ALLOCATOR"])
def test_client_with_a_container_alone_sends_no_lines(client: Client, context: str) -> None:
    client.context = context
    assert client.lines() == []


@pytest.mark.parametrize("context", ["S_CTX_LOCAL", "S_CTX_ALLOCATOR"])
@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        ("container-mounts", "/a:/b:ro,tmpfs:/c", "mounts=/a:/b:ro,tmpfs:/c"),
        ("container-mounts", " = ä", "mounts= = ä"),
        ("container-mount-home", None, "home=yes"),
        ("no-container-mount-home", None, "home=no"),
        ("container-workdir", "/w", "workdir=/w"),
        ("container-env", "A,B", "env=A,B"),
        ("container-name", "mine:exec", "name=mine:exec"),
        ("container-save", "site/x", "save=site/x"),
        ("container-writable", None, "root=rw"),
        ("container-readonly", None, "root=ro"),
        ("container-entrypoint", None, "entrypoint=yes"),
        ("no-container-entrypoint", None, "entrypoint=no"),
        ("container-unshare", "net,ipc", "unshare=net,ipc"),
        ("container-gpus", None, "gpus=yes"),
        ("container-device", "fuse", "device=fuse"),
    ],
)
def test_client_sends_an_option_as_a_line(
    client: Client, context: str, option: str, value: str | None, line: str
) -> None:
    client.context = context
    assert client.lines((option, value)) == [line]


def test_client_sends_lines_in_one_order_whatever_was_given_first(client: Client) -> None:
    one = (("container-workdir", "/w"), ("container-env", "A"), ("container-gpus", None), ("container-mounts", "/m"))
    assert client.lines(*one) == ["env=A", "gpus=yes", "mounts=/m", "workdir=/w"]
    assert client.lines(*reversed(one)) == client.lines(*one)


@pytest.mark.parametrize(
    ("first", "last", "line"),
    [
        (("container-mounts", "/a"), ("container-mounts", "/b"), "mounts=/b"),
        (("container-readonly", None), ("container-writable", None), "root=rw"),
        (("container-writable", None), ("container-readonly", None), "root=ro"),
        (("container-mount-home", None), ("no-container-mount-home", None), "home=no"),
        (("no-container-entrypoint", None), ("container-entrypoint", None), "entrypoint=yes"),
    ],
)
def test_client_takes_the_last_of_an_option(
    client: Client, first: tuple[str, str | None], last: tuple[str, str | None], line: str
) -> None:
    assert client.lines(first, last) == [line]


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("MOUNTS", "/a", "mounts=/a"),
        ("MOUNT_HOME", "yes", "home=yes"),
        ("MOUNT_HOME", "0", "home=no"),
        ("WORKDIR", "/w", "workdir=/w"),
        ("ENV", "A", "env=A"),
        ("NAME", "n", "name=n"),
        ("SAVE", "r", "save=r"),
        ("WRITABLE", "1", "root=rw"),
        ("WRITABLE", "no", "root=ro"),
        ("READONLY", "yes", "root=ro"),
        ("READONLY", "no", "root=rw"),
        ("ENTRYPOINT", "yes", "entrypoint=yes"),
        ("ENTRYPOINT", "no", "entrypoint=no"),
        ("UNSHARE", "net", "unshare=net"),
        ("GPUS", "1", "gpus=yes"),
        ("GPUS", "no", "gpus=no"),
        ("DEVICE", "fuse", "device=fuse"),
    ],
)
def test_client_takes_a_default_from_the_environment(client: Client, variable: str, value: str, line: str) -> None:
    assert client.lines(**{f"SOCKER_CONTAINER_{variable}": value}) == [line]


@pytest.mark.parametrize(
    ("option", "default", "line"),
    [
        (("container-mounts", "/a"), {"SOCKER_CONTAINER_MOUNTS": "/b"}, "mounts=/a"),
        (("no-container-mount-home", None), {"SOCKER_CONTAINER_MOUNT_HOME": "yes"}, "home=no"),
        (("container-readonly", None), {"SOCKER_CONTAINER_WRITABLE": "yes"}, "root=ro"),
        (("container-writable", None), {"SOCKER_CONTAINER_READONLY": "nonsense"}, "root=rw"),
    ],
)
def test_client_prefers_the_command_line_to_the_environment(
    client: Client, option: tuple[str, str | None], default: dict[str, str], line: str
) -> None:
    assert client.lines(option, **default) == [line]


def test_client_does_not_take_defaults_of_no_option(client: Client) -> None:
    assert client.lines(SOCKER_CONTAINER_X="1", SOCKER_CONTAINER_NO_MOUNT_HOME="1", CONTAINER_MOUNTS="/a") == []


@pytest.mark.parametrize("variable", ["MOUNT_HOME", "WRITABLE", "READONLY", "ENTRYPOINT", "GPUS"])
@pytest.mark.parametrize("value", ["", "true", "YES", "2", " yes"])
def test_client_with_a_default_that_is_neither_yes_nor_no_is_refused(client: Client, variable: str, value: str) -> None:
    name = f"SOCKER_CONTAINER_{variable}"
    assert client.refusal(**{name: value}) == said(f"{name} is neither yes nor no: give it one of the two, or unset it")


def test_client_without_a_container_ignores_defaults_even_bad_ones(client: Client) -> None:
    assert client.run(SOCKER_CONTAINER_MOUNTS="/a", SOCKER_CONTAINER_GPUS="nonsense") == [0, None, None]
    assert messages() == []


@pytest.mark.parametrize(
    "option", [("container-mounts", "/a"), ("container-gpus", None), ("no-container-entrypoint", None)]
)
def test_client_with_options_and_no_container_is_refused(client: Client, option: tuple[str, str | None]) -> None:
    assert client.run(option) == [1, None, None]
    reason = "--container-* options were given without --container; add --container=IMAGE"
    assert messages() == said(reason)


def test_client_names_options_by_their_prefix(client: Client) -> None:
    client.words = ("option_prefix=my",)
    assert client.lines(("my-mounts", "/a"), ("no-my-entrypoint", None)) == ["entrypoint=no", "mounts=/a"]


@pytest.mark.parametrize(
    ("options", "environment", "reason"),
    [
        (
            [("my-mounts", "/a")],
            {"SLURM_CONTAINER": ""},
            None,
        ),
        ([("my-mounts", "")], {}, "--my-mounts: empty; give a value, or leave the option out"),
        (
            [("my-image", "alpine")],
            {},
            "--container and --my-image name different images; give one of them",
        ),
        ([("my-mounts", "m" * 8192)], {}, "the --my-* options are longer than 8191 bytes; shorten --my-mounts"),
    ],
)
def test_client_refuses_by_the_name_of_the_prefix(
    client: Client, options: list[tuple[str, str | None]], environment: dict[str, str], reason: str | None
) -> None:
    client.words = ("option_prefix=my",)
    if reason is None:
        # an empty image is the node's to refuse
        assert client.lines(*options, **environment) == ["mounts=/a"]
    else:
        assert client.refusal(*options, **environment) == said(reason)


def test_slurmstepd_takes_no_option_from_slurm() -> None:
    """It has them by the variable: what comes by both ways could differ."""

    def stepd() -> bool:
        assert lib.slurm_spank_init(lib.fake_handle(), 0, ffi.NULL) == 0
        assert lib.fake_option_give(b"container-mounts", b"/a") == 0
        lib.setenv(b"SLURM_CONTAINER", b"debian", 1)
        lib.unsetenv(LINES.encode())
        assert lib.options_export() == 0
        return bool(lib.getenv(LINES.encode()) == ffi.NULL)

    assert in_child(stepd)


# --container-image


def test_client_with_an_image_has_a_container(client: Client) -> None:
    assert client.run(("container-image", "alpine"), ("container-mounts", "/a")) == [0, "mounts=/a\n", "alpine"]
    assert client.run(SOCKER_CONTAINER_IMAGE="alpine") == [0, None, "alpine"]
    assert messages() == []


def test_client_with_the_same_image_twice_has_it(client: Client) -> None:
    assert client.run(("container-image", "debian"), SLURM_CONTAINER="debian") == [0, None, "debian"]


def test_client_with_two_images_is_refused(client: Client) -> None:
    reason = "--container and --container-image name different images; give one of them"
    assert client.refusal(("container-image", "alpine")) == said(reason)


def test_client_with_an_image_by_default_prefers_the_command_line(client: Client) -> None:
    """The default is not a second image: --container and --container-image are given, it is not."""
    default = {"SOCKER_CONTAINER_IMAGE": "alpine"}
    assert client.run(SLURM_CONTAINER="debian", **default) == [0, None, "debian"]
    assert client.run(("container-image", "fedora"), **default) == [0, None, "fedora"]
    assert messages() == []


def test_client_with_a_default_image_and_options_has_both(client: Client) -> None:
    assert client.run(("container-gpus", None), SOCKER_CONTAINER_IMAGE="a", SOCKER_CONTAINER_ENV="E") == [
        0,
        "env=E\ngpus=yes\n",
        "a",
    ]


@pytest.mark.parametrize("image", ["", "a\nb"])
def test_client_with_an_image_that_is_none_is_refused(client: Client, image: str) -> None:
    assert client.run(("container-image", image)) == [1, None, None]
    why = "a control character cannot be part of it" if image else "empty; give a value, or leave the option out"
    assert messages() == said(f"--container-image: {why}")


# Values that cannot be sent


@pytest.mark.parametrize("name", sorted(VALUES - {"image"}))
def test_client_with_an_empty_value_is_refused(client: Client, name: str) -> None:
    reason = f"--container-{name}: empty; give a value, or leave the option out"
    assert client.refusal((f"container-{name}", "")) == said(reason)
    lib.fake_reset()
    assert client.refusal(**{f"SOCKER_CONTAINER_{name.upper()}": ""}) == said(reason)


@pytest.mark.parametrize("character", ["\n", "\x01", "\x1b", "\x1f", "\x7f", "\t"])
def test_client_with_a_control_character_is_refused(client: Client, character: str) -> None:
    """A line end would be the beginning of another option."""
    for value in (f"/a{character}root=rw", character):
        lib.fake_reset()
        reason = "--container-mounts: a control character cannot be part of it"
        assert client.refusal(("container-mounts", value)) == said(reason)


@pytest.mark.parametrize("characters", ["ä", "\udcff\udc80", " ", "=", "%s%n"])
def test_client_sends_other_characters_as_they_are(client: Client, characters: str) -> None:
    assert client.lines(("container-mounts", characters)) == [f"mounts={characters}"]


def test_client_with_values_of_any_length_sends_all_or_is_refused(client: Client) -> None:
    longest = 8191 - len("mounts=\n")
    assert client.lines(("container-mounts", "m" * longest)) == ["mounts=" + "m" * longest]
    reason = "the --container-* options are longer than 8191 bytes; shorten --container-{}"
    assert client.refusal(("container-mounts", "m" * (longest + 1))) == said(reason.format("mounts"))
    lib.fake_reset()
    options = (("container-mounts", "m" * (longest - 10)), ("container-workdir", "/" + "w" * 20))
    assert client.refusal(*options) == said(reason.format("workdir"))
    lib.fake_reset()
    assert client.refusal(("container-env", "e" * 100000)) == said(reason.format("env"))


@settings(max_examples=30)
@given(
    values=st.dictionaries(
        st.sampled_from(sorted(VALUES - {"image"})), st.binary(max_size=40).filter(lambda value: b"\0" not in value)
    )
)
def test_client_with_any_values_sends_them_or_says_why_not(values: dict[str, bytes]) -> None:
    lib.fake_reset()
    options = [(f"container-{name}", os.fsdecode(value)) for name, value in values.items()]
    result, lines, _container = Client().run(*options, SLURM_CONTAINER="debian")
    harmless = all(value and not any(byte < 32 or byte == 127 for byte in value) for value in values.values())
    assert (result == 0) is harmless
    if harmless:
        sent = [(name + "=").encode() + values[name] for name in sorted(values)]
        assert [os.fsencode(line) for line in (lines or "").split("\n") if line] == sent
    else:
        assert (lines, len(messages())) == (None, 1)


# What an outer job has left


@pytest.mark.parametrize("context", ["S_CTX_REMOTE", "S_CTX_SLURMD", "S_CTX_JOB_SCRIPT"])
def test_init_forgets_the_options_of_an_outer_job_in_clients_only(context: str) -> None:
    lib.fake_context(getattr(lib, context))

    def outer() -> bool:
        lib.setenv(LINES.encode(), b"mounts=/a", 1)
        lib.setenv(FORGOTTEN.encode(), b"/a", 1)
        lib.slurm_spank_init(lib.fake_handle(), 0, ffi.NULL)
        return bool(lib.getenv(LINES.encode()) != ffi.NULL and lib.getenv(FORGOTTEN.encode()) != ffi.NULL)

    assert in_child(outer)


def test_forget_takes_all_that_is_sockers_and_nothing_else() -> None:
    ours = [f"{prefix}{name}" for prefix in INHERITED for name in ("container_mounts", "a", "container_gpus")]
    others = [
        "SLURM_SPANK__SLURM_SPANK_OPTION_socke",
        "_SLURM_SPANK_OPTION_other_a",
        "SLURM_SPANK_X",
        "SLURM_SOCKER_OPTION",
        "A",
        "Z",
    ]

    def forget() -> list[str]:
        for name in (*others[:2], *ours[:2], *others[2:], *ours[2:], LINES):
            lib.setenv(name.encode(), b"x=y", 1)
        lib.options_forget()
        return [name for name in (*ours, *others, LINES) if lib.getenv(name.encode()) != ffi.NULL]

    assert in_child(forget) == others


# In slurmstepd


def read_raw(lines: bytes | None) -> tuple[bytes, Any, Any]:
    """The reason of a refusal, empty where there is none; the request and the tasks' options."""
    request = ffi.new("struct socker_request *")
    tasks = ffi.new("struct task_options *")
    err = ffi.new("struct socker_error *")
    assert lib.fake_env(LINES.encode(), ffi.NULL if lines is None else lines) == 0
    result = lib.options_read(lib.fake_handle(), request, tasks, err)
    reason = bytes(ffi.string(err.text))
    assert (result, bool(reason)) in ((0, False), (-1, True))
    return reason, request, tasks


def read(lines: bytes | None) -> tuple[str, Any, Any]:
    """The same; the reason must be UTF-8."""
    reason, request, tasks = read_raw(lines)
    return reason.decode(), request, tasks


def accepted(lines: bytes | None) -> tuple[Any, Any]:
    reason, request, tasks = read(lines)
    assert reason == ""
    return request, tasks


@pytest.mark.parametrize("lines", [None, b"", b"\n", b"\n\n\n"])
def test_read_of_no_lines_asks_for_nothing(lines: bytes | None) -> None:
    request, tasks = accepted(lines)
    assert (ffi.string(tasks.workdir), ffi.string(tasks.env), tasks.entrypoint) == (b"", b"", False)
    assert (ffi.string(request.options), ffi.string(request.shared), request.share) == (b"", b"", 0)


def test_read_of_every_line_tells_what_is_the_containers_and_what_the_tasks() -> None:
    lines = (
        b"device=fuse\nentrypoint=yes\nenv=A,B_1\ngpus=yes\nhome=no\nmounts=/a:/b=c\nname=n:exec\nroot=ro\nsave=r\n"
        b"unshare=net\nworkdir=/w\n"
    )
    request, tasks = accepted(lines)
    shape = b"device=fuse\ngpus=yes\nhome=no\nmounts=/a:/b=c\nroot=ro\nsave=r\nunshare=net\n"
    assert ffi.string(request.options) == shape
    assert (ffi.string(request.shared), request.share) == (b"n", lib.SOCKER_SHARE_EXEC)
    assert (ffi.string(tasks.workdir), ffi.string(tasks.env), tasks.entrypoint) == (b"/w", b"A,B_1", True)


def test_read_without_a_last_line_end_is_the_same() -> None:
    assert ffi.string(accepted(b"root=ro\ngpus=yes")[0].options) == b"root=ro\ngpus=yes\n"


@pytest.mark.parametrize("line", [b"mounts", b"image=debian", b"=x", b"mount=/a", b"mountss=/a", b"MOUNTS=/a", b" root=ro",
                                  b"x=y", b"container-mounts=/a", b"\xff=\x01"])  # fmt: skip
def test_read_of_what_is_no_option_is_refused(line: bytes) -> None:
    for lines in (line, b"root=ro\n" + line + b"\ngpus=yes\n"):
        reason, _request, _tasks = read_raw(lines)
        assert reason == b'SLURM_SOCKER_OPTIONS holds what is no option: "' + line + b'"'


@pytest.mark.parametrize("names", [b"A", b"_", b"a,B,_1", b"PATH,LD_LIBRARY_PATH", b"A,A"])
def test_read_of_names_of_variables_keeps_them(names: bytes) -> None:
    assert ffi.string(accepted(b"env=" + names)[1].env) == names


@pytest.mark.parametrize(
    ("names", "bad"),
    [
        (b"", b""),
        (b"A,", b""),
        (b",A", b""),
        (b"A,,B", b""),
        (b"1A", b"1A"),
        (b"A,B-C", b"B-C"),
        (b"A B", b"A B"),
        (b"A=B", b"A=B"),
        (b"A,\xc3\xa4", b"\xc3\xa4"),
    ],
)
def test_read_of_what_is_no_name_of_a_variable_is_refused(names: bytes, bad: bytes) -> None:
    reason, _request, tasks = read_raw(b"env=" + names)
    assert reason == b'--container-env: not the name of a variable: "' + bad + b'"'
    assert ffi.string(tasks.env) == b""


@pytest.mark.parametrize(("length", "fits"), [(4095, True), (4096, False)])
def test_read_of_a_working_directory_of_any_length_is_whole_or_refused(length: int, *, fits: bool) -> None:
    path = b"/" + b"w" * (length - 1)
    reason, _request, tasks = read(b"workdir=" + path)
    assert reason == ("" if fits else "--container-workdir: longer than 4095 bytes")
    assert not fits or ffi.string(tasks.workdir) == path


@pytest.mark.parametrize("path", ["", "w", "./w", "~"])
def test_read_of_a_relative_working_directory_is_refused(path: str) -> None:
    reason, _request, tasks = read(f"workdir={path}".encode())
    assert reason == f'--container-workdir: "{path}" is not an absolute path'
    assert ffi.string(tasks.workdir) == b""


@pytest.mark.parametrize(
    ("value", "name", "share"),
    [
        (b"n", b"n", "AUTO"),
        (b"n:auto", b"n", "AUTO"),
        (b"A.b_c-1:create", b"A.b_c-1", "CREATE"),
        (b"..:exec", b"..", "EXEC"),
        (b"x" * 63, b"x" * 63, "AUTO"),
    ],
)
def test_read_of_a_name_keeps_it_and_how_it_is_shared(value: bytes, name: bytes, share: str) -> None:
    request, _tasks = accepted(b"name=" + value)
    assert (ffi.string(request.shared), request.share) == (name, getattr(lib, f"SOCKER_SHARE_{share}"))


LETTERS = "does not begin with 1 to 63 letters, digits, . _ or -"
BEHIND = "a name has letters, digits, . _ and -, and behind it may stand :create, :exec or :auto"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", f'"" {LETTERS}'),
        (":exec", f'":exec" {LETTERS}'),
        ("/a", f'"/a" {LETTERS}'),
        ("x" * 64, f'"{"x" * 64}" {LETTERS}'),
        ("x" * 300, f'"{"x" * 200}" {LETTERS}'),
        ("n:", f'"n:": {BEHIND}'),
        ("n:exe", f'"n:exe": {BEHIND}'),
        ("n:execs", f'"n:execs": {BEHIND}'),
        ("n/m", f'"n/m": {BEHIND}'),
        ("n m", f'"n m": {BEHIND}'),
    ],
)
def test_read_of_what_is_no_name_is_refused(value: str, why: str) -> None:
    reason, request, _tasks = read(f"name={value}".encode())
    assert reason == f"--container-name: {why}"
    assert ffi.string(request.shared) == b""


def test_read_of_a_name_twice_is_the_last_alone() -> None:
    request, _tasks = accepted(b"name=abcdef:exec\nname=x")
    assert (ffi.string(request.shared), request.share) == (b"x", lib.SOCKER_SHARE_AUTO)
    assert read(b"name=a:exec\nname=b:bad")[0] == f'--container-name: "b:bad": {BEHIND}'


@pytest.mark.parametrize("value", ["", "maybe", "YES", "1"])
def test_read_of_an_entry_point_that_is_neither_yes_nor_no_is_refused(value: str) -> None:
    assert read(f"entrypoint={value}".encode())[0] == f'--container-entrypoint: "{value}" is neither yes nor no'


def test_read_of_no_entry_point_is_none() -> None:
    assert not accepted(b"entrypoint=no")[1].entrypoint


@pytest.mark.parametrize("error", ["ESPANK_ERROR", "ESPANK_BAD_ARG", "ESPANK_NOT_REMOTE", "ESPANK_NOSPACE"])
def test_read_of_an_environment_that_cannot_be_read_is_refused(error: str) -> None:
    number = getattr(lib, error)
    lib.fake_env_error(number)
    assert read(None)[0] == f"SLURM_SOCKER_OPTIONS is unreadable: {ffi.string(lib.spank_strerror(number)).decode()}"


def test_read_of_lines_of_any_length_is_whole_or_refused() -> None:
    longest = b"mounts=" + b"m" * (8191 - len("mounts="))
    assert ffi.string(accepted(longest)[0].options) == longest
    ended = longest[:-1] + b"\n"
    assert ffi.string(accepted(ended)[0].options) == ended
    assert read(longest + b"m")[0] == "SLURM_SOCKER_OPTIONS is unreadable: Buffer too small"


def test_read_names_options_by_the_prefix_of_the_line() -> None:
    def with_prefix() -> str:
        words = ("option_prefix=my",)
        argv, _kept = strings(words)
        assert lib.slurm_spank_init(lib.fake_handle(), len(words), argv) == 0
        return read(b"workdir=w")[0]

    assert in_child(with_prefix) == '--my-workdir: "w" is not an absolute path'


# Whatever it is

SLOTS = [
    b"device",
    b"entrypoint",
    b"env",
    b"gpus",
    b"home",
    b"mounts",
    b"name",
    b"root",
    b"save",
    b"unshare",
    b"workdir",
]
PIECES = st.sampled_from(
    [*(slot + b"=" for slot in SLOTS), b"\n", b"=", b"yes", b"/", b",", b":exec", b"A", b"x" * 70, b"/" * 4000, b"\xff"]
)
RANDOM = st.one_of(
    st.binary(max_size=300),
    st.lists(PIECES, max_size=30).map(b"".join),
    st.lists(st.tuples(st.sampled_from(SLOTS), st.binary(max_size=30)), max_size=8).map(
        lambda lines: b"\n".join(slot + b"=" + value for slot, value in lines)
    ),
).map(lambda lines: lines.replace(b"\0", b"")[:9000])


def assert_kept(request: Any, tasks: Any) -> None:
    """What is kept lies in its arrays, and the rest of the request is as it was."""
    for array in (request.options, request.shared, tasks.workdir, tasks.env):
        assert b"\0" in bytes(ffi.buffer(array))
    untouched = ffi.new("struct socker_request *")
    ffi.memmove(untouched, request, ffi.sizeof("struct socker_request"))
    for name in ("options", "shared"):
        field = getattr(untouched, name)
        ffi.memmove(field, bytes(len(field)), len(field))
    untouched.share = 0
    assert not any(bytes(ffi.buffer(untouched)))


@given(lines=RANDOM)
def test_read_of_random_bytes_is_a_refusal_of_ours_or_keeps_what_fits(lines: bytes) -> None:
    reason, request, tasks = read_raw(lines)
    assert_kept(request, tasks)
    if reason:
        assert reason.startswith((b"SLURM_SOCKER_OPTIONS ", b"--container-"))
        return
    assert ffi.string(tasks.workdir)[:1] in (b"", b"/")
    names = ffi.string(tasks.env)
    assert all(name.isidentifier() for name in names.decode("ascii").split(",") if names)
    shape = [line for line in lines.split(b"\n") if line and line.split(b"=")[0] not in
             (b"env", b"workdir", b"name", b"entrypoint")]  # fmt: skip
    kept = ffi.string(request.options).split(b"\n")
    assert [line for line in kept if line] == shape


def test_read_at_a_step_without_a_handle_is_refused() -> None:
    request, tasks = ffi.new("struct socker_request *"), ffi.new("struct task_options *")
    err = ffi.new("struct socker_error *")
    assert lib.options_read(lib.fake_stale_handle(), request, tasks, err) == -1
    assert text(err) == "SLURM_SOCKER_OPTIONS is unreadable: Bad argument"


def test_read_is_part_of_the_request_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURMD_NODENAME", "node1")
    lib.fake_env(LINES.encode(), b"root=ro\nworkdir=/w\nname=n")
    request, tasks = ffi.new("struct socker_request *"), ffi.new("struct task_options *")
    err = ffi.new("struct socker_error *")
    assert lib.steprequest_read(lib.fake_handle(), True, request, tasks, err) == 0
    found = [ffi.string(value) for value in (request.options, request.shared, tasks.workdir)]
    assert found == [b"root=ro\n", b"n", b"/w"]
    lib.fake_env(LINES.encode(), b"nonsense")
    assert lib.steprequest_read(lib.fake_handle(), True, request, tasks, err) == -1
    assert text(err) == 'SLURM_SOCKER_OPTIONS holds what is no option: "nonsense"'
    assert job_environment(LINES) == "nonsense"
