# SPDX-License-Identifier: Apache-2.0
"""place.c: which directories of the host a step needs, and which targets are never covered (T30)."""

from __future__ import annotations

from typing import Any

import pytest

from .driver import add_place, lib, new_record, new_request


def record(*places: str, submit_dir: bool = True) -> Any:
    made = new_record()
    made.flags = lib.SOCKER_PLAN_SUBMIT_DIR if submit_dir else 0
    for path in places:
        add_place(made, path)
    return made


@pytest.mark.parametrize(
    "path",
    ["/", "/proc", "/proc/1/root", "/sys", "/sys/fs/cgroup", "/dev", "/dev/shm", "/etc", "/etc/passwd", "/usr",
     "/usr/local", "/bin", "/sbin/x", "/lib", "/lib64", "/lib32", "/libx32", "/boot", "/.socker", "/.socker/hold",
     "/var", "/run", "/var/run", "/var/lib", "/opt", "/srv", "/mnt", "/home"],
)  # fmt: skip
def test_place_of_the_system_is_never_covered(path: str) -> None:
    assert lib.place_is_systems(path.encode())


@pytest.mark.parametrize(
    "path",
    ["/home/u", "/opt/x", "/srv/data", "/mnt/scratch", "/var/tmp", "/tmp", "/data", "/processed", "/development",
     "/usrlocal", "/run/user/1", "/.sockers", "/etcetera", "/libs", "/root"],
)  # fmt: skip
def test_place_of_a_user_may_be_covered(path: str) -> None:
    assert not lib.place_is_systems(path.encode())


@pytest.mark.parametrize(
    "target",
    ["/", "/proc", "/proc/1", "/sys", "/sys/fs/cgroup", "/dev", "/.socker", "/.socker/hold", "/run/socker",
     "/run/socker/node1"],
)  # fmt: skip
def test_place_that_nobody_may_ask_for_is_refused_to_devices_too(target: str) -> None:
    assert lib.place_is_refused(target.encode(), False)
    assert lib.place_is_refused(target.encode(), True)


@pytest.mark.parametrize("target", ["/dev/null", "/dev/shm", "/dev/dri/card0"])
def test_place_below_dev_is_for_devices_alone(target: str) -> None:
    assert lib.place_is_refused(target.encode(), False)
    assert not lib.place_is_refused(target.encode(), True)


@pytest.mark.parametrize(
    "target",
    ["/etc", "/etc/x", "/usr", "/bin", "/lib", "/home", "/opt", "/run", "/run/user", "/process", "/system", "/devices",
     "/.sockers", "/run/sockers", "/run/socke"],
)  # fmt: skip
def test_place_that_a_user_may_ask_for_is_not_refused(target: str) -> None:
    assert not lib.place_is_refused(target.encode(), False)


@pytest.mark.parametrize(
    ("made", "cwd", "misses"),
    [
        pytest.param(record("/home/u"), b"/home/u/x", False, id="below a place"),
        pytest.param(record("/home/u"), b"/home/user", True, id="beside a place"),
        pytest.param(record(), b"/scratch", True, id="no place"),
        pytest.param(record(submit_dir=False), b"/scratch", False, id="policy does not mount it"),
        pytest.param(record(), b"", False, id="no directory"),
        pytest.param(record(), b"relative", False, id="not absolute"),
        pytest.param(record(), b"/usr/share", False, id="the system's"),
        pytest.param(record(), b"/", False, id="root"),
    ],
)
def test_place_misses_cwd_only_where_it_must_be_mounted(made: Any, cwd: bytes, misses: bool) -> None:
    request = new_request(cwd=cwd)
    assert lib.place_misses_cwd(made, request) is misses
    assert lib.place_covers(made, request) is not misses


def test_place_that_failed_is_still_one() -> None:
    made = record()
    add_place(made, "/private", error=13)
    assert not lib.place_misses_cwd(made, new_request(cwd=b"/private/x"))


@pytest.mark.parametrize(
    ("made", "script", "misses"),
    [
        pytest.param(record(), b"/var/spool/slurmd/job1/slurm_script", True, id="in the spool"),
        pytest.param(record("/var/spool/slurmd"), b"/var/spool/slurmd/job1/slurm_script", False, id="below a place"),
        pytest.param(record(submit_dir=False), b"/spool/script", True, id="whatever policy mounts"),
        pytest.param(record(), b"", False, id="no batch step"),
        pytest.param(record(), b"script", False, id="not absolute"),
    ],
)
def test_place_misses_script_of_a_batch_step(made: Any, script: bytes, misses: bool) -> None:
    request = new_request(script=script)
    assert lib.place_misses_script(made, request) is misses
    assert lib.place_covers(made, request) is not misses


@pytest.mark.parametrize(
    ("made", "spool", "misses"),
    [
        pytest.param(record(), b"/var/spool/slurmd", True, id="with PMIx"),
        pytest.param(record("/var/spool/slurmd"), b"/var/spool/slurmd", False, id="lent already"),
        pytest.param(record("/var/spool/slurmd/job1/slurm_script"), b"/var/spool/slurmd", True, id="only the script"),
        pytest.param(record(), b"", False, id="without PMIx"),
    ],
)
def test_place_misses_spool_of_a_step_with_pmix(made: Any, spool: bytes, misses: bool) -> None:
    request = new_request(spool=spool)
    assert lib.place_misses_spool(made, request) is misses
    assert lib.place_covers(made, request) is not misses


@pytest.mark.parametrize(
    ("path", "place", "misses"),
    [
        pytest.param("/etc/slurm/prolog", {}, False, id="lent already"),
        pytest.param("/etc/slurm", {}, False, id="below a directory of the host"),
        pytest.param("/etc/slurm/prolog", {"other": True}, True, id="something else of the user in its place"),
        pytest.param("/etc/slurm", {"other": True}, True, id="below something else of the user"),
        pytest.param("/etc/slurm", {"error": 13}, True, id="below what could not be mounted"),
        pytest.param("/etc/slurm/other", {}, True, id="beside"),
    ],
)
def test_place_misses_prolog_that_is_not_the_sites(path: str, place: dict[str, Any], misses: bool) -> None:
    made = record()
    add_place(made, path, **place)
    request = new_request(prolog=b"/etc/slurm/prolog")
    assert lib.place_misses_prolog(made, request) is misses
    assert lib.place_covers(made, request) is not misses
    assert not lib.place_misses_prolog(made, new_request())


def test_place_misses_no_prolog_that_was_mounted_over_the_users() -> None:
    made = record()
    add_place(made, "/etc/slurm", other=True)
    add_place(made, "/etc/slurm/prolog", other=True)
    add_place(made, "/etc/slurm/prolog")
    assert not lib.place_misses_prolog(made, new_request(prolog=b"/etc/slurm/prolog"))
