# SPDX-License-Identifier: Apache-2.0
"""The profile that comes with socker, made a filter by libseccomp as runc makes it, can be condensed (T09)."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import struct
from pathlib import Path
from typing import Any

import pytest

from .test_condense import Instruction, condense, interpret, run

PROFILE = Path(__file__).resolve().parents[2] / "slurm/seccomp-hpc.json"
# libseccomp's numbers for what the profile says in words
ARCHITECTURES = {"x86_64": (0xC000003E, 0x40000003, 0x4000003E), "aarch64": (0xC00000B7, 0x40000028)}
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
COMPARISONS = {"SCMP_CMP_LT": 2, "SCMP_CMP_EQ": 4, "SCMP_CMP_MASKED_EQ": 7}
X32 = 0x40000000


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("one", ctypes.c_uint64),
        ("two", ctypes.c_uint64),
    )


def add(library: Any, context: Any, rule: dict[str, Any]) -> None:
    """Add a rule of the profile for each of its names that the library knows."""
    action = ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else ERRNO | rule["errnoRet"]
    some = [
        Comparison(one["index"], COMPARISONS[one["op"]], one["value"], one.get("valueTwo", 0))
        for one in rule.get("args", ())
    ]
    for name in rule["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number != -1:
            arguments = (Comparison * len(some))(*some)
            assert library.seccomp_rule_add_array(context, action, number, len(some), arguments) == 0, name


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    """The profile as a filter."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ERRNO | 1))
    for architecture in ARCHITECTURES[platform.machine()]:
        # -17: it is there already, being this machine's
        assert library.seccomp_arch_add(context, ctypes.c_uint32(architecture)) in {0, -17}
    for rule in json.loads(PROFILE.read_text())["syscalls"]:
        add(library, context, rule)
    file = os.memfd_create("filter")
    assert library.seccomp_export_bpf(context, file) == 0
    library.seccomp_release(context)
    made = os.pread(file, 1 << 20, 0)
    os.close(file)
    return list(struct.iter_unpack("=HBBI", made))  # type: ignore[arg-type]


def test_profile_is_condensed_to_less_than_half(instructions: list[Instruction]) -> None:
    assert len(instructions) > 500
    assert 0 < len(condense(instructions)) < len(instructions) / 2


def test_condensed_profile_answers_every_call_of_every_architecture_the_same(instructions: list[Instruction]) -> None:
    short = condense(instructions)
    arguments = (0, 1, 8, 37, 38, 39, 40, 45, 46, 0x20008, 0x7E020000, 0x10000000, 0x01000011, 0xFFFFFFFF)
    interesting = {56, 41, 135, 120, 359, 136}  # clone, socket and personality, in one architecture or another
    answers = set()
    for architecture in (0xC000003E, 0x40000003, 0xC00000B7, 0x40000028, 0x12345678):
        for number in [*range(500), *range(X32, X32 + 600), 0xFFFFFFFF]:
            for low in arguments if number % X32 in interesting else (0,):
                for high in (0, 1):
                    data = [number, architecture, 0, 0, low, high, *[0] * 10]
                    answer = interpret(instructions, data)
                    assert run(short, data) == answer, data
                    answers.add(answer)
    assert {ALLOW, ERRNO | 1, ERRNO | 38} <= answers
