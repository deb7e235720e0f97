# SPDX-License-Identifier: Apache-2.0
"""condense.c: a condensed filter decides as the one it was made of, for every system call there is (T09)."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .driver import Child, ffi, in_child, lib

LD, AND, RET = 0x20, 0x54, 0x06
JA, JEQ, JGT, JGE, JSET = 0x05, 0x15, 0x25, 0x35, 0x45
NUMBER, ARCH, ARGUMENT = 0, 4, 16
X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000

Instruction = tuple[int, int, int, int]


def filter_of(instructions: Sequence[Instruction]) -> Any:
    return ffi.new("struct sock_filter[]", list(instructions))


def condense(instructions: Sequence[Instruction], *, room: int = 4096) -> list[Instruction]:
    """The condensed filter; empty where the input is to be kept."""
    out = ffi.new("struct sock_filter[]", max(room, 1))
    count = lib.condense_filter(filter_of(instructions), len(instructions), out, room)
    assert count <= min(room, len(instructions))
    return [(at.code, at.jt, at.jf, at.k) for at in out[0:count]]


def run(instructions: Sequence[Instruction], data: Sequence[int]) -> int:
    return int(lib.condense_run(filter_of(instructions), len(instructions), ffi.new("uint32_t[16]", list(data))))


def interpret(instructions: Sequence[Instruction], data: Sequence[int]) -> int:
    """A second interpreter, so that condense_run is not its own judge. -1: a run off the end or an unknown code."""
    accumulator = 0
    pc = 0
    while pc < len(instructions):
        code, jt, jf, k = instructions[pc]
        pc += 1
        if code == RET:
            return k
        if code == LD:
            if k % 4 or k >= 64:
                return -1
            accumulator = data[k // 4]
        elif code == AND:
            accumulator &= k
        elif code == JA:
            pc += k
        elif code in (JEQ, JGT, JGE, JSET):
            holds = {JEQ: accumulator == k, JGT: accumulator > k, JGE: accumulator >= k, JSET: accumulator & k != 0}
            pc += jt if holds[code] else jf
        else:
            return -1
    return -1


def assert_same(one: Sequence[Instruction], other: Sequence[Instruction], constants: Sequence[int]) -> None:
    """Both answer the same around every constant, as number, architecture and argument."""
    values = sorted({value for k in constants for value in (k - 1, k, k + 1) if 0 <= value < 2**32} | {0, 2**32 - 1})
    for arch in {X86_64, I386, AARCH64, 0x12345678}:
        for number in values:
            some = values[:: max(1, len(values) // 4)]
            for one_argument, another in [*zip(some, some, strict=True), *zip(some, some[::-1], strict=True)]:
                data = [number, arch, *[another, one_argument] * 7]
                data[ARGUMENT // 4] = one_argument
                assert interpret(other, data) == interpret(one, data) == run(one, data), data


def like_runc(numbers: Sequence[int]) -> list[Instruction]:
    """A filter as libseccomp makes them: the architecture, then one comparison after the other."""
    body: list[Instruction] = [(LD, 0, 0, NUMBER)]
    for number in numbers:
        body += [(JEQ, 0, 1, number), (RET, 0, 0, ALLOW)]
    body += [(RET, 0, 0, ERRNO | 1)]
    return [
        (LD, 0, 0, ARCH),
        (JEQ, 1, 0, X86_64 if os.uname().machine == "x86_64" else AARCH64),
        (RET, 0, 0, KILL),
        *body,
    ]


def with_argument() -> list[Instruction]:
    """clone is allowed without the flag 0x10000000; all numbers up to 60 but it are."""
    return [
        *like_runc([])[:3],
        (LD, 0, 0, NUMBER),
        (JGT, 0, 1, 60),
        (RET, 0, 0, ERRNO | 38),
        (JEQ, 1, 0, 56),
        (RET, 0, 0, ALLOW),
        (LD, 0, 0, ARGUMENT),
        (AND, 0, 0, 0x10000000),
        (JEQ, 0, 1, 0),
        (RET, 0, 0, ALLOW),
        (RET, 0, 0, ERRNO | 1),
    ]


# Most numbers up to 400, in runs, as profiles have them.
NUMBERS = [number for number in range(400) if number % 10]
LONG = like_runc(NUMBERS)


def test_condense_of_a_long_list_is_much_shorter_and_the_same() -> None:
    short = condense(LONG)
    assert 0 < len(short) < len(LONG) / 4
    assert_same(LONG, short, [*range(0, 402, 37), 398, 399, 400])


def test_condense_of_ranges_merges_them() -> None:
    long = like_runc(range(300))
    short = condense(long)
    assert 0 < len(short) < 20
    assert_same(long, short, [0, 299, 300, 0x40000000])


def test_condense_keeps_what_looks_at_arguments() -> None:
    short = condense(with_argument())
    if short:
        assert_same(with_argument(), short, [55, 56, 57, 60, 61, 0x10000000])
    # not longer than the original is a rule, so a short one may be kept; a longer one must not
    assert condense([*with_argument()[:-1], *like_runc(range(0, 100, 3))[3:]])


@pytest.mark.parametrize(
    "unusual",
    [
        pytest.param([(0x16, 0, 0, 0)], id="return of the accumulator"),
        pytest.param([(0x80, 0, 0, 0), (RET, 0, 0, ALLOW)], id="load of the length"),
        pytest.param([(0x61, 0, 0, 0), (RET, 0, 0, ALLOW)], id="load into the index"),
        pytest.param([(LD, 0, 0, NUMBER), (AND, 0, 0, 255), (JEQ, 0, 0, 1), (RET, 0, 0, ALLOW)], id="masked number"),
        pytest.param([(LD, 0, 0, NUMBER), (0x1D, 0, 0, 0), (RET, 0, 0, ALLOW)], id="comparison with the index"),
        pytest.param([(LD, 0, 0, NUMBER)], id="no end"),
        pytest.param([(JA, 0, 0, 4), (RET, 0, 0, ALLOW)], id="jump off the end"),
        pytest.param([(JEQ, 0, 0, 0), (RET, 0, 0, ALLOW)], id="nothing loaded"),
        pytest.param([], id="empty"),
    ],
)
def test_condense_of_what_is_unusual_keeps_the_input(unusual: list[Instruction]) -> None:
    assert condense(unusual) == []


def test_condense_without_room_keeps_the_input() -> None:
    for room in (0, 1, 2, len(condense(LONG)) - 1):
        assert condense(LONG, room=room) == []


def test_condense_that_would_be_longer_keeps_the_input() -> None:
    assert condense(like_runc(range(0, 400, 2))) == []


def test_condense_of_a_bit_test_on_the_number_ends_soon() -> None:
    both_ways = [(LD, 0, 0, NUMBER), (JSET, 0, 0, 1), (RET, 0, 0, ALLOW)]
    Child(lambda: condense(both_ways)).wait(1)


@pytest.mark.parametrize("k", [2**32 - 1, 2**32 - 2])
def test_condense_of_a_jump_that_leads_back_keeps_the_input_soon(k: int) -> None:
    """The kernel has no such filter, but nothing here says so."""
    back = [(LD, 0, 0, NUMBER), (JA, 0, 0, k), (RET, 0, 0, ALLOW)]
    assert Child(lambda: condense(back)).wait(0.5).said == []


def test_condense_of_conditions_whose_ways_meet_again_ends_soon() -> None:
    meet = [(LD, 0, 0, NUMBER), (JEQ, 0, 41, 56), (LD, 0, 0, ARGUMENT), *[(JEQ, 0, 0, k) for k in range(40)]]
    Child(lambda: condense([*meet, (RET, 0, 0, ALLOW)])).wait(0.5)


def jumps(count: int) -> st.SearchStrategy[list[Instruction]]:
    constants = st.sampled_from([0, 1, 2, 5, 56, 59, 60, 200, 0x40000000, 2**31, 2**32 - 1, X86_64, I386])
    high_bits = st.sampled_from([0x40000000, 2**31, 0xC0000000])  # of low bits: see the test of their time
    codes = st.sampled_from([LD, LD, JEQ, JEQ, JEQ, JGT, JGE, JSET, JA, AND, RET, RET])
    returns = st.sampled_from([ALLOW, KILL, ERRNO | 1, ERRNO | 38])
    words = st.sampled_from([NUMBER, NUMBER, ARCH, ARGUMENT, 24])

    @st.composite
    def program(draw: st.DrawFn) -> list[Instruction]:
        made: list[Instruction] = [(LD, 0, 0, draw(words))]
        for place in range(1, count):
            left = count - place - 1
            code = RET if left == 0 else draw(codes)
            jump = st.integers(min_value=0, max_value=max(0, left - 1))
            if code == RET:
                made.append((RET, 0, 0, draw(returns)))
            elif code == LD:
                made.append((LD, 0, 0, draw(words)))
            elif code == JA:
                made.append((JA, 0, 0, draw(jump)))
            elif code == AND:
                made.append((AND, 0, 0, draw(constants)))
            else:
                made.append((code, draw(jump), draw(jump), draw(high_bits if code == JSET else constants)))
        return made

    return program()


PROGRAMS = st.integers(min_value=2, max_value=24).flatmap(jumps)


@given(program=PROGRAMS)
def test_condense_of_any_program_is_the_same_or_keeps_it(program: list[Instruction]) -> None:
    short = condense(program)
    if short:
        assert_same(program, short, [k for code, _, _, k in program if code not in (RET, LD)])


CODES = st.integers(0, 0xFF)
RAW = st.tuples(CODES, st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**32 - 1))


@given(raw=st.lists(RAW, max_size=20))
def test_condense_of_random_instructions_does_no_harm(raw: list[Instruction]) -> None:
    short = condense(raw)
    if short:
        assert_same(raw, short, [k for _, _, _, k in raw])


DATA = st.lists(st.integers(0, 300), min_size=16, max_size=16)


@given(program=PROGRAMS, data=DATA)
def test_condense_run_is_what_another_interpreter_finds(program: list[Instruction], data: list[int]) -> None:
    assert run(program, data) == interpret(program, data)


# seccomp_condense: the form that the opener uses, with its file in the state directory


def record_of(instructions: Sequence[Instruction]) -> Any:
    record = ffi.new("struct socker_record *")
    for index, instruction in enumerate(instructions):
        record.instructions[index] = instruction
    record.filter_count = 1
    record.filters[0].count = len(instructions)
    return record


def filters(record: Any) -> list[Instruction]:
    one = record.filters[0]
    return [(at.code, at.jt, at.jf, at.k) for at in record.instructions[one.first : one.first + one.count]]


def test_seccomp_condense_makes_the_filter_short_and_keeps_it_for_root(trusted: Path) -> None:
    record = record_of(LONG)
    lib.seccomp_condense(record, os.fsencode(trusted))
    assert filters(record) == condense(LONG)
    assert [path.name for path in trusted.iterdir()] == ["filter-0"]
    assert (trusted / "filter-0").stat().st_mode & 0o7777 == 0o600


def test_seccomp_condense_the_second_time_takes_the_kept_one(trusted: Path) -> None:
    lib.seccomp_condense(record_of(LONG), os.fsencode(trusted))
    before = (trusted / "filter-0").stat().st_ino
    record = record_of(LONG)
    lib.seccomp_condense(record, os.fsencode(trusted))
    assert filters(record) == condense(LONG)
    assert (trusted / "filter-0").stat().st_ino == before


def test_seccomp_condense_of_another_filter_does_not_take_the_kept_one(trusted: Path) -> None:
    lib.seccomp_condense(record_of(LONG), os.fsencode(trusted))
    other = like_runc([number + 1 for number in NUMBERS])
    record = record_of(other)
    lib.seccomp_condense(record, os.fsencode(trusted))
    assert filters(record) == condense(other) != condense(LONG)


def plant(trusted: Path) -> None:
    """A kept file that says: everything is allowed."""
    lib.seccomp_condense(record_of(LONG), os.fsencode(trusted))
    content = bytearray((trusted / "filter-0").read_bytes())
    allow = bytes(ffi.buffer(filter_of([(RET, 0, 0, ALLOW)])))
    head = 12  # magic and two lengths
    half = (len(content) - head) // 2
    content[8:head] = (1).to_bytes(4, "little")
    content[head + half : head + half + len(allow)] = allow
    (trusted / "filter-0").write_bytes(content)


def test_seccomp_condense_takes_what_root_keeps(trusted: Path) -> None:
    """So that the refusals below are of something that would count."""
    plant(trusted)
    record = record_of(LONG)
    lib.seccomp_condense(record, os.fsencode(trusted))
    assert filters(record) == [(RET, 0, 0, ALLOW)]


@pytest.mark.parametrize("spoil", ["owner", "mode", "symlink", "short"])
def test_seccomp_condense_takes_nothing_from_a_file_that_is_not_roots_own(trusted: Path, spoil: str) -> None:
    plant(trusted)
    kept = trusted / "filter-0"
    if spoil == "owner":
        os.chown(kept, 61000, 0)
    elif spoil == "mode":
        kept.chmod(0o644)
    elif spoil == "short":
        os.truncate(kept, kept.stat().st_size - 1)
    else:
        kept.rename(trusted / "real")
        kept.symlink_to("real")
    record = record_of(LONG)
    lib.seccomp_condense(record, os.fsencode(trusted))
    assert filters(record) == condense(LONG)


def test_seccomp_condense_without_a_trusted_directory_keeps_the_filter(trusted: Path) -> None:
    trusted.chmod(0o777)
    record = record_of(LONG)
    lib.seccomp_condense(record, os.fsencode(trusted))
    assert filters(record) == LONG


def test_seccomp_condensed_filter_works_in_the_kernel() -> None:
    """The filters of the helpers are small; a list as runc's, condensed, must still be one the kernel takes."""
    number = {"x86_64": 140, "aarch64": 141}[os.uname().machine]  # getpriority
    long = like_runc([other for other in range(460) if other != number])
    record = record_of(condense(long))

    def install() -> int:
        lib.shim_prctl(38, 1, 0)
        err = ffi.new("struct socker_error *")
        assert lib.seccomp_install(record, err) == 0
        try:
            return os.getpriority(os.PRIO_PROCESS, 0)
        except OSError as failure:
            return failure.errno or 0

    assert in_child(install) == errno.EPERM
