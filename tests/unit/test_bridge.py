# SPDX-License-Identifier: Apache-2.0
"""The bridge as C calls it: the real edges on a small Docker, and everything that may go wrong."""

from __future__ import annotations

import pwd
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from socker import audit, bridge, lifecycle, policyfile, slurm, wire

from .daemon import HANG
from .fakes import IMAGE_ID, TOKEN

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .daemon import Daemon
    from .header import Header

ANY_EXCEPTION = [ValueError, KeyError, MemoryError, RecursionError, SystemExit, KeyboardInterrupt, BaseException]


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Mapping[str, object]]]:
    """The node's log, as what was recorded in it."""
    events: list[tuple[str, Mapping[str, object]]] = []
    monkeypatch.setattr(audit.SyslogAudit, "record", lambda _self, event, fields: events.append((event, fields)))
    return events


@pytest.fixture(autouse=True)
def accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One account, whatever the machine has."""
    real = pwd.getpwuid
    entry = pwd.struct_passwd(("b", "x", 65534, 65534, "", "/home/b", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: entry if uid == 65534 else real(uid))


@pytest.fixture(autouse=True)
def profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A seccomp profile where the installation has its own; the files of a test are not root's."""
    monkeypatch.setattr(policyfile, "read_profile", lambda path: f'{{"of": "{path}"}}')


def ask(header: Header, request: Any) -> Any:
    plan = header.plan()
    assert bridge.open_step(header.ffi, request, plan) == wire.POLICY_DONE
    assert (plan.magic, plan.size) == (wire.PLAN_MAGIC, header.ffi.sizeof("struct socker_plan"))
    assert plan.nonce == request.nonce
    assert (plan.job, plan.uid, plan.gid) == (request.job, request.uid, request.gid)
    return plan


def refusal(header: Header, request: Any, *, flags: int = 0) -> str:
    plan = ask(header, request)
    assert plan.verdict == wire.REFUSE
    message = header.text(plan.message)
    assert message
    assert message.isprintable()
    assert plan.flags == flags
    for field in ("hold_pid", "mount_count", "env_count", "workdir", "text_size"):
        assert getattr(plan, field) == 0
    assert not any(header.ffi.buffer(plan.text)[:])
    assert (header.text(plan.digest), header.text(plan.id)) == ("", "")
    return message


def test_grant_is_filled_completely(docker: Daemon, header: Header) -> None:
    plan = ask(header, header.request(docker=docker.path.encode()))
    assert plan.verdict == wire.GRANT
    assert header.text(plan.message) == ""
    assert header.text(plan.digest) == IMAGE_ID
    assert header.text(plan.id) == next(iter(docker.containers))
    assert plan.hold_pid == 4242
    assert plan.flags == wire.PLAN_SUBMIT_DIR

    def text(offset: int) -> str:
        return header.text(plan.text + offset)

    assert text(plan.workdir) == "/srv"
    assert [text(plan.env[index]) for index in range(plan.env_count)] == ["PATH=/bin"]
    mounts = [plan.mounts[index] for index in range(plan.mount_count)]
    assert [(text(mount.source), text(mount.target), mount.flags) for mount in mounts] == [("/home/b", "/home/b", 0)]
    passwd, group = text(plan.passwd), text(plan.group)
    assert passwd == "b:x:65534:65534::/home/b:/bin/sh\n"
    assert group == "nogroup:x:65534:\n"
    assert plan.text_size == len(f"/srv\0PATH=/bin\0/home/b\0/home/b\0{passwd}\0{group}\0")
    assert not any(header.ffi.buffer(plan.text)[plan.text_size :])


def test_grant_labels_the_container_as_the_request_says(docker: Daemon, header: Header) -> None:
    ask(header, header.request(docker=docker.path.encode()))
    labels = docker.bodies[1]["Labels"]
    assert labels["io.socker.job"] == "4711"
    assert labels["io.socker.uid"] == "65534"
    assert labels["io.socker.token"] == TOKEN


@pytest.mark.parametrize("change", [{"magic": 0}, {"magic": wire.PLAN_MAGIC}, {"size": 1}, {"size": 0}])
def test_request_of_another_kind_or_version_gets_no_answer(header: Header, change: dict[str, int]) -> None:
    plan = header.plan()
    assert bridge.open_step(header.ffi, header.request(**change), plan) == 0
    assert not any(header.ffi.buffer(plan)[:])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"uid": 0}, "containers do not run as root; submit the job as a normal user"),
        ({"gid": 0}, "containers do not run as root; submit the job as a normal user"),
        ({"uid": 2**31}, "the id 2147483648 cannot be used in a container"),
        ({"group_count": 1025}, "the request has more groups than it has room for"),
        ({"reference": b"x" * 512}, "a string in the request does not end"),
        ({"docker": b"/" + b"x" * 107}, "a string in the request does not end"),
        ({"reference": b"\xff\xfe"}, 'image reference "\\udcff\\udcfe": the character "\\udcff" is not allowed'),
        ({"reference": b"a\x1b[31mb"}, 'image reference "a\\x1b[31mb": the character "\\x1b" is not allowed'),
        ({"reference": b"Debian"}, "must be lower case"),
        ({"reference": b"%n%s"}, "no part of a repository"),
        ({"reference": b"nosuch:1"}, "Docker does not answer on this node (/nonexistent/docker.sock: no such file"),
        ({"uid": 3999999, "gid": 1}, "the user id 3999999 has no account on this node"),
        ({"policy": b"policy.yaml"}, "is not a plain absolute path"),
        ({"name": b""}, 'the name "" is not one the opener makes'),
    ],
)
def test_refusal_says_why(header: Header, change: dict[str, Any], said: str) -> None:
    assert said in refusal(header, header.request(**change))


def test_image_that_is_not_there_is_refused(docker: Daemon, header: Header) -> None:
    said = refusal(header, header.request(docker=docker.path.encode(), reference=b"nosuch:1"))
    assert said == 'the image "nosuch:1" is not on node n1; ask your administrator to pull it'


def test_policy_file_that_cannot_be_trusted_is_refused(header: Header, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\nrules: []\n")
    tmp_path.chmod(0o777)
    said = refusal(header, header.request(policy=f"{tmp_path}/policy.yaml".encode()))
    assert said.startswith(f"the policy file {tmp_path}/policy.yaml (its directory ")
    assert said.endswith("; tell your administrator")


def test_docker_that_hangs_is_refused_before_the_deadline(docker: Daemon, header: Header) -> None:
    docker.misbehave = [("GET /images", HANG)]
    began = time.monotonic()
    said = refusal(header, header.request(docker=docker.path.encode(), deadline_ms=1500), flags=wire.PLAN_SILENT)
    assert "does not answer in time on this node" in said
    assert time.monotonic() - began < 1.5


def test_message_that_is_too_long_is_cut(header: Header, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "open_step", lambda *_: lifecycle.Refusal(message="ä" * 2000))
    said = refusal(header, header.request())
    assert len(said.encode()) <= 1023
    assert said.endswith("ä...")


@pytest.mark.parametrize("kind", ANY_EXCEPTION)
def test_anything_that_is_raised_is_a_refusal_and_a_traceback_in_the_log(
    header: Header,
    monkeypatch: pytest.MonkeyPatch,
    log: list[tuple[str, Mapping[str, object]]],
    kind: type[BaseException],
) -> None:
    def fail(*_: object) -> None:
        raise kind("secret\nof ours")

    monkeypatch.setattr(lifecycle, "open_step", fail)
    said = refusal(header, header.request())
    assert said == f"internal error in the policy engine ({kind.__name__}); the node's log has the details"
    assert log[-1][0] == "internal error"
    assert "test_bridge.py" in str(log[-1][1]["traceback"])


def test_error_while_the_error_is_logged_is_still_a_refusal(header: Header, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(lifecycle, "open_step", fail)
    monkeypatch.setattr(audit.SyslogAudit, "record", fail)
    said = refusal(header, header.request())
    assert said == "internal error in the policy engine (ValueError); tell your administrator"


@pytest.mark.parametrize("module", ["lifecycle", "policyfile", "engine_http", "engine", "identity"])
def test_broken_package_is_a_refusal(header: Header, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, f"socker.{module}", None)
    assert "internal error in the policy engine (ModuleNotFoundError)" in refusal(header, header.request())


def test_package_without_wire_gives_no_answer(header: Header, monkeypatch: pytest.MonkeyPatch) -> None:
    import socker

    monkeypatch.delattr(socker, "wire")
    monkeypatch.setitem(sys.modules, "socker.wire", None)
    assert bridge.open_step(header.ffi, header.request(), header.plan()) == 0
    assert bridge.close_job(header.ffi, header.close()) == 0


def test_plan_that_does_not_fit_is_no_grant_and_its_container_is_removed(
    docker: Daemon, header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "encode", lambda text: text.encode() * 20_000)
    said = refusal(header, header.request(docker=docker.path.encode()))
    assert said == "internal error in the policy engine (PlanError); the node's log has the details"
    assert docker.containers == {}


def test_request_without_a_reference_is_plain_where_none_is_required(header: Header) -> None:
    plan = ask(header, header.request(reference=b""))
    assert plan.verdict == wire.PLAIN
    assert (plan.job, plan.uid, plan.hold_pid) == (4711, 65534, 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary(min_size=1, max_size=511).filter(lambda reference: reference[0] != 0))
def test_any_reference_is_a_refusal_or_a_grant(header: Header, reference: bytes) -> None:
    said = refusal(header, header.request(reference=reference))
    assert "internal error" not in said


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.binary(min_size=64, max_size=64), st.integers(0, 20000))
def test_rubbish_in_the_request_is_never_a_grant(header: Header, rubbish: bytes, place: int) -> None:
    request, plan = header.request(), header.plan()
    size = header.ffi.sizeof("struct socker_request")
    header.ffi.buffer(request)[place % (size - 64) : place % (size - 64) + 64] = rubbish
    assert bridge.open_step(header.ffi, request, plan) in {0, wire.POLICY_DONE}
    assert plan.verdict in {wire.REFUSE, wire.PLAIN}


def item(job: int = 4711, name: str = "socker-abcd-4711-k", container: str = "") -> dict[str, Any]:
    return {"job": job, "keep": 0, "name": name.encode(), "id": container.encode()}


def opened(header: Header, docker: Daemon) -> str:
    return header.text(ask(header, header.request(docker=docker.path.encode())).id)


def test_close_removes_and_says_so(docker: Daemon, header: Header) -> None:
    container = opened(header, docker)
    value = header.close(item(container=container), item(name="socker-gone"), docker=docker.path.encode())
    assert bridge.close_job(header.ffi, value) == wire.POLICY_DONE
    assert [value.items[0].keep, value.items[1].keep] == [0, 0]
    assert header.text(value.message) == ""
    assert docker.containers == {}


def test_close_of_a_container_that_is_not_ours_keeps_it(docker: Daemon, header: Header) -> None:
    container = opened(header, docker)
    value = header.close(item(job=1, container=container), docker=docker.path.encode())
    assert bridge.close_job(header.ffi, value) == wire.POLICY_DONE
    assert value.items[0].keep == 1
    assert "is not the one of job 1" in header.text(value.message)
    assert list(docker.containers) == [container]


def test_close_without_docker_keeps_all(header: Header) -> None:
    value = header.close(item(), item())
    assert bridge.close_job(header.ffi, value) == wire.POLICY_DONE
    assert [value.items[0].keep, value.items[1].keep] == [1, 1]
    assert "Docker does not answer on this node" in header.text(value.message)


@pytest.mark.parametrize("change", [{"magic": 0}, {"size": 4}, {"count": 513}])
def test_question_that_is_not_whole_gets_no_answer(header: Header, change: dict[str, int]) -> None:
    assert bridge.close_job(header.ffi, header.close(item(), **change)) == 0
    assert bridge.sweep_node(header.ffi, header.close(item(), **change)) == 0


@pytest.mark.parametrize("kind", ANY_EXCEPTION)
def test_anything_that_is_raised_while_closing_keeps_all(
    header: Header, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    def fail(*_: object) -> None:
        raise kind

    monkeypatch.setattr(lifecycle, "close_items", fail)
    value = header.close(item())
    assert bridge.close_job(header.ffi, value) == wire.POLICY_DONE
    assert value.items[0].keep == 1
    assert f"internal error in the policy engine ({kind.__name__})" in header.text(value.message)


def test_close_and_sweep_are_two_things(header: Header) -> None:
    value = header.close(item(), sweep=wire.SWEEP_ALL)
    assert bridge.close_job(header.ffi, value) == wire.POLICY_DONE
    assert (value.items[0].keep, header.text(value.message)) == (1, "a sweep is asked for by another name")
    for kind in (0, 3):
        value = header.close(item(), sweep=kind)
        assert bridge.sweep_node(header.ffi, value) == wire.POLICY_DONE
        assert (value.items[0].keep, header.text(value.message)) == (1, "there is no sweep of that kind")


def live(monkeypatch: pytest.MonkeyPatch, *jobs: int) -> None:
    monkeypatch.setattr(slurm.SlurmCommands, "live", lambda *_: frozenset(jobs))


def test_sweep_of_records_says_which_jobs_are_dead(header: Header, monkeypatch: pytest.MonkeyPatch) -> None:
    live(monkeypatch, 4711)
    value = header.close(item(), item(job=1), item(job=2, name=""), sweep=wire.SWEEP_RECORDED)
    assert bridge.sweep_node(header.ffi, value) == wire.POLICY_DONE
    assert [value.items[index].keep for index in range(3)] == [1, 0, 0]


def test_sweep_of_all_removes_what_has_no_record(
    docker: Daemon, header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(monkeypatch)
    opened(header, docker)
    value = header.close(item(job=1, name="socker-1"), sweep=wire.SWEEP_ALL, docker=docker.path.encode())
    assert bridge.sweep_node(header.ffi, value) == wire.POLICY_DONE
    assert (value.items[0].keep, header.text(value.message)) == (1, "")
    assert docker.containers == {}


def test_sweep_leaves_live_and_recorded_containers(
    docker: Daemon, header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = opened(header, docker)
    live(monkeypatch, 4711)
    value = header.close(sweep=wire.SWEEP_ALL, docker=docker.path.encode())
    assert bridge.sweep_node(header.ffi, value) == wire.POLICY_DONE
    live(monkeypatch)
    value = header.close(item(), sweep=wire.SWEEP_ALL, docker=docker.path.encode())
    assert bridge.sweep_node(header.ffi, value) == wire.POLICY_DONE
    assert list(docker.containers) == [container]


def test_sweep_without_slurm_keeps_all(header: Header) -> None:
    value = header.close(item(), sweep=wire.SWEEP_RECORDED, slurm_conf=b"/nonexistent/slurm.conf")
    assert bridge.sweep_node(header.ffi, value) == wire.POLICY_DONE
    assert value.items[0].keep == 1
    assert header.text(value.message).startswith("nothing is removed: ")
