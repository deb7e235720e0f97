# SPDX-License-Identifier: Apache-2.0
"""socker check and socker explain: the policy file, and what it says to a step."""

from __future__ import annotations

import grp
import json
import pwd
from typing import TYPE_CHECKING, Any

import pytest
from click.shell_completion import ShellComplete
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from socker.cli.app import FAILED, NO, YES, cli, run
from socker.entry import FIELDS, Entry
from socker.policy import default_policy

if TYPE_CHECKING:
    from pathlib import Path


RULES = """\
version: 1
site_mounts:
  data: {source: /data}
  scratch: {source: /scratch, default: false}
defaults:
  mounts: {home: true, submit_dir: true}
rules:
  - {name: no-latest, effect: deny, images: ["**:latest"], reason: name a version of it}
  - {name: not-root, effect: deny, users: [games], reason: no games}
  - {name: groups, effect: allow, groups: [sys], images: ["grouped/**"]}
  - name: gpu
    effect: allow
    partitions: [gpu]
    images: ["debian:*"]
    mounts: {home: true}
    env: {set: {MODE: gpu}, remove: [LD_PRELOAD]}
  - {name: accounts, effect: allow, accounts: [physics], images: ["science/*"]}
  - {name: listed, effect: allow, images: catalogue}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(RULES)
    return path


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> pwd.struct_passwd:
    """A user that every Debian has, with groups of its own choosing."""
    entry = pwd.getpwnam("daemon")
    monkeypatch.setattr("os.getgrouplist", lambda _name, gid: [gid])
    return entry


class Known:
    """Has one image."""

    def find(self, reference: object) -> Entry | None:
        return object() if str(reference) == "docker.io/library/known:1" else None  # type: ignore[return-value]


@pytest.fixture
def listed(daemon: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a catalogue with one image."""
    monkeypatch.setattr("socker.cli.explain.load_catalogue", lambda _path: Known())


# check


def test_a_valid_file(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(policy)]) == YES
    said = capsys.readouterr()
    assert said.out == f"{policy}: valid, 6 rules\n"
    # below /tmp nothing can be relied on
    assert said.err.startswith("socker: warning: as it stands nodes would not rely on ")
    assert said.err.count("\n") == 1


def test_a_file_that_is_not_valid(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy.write_text(RULES.replace("effect: deny, users", "effect: dney, users"))
    assert run(["check", str(policy)]) == NO
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"socker: {policy}, line 9, rules[1].effect: there is no such choice: 'dney'\n"


def test_check_as_json(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "--json", str(policy)]) == YES
    said = json.loads(capsys.readouterr().out)
    assert (said["valid"], said["error"], said["built_in"]) == (True, "", False)
    assert said["rules"] == ["no-latest", "not-root", "groups", "gpu", "accounts", "listed"]
    policy.write_text("version: 2\n")
    assert run(["check", "--json", str(policy)]) == NO
    said = json.loads(capsys.readouterr().out)
    assert (said["valid"], said["rules"]) == (False, [])
    assert "version" in said["error"]


def test_a_file_that_is_too_large(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy.write_bytes(b"#" * (1 << 20) + b"\n")
    assert run(["check", str(policy)]) == NO
    assert capsys.readouterr().err == f"socker: {policy}: it is larger than 1 MiB\n"


def slurm_conf(directory: Path, policy: Path) -> str:
    """A configuration whose plugstack line names this policy file."""
    (directory / "plugstack.conf").write_text(f"required /x/socker.so policy={policy}\n")
    (directory / "slurm.conf").write_text("ClusterName=c\n")
    return str(directory / "slurm.conf")


def test_the_file_in_force_must_be_one_that_root_relies_on(
    policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy.chmod(0o666)
    assert run(["check", "--slurm-conf", slurm_conf(tmp_path, policy)]) == NO
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("socker: the policy file /")
    assert said.err.count("\n") == 1


def test_without_a_file_the_built_in_policy_is_in_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socker.cli.check.load", lambda _path: default_policy())
    path = tmp_path / "none.yaml"
    assert run(["check", "--slurm-conf", slurm_conf(tmp_path, path)]) == YES
    assert capsys.readouterr().out == f"{path}: there is no such file, so the built-in policy is in force\n"


# explain


def explained(policy: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = run(["explain", "--json", "--policy", str(policy), "--user", "daemon", *words])
    said = capsys.readouterr()
    assert said.err == ""
    return code, json.loads(said.out)


def answered(found: dict[str, Any]) -> dict[str, str]:
    return {rule["name"]: rule["answer"] for rule in found["rules"]}


def test_a_denial_names_its_rule_and_its_reason(
    policy: Path, daemon: pwd.struct_passwd, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = explained(policy, capsys, "--image", "debian")
    assert code == NO
    assert (found["verdict"], found["rule"], found["reason"]) == ("deny", "no-latest", "name a version of it")
    assert answered(found) == {"no-latest": "yes"}
    assert "plan" not in found


def test_an_allowed_image_goes_through_the_rules_and_has_a_plan(
    policy: Path, daemon: pwd.struct_passwd, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = explained(policy, capsys, "--image", "debian:12", "--partition", "gpu")
    assert (code, found["verdict"], found["rule"]) == (YES, "allow", "gpu")
    assert answered(found) == {"no-latest": "no", "not-root": "no", "groups": "no", "gpu": "yes"}
    why = {rule["name"]: rule["why"] for rule in found["rules"]}
    assert why["no-latest"] == "images: not docker.io/library/debian:12"
    assert why["not-root"] == "users: not daemon"
    assert why["groups"] == f"groups: not {grp.getgrgid(daemon.pw_gid).gr_name}"
    assert found["plan"]["environment"] == ["MODE=gpu"]
    assert found["plan"]["removed from it"] == ["LD_PRELOAD"]


def test_a_fact_that_was_not_given_is_asked_for(
    policy: Path, daemon: pwd.struct_passwd, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = explained(policy, capsys, "--image", "debian:12")
    assert (code, found["verdict"], found["rule"]) == (FAILED, "unknown", "gpu")
    assert found["reason"] == "the partition is not given: add --partition"


@pytest.mark.parametrize(("account", "code"), [("physics", YES), ("PHYSICS", YES), ("biology", NO)])
def test_an_account_decides(
    policy: Path, listed: None, capsys: pytest.CaptureFixture[str], account: str, code: int
) -> None:
    got, found = explained(policy, capsys, "--image", "science/x:1", "--account", account, "--partition", "main")
    assert got == code
    assert answered(found)["accounts"] == ("yes" if code == YES else "no")


def test_what_the_image_decides_is_said_to_depend_on_it(
    policy: Path, listed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--account", "biology", "--partition", "main")
    code, found = explained(policy, capsys, "--image", "known:1", *words)
    assert (code, found["verdict"], found["rule"]) == (YES, "depends", "listed")
    assert answered(found)["listed"] == "depends"
    assert found["plan"]["mounts"][-1] == "the submit directory"
    code, found = explained(policy, capsys, "--image", "unknown:1", *words)
    assert (code, found["verdict"], found["rule"]) == (NO, "deny", "-")


def test_a_mount_that_the_rule_does_not_give_is_a_denial(
    policy: Path, daemon: pwd.struct_passwd, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--image", "debian:12", "--partition", "gpu", "--mount", "/etc:/mnt")
    code, found = explained(policy, capsys, *words)
    assert (code, found["verdict"]) == (NO, "deny")
    why = '"/etc" is in none of the directories that it lets users mount (none)'
    assert found["reason"] == f'--container-mounts is denied by rule "gpu": {why}'
    code, found = explained(policy, capsys, *words[:4], "--mount", "scratch:/s:ro", "--mount", "tmpfs:/t")
    assert (code, found["verdict"]) == (NO, "deny")
    assert found["reason"].startswith('--container-mounts is denied by rule "gpu": ')
    policy.write_text(RULES.replace("mounts: {home: true}\n    env", "mounts: {site: [scratch]}\n    env"))
    code, found = explained(policy, capsys, *words[:4], "--mount", "scratch:/s:ro", "--mount", "tmpfs:/t")
    assert (code, found["plan"]["mounts"]) == (YES, ["/scratch:/s (read-only)", "/t (an empty tmpfs)"])
    assert found["plan"]["may be mounted"] == ["scratch"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--image", "debian:12", "--user", "nosuchuser"], "there is no user nosuchuser"),
        (["--image", "debian:12", "--user", "4000000000"], "there is no user 4000000000"),
        (["--image", "debian:12", "--user", "root"], "root runs no containers; name a user with --user"),
        (["--image", "De", "--user", "daemon"], 'image reference "De": the repository must be lower case: "De" (char'),
        (["--image", "", "--user", "daemon"], 'image reference "": it is empty'),
        (["--image", "a:\n", "--user", "daemon"], 'image reference "a:\\x0a": the character "\\x0a" is not allowed'),
    ],
)
def test_what_cannot_be_explained_is_one_line(
    policy: Path, words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", "--policy", str(policy), *words]) == FAILED
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"socker: {line}")
    assert said.err.count("\n") == 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_whatever_is_asked_gets_an_exit_code_and_at_most_one_line(
    policy: Path, capsys: pytest.CaptureFixture[str], image: str, user: str, mount: str
) -> None:
    words = ["explain", f"--policy={policy}", f"--image={image}", f"--mount={mount}", "--partition=gpu"]
    for who in ("daemon", user):
        assert run([*words, f"--user={who}"]) in {YES, NO, FAILED}
        said = capsys.readouterr()
        assert said.err.count("\n") <= 1
        assert "internal error" not in said.err
        assert said.err.replace("\n", "").isprintable()


def test_a_container_that_is_required_is_explained_without_an_image(
    policy: Path, daemon: pwd.struct_passwd, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = '  - {name: must, effect: allow, partitions: [gpu], required: {image: "debian:12"}}\n'
    policy.write_text("version: 1\nrules:\n" + rule)
    code, found = explained(policy, capsys, "--partition", "gpu")
    assert (code, found["verdict"], found["image"]) == (YES, "allow", "debian:12")
    code, found = explained(policy, capsys, "--partition", "main")
    assert (code, found["verdict"]) == (YES, "plain")
    policy.write_text("version: 1\nrules:\n" + rule.replace('{image: "debian:12"}', "{}"))
    assert run(["explain", "--policy", str(policy), "--user", "daemon", "--partition", "gpu"]) == FAILED
    assert "rule must requires a container" in capsys.readouterr().err


def test_an_image_is_completed_from_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    completed = ShellComplete(cli, {}, "socker", "_SOCKER_COMPLETE")
    entries = [Entry(**(dict.fromkeys(FIELDS, "") | {"repository": name, "tag": "1", "nodes": ()})) for name in "abc"]  # type: ignore[arg-type]
    monkeypatch.setattr("socker.cli.explain.load_catalogue", lambda _path: Listed(entries))
    assert [each.value for each in completed.get_completions(["explain", "--image"], "b")] == ["b:1"]
    monkeypatch.undo()
    monkeypatch.setattr("socker.cli.explain.DEFAULT_PATH", "/nosuch/images.yaml")
    assert completed.get_completions(["explain", "--image"], "b") == []


class Listed:
    """Has these entries."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = entries

    def entries(self) -> list[Entry]:
        return self._entries


def test_explain_for_people(policy: Path, daemon: pwd.struct_passwd, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["explain", "--policy", str(policy), "--user", str(daemon.pw_uid), "--image", "debian"]
    assert run(words) == NO
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["RULE", "EFFECT", "ANSWER", "WHY"]
    assert lines[1].split() == ["no-latest", "deny", "yes", "every", "selector", "matches"]
    assert lines[-1] == "daemon, docker.io/library/debian:latest: denied by rule no-latest: name a version of it"
