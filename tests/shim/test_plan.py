# SPDX-License-Identifier: Apache-2.0
"""plan.c: what Python answered is looked at again; whatever it is, it grants nothing that C would not (D6)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .driver import GROUP, JOB, USER, done, ffi, in_child, lib, new_request, refused, text

NONCE = 0x1122334455667788
SIZE = ffi.sizeof("struct socker_plan")
DIGEST = b"sha256:" + b"0f" * 32
ID = b"a1" * 32


class Draft:
    """A plan being written: its texts and what refers to them."""

    def __init__(self, **fields: Any) -> None:
        self.plan = ffi.new("struct socker_plan *")
        values: dict[str, Any] = {
            "magic": lib.SOCKER_PLAN_MAGIC,
            "size": SIZE,
            "nonce": NONCE,
            "verdict": lib.SOCKER_GRANT,
            "job": JOB,
            "uid": USER,
            "gid": GROUP,
            "hold_pid": 4242,
            "digest": DIGEST,
            "id": ID,
        }
        for name, value in (values | fields).items():
            setattr(self.plan, name, value)
        self.plan.workdir = self.text(b"/")
        self.plan.passwd = self.plan.group = self.text(b"")

    def text(self, value: bytes) -> int:
        offset = int(self.plan.text_size)
        ffi.memmove(self.plan.text + offset, value + b"\0", len(value) + 1)
        self.plan.text_size += len(value) + 1
        self.last = offset
        return offset

    def mount(self, source: bytes, target: bytes, flags: int = 0, base: int = 0) -> Draft:
        mount = self.plan.mounts[self.plan.mount_count]
        mount.source, mount.target, mount.flags, mount.base = self.text(source), self.text(target), flags, base
        self.plan.mount_count += 1
        return self

    def variable(self, value: bytes) -> Draft:
        self.plan.env[self.plan.env_count] = self.text(value)
        self.plan.env_count += 1
        return self

    def workdir(self, value: bytes) -> Draft:
        self.plan.workdir = self.text(value)
        return self

    def entry(self, *words: bytes) -> Draft:
        for word in words:
            self.plan.entry[self.plan.entry_count] = self.text(word)
            self.plan.entry_count += 1
        return self

    def unset(self, *names: bytes) -> Draft:
        for name in names:
            self.plan.unset[self.plan.unset_count] = self.text(name)
            self.plan.unset_count += 1
        return self

    def accounts(self, passwd: bytes, group: bytes) -> Draft:
        self.plan.passwd, self.plan.group = self.text(passwd), self.text(group)
        return self


def whole() -> Any:
    """A plan with one of everything."""
    draft = Draft(flags=lib.SOCKER_PLAN_SUBMIT_DIR)
    draft.mount(b"/home/u", b"/home/u", base=5).mount(b"/data", b"/ro", lib.SOCKER_MOUNT_READONLY)
    draft.mount(b"size=64m", b"/tmp", lib.SOCKER_MOUNT_TMPFS | lib.SOCKER_MOUNT_ASKED)
    draft.variable(b"PATH=/bin").variable(b"EMPTY=").workdir(b"/work").entry(b"tini", b"--", b"")
    draft.unset(b"CUDA_VISIBLE_DEVICES", b"B")
    return draft.accounts(b"u:x:61000:61001::/home/u:/bin/sh\n", b"g:x:61001:u\n").plan


def refusal(plan: Any) -> str:
    return refused(lib.plan_check, plan, new_request(nonce=NONCE))


def test_plan_with_one_of_everything_is_accepted() -> None:
    done(lib.plan_check, whole(), new_request(nonce=NONCE))


def test_plan_of_zeros_is_refused() -> None:
    assert refusal(ffi.new("struct socker_plan *")) == "the policy engine gave no answer to this request"


NO_ANSWER = "the policy engine gave no answer to this request"
NOT_OURS = "the plan is for another job or user"
NO_DIGEST = "the plan does not name the image by its digest"
NO_ID = "the plan has no container id"
NO_HOLD = "the plan has no hold process"
BOUNDS = "the plan is out of bounds"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("magic", 0, NO_ANSWER),
        ("magic", lib.SOCKER_REQUEST_MAGIC, NO_ANSWER),
        ("size", SIZE - 1, NO_ANSWER),
        ("nonce", NONCE + 1, NO_ANSWER),
        ("nonce", 0, NO_ANSWER),
        ("job", JOB + 1, NOT_OURS),
        ("uid", 0, NOT_OURS),
        ("uid", USER + 1, NOT_OURS),
        ("gid", 0, NOT_OURS),
        ("gid", GROUP + 1, NOT_OURS),
        ("digest", b"", NO_DIGEST),
        ("digest", b"debian:bookworm", NO_DIGEST),
        ("digest", b"sha512:" + b"0f" * 32, NO_DIGEST),
        ("digest", DIGEST[:-1], NO_DIGEST),
        ("digest", DIGEST + b"0", NO_DIGEST),
        ("digest", b"sha256:" + b"0F" * 32, NO_DIGEST),
        ("digest", DIGEST[:-1] + b"/", NO_DIGEST),
        ("id", b"", NO_ID),
        ("id", ID[:-1], NO_ID),
        ("id", ID + b"a", NO_ID),
        ("id", b"../" + ID[3:], NO_ID),
        ("hold_pid", 0, NO_HOLD),
        ("hold_pid", 1, NO_HOLD),
        ("hold_pid", -1, NO_HOLD),
        ("flags", lib.SOCKER_PLAN_LEFT, "the plan has an unknown flag"),
        ("flags", 64, "the plan has an unknown flag"),
        ("flags", 2**31, "the plan has an unknown flag"),
        ("text_size", lib.SOCKER_TEXT_SIZE + 1, BOUNDS),
        ("text_size", 2**32 - 1, BOUNDS),
        ("mount_count", lib.SOCKER_MOUNTS_MAX + 1, BOUNDS),
        ("mount_count", 2**32 - 1, BOUNDS),
        ("env_count", lib.SOCKER_ENV_MAX + 1, BOUNDS),
        ("entry_count", lib.SOCKER_ENTRY_MAX + 1, BOUNDS),
        ("entry_count", 2**32 - 1, BOUNDS),
        ("unset_count", lib.SOCKER_UNSET_MAX + 1, BOUNDS),
        ("passwd", 2**32 - 1, "the plan's accounts are malformed"),
        ("group", lib.SOCKER_TEXT_SIZE, "the plan's accounts are malformed"),
        ("workdir", 2**32 - 1, "the plan's working directory is not a plain absolute path"),
        ("text_size", 0, "the plan's working directory is not a plain absolute path"),
    ],
)
def test_plan_with_one_field_out_of_bounds_is_refused(field: str, value: int | bytes, reason: str) -> None:
    plan = whole()
    setattr(plan, field, value)
    assert refusal(plan) == reason


UNPLAIN = (b"", b"home", b"./x", b"//", b"/a//b", b"/a/", b"/.", b"/..", b"/a/./b", b"/a/../b", b"/a/..", b"/" * 4096)


@pytest.mark.parametrize("path", UNPLAIN)
def test_plan_with_an_unplain_working_directory_is_refused(path: bytes) -> None:
    assert refusal(Draft().workdir(path).plan) == "the plan's working directory is not a plain absolute path"


@pytest.mark.parametrize("path", UNPLAIN)
def test_plan_with_an_unplain_mount_is_refused(path: bytes) -> None:
    assert refusal(Draft().mount(path, b"/x").plan) == "mount 0 of the plan is malformed"
    assert refusal(Draft().mount(b"/x", b"/x").mount(b"/x", path).plan) == "mount 1 of the plan is malformed"


@pytest.mark.parametrize("path", [b"/", b"/a", b"/...", b"/.x", b"/..x", b"/a/.b/..c", b"/a b", b"/" + b"x" * 4094])
def test_plan_with_a_plain_path_is_accepted(path: bytes) -> None:
    done(lib.plan_check, Draft().mount(path, path).workdir(path).plan, new_request(nonce=NONCE))


@pytest.mark.parametrize("flags", [32, 33, 2**31])
def test_plan_with_an_unknown_mount_flag_is_refused(flags: int) -> None:
    assert refusal(Draft().mount(b"/x", b"/x", flags).plan) == "mount 0 of the plan is malformed"


@pytest.mark.parametrize("flags", range(32))
def test_plan_with_any_known_mount_flags_is_accepted(flags: int) -> None:
    done(lib.plan_check, Draft().mount(b"/dev/x", b"/y", flags).plan, new_request(nonce=NONCE))


@pytest.mark.parametrize("source", [b"/dev", b"/device", b"/x/dev/x", b"/devx/y", b"/dev/../x"])
def test_plan_with_a_device_that_is_not_below_dev_is_refused(source: bytes) -> None:
    """An image may hold a node that everybody may write, and root would reach it in Docker's directory (T01)."""
    for flags in (lib.SOCKER_MOUNT_DEVICE, lib.SOCKER_MOUNT_DEVICE | lib.SOCKER_MOUNT_ASKED):
        assert refusal(Draft().mount(source, b"/x", flags).plan) == "mount 0 of the plan is malformed"


@pytest.mark.parametrize("flag", ["SUBMIT_DIR", "NET", "IPC", "UTS", "READONLY"])
def test_plan_with_a_known_flag_is_accepted(flag: str) -> None:
    flags = getattr(lib, f"SOCKER_PLAN_{flag}")
    done(lib.plan_check, Draft(flags=flags).plan, new_request(nonce=NONCE))


@pytest.mark.parametrize("path", UNPLAIN)
def test_plan_with_an_empty_file_system_has_a_plain_target_and_any_source(path: bytes) -> None:
    """The source is what the kernel is told of it; that is the kernel's to refuse."""
    done(lib.plan_check, Draft().mount(path, b"/x", lib.SOCKER_MOUNT_TMPFS).plan, new_request(nonce=NONCE))
    reason = refusal(Draft().mount(b"size=1m", path, lib.SOCKER_MOUNT_TMPFS).plan)
    assert reason == "mount 0 of the plan is malformed"


@pytest.mark.parametrize("flags", [lib.SOCKER_MOUNT_ASKED, lib.SOCKER_MOUNT_DEVICE, lib.SOCKER_MOUNT_READONLY])
def test_plan_with_an_unplain_source_of_another_kind_is_refused(flags: int) -> None:
    assert refusal(Draft().mount(b"/a/../b", b"/x", flags).plan) == "mount 0 of the plan is malformed"


@pytest.mark.parametrize("index", [0, 2])
def test_plan_with_an_entry_point_outside_the_text_is_refused(index: int) -> None:
    plan = whole()
    plan.entry[index] = plan.text_size
    assert refusal(plan) == "the plan's entry point is malformed"


@pytest.mark.parametrize("index", [0, 1])
def test_plan_with_a_variable_to_unset_outside_the_text_is_refused(index: int) -> None:
    plan = whole()
    plan.unset[index] = plan.text_size
    assert refusal(plan) == "the plan's variables are malformed"


@pytest.mark.parametrize(("base", "fits"), [(0, True), (1, True), (7, True), (8, False), (2**32 - 1, False)])
def test_plan_with_a_base_longer_than_the_source_is_refused(base: int, *, fits: bool) -> None:
    plan = Draft().mount(b"/home/u", b"/x", base=base).plan
    if fits:
        done(lib.plan_check, plan, new_request(nonce=NONCE))
    else:
        assert refusal(plan) == "mount 0 of the plan is malformed"


def test_plan_of_no_container_is_accepted_where_none_was_asked_for() -> None:
    done(lib.plan_check, Draft(verdict=lib.SOCKER_PLAIN, uid=0).plan, new_request(nonce=NONCE, reference=b""))


def test_plan_of_no_container_is_refused_where_one_was_asked_for() -> None:
    """Or the command would run on the host."""
    assert refusal(Draft(verdict=lib.SOCKER_PLAIN).plan) == "the policy engine refused without a reason"


@pytest.mark.parametrize("field", ["magic", "size", "nonce"])
def test_plan_of_no_container_that_is_no_answer_is_refused(field: str) -> None:
    plan = Draft(verdict=lib.SOCKER_PLAIN, **{field: 1}).plan
    assert refused(lib.plan_check, plan, new_request(nonce=NONCE, reference=b"")) == NO_ANSWER


@pytest.mark.parametrize("field", ["passwd", "group"])
def test_plan_with_accounts_without_end_is_refused(field: str) -> None:
    plan = whole()
    ffi.memmove(plan.text + lib.SOCKER_TEXT_SIZE - 2, b"xx", 2)
    plan.text_size = lib.SOCKER_TEXT_SIZE
    setattr(plan, field, lib.SOCKER_TEXT_SIZE - 2)
    assert refusal(plan) == "the plan's accounts are malformed"


@pytest.mark.parametrize("field", ["source", "target"])
def test_plan_with_a_mount_outside_the_text_is_refused(field: str) -> None:
    draft = Draft().mount(b"/x", b"/x")
    setattr(draft.plan.mounts[0], field, draft.plan.text_size)
    assert refusal(draft.plan) == "mount 0 of the plan is malformed"


@pytest.mark.parametrize(
    "variable",
    [b"", b"NAME", b"=value", b"SLURM_JOB_ID=1", b"SLURMD_NODENAME=x", b"_SLURM_X=1", b"SPANK_X=1", b"SRUN_DEBUG=3",
     b"SBATCH_X=", b"SALLOC_X=", b"PMI_RANK=0", b"PMIX_RANK=0"],
)  # fmt: skip
def test_plan_with_a_malformed_variable_or_one_of_slurms_is_refused(variable: bytes) -> None:
    plan = Draft().variable(b"A=1").variable(variable).plan
    assert refusal(plan) == "environment entry 1 of the plan is malformed or Slurm's own"


@pytest.mark.parametrize("variable", [b"A=", b"A==", b"slurm_x=1", b"MY_SLURM=1", b"A=\n\x1b", b"MPI=1"])
def test_plan_with_a_free_variable_is_accepted(variable: bytes) -> None:
    done(lib.plan_check, Draft().variable(variable).plan, new_request(nonce=NONCE))


def test_plan_whose_text_has_no_end_is_refused() -> None:
    plan = whole()
    ffi.memmove(plan.text, b"/" + b"x" * (lib.SOCKER_TEXT_SIZE - 1), lib.SOCKER_TEXT_SIZE)
    plan.text_size = lib.SOCKER_TEXT_SIZE
    plan.workdir = 0
    assert refusal(plan) == "the plan's working directory is not a plain absolute path"


def test_plan_whose_digest_has_no_end_is_refused_without_reading_on() -> None:
    def whole_of_digits() -> str:
        plan = whole()
        start = ffi.offsetof("struct socker_plan", "digest")
        ffi.memmove(ffi.cast("char *", plan) + start, b"sha256:" + b"a" * (SIZE - start - 7), SIZE - start)
        return refusal(plan)

    assert in_child(whole_of_digits) == NO_DIGEST


@pytest.mark.parametrize("verdict", [0, 1, 2**32 - 1, lib.SOCKER_POLICY_DONE, lib.SOCKER_PLAIN])
def test_plan_with_another_verdict_is_refused_with_its_message(verdict: int) -> None:
    plan = Draft(verdict=verdict, message=b"image \x1b[31m\xc2\x9b\xff is not allowed").plan
    assert refusal(plan) == r"image \x1b[31m\xc2\x9b\xff is not allowed"


def test_plan_refused_without_a_message_says_that() -> None:
    assert refusal(Draft(verdict=0).plan) == "the policy engine refused without a reason"


def test_plan_refused_with_a_message_without_end_is_cut() -> None:
    plan = Draft(verdict=0, message=b"m" * lib.SOCKER_MESSAGE_SIZE).plan
    assert refusal(plan) == "m" * (lib.SOCKER_MESSAGE_SIZE - 1)


def test_plan_refused_is_refused_even_for_another_user() -> None:
    assert refusal(Draft(verdict=0, message=b"no", uid=0, job=1).plan) == "no"


# Whatever it is


def grants(plan: Any) -> bool:
    """plan_check's word; a refusal must have a reason."""
    err = ffi.new("struct socker_error *")
    result = lib.plan_check(plan, new_request(nonce=NONCE), err)
    assert result in (0, -1)
    assert bool(text(err)) is (result == -1)
    return bool(result == 0)


def is_plain(path: bytes) -> bool:
    return len(path) < 4096 and path.startswith(b"/") and (path == b"/" or (path == bytes_of(PurePosixPath(path.decode(
        errors="surrogateescape"))) and b".." not in path.split(b"/") and not path.startswith(b"//")))  # fmt: skip


def bytes_of(path: PurePosixPath) -> bytes:
    return str(path).encode(errors="surrogateescape")


def assert_safe(plan: Any) -> None:
    """What must be true of every plan that is not refused."""
    assert (plan.nonce, plan.verdict) == (NONCE, lib.SOCKER_GRANT)
    assert (plan.job, plan.uid, plan.gid) == (JOB, USER, GROUP)
    assert re.fullmatch(rb"sha256:[0-9a-f]{64}", ffi.string(plan.digest))
    assert re.fullmatch(rb"[0-9a-f]{64}", ffi.string(plan.id))
    assert plan.hold_pid > 1
    used = bytes(ffi.buffer(plan.text))[: plan.text_size]

    def at(offset: int) -> bytes:
        assert offset < len(used)
        assert b"\0" in used[offset:]
        return used[offset:].split(b"\0", 1)[0]

    assert is_plain(at(plan.workdir))
    for mount in plan.mounts[0 : plan.mount_count]:
        assert is_plain(at(mount.source)) or mount.flags & lib.SOCKER_MOUNT_TMPFS
        assert is_plain(at(mount.target))
        assert mount.flags < 32
        assert mount.base <= len(at(mount.source))
    assert not plan.flags & ~(1 | 4 | 8 | 16 | 32)
    for offset in (plan.passwd, plan.group, *plan.entry[0 : plan.entry_count], *plan.unset[0 : plan.unset_count]):
        at(offset)
    for offset in plan.env[0 : plan.env_count]:
        name, equals, _ = at(offset).partition(b"=")
        assert name
        assert equals
        assert not name.startswith((b"SLURM", b"_SLURM", b"SPANK_", b"SRUN_", b"SBATCH_", b"SALLOC_", b"PMI"))


# Where the few bytes lie that decide most: everything but the empty tails of the arrays.
SPOTS = [
    *range(ffi.offsetof("struct socker_plan", "message") + 4),
    *range(ffi.offsetof("struct socker_plan", "digest"), ffi.offsetof("struct socker_plan", "mounts") + 24),
    *range(ffi.offsetof("struct socker_plan", "env"), ffi.offsetof("struct socker_plan", "env") + 8),
    *range(ffi.offsetof("struct socker_plan", "unset"), ffi.offsetof("struct socker_plan", "unset") + 8),
    *range(ffi.offsetof("struct socker_plan", "entry"), ffi.offsetof("struct socker_plan", "entry") + 12),
    *range(ffi.offsetof("struct socker_plan", "text"), ffi.offsetof("struct socker_plan", "text") + 64),
]
CHANGES = st.lists(st.tuples(st.sampled_from(SPOTS), st.integers(min_value=0, max_value=255)), max_size=6)


@given(changes=CHANGES)
def test_plan_with_bytes_changed_is_refused_or_safe(changes: list[tuple[int, int]]) -> None:
    plan = whole()
    buffer = ffi.buffer(plan)
    for spot, value in changes:
        buffer[spot] = bytes([value])
    if grants(plan):
        assert_safe(plan)


@given(header=st.binary(min_size=1, max_size=200), start=st.integers(min_value=0, max_value=1400))
def test_plan_with_random_bytes_over_it_is_refused_or_safe(header: bytes, start: int) -> None:
    plan = whole()
    ffi.buffer(plan)[start : start + len(header)] = header
    if grants(plan):
        assert_safe(plan)


PIECES = st.sampled_from([b"/", b"..", b".", b"a", b"\0", b"=", b"SLURM_", b"PMI", b"\xff", b"//"])
TEXTS = st.lists(PIECES, max_size=12).map(b"".join)
OFFSETS = st.integers(min_value=0, max_value=20)


@given(arena=TEXTS, offsets=st.tuples(OFFSETS, OFFSETS, OFFSETS, OFFSETS), flags=st.sampled_from([0, 1, 2, 32]))
def test_plan_with_any_paths_and_variables_is_refused_or_safe(
    arena: bytes, offsets: tuple[int, int, int, int], flags: int
) -> None:
    plan = Draft(text_size=0).plan
    plan.text_size = len(arena)
    ffi.memmove(plan.text, arena, len(arena))
    plan.workdir, plan.mounts[0].source, plan.mounts[0].target, plan.env[0] = offsets
    plan.mounts[0].flags = flags
    plan.mount_count = plan.env_count = 1
    if grants(plan):
        assert_safe(plan)


def test_the_safety_that_is_checked_is_not_empty() -> None:
    """Each invariant above is broken once; assert_safe must see it."""
    broken: Iterable[Callable[[Any], None]] = (
        lambda plan: setattr(plan, "uid", 0),
        lambda plan: setattr(plan, "digest", b"debian"),
        lambda plan: setattr(plan, "id", b""),
        lambda plan: setattr(plan, "hold_pid", 1),
        lambda plan: setattr(plan, "workdir", plan.text_size),
        lambda plan: setattr(plan.mounts[0], "flags", 32),
        lambda plan: setattr(plan.mounts[0], "base", 8),
        lambda plan: plan.unset.__setitem__(1, plan.text_size),
        lambda plan: setattr(plan, "flags", lib.SOCKER_PLAN_LEFT),
        lambda plan: setattr(plan, "passwd", plan.text_size),
        lambda plan: plan.entry.__setitem__(1, plan.text_size),
        lambda plan: setattr(plan.mounts[0], "source", 1),
        lambda plan: ffi.memmove(plan.text + plan.env[0], b"PMI", 3),
    )
    for change in broken:
        plan = whole()
        assert_safe(plan)
        change(plan)
        with pytest.raises(AssertionError):
            assert_safe(plan)
