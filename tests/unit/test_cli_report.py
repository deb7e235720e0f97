# SPDX-License-Identifier: Apache-2.0
"""socker report: from audit lines to who used what; and the small things of ps and sweep."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from socker.audit import audit_line
from socker.cli.app import FAILED, NO, YES, run
from socker.cli.ps import age

if TYPE_CHECKING:
    from pathlib import Path


def line(**fields: object) -> str:
    """A line of syslog's file, as the policy engine makes it."""
    known: dict[str, object] = {"time": 1_790_000_000.5, "uid": 20001, "reference": "debian:12", "verdict": "allow"}
    known |= {"user": "alice", "account": "physics"}
    return f"Nov 24 08:00:00 n1 socker-policy: {audit_line('open', known | fields)}\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "auth.log"
    path.write_text(
        line()
        + line(time=1_790_000_100)
        + line(verdict="deny")
        + line(verdict="error", user="bob", account="")
        + line(verdict="plain")
        + line(reference="\x1b[31m/evil:1", verdict="deny")
        + "Nov 24 08:00:00 n1 sshd[1]: something else\n"
        + "Nov 24 08:00:00 n1 socker-policy: {broken\n"
        + "Nov 24 08:00:00 n1 socker-policy[77]: "
        + line(user="carol").partition(": ")[2]
        + 'Nov 24 08:00:00 n1 socker-policy: {"event": "open", "verdict": "allow", "uid": [], "time": "x"}\n'
        + 'Nov 24 08:00:00 n1 socker-policy: {"event": "module failed"}\n'
    )
    return path


def rows(log: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[tuple[str, str, str], tuple[int, ...]]:
    assert run(["report", "--file", str(log), "--json", *words]) == YES
    return {
        (row["image"], row["user"], row["account"]): (row["allowed"], row["denied"], row["failed"], row["last"])
        for row in json.loads(capsys.readouterr().out)
    }


def test_a_row_for_each_image_user_and_account(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rows(log, capsys) == {
        ("debian:12", "alice", "physics"): (2, 1, 0, 1_790_000_100),
        ("debian:12", "bob", ""): (0, 0, 1, 1_790_000_000.5),
        ("debian:12", "carol", "physics"): (1, 0, 0, 1_790_000_000.5),
        ("\\x1b[31m/evil:1", "alice", "physics"): (0, 1, 0, 1_790_000_000.5),
        ("", "", ""): (1, 0, 0, 0.0),
    }


def test_rows_can_be_chosen(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {key[1] for key in rows(log, capsys, "--user", "bob")} == {"bob"}
    assert {key[1] for key in rows(log, capsys, "--account", "physics")} == {"alice", "carol"}
    assert rows(log, capsys, "--since", "2038-01-01") == {}
    assert len(rows(log, capsys, "--since", "2020-01-01 08:00")) == 4


def test_a_table_of_uses(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "--file", str(log), "--user", "alice"]) == YES
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first.split() == ["IMAGE", "USER", "ACCOUNT", "ALLOWED", "DENIED", "FAILED", "LAST"]
    assert second.split()[:6] == ["debian:12", "alice", "physics", "2", "1", "0"]


def test_a_file_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "--file", "/nosuch"]) != YES
    assert capsys.readouterr().err.splitlines()[-1].endswith("No such file or directory")


def test_without_journal_and_files_one_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.path.isdir", lambda _path: False)
    monkeypatch.setattr("socker.cli.report.FILES", ("/nosuch",))
    assert run(["report"]) == FAILED
    said = "socker: there is no journal, and none of syslog's usual files; name one with --file\n"
    assert capsys.readouterr().err == said


def journal(directory: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journalctl that does as the text says and keeps its words."""
    program = directory / "journalctl"
    program.write_text(f'#!/bin/sh\necho "$@" > {directory}/words\n{body}\n')
    program.chmod(0o755)
    monkeypatch.setattr("socker.cli.report.JOURNALCTL", str(program))
    monkeypatch.setattr("os.path.isdir", lambda path: path == "/run/systemd/system")
    conf = directory / "slurm.conf"
    conf.write_text("ClusterName=c\n")
    (directory / "plugstack.conf").write_text("required /x/socker.so user=daemon\n")
    return conf


def test_the_journal_is_asked_for_the_engines_own_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lines").write_text(line())
    conf = journal(tmp_path, f"cat {tmp_path}/lines", monkeypatch)
    assert run(["report", "--json", "--slurm-conf", str(conf)]) == YES
    assert [row["image"] for row in json.loads(capsys.readouterr().out)] == ["debian:12"]
    words = (tmp_path / "words").read_text().split()
    assert {"--identifier=socker-policy", "_UID=1"} <= set(words)


def test_who_is_not_root_is_told_that_the_journal_may_hide_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = journal(tmp_path, "", monkeypatch)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert run(["report", "--json", "--slurm-conf", str(conf)]) == YES
    said = capsys.readouterr()
    assert json.loads(said.out) == []
    assert said.err == "socker: warning: not root, so only what you may read of the journal counts\n"


def test_a_journal_that_cannot_be_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = journal(tmp_path, "echo No access >&2; exit 1", monkeypatch)
    assert run(["report", "--slurm-conf", str(conf)]) == FAILED
    assert capsys.readouterr().err == "socker: the journal cannot be read: No access; name a file with --file\n"


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda below: st.one_of(st.lists(below, max_size=2), st.dictionaries(st.text(max_size=3), below, max_size=2)),
    max_leaves=4,
)
_FIELDS = st.fixed_dictionaries(
    {"event": st.just("open"), "verdict": st.sampled_from(["allow", "deny", "error", "plain", 1])},
    optional=dict.fromkeys(("time", "uid", "user", "account", "reference"), _JSON),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(_FIELDS.map(json.dumps), st.text(max_size=20)), max_size=4))
def test_whatever_a_log_holds_is_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: list[str]) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"n1 socker-policy: {line}\n" for line in lines), errors="replace")
    for words in (["--json"], [], ["--since", "2026-01-01"]):
        assert run(["report", "--file", str(path), *words]) == YES
    assert capsys.readouterr().err == ""


# ps and sweep


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0:00"), (59.9, "0:59"), (61, "1:01"), (3600, "1:00:00"), (90061, "1-01:01:01")]
)
def test_ages_are_as_squeue_shows_them(seconds: float, text: str) -> None:
    assert age(seconds) == text


def opener(directory: Path, body: str, words: str = "") -> str:
    """A slurm.conf beside which an opener is installed that does as the text says."""
    (directory / "socker-opener").write_text(f'#!/bin/sh\necho "$@" > {directory}/words\n{body}\n')
    (directory / "socker-opener").chmod(0o755)
    (directory / "plugstack.conf").write_text(f"required {directory}/socker.so {words}\n")
    (directory / "slurm.conf").write_text("ClusterName=c\n")
    return str(directory / "slurm.conf")


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)


def test_sweep_gives_the_opener_the_words_of_the_plugstack_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = opener(tmp_path, "echo closed job 7 on n1", "state=/a docker=/b")
    assert run(["sweep", "--slurm-conf", conf]) == YES
    assert capsys.readouterr() == ("closed job 7 on n1\n", "")
    assert (tmp_path / "words").read_text() == f"sweep state=/a docker=/b slurm_conf={conf}\n"
    conf = opener(tmp_path, "", "slurm_conf=/c")
    assert run(["sweep", "--dry-run", "--slurm-conf", conf]) == YES
    assert (tmp_path / "words").read_text() == f"sweep --dry-run slurm_conf=/c slurm_conf={conf}\n"


def test_a_configuration_that_the_line_names_is_the_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = opener(tmp_path, "", "slurm_conf=/c")
    monkeypatch.delenv("SLURM_CONF", raising=False)
    monkeypatch.setattr("socker.cli.site._PLACES", (conf,))
    assert run(["sweep"]) == YES
    assert (tmp_path / "words").read_text() == "sweep slurm_conf=/c\n"


def test_sweep_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conf = opener(tmp_path, "echo would close job 7 on n1; echo something else")
    assert run(["sweep", "--dry-run", "--json", "--slurm-conf", conf]) == YES
    assert json.loads(capsys.readouterr().out) == [{"job": 7, "node": "n1", "removed": False}]


def test_a_sweep_that_leaves_something_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conf = opener(tmp_path, "echo 'socker: nothing is removed' >&2; exit 1")
    assert run(["sweep", "--slurm-conf", conf]) == NO
    assert capsys.readouterr() == ("", "socker: nothing is removed\n")


def test_a_sweep_without_a_line_or_an_opener_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conf = opener(tmp_path, "")
    (tmp_path / "socker-opener").unlink()
    assert run(["sweep", "--slurm-conf", conf]) == FAILED
    said = f"socker: {tmp_path}/socker-opener: no such file or directory; is socker installed here?\n"
    assert capsys.readouterr().err == said
    (tmp_path / "plugstack.conf").write_text("# nothing\n")
    assert run(["sweep", "--slurm-conf", conf]) == FAILED
    assert "has no line for socker.so, so it is not known what to sweep" in capsys.readouterr().err
