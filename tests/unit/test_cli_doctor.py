# SPDX-License-Identifier: Apache-2.0
"""socker doctor: each thing that can be wrong is found, and said with what to do."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from socker.cli import diagnosis
from socker.cli import facts as looks
from socker.cli.app import NO, YES, run
from socker.cli.diagnosis import Finding, diagnose
from socker.cli.facts import PARTS, Account, Facts
from socker.cli.site import Line, Site

DIAGNOSIS = Path(diagnosis.__file__).read_text()

LINE = Line(where="/e/plugstack.conf:1", flag="required", plugin="/lib/socker.so", words=("docker=/run/d.sock",))
SLURM = {"proctracktype": "proctrack/cgroup", "launchparameters": "use_interactive_step", "taskprolog": ""}
DOCKER = {
    "ServerVersion": "20.10.24+dfsg1",
    "CgroupDriver": "systemd",
    "CgroupVersion": "2",
    "Runtimes": {"runc": {}},
    "SecurityOptions": ["name=seccomp,profile=default"],
    "LiveRestoreEnabled": True,
}
ACCOUNTS = {"dockerroot": Account(uid=900, groups=("docker",)), "socker": Account(uid=901, groups=("socker",))}


def site(*lines: Line, slurm: dict[str, str] | None = None) -> Site:
    settings = SLURM if slurm is None else slurm
    return Site(slurm_conf="/e/slurm.conf", slurm=settings, plugstack="/e/plugstack.conf", lines=lines)


def line(**changes: object) -> Line:
    fields: dict[str, Any] = {name: getattr(LINE, name) for name in ("where", "flag", "plugin", "words")}
    return Line(**(fields | changes))


def facts(**changes: object) -> Facts:
    good: dict[str, Any] = {
        "root": True,
        "site": site(LINE),
        "site_error": "",
        "oci_conf": "",
        "parts": dict.fromkeys(PARTS, ""),
        "loads": "",
        "slurm_version": "slurm 22.05.8",
        "controller": "",
        "cgroup_conf": {"constraindevices": "yes"},
        "docker": DOCKER,
        "docker_error": "",
        "accounts": ACCOUNTS,
        "docker_members": ("dockerroot",),
        "kernel": "6.1.0-18-amd64",
        "cgroup": "v2",
        "python": "3.11.2",
        "policy": "/etc/socker/policy.yaml, 3 rules",
        "policy_error": "",
        "policy_index": True,
        "catalogue": 12,
        "catalogue_error": "",
        "catalogue_index": True,
        "unreadable": (),
    }
    return Facts(**(good | changes))


OTHER = line(plugin="/lib/other.so", where="/e/plugstack.conf:2")
WRONG: dict[str, tuple[Facts, str]] = {
    "not root": (facts(root=False), "warn  user: not root; run it as root"),
    "no configuration": (
        facts(site_error="/e/slurm.conf: no such file"),
        "fail  Slurm's configuration: /e/slurm.conf: no",
    ),
    "no line": (
        facts(site=site(OTHER)),
        "fail  plugstack line: /e/plugstack.conf has none for socker.so; add the line",
    ),
    "optional": (
        facts(site=site(line(flag="optional"))),
        "fail  plugstack line: /e/plugstack.conf:1 says optional; write",
    ),
    "relative": (
        facts(site=site(line(plugin="socker.so"))),
        "fail  plugstack line: /e/plugstack.conf:1 has the path socker",
    ),
    "not last": (
        facts(site=site(LINE, OTHER)),
        "warn  plugstack line: /e/plugstack.conf:1 is not the last; put it behind",
    ),
    "twice": (facts(site=site(LINE, LINE)), "fail  plugstack line: socker.so is there twice; remove one"),
    "unknown word": (
        facts(site=site(line(words=("dcoker=/x",)))),
        "fail  plugstack line: dcoker=/x is not understood; write",
    ),
    "bare word": (
        facts(site=site(line(words=("docker",)))),
        "fail  plugstack line: docker is not understood; write one of",
    ),
    "relative word": (
        facts(site=site(line(words=("policy=p",)))),
        "fail  plugstack line: policy=p is no absolute path; wri",
    ),
    "deadline": (
        facts(site=site(line(words=("deadline=0",)))),
        "fail  plugstack line: deadline=0 is not understood; give 1",
    ),
    "plain": (
        facts(site=site(line(words=("plain=yes",)))),
        "fail  plugstack line: plain=yes is not understood; give ask or",
    ),
    "no part": (facts(parts={"hold": "no such file"}), "fail  programs: /lib/hold: no such file; install socker again"),
    "load": (facts(loads="srun: error: socker.so: no"), "fail  plugin: srun: error: socker.so: no; build it against"),
    "no Slurm": (facts(slurm_version=""), "fail  Slurm: scontrol does not say its version; install Slurm's"),
    "old Slurm": (facts(slurm_version="slurm 20.11.9"), "fail  Slurm: 20.11.9; use Slurm 21.08 or newer"),
    "controller": (facts(controller="is DOWN"), "fail  slurmctld: is DOWN; start it; until it answers a sweep removes"),
    "oci.conf": (facts(oci_conf="/e/oci.conf"), "fail  oci.conf: /e/oci.conf is there; remove it"),
    "TaskProlog": (
        facts(site=site(LINE, slurm=SLURM | {"taskprolog": "/t"})),
        "warn  TaskProlog: /t; it runs in the image",
    ),
    "tracking": (
        facts(site=site(LINE, slurm=SLURM | {"proctracktype": "proctrack/linuxproc"})),
        "fail  ProctrackType: proctrack/linuxproc; set proctrack/cgroup",
    ),
    "private": (
        facts(site=site(LINE, slurm=SLURM | {"privatedata": "jobs,users"})),
        "warn  PrivateData: jobs,users; it hi",
    ),
    "test_exec": (
        facts(site=site(LINE, slurm=SLURM | {"launchparameters": "test_exec,use_interactive_step"})),
        "warn  LaunchParameters: test_exec; take it out",
    ),
    "salloc": (
        facts(site=site(LINE, slurm=SLURM | {"launchparameters": ""})),
        "warn  LaunchParameters: no use_interactive",
    ),
    "devices": (facts(cgroup_conf={}), "warn  ConstrainDevices: not yes in cgroup.conf; set it"),
    "kernel": (facts(kernel="5.10.0-1"), "fail  kernel: 5.10.0-1; use Linux 5.12 or newer"),
    "cgroup": (facts(cgroup=""), "fail  cgroup: none below /sys/fs/cgroup; mount"),
    "Python": (facts(python="3.9.1"), "fail  Python: 3.9.1; use Python 3.11 or newer"),
    "Docker": (facts(docker_error="Docker does not answer"), "fail  Docker: Docker does not answer; start dockerd"),
    "old Docker": (facts(docker=DOCKER | {"ServerVersion": "19.03.15"}), "fail  Docker: 19.03.15; use Docker 20.10 or"),
    "runtime": (facts(docker=DOCKER | {"Runtimes": {"crun": {}}}), "fail  Docker's runtimes: crun; install runc"),
    "seccomp": (
        facts(docker=DOCKER | {"SecurityOptions": None}),
        "fail  seccomp: Docker sets no filter; use a dockerd",
    ),
    "live-restore": (facts(docker=DOCKER | {"LiveRestoreEnabled": False}), "warn  live-restore: off; set"),
    "no dockerroot": (
        facts(accounts={"socker": ACCOUNTS["socker"]}),
        "fail  system users: there is no dockerroot; make us",
    ),
    "no socker": (
        facts(accounts={"dockerroot": ACCOUNTS["dockerroot"]}),
        "fail  system users: there is no socker; make us",
    ),
    "groups": (
        facts(accounts=ACCOUNTS | {"dockerroot": Account(uid=900, groups=("docker", "sudo"))}),
        "fail  system users: dockerroot is in docker, sudo; make docker its only group",
    ),
    "other group": (
        facts(accounts=ACCOUNTS | {"socker": Account(uid=901, groups=("socker", "docker"))}),
        "fail  system users: socker is in socker, docker; leave it in its own group only",
    ),
    "uid 0": (
        facts(accounts=ACCOUNTS | {"socker": Account(uid=0, groups=("socker",))}),
        "fail  system users: one of them is uid 0; give it a uid of its own",
    ),
    "members": (facts(docker_members=("alice", "dockerroot")), "warn  group docker: alice in it; take them out"),
    "policy": (facts(policy_error="the policy file is wrong"), "fail  policy: the policy file is wrong; mend it"),
    "policy index": (
        facts(policy_index=False),
        "warn  policy: /etc/socker/policy.yaml, 3 rules, no index of it as it is",
    ),
    "rights": (facts(unreadable=("/p",)), "fail  rights: dockerroot cannot read /p; chmod a+r it"),
    "catalogue": (facts(catalogue_error="the catalogue is wrong"), "fail  catalogue: the catalogue is wrong; mend it"),
    "index": (facts(catalogue_index=False), "warn  catalogue: changed since its index was made; socker images index"),
}


def shown(found: Facts) -> list[str]:
    lines = [(each, f"{each.status:4}  {each.what}: {each.found}") for each in diagnose(found)]
    return [f"{text}; {each.todo}" if each.todo else text for each, text in lines]


def test_a_good_host_has_ok_lines_only() -> None:
    lines = shown(facts())
    assert len(lines) >= 12
    assert all(line.startswith("ok ") for line in lines), lines
    assert {each.status for each in diagnose(facts(catalogue=None))} == {"ok"}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_found_with_what_to_do(kind: str) -> None:
    found, expected = WRONG[kind]
    bad = [text for text in shown(found) if not text.startswith("ok ")]
    assert len(bad) == 1, bad
    assert bad[0].startswith(expected), bad


def test_every_line_that_is_not_ok_is_provoked(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [node for node in ast.walk(ast.parse(DIAGNOSIS)) if isinstance(node, ast.Call)]
    there = {node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id in {"_warn", "_fail"}}
    provoked: set[int] = set()

    def noting(made: Any) -> Any:
        def note(*words: str) -> Finding:
            provoked.add(sys._getframe(1).f_lineno)
            found: Finding = made(*words)
            return found

        return note

    monkeypatch.setattr(diagnosis, "_warn", noting(diagnosis._warn))
    monkeypatch.setattr(diagnosis, "_fail", noting(diagnosis._fail))
    for found, _ in WRONG.values():
        diagnose(found)
    assert provoked == there


def test_the_verb_prints_lines_and_its_code_tells_of_failures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("socker.cli.facts.gather", lambda _conf: facts(docker_members=("alice",)))
    assert run(["doctor"]) == YES
    assert "\nwarn  group docker: alice in it; take" in capsys.readouterr().out
    monkeypatch.setattr("socker.cli.facts.gather", lambda _conf: facts(oci_conf="/e/oci.conf"))
    assert run(["doctor"]) == NO
    assert "\nfail  oci.conf: /e/oci.conf is there; remove it" in capsys.readouterr().out
    assert run(["doctor", "--json"]) == NO
    said = json.loads(capsys.readouterr().out)
    assert {"status": "ok", "what": "kernel", "found": "6.1.0-18-amd64", "todo": ""} in said["findings"]


# What is looked at


@pytest.mark.parametrize(
    ("mode", "fault"),
    [(0o755, ""), (0o775, "others than root can write it (mode 0775)"), (0o644, "it cannot be executed")],
)
def test_a_program_must_be_roots(tmp_path: Path, mode: int, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hold"
    path.write_text("")
    path.chmod(mode)
    found = looks._fault(str(path))
    assert found == fault or (path.stat().st_uid != 0 and found.startswith("it belongs to uid"))
    assert looks._fault(str(tmp_path / "none")) == "no such file or directory"


def test_a_file_that_others_cannot_get_to_is_found(tmp_path: Path) -> None:
    path = tmp_path / "d/policy.yaml"
    path.parent.mkdir()
    path.write_text("")
    for directory in (*path.parents[:-1], path):
        if directory.is_relative_to(tmp_path):
            directory.chmod(0o755)
    above = any(not parent.stat().st_mode & 0o001 for parent in tmp_path.parents)
    assert looks._is_hidden(str(path)) is above
    path.chmod(0o600)
    assert looks._is_hidden(str(path))
    path.chmod(0o644)
    path.parent.chmod(0o700)
    assert looks._is_hidden(str(path))
    assert not looks._is_hidden(str(tmp_path / "none"))


def test_this_host_can_be_looked_at_whatever_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slurm.conf").write_text("ClusterName=c\n")
    monkeypatch.setattr(looks, "_S_BINARIES", ())
    monkeypatch.setattr(looks, "_docker", lambda _path: ({}, "not asked"))
    found = looks.gather(str(tmp_path / "slurm.conf"))
    assert found.controller == "there is no scontrol on this host"
    assert any(each.what == "plugstack line" and each.status == "fail" for each in diagnose(found))
    found = looks.gather("/nosuch/slurm.conf")
    assert found.site_error == "/nosuch/slurm.conf: no such file or directory"
