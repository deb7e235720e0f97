# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socker.errors import SlurmError
from socker.slurm import SQUEUE, SlurmCommands, parse_jobs

from .daemon import soon

if TYPE_CHECKING:
    from pathlib import Path

PUBLIC = "echo 'Configuration data'; echo 'PrivateData             = none'"


def commands(
    directory: Path, squeue: str, scontrol: str = PUBLIC, conf: str = "/etc/x.conf", seconds: float = 5.0
) -> SlurmCommands:
    for name, script in (("squeue", squeue), ("scontrol", scontrol)):
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)
    return SlurmCommands(conf, soon(seconds), squeue=f"{directory}/squeue", scontrol=f"{directory}/scontrol")


def test_live_jobs_are_all_that_are_not_over(tmp_path: Path) -> None:
    live = "7 RUNNING\\n8 COMPLETING\\n10 SUSPENDED\\n12 NEW_STATE\\n14 REQUEUED\\n"
    states = live + "9 COMPLETED\\n11 CANCELLED\\n13 TIMEOUT\\n"
    assert commands(tmp_path, f"printf '{states}'").live("n1") == {7, 8, 10, 12, 14}


def test_no_jobs_is_an_answer(tmp_path: Path) -> None:
    assert commands(tmp_path, "true").live("n1") == frozenset()


def test_commands_get_their_own_arguments_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQUEUE_FORMAT", "%j")
    script = f'echo "$@" > {tmp_path}/args; /usr/bin/env > {tmp_path}/env'
    commands(tmp_path, script).live("n1")
    assert (tmp_path / "args").read_text() == "--all --noheader --states=all --format=%A %T --nodelist=n1\n"
    environment = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert environment.pop("SLURM_CONF") == "/etc/x.conf"
    assert set(environment) <= {"PWD", "_", "SHLVL", "OLDPWD"}
    commands(tmp_path, script, conf="").live("n1")
    assert "SLURM_CONF" not in (tmp_path / "env").read_text()
    assert SQUEUE == "/usr/bin/squeue"


@pytest.mark.parametrize(
    ("squeue", "why"),
    [
        ("echo 'squeue: error: Invalid node name n1' >&2; exit 1", r"squeue failed \(1\): squeue: error: Invalid node"),
        ("printf 'a\\033[31m\\n' >&2; exit 1", r"squeue failed \(1\): a\\x1b\[31m"),
        ("echo nonsense", "squeue printed something else than a job and its state: nonsense"),
        ("echo '7 RUNNING'; echo '7_[1-3] PENDING'", "something else than a job"),
        ("kill -9 $$", r"squeue failed \(-9\)"),
    ],
)
def test_squeue_that_fails_is_no_answer(tmp_path: Path, squeue: str, why: str) -> None:
    with pytest.raises(SlurmError, match=why):
        commands(tmp_path, squeue).live("n1")


def test_squeue_that_hangs_is_given_up(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(SlurmError, match="does not answer in time"):
        commands(tmp_path, "exec sleep 30", seconds=0.5).live("n1")
    assert time.monotonic() - began < 3


def test_squeue_that_is_not_there_is_no_answer(tmp_path: Path) -> None:
    asked = commands(tmp_path, "true")
    (tmp_path / "squeue").unlink()
    with pytest.raises(SlurmError, match="squeue: No such file or directory"):
        asked.live("n1")


@pytest.mark.parametrize("setting", ["jobs", "accounts,jobs", "Jobs,users", "all", "jobs, usage"])
def test_jobs_that_slurm_hides_are_not_called_dead(tmp_path: Path, setting: str) -> None:
    with pytest.raises(SlurmError, match="PrivateData hides jobs"):
        commands(tmp_path, "true", f"echo 'PrivateData = {setting}'").live("n1")


@pytest.mark.parametrize("setting", ["none", "accounts,users", "cloud", "(null)"])
def test_other_private_data_is_no_matter(tmp_path: Path, setting: str) -> None:
    assert commands(tmp_path, "true", f"echo 'PrivateData = {setting}'").live("n1") == frozenset()


def test_scontrol_that_does_not_say_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(SlurmError, match="does not say what PrivateData is"):
        commands(tmp_path, "true", "echo hello").live("n1")


@given(st.text(max_size=60))
def test_parse_jobs_of_anything_is_jobs_or_our_error(text: str) -> None:
    try:
        parse_jobs(text)
    except SlurmError as error:
        assert str(error).isprintable()
