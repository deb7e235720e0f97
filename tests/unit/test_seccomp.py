# SPDX-License-Identifier: Apache-2.0
"""The profile that comes with socker: that it is what its document and its form promise; what it does: tests/system."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PROFILE: dict[str, Any] = json.loads((REPOSITORY / "slurm/seccomp-hpc.json").read_text())
DOCUMENT = (REPOSITORY / "docs/seccomp.md").read_text()


def documented(heading: str) -> set[str]:
    section = DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([a-z0-9_]+)`", section, flags=re.MULTILINE))


def allowed() -> list[str]:
    return [name for rule in PROFILE["syscalls"] if "args" not in rule for name in rule["names"] if name != "clone3"]


def test_profile_refuses_what_it_does_not_name() -> None:
    assert (PROFILE["defaultAction"], PROFILE["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    actions = {(rule["action"], *rule["names"]) for rule in PROFILE["syscalls"] if rule["action"] != "SCMP_ACT_ALLOW"}
    assert actions == {("SCMP_ACT_ERRNO", "clone3")}


def test_profile_is_flat_so_that_no_capability_or_kernel_changes_it() -> None:
    known = {"names", "action", "args", "errnoRet", "comment"}
    assert all(rule.keys() <= known for rule in PROFILE["syscalls"])


def test_profile_names_each_call_once() -> None:
    assert sorted(allowed()) == sorted(set(allowed()))
    with_arguments = {name for rule in PROFILE["syscalls"] if "args" in rule for name in rule["names"]}
    assert with_arguments == {"clone", "personality", "socket"}
    assert not with_arguments & set(allowed())


def test_what_docker_refuses_is_a_rule_of_its_own_and_documented() -> None:
    rules = [set(rule["names"]) for rule in PROFILE["syscalls"]]
    assert documented("Allowed, though Docker refuses it") in rules


def test_tables_of_the_document_agree_with_the_profile() -> None:
    assert documented("Allowed, though some releases of Docker refuse it") <= set(allowed())
    refused = documented("Refused, though some releases of Docker allow it")
    assert "io_uring_setup" in refused
    assert not refused & set(allowed())


def test_calls_that_led_out_of_containers_are_not_allowed() -> None:
    dangerous = {
        *("mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "open_tree", "move_mount", "fsopen"),
        *("fsmount", "fsconfig", "mount_setattr", "open_by_handle_at", "bpf", "perf_event_open", "userfaultfd"),
        *("keyctl", "add_key", "request_key", "init_module", "finit_module", "delete_module", "kexec_load"),
        *("kexec_file_load", "iopl", "ioperm", "reboot", "swapon", "acct", "syslog", "quotactl", "clock_settime"),
        *("settimeofday", "fanotify_init", "pidfd_getfd", "process_madvise", "vhangup", "sethostname"),
    }
    assert not dangerous & set(allowed())
