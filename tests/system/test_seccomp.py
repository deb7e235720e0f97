# SPDX-License-Identifier: Apache-2.0
"""
Tasks are filtered as docs/seccomp.md says, found out by system calls: each number there is, and those that matter.

filter.c asks the filter about every number without letting the call happen; probe.c makes the calls.
"""

from __future__ import annotations

import ctypes
import errno
import json
import pwd
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .cluster import IMAGE, REPOSITORY, Cluster

PROFILE = REPOSITORY / "slurm/seccomp-hpc.json"
DOCUMENT = REPOSITORY / "docs/seccomp.md"
HERE = Path(__file__).parent
ALLOWED = errno.EXDEV  # filter.c's word for it
NEW_SPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
PERSONALITIES = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)
AF_ALG, AF_VSOCK, AF_MCTP = 38, 40, 45
DANGEROUS = (
    *("mount", "fsopen", "setns", "pivot_root", "unshare-user", "keyctl", "add_key", "request_key", "bpf"),
    *("perf_event_open", "userfaultfd", "open_by_handle_at", "init_module", "kexec_load", "reboot", "io_uring_setup"),
    *("pidfd_getfd", "personality", "socket-alg", "socket-vsock"),
)

Answers = dict[tuple[int, int], int]


def number(name: str) -> int:
    """The number of a system call; negative where this machine, or its libseccomp, has none of that name."""
    resolve = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name
    return int(resolve(name.encode()))


def documented(heading: str) -> set[str]:
    """The names in the first column of the table below a heading."""
    section = DOCUMENT.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([a-z0-9_A-Z()]+)`", section, flags=re.MULTILINE))


BEYOND = documented("Allowed, though Docker refuses it")
NEWER = documented("Allowed, though some releases of Docker refuse it")
LESS = documented("Refused, though some releases of Docker allow it")


def calls(names: set[str]) -> set[tuple[int, int]]:
    """The questions that filter.c asks about these names, with the argument 0."""
    return {(number(name), 0) for name in names if number(name) >= 0} - {(335, 0)}  # uretprobe: nobody is asked


def questions() -> list[str]:
    """NUMBER:ARGUMENT of the calls whose argument counts."""
    clone, personality, socket = (number(name) for name in ("clone", "personality", "socket"))
    values = [*PERSONALITIES, 1, 0x40000, 0x40008, 0x100000008]
    domains = [*range(1, 64), 1 << 32 | AF_ALG, 1 << 32 | 1]
    return [
        *(f"{clone}:{flag | 17}" for flag in (0, 0x100, 0x01000000, *NEW_SPACES)),
        *(f"{personality}:{value}" for value in values),
        *(f"{socket}:{domain}" for domain in domains),
    ]


def answers(text: str) -> Answers:
    """What filter.c printed."""
    lines = [tuple(map(int, line.split())) for line in text.splitlines()]
    assert len(lines) > 500, text
    return {(call, argument): answer for call, argument, answer in lines}


@pytest.fixture(scope="module")
def programs() -> Iterator[Path]:
    """A directory of alice's home with both programs, static."""
    home = Path("/home/alice/seccomp-test")
    home.mkdir()
    for name in ("filter", "probe"):
        source = HERE / f"{name}.c"
        flags = ("-static", "-pthread", "-D_GNU_SOURCE", "-Os", "-Wall")
        subprocess.run(["gcc", *flags, "-o", home / name, source], check=True)
    yield home
    subprocess.run(["/bin/rm", "-r", str(home)], check=True)


def in_docker(cluster: Cluster, programs: Path, *argv: str, profile: str = "") -> str:
    """What a program prints in `docker run`, with the profile at a path or Docker's own."""
    user = pwd.getpwnam("alice")
    options = ["--cap-drop=ALL", "--security-opt=no-new-privileges", f"--user={user.pw_uid}:{user.pw_gid}"]
    options += [f"--security-opt=seccomp={profile}"] if profile else []
    return cluster.docker("run", "--rm", f"--volume={programs}:{programs}", *options, IMAGE, *argv)


class Told(NamedTuple):
    """What the programs print in steps of one job: in a task, on the host, and in a child of a task."""

    filter: str
    inside: str
    plain: str
    deeper: str


@pytest.fixture(scope="module")
def told(whole_cluster: Cluster, programs: Path) -> Told:
    """The steps have run, and their job is over."""
    probe = str(programs / "probe")
    with whole_cluster.allocation() as job:
        steps = [
            job.srun(str(programs / "filter"), *questions()),
            job.srun(probe),
            job.srun(probe, image=None),
            job.srun("sh", "-c", f"(sh -c 'exec {probe}')"),
        ]
    assert [step.returncode for step in steps] == [0] * 4, [step.stderr for step in steps]
    return Told(*(step.stdout for step in steps))


def outcomes(text: str) -> dict[str, str]:
    """What probe.c printed."""
    return dict(line.split() for line in text.splitlines())  # type: ignore[misc]


def test_a_task_and_docker_run_with_the_profile_get_the_same_answers(
    whole_cluster: Cluster, programs: Path, told: Told
) -> None:
    docker = in_docker(whole_cluster, programs, str(programs / "filter"), *questions(), profile=str(PROFILE))
    assert told.filter == docker


def test_exactly_the_calls_that_the_profile_names_are_allowed(told: Told) -> None:
    profile: dict[str, Any] = json.loads(PROFILE.read_text())
    names = {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    found = {call: answer for call, answer in answers(told.filter).items() if call[1] == 0}
    assert {call for call, answer in found.items() if answer == ALLOWED} == calls(names)
    clone3 = number("clone3")
    newest = max(call for call, _ in calls(names))
    for (call, _), answer in found.items():
        if answer != ALLOWED:
            assert answer == (errno.ENOSYS if call == clone3 or call > newest else errno.EPERM), call


def test_arguments_are_looked_at(told: Told) -> None:
    found = answers(told.filter)
    clone, personality, socket = (number(name) for name in ("clone", "personality", "socket"))
    for (call, argument), answer in found.items():
        if call == clone:
            allowed = not any(argument & flag for flag in NEW_SPACES)
        elif call == personality:
            allowed = argument in PERSONALITIES
        elif call == socket:
            allowed = argument <= AF_MCTP and argument not in {AF_ALG, AF_VSOCK}
        else:
            continue
        assert answer == (ALLOWED if allowed else errno.EPERM), (call, argument)
    assert {call for call, argument in found if argument} == {clone, personality, socket}


def test_what_differs_from_docker_s_own_profile_is_what_the_document_lists(
    whole_cluster: Cluster, programs: Path, told: Told
) -> None:
    ours = answers(told.filter)
    docker = answers(in_docker(whole_cluster, programs, str(programs / "filter"), *questions()))
    more = {call for call, answer in ours.items() if answer == ALLOWED and docker[call] != ALLOWED and not call[1]}
    less = {call for call, answer in ours.items() if answer != ALLOWED and docker[call] == ALLOWED}
    assert calls(BEYOND) <= more <= calls(BEYOND | NEWER)
    sockets = {(number("socket"), domain) for domain in (AF_ALG, AF_VSOCK, *range(AF_MCTP + 1, 64))}
    too_large = {call for call in less if call[0] == number("socket") and call[1] >> 32}
    assert less - too_large <= calls(LESS) | sockets


def test_calls_that_place_memory_work_as_on_the_host_and_dangerous_ones_do_not(told: Told) -> None:
    plain, inside = outcomes(told.plain), outcomes(told.inside)
    # of a child too, and of what the child executes
    assert inside == outcomes(told.deeper)
    assert {name: inside[name] for name in BEYOND} == {name: plain[name] for name in BEYOND}
    assert {name for name in BEYOND if plain[name] == "works"} >= {"mbind", "set_mempolicy", "move_pages", "kcmp"}
    for name in ("process_vm_readv", "process_vm_writev", "ptrace", "getpid", "unshare-files"):
        expected = "EPERM" if name == "unshare-files" else "works"
        assert (plain[name], inside[name]) == ("works", expected), name
    assert {name: inside[name] for name in DANGEROUS} == dict.fromkeys(DANGEROUS, "EPERM")
    assert inside["clone3"] == "ENOSYS"
    # or a refusal above would not be the profile's
    for name in ("keyctl", "add_key", "unshare-user", "userfaultfd", "personality", "socket-vsock"):
        assert plain[name] == "works", name


def policy(seccomp: str) -> str:
    return f"version: 1\nrules: [{{name: all, effect: allow, mounts: {{home: true}}, seccomp: {seccomp}}}]\n"


def test_policy_may_take_docker_s_own_profile_or_one_of_the_site(cluster: Cluster, programs: Path) -> None:
    probe = str(programs / "probe")
    with cluster.policy(policy("docker")):
        inside = cluster.srun(probe).stdout
    assert inside == in_docker(cluster, programs, probe)
    assert "mbind EPERM\n" in inside
    site = cluster.base / "etc/site.json"
    profile = json.loads(PROFILE.read_text())
    for rule in profile["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name != "kcmp"]
    site.write_text(json.dumps(profile))
    try:
        with cluster.policy(policy(str(site))):
            inside = cluster.srun(probe).stdout
    finally:
        site.unlink()
    assert "kcmp EPERM\n" in inside
    assert "mbind works\n" in inside


def test_names_that_the_runtime_does_not_know_are_no_failure(cluster: Cluster, programs: Path) -> None:
    site = cluster.base / "etc/newer.json"
    profile = json.loads(PROFILE.read_text())
    profile["syscalls"][0]["names"].append("a_call_of_the_next_decade")
    site.write_text(json.dumps(profile))
    try:
        with cluster.policy(policy(str(site))):
            done = cluster.srun(str(programs / "probe"))
    finally:
        site.unlink()
    assert "mbind works\n" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.unlink(), "there is no such file"),
        (lambda path: path.write_text("{"), "it is not JSON"),
        (lambda path: path.chmod(0o666), "others than root can write it"),
    ],
    ids=["missing", "broken", "writable"],
)
def test_an_installation_without_its_profile_refuses(cluster: Cluster, spoil: Any, why: str) -> None:
    with cluster.installation(lambda copy: spoil(copy / "seccomp-hpc.json")):
        done = cluster.srun("true")
        # the epilog is of this installation, too
        cluster.assert_clean()
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if "socker:" in line]
    assert len(lines) == 1, done.stderr
    assert "the seccomp profile " in lines[0]
    assert why in lines[0], lines[0]
    assert "tell your administrator" in lines[0]
