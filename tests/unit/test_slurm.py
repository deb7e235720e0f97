# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socker.errors import SlurmError
from socker.model import Facts
from socker.slurm import SQUEUE, PyslurmFacts, SlurmCommands, job_facts, parse_facts, parse_jobs

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


# -- facts of a job: two ways, one contract

SEPARATED = "\\037".join(["%s"] * 5)


class Controller:
    """What a controller knows: jobs by their own ids, in the order in which it would tell them."""

    def __init__(self, *jobs: tuple[int, str | None, str, str | None, str | None]) -> None:
        self.jobs = jobs

    def commands(self, directory: Path) -> SlurmCommands:
        lines = "".join(
            f"printf '{SEPARATED}\\n' {' '.join(repr('(null)' if field is None else str(field)) for field in job)}\n"
            for job in self.jobs
        )
        none = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"
        return commands(directory, lines if self.jobs else none)

    def pyslurm(self, _directory: Path) -> PyslurmFacts:
        loaded = [
            SimpleNamespace(id=job, account=account, partition=partition, qos=qos, reservation=reservation)
            for job, account, partition, qos, reservation in self.jobs
        ]

        class PyslurmError(Exception):
            pass

        class Job:
            @staticmethod
            def load(_job: int) -> SimpleNamespace:
                if not loaded:
                    raise PyslurmError("Invalid job id specified")
                return loaded[0]

        class Jobs:
            @staticmethod
            def load() -> dict[int, SimpleNamespace]:
                return {job.id: job for job in loaded}

        return PyslurmFacts(SimpleNamespace(Job=Job, Jobs=Jobs, PyslurmError=PyslurmError))


WAYS = pytest.mark.parametrize("way", ["commands", "pyslurm"])


@WAYS
def test_facts_of_a_job(tmp_path: Path, way: str) -> None:
    controller = Controller((7, "physics", "gpu", "high", "course"))
    expected = Facts(account="physics", partition="gpu", qos="high", reservation="course")
    assert getattr(controller, way)(tmp_path).facts(7) == expected


@WAYS
def test_what_a_job_does_not_have_is_empty(tmp_path: Path, way: str) -> None:
    expected = Facts(account="", partition="main", qos="", reservation="")
    assert getattr(Controller((7, None, "main", None, None)), way)(tmp_path).facts(7) == expected


@WAYS
def test_of_several_tasks_or_components_the_one_with_the_id_counts(tmp_path: Path, way: str) -> None:
    jobs = ((8, "other", "main", None, None), (7, "physics", "gpu", None, None), (9, "third", "main", None, None))
    assert getattr(Controller(*jobs), way)(tmp_path).facts(7).account == "physics"


@WAYS
@pytest.mark.parametrize("jobs", [(), ((8, "other", "main", None, None),)])
def test_a_job_that_slurm_does_not_tell_has_no_facts(tmp_path: Path, way: str, jobs: Any) -> None:
    with pytest.raises(SlurmError, match=r"job id|does not tell the facts of job 7|does not know the job 7"):
        getattr(Controller(*jobs), way)(tmp_path).facts(7)


@pytest.mark.parametrize(
    "squeue",
    ["true", "echo nonsense", "printf '7\\037a\\037b\\n'", "printf '7\\037a\\037b\\037c\\037d\\n%.0s' 1 2"],
)
def test_lines_that_are_not_one_jobs_facts_are_no_answer(tmp_path: Path, squeue: str) -> None:
    with pytest.raises(SlurmError, match="squeue does not tell the facts of job 7"):
        commands(tmp_path, squeue).facts(7)


def test_facts_of_jobs_that_slurm_hides_say_so(tmp_path: Path) -> None:
    with pytest.raises(SlurmError, match="^PrivateData hides jobs from the user of the policy engine$"):
        commands(tmp_path, "true", "echo 'PrivateData = jobs'").facts(7)
    seen = f"printf '{SEPARATED}\\n' 7 a b c d"
    assert commands(tmp_path, seen, "echo 'PrivateData = jobs'").facts(7).account == "a"


def test_facts_that_do_not_come_in_time_are_no_answer(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(SlurmError, match="squeue does not answer in time"):
        commands(tmp_path, "exec sleep 30", seconds=0.5).facts(7)
    assert time.monotonic() - began < 3


def test_facts_are_asked_by_id_and_unambiguously(tmp_path: Path) -> None:
    commands(tmp_path, f'echo "$@" > {tmp_path}/args; printf "{SEPARATED}\\n" 7 "a b" c d e').facts(7)
    assert (tmp_path / "args").read_text() == (
        "--all --noheader --states=all --jobs=7 --format=%A\x1f%a\x1f%P\x1f%q\x1f%v\n"
    )


def installed_pyslurm(directory: Path, version: str, text: str = "raise ImportError") -> list[str]:
    package = directory / "site/pyslurm"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(text)
    (package / "version.py").write_text(f'__version__ = "{version}"\n')
    return [str(directory / "site")]


VERSION = 'case "$1" in --version) echo "slurm 25.11.7"; exit;; esac; exit 1'


@pytest.mark.parametrize(
    ("version", "slurm_conf", "chosen"),
    [("25.11.2", "", True), ("25.05.0", "", False), ("25.11.2", "/etc/x.conf", False), ("unknown", "", False)],
)
def test_pyslurm_is_taken_where_it_is_of_slurms_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, slurm_conf: str, *, chosen: bool
) -> None:
    monkeypatch.setitem(sys.modules, "pyslurm", SimpleNamespace())
    asked = commands(tmp_path, VERSION)
    way = job_facts(asked, slurm_conf, installed_pyslurm(tmp_path, version))
    assert (way != asked.facts) is chosen


def test_without_a_pyslurm_that_works_the_commands_are_asked(tmp_path: Path) -> None:
    asked = commands(tmp_path, VERSION)
    assert job_facts(asked, "", [str(tmp_path)]) == asked.facts
    code = (
        "import sys; from socker.slurm import SlurmCommands, job_facts; import time\n"
        "path, squeue = sys.argv[1:]; sys.path.insert(0, path)\n"
        "asked = SlurmCommands('', time.monotonic() + 5, squeue=squeue)\n"
        "sys.exit(job_facts(asked, '', [path]) != asked.facts)"
    )
    (path,) = installed_pyslurm(tmp_path, "25.11.2")
    argv = [sys.executable, "-c", code, path, str(tmp_path / "squeue")]
    assert subprocess.run(argv, check=False).returncode == 0


@given(st.text(max_size=60))
def test_parse_facts_of_anything_is_facts_or_our_error(text: str) -> None:
    try:
        parse_facts(text, 7)
    except SlurmError as error:
        assert str(error).isprintable()
