# SPDX-License-Identifier: Apache-2.0
"""
opener.c and opener_main.c: from a request to a container that tasks may join. The policy engine is a fake whose answer is
in a file; the container is one that the test has started as Docker would.
"""

from __future__ import annotations

import errno
import os
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .driver import (
    GROUP,
    JOB,
    NODE,
    REFERENCE,
    STAGE,
    USER,
    Child,
    Container,
    done,
    eventually,
    ffi,
    in_child,
    key_of,
    lib,
    messages,
    new_config,
    new_request,
    refused,
    runs,
    strings,
)
from .test_plan import Draft

HOLD_USER, POLICY_USER = "nobody", "daemon"
NOBODY = 65534


class Node:
    """A node's directories, and what its policy engine answers."""

    def __init__(self, base: Path) -> None:
        self.state = base / "state"
        self.token = base / "token" / "token"
        self.answer = base / "plan"
        self.kept = base / "kept"
        self.keeps()
        self.more: tuple[str, ...] = ()
        self._alive: list[Any] = []

    def words(self) -> list[str]:
        return [
            f"state={self.state}",
            f"token={self.token}",
            f"policy={self.answer}",
            f"slurm_conf={self.kept}",
            f"user={POLICY_USER}",
            f"hold_user={HOLD_USER}",
            "deadline=3",
            *self.more,
        ]

    def config(self) -> Any:
        argv, kept = strings(self.words())
        config = new_config()
        done(lib.config_parse, config, len(kept), argv)
        self._alive += [argv, kept]
        return config

    def keeps(self, *, closing: str = "", sweeping: str = "") -> None:
        """What the policy engine answers for each item of a question: 1 where it is to stay."""
        most = int(lib.SOCKER_CLOSE_MAX)
        self.kept.write_text(closing.ljust(most, "0") + sweeping.ljust(most, "0"))

    def answers(self, plan: Any) -> None:
        self.answer.write_bytes(bytes(ffi.buffer(plan)))

    def open(self, *, leaks: bool = False, **fields: Any) -> str:
        """Opens as the opener does; the reason of a refusal, empty where the container is open."""

        def opener() -> str:
            wait_for_cancel, _cancel = os.pipe()
            os.dup2(wait_for_cancel, lib.OPENER_CANCEL)
            use_libdir()
            os.setgroups([])
            err = ffi.new("struct socker_error *")
            result = lib.opener_open(self.config(), new_request(**fields), err)
            reason = bytes(ffi.string(err.text)).decode()
            assert bool(reason) is (result < 0)
            return reason

        return str(in_child(opener, leaks=leaks))

    @property
    def job(self) -> Path:
        return self.state / NODE.decode() / str(JOB)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.job.iterdir()) if self.job.exists() else []

    def record(self, **fields: Any) -> Any:
        """A copy of the record on disk; None when there is none."""
        path = self.job / key_of(new_request(**fields)).decode()
        if not path.exists():
            return None
        record = ffi.new("struct socker_record *")
        ffi.memmove(record, path.read_bytes(), ffi.sizeof("struct socker_record"))
        # a part of it does not keep the whole alive
        self._alive.append(record)
        return record


def use_libdir(path: Path = STAGE) -> None:
    ffi.memmove(lib.opener_libdir, os.fsencode(path) + b"\0", len(os.fsencode(path)) + 1)


def places(record: Any) -> list[tuple[str, int, int]]:
    return [
        (ffi.string(record.text + place.path).decode(), place.error, place.planned)
        for place in record.places[0 : record.place_count]
    ]


@pytest.fixture
def node(trusted: Path) -> Node:
    return Node(trusted)


@pytest.fixture
def docker(start: Callable[..., Container]) -> Container:
    """The container that Docker would have started for the plan."""
    return start(uid=NOBODY, gid=NOBODY)


@pytest.fixture
def home(trusted: Path) -> Path:
    path = trusted / "home"
    path.mkdir(mode=0o700)
    os.chown(path, USER, GROUP)
    (path / "mine").write_text("")
    return path


def granted(container: Container, **fields: Any) -> Draft:
    return Draft(**{"hold_pid": container.pid} | fields)


def in_mounts_of(container: Container) -> Child:
    """A process that has joined the container."""
    mnt = os.open(f"/proc/{container.pid}/ns/mnt", os.O_RDONLY)
    ready, announce = os.pipe()

    def inside() -> None:
        assert lib.shim_enter_mounts(mnt) == 0
        os.write(announce, b"x")
        signal.pause()

    child = Child(inside)
    assert os.read(ready, 1) == b"x"
    for fd in (mnt, ready, announce):
        os.close(fd)
    return child


def test_open_of_a_granted_request_leaves_a_container_to_join(node: Node, docker: Container, home: Path) -> None:
    draft = granted(docker).mount(str(home).encode(), b"/home/u").variable(b"PATH=/image").workdir(b"/work")
    node.answers(draft.plan)
    assert node.open(leaks=True) == ""
    record = node.record()
    assert (record.state, record.hold.pid) == (lib.RECORD_OPEN, docker.pid)
    assert (record.filter_count, record.env_count) == (2, 1)
    assert ffi.string(record.text + record.env[0]) == b"PATH=/image"
    assert ffi.string(record.text + record.workdir) == b"/work"
    assert places(record) == [("/home/u", 0, 1)]
    assert os.listdir(docker.root / "home" / "u") == ["mine"]
    for mount in docker.mounts():
        assert "nosuid" in mount.options


def test_open_names_the_container_by_token_job_and_key(node: Node, docker: Container) -> None:
    node.answers(granted(docker).plan)
    assert node.open() == ""
    request = node.record().request
    token = node.token.read_text()
    assert ffi.string(request.token).decode() == token
    key = key_of(new_request()).decode()
    assert ffi.string(request.name).decode() == f"socker-{token[:8]}-{JOB}-{key}"
    assert (request.hold_uid, request.hold_gid, request.deadline_ms) == (NOBODY, NOBODY, 3000)
    assert ffi.string(request.hold).decode() == str(STAGE / "hold")
    assert ffi.string(request.reference) == REFERENCE
    assert request.nonce != 0


def test_open_again_asks_no_policy_engine(node: Node, docker: Container) -> None:
    node.answers(granted(docker).plan)
    assert node.open() == ""
    before = bytes(ffi.buffer(node.record()))
    node.answer.unlink()
    assert node.open(step=9) == ""
    assert bytes(ffi.buffer(node.record())) == before


def test_open_again_from_another_directory_adds_it(node: Node, docker: Container, home: Path) -> None:
    node.answers(granted(docker, flags=lib.SOCKER_PLAN_SUBMIT_DIR).plan)
    assert node.open(cwd=b"/usr") == ""
    node.answer.unlink()
    assert node.open(cwd=os.fsencode(home)) == ""
    assert places(node.record()) == [(str(home), 0, 0)]
    assert os.listdir(docker.root / str(home).lstrip("/")) == ["mine"]


def test_open_of_a_batch_step_adds_its_script(node: Node, docker: Container, home: Path) -> None:
    node.answers(granted(docker).plan)
    assert node.open(script=os.fsencode(home / "mine")) == ""
    assert places(node.record()) == [(str(home / "mine"), 0, 0)]
    assert str(home / "mine") in {mount.point for mount in docker.mounts()}


def test_open_of_a_batch_step_whose_script_is_lent_already_mounts_nothing_more(
    node: Node, docker: Container, home: Path
) -> None:
    """The submit directory may hold slurmd's spool."""
    node.answers(granted(docker, flags=lib.SOCKER_PLAN_SUBMIT_DIR).plan)
    assert node.open(cwd=os.fsencode(home)) == ""
    assert node.open(cwd=os.fsencode(home), script=os.fsencode(home / "mine")) == ""
    assert places(node.record()) == [(str(home), 0, 0)]
    assert [mount.point for mount in docker.mounts() if str(home) in mount.point] == [str(home)]


def test_open_of_a_step_with_pmix_lends_the_spool_flat_and_once(node: Node, docker: Container, home: Path) -> None:
    node.answers(granted(docker).plan)
    for step in (1, 2):
        assert node.open(step=step, spool=os.fsencode(home)) == ""
        assert places(node.record()) == [(str(home), 0, 0)]
    assert [mount.point for mount in docker.mounts() if str(home) in mount.point] == [str(home)]


def test_open_has_slurms_task_prolog_read_only_and_over_what_is_there(
    node: Node, docker: Container, trusted: Path
) -> None:
    site = trusted / "site"
    site.mkdir(mode=0o755)
    (site / "prolog").write_text("site")
    (site / "prolog").chmod(0o755)
    inside = docker.root / str(site / "prolog").lstrip("/")
    inside.parent.mkdir(parents=True)
    inside.write_text("image")
    node.answers(granted(docker).plan)
    assert node.open(prolog=os.fsencode(site / "prolog")) == ""
    found = [mount.options for mount in docker.mounts() if mount.point == str(site / "prolog")]
    assert len(found) == 1
    assert {"ro", "nosuid", "nodev"} <= found[0]
    assert inside.read_text() == "site"


def test_open_without_slurms_task_prolog_is_refused_by_its_name(node: Node, docker: Container, trusted: Path) -> None:
    node.answers(granted(docker).plan)
    path = trusted / "gone"
    reason = f"Slurm's TaskProlog: {path} cannot be mounted: No such file or directory"
    assert node.open(prolog=os.fsencode(path)) == reason
    assert node.record() is None or node.record().state != lib.RECORD_OPEN


def test_open_where_a_directory_is_the_users_no_more_notes_it(node: Node, docker: Container, trusted: Path) -> None:
    private = trusted / "private"
    private.mkdir(mode=0o700)
    node.answers(granted(docker).mount(str(private).encode(), b"/data").plan)
    assert node.open() == ""
    assert places(node.record()) == [("/data", errno.EACCES, 1)]


PASSWD = b"u:x:61000:61001::/home/u:/bin/sh\n"


def test_open_keeps_what_tasks_need_of_the_plan(node: Node, docker: Container) -> None:
    draft = granted(docker).entry(b"/init", b"", b"--").unset(b"GPUS", b"MORE").accounts(PASSWD, b"")
    node.answers(draft.plan)
    assert node.open(leaks=True) == ""
    record = node.record()
    assert [ffi.string(record.text + at) for at in record.entry[0 : record.entry_count]] == [b"/init", b"", b"--"]
    assert [ffi.string(record.text + at) for at in record.unset[0 : record.unset_count]] == [b"GPUS", b"MORE"]
    assert (docker.root / "etc" / "passwd").read_bytes() == PASSWD
    assert not (docker.root / "etc" / "group").exists()
    assert node.files() == sorted(f"{key_of(new_request()).decode()}{end}" for end in ("", ".lock", ".passwd"))


@pytest.mark.parametrize("kind", ["entry", "unset", "variable"])
def test_open_with_a_plan_that_the_record_has_no_room_for_is_refused_and_closed(
    node: Node, docker: Container, kind: str
) -> None:
    """A plan's texts may lie over each other, and a record's do not."""
    draft = granted(docker)
    getattr(draft, kind)(b"A=" + b"x" * 100000)
    plan = draft.plan
    {"entry": plan.entry, "unset": plan.unset, "variable": plan.env}[kind][0:3] = [draft.last] * 3
    setattr(plan, "env_count" if kind == "variable" else f"{kind}_count", 3)
    node.answers(plan)
    assert node.open() == "the image's environment is too large"
    assert node.record() is None


def test_open_of_a_read_only_root_mounts_first_and_stays_so(node: Node, docker: Container, home: Path) -> None:
    flags = lib.SOCKER_PLAN_READONLY | lib.SOCKER_PLAN_SUBMIT_DIR
    draft = granted(docker, flags=flags).mount(str(home).encode(), b"/made/for/it").accounts(PASSWD, b"g:x:1:\n")
    node.answers(draft.plan)
    assert node.open(cwd=b"/usr") == ""
    assert node.record().flags == flags
    assert node.open(cwd=os.fsencode(home)) == ""
    assert os.listdir(docker.root / "made" / "for" / "it") == ["mine"]
    assert os.listdir(docker.root / str(home).lstrip("/")) == ["mine"]
    options = {mount.point: mount.options for mount in docker.mounts()}
    assert "ro" in options["/"]
    assert "rw" in options[str(home)]
    with pytest.raises(OSError, match="Read-only file system"):
        (docker.root / "new").write_text("")


def test_open_of_an_image_whose_accounts_cannot_be_read_is_refused_and_closed(node: Node, docker: Container) -> None:
    (docker.root / "etc").mkdir()
    os.mkfifo(docker.root / "etc" / "group")
    node.answers(granted(docker).accounts(PASSWD, b"g:x:1:\n").plan)
    assert node.open() == "/etc/group of the image cannot be read: Invalid argument"
    assert not runs(docker.pid)
    assert node.record() is None
    assert [name for name in node.files() if not name.endswith(".lock")] == []


def test_open_with_a_mount_that_was_asked_for_and_cannot_be_had_is_refused_and_closed(
    node: Node, docker: Container, home: Path
) -> None:
    node.answers(granted(docker).mount(str(home / "absent").encode(), b"/x", lib.SOCKER_MOUNT_ASKED).plan)
    assert node.open() == f"{home}/absent cannot be mounted: No such file or directory"
    assert not runs(docker.pid)
    assert node.record() is None


def test_open_below_a_base_does_not_leave_it(node: Node, docker: Container, home: Path, trusted: Path) -> None:
    (home / "way").symlink_to(trusted)
    source = str(home / "way").encode()
    node.answers(granted(docker).mount(source, b"/x", lib.SOCKER_MOUNT_ASKED, len(str(home))).plan)
    assert node.open() == f"{home}/way cannot be mounted: a link in it leads out of what policy allows"


def test_open_of_a_container_with_namespaces_of_its_own_keeps_which(
    node: Node, start: Callable[..., Container]
) -> None:
    container = start(uid=NOBODY, gid=NOBODY, flaws=lib.HOLD_OWN_NET | lib.HOLD_OWN_UTS)
    flags = lib.SOCKER_PLAN_NET | lib.SOCKER_PLAN_UTS
    node.answers(granted(container, flags=flags).plan)
    assert node.open() == ""
    assert node.record().flags == flags


def test_open_of_a_container_that_shares_what_it_must_not_is_refused_and_closed(node: Node, docker: Container) -> None:
    node.answers(granted(docker, flags=lib.SOCKER_PLAN_NET).plan)
    assert node.open() == "the container is gone: Docker or somebody ended it; submit the job again"
    assert not runs(docker.pid)
    assert node.record() is None


# Containers by name


def test_open_by_a_name_again_takes_the_container_that_is_there(node: Node, docker: Container) -> None:
    node.answers(granted(docker).plan)
    assert node.open(shared=b"n", share=lib.SOCKER_SHARE_CREATE) == ""
    node.answer.unlink()
    for share in (lib.SOCKER_SHARE_AUTO, lib.SOCKER_SHARE_EXEC):
        assert node.open(shared=b"n", share=share, step=9) == ""


def test_open_to_create_what_is_there_is_refused(node: Node, docker: Container) -> None:
    node.answers(granted(docker).plan)
    assert node.open(shared=b"n", share=lib.SOCKER_SHARE_AUTO) == ""
    reason = node.open(shared=b"n", share=lib.SOCKER_SHARE_CREATE)
    assert reason == "the job has a container n already, and :create wants a new one"
    assert runs(docker.pid)
    assert node.record(shared=b"n").state == lib.RECORD_OPEN


def test_open_of_what_must_be_there_and_is_not_is_refused(node: Node, docker: Container) -> None:
    node.answers(granted(docker).plan)
    reason = "the job has no container n on node node1 yet, and :exec opens none"
    assert node.open(shared=b"n", share=lib.SOCKER_SHARE_EXEC) == reason
    assert node.record(shared=b"n") is None
    assert node.open(shared=b"n", share=lib.SOCKER_SHARE_AUTO) == ""
    docker.end()
    assert node.open(shared=b"n", share=lib.SOCKER_SHARE_EXEC) == reason


def test_open_by_a_name_of_another_container_is_refused(node: Node, docker: Container) -> None:
    node.answers(granted(docker).plan)
    assert node.open(shared=b"n", share=lib.SOCKER_SHARE_AUTO) == ""
    of_another = "the job's container n is of the image debian:bookworm; use another name for alpine"
    assert node.open(shared=b"n", share=lib.SOCKER_SHARE_AUTO, reference=b"alpine") == of_another
    with_others = "the job's container n was opened with other options; give the same, or another name"
    assert node.open(shared=b"n", share=lib.SOCKER_SHARE_EXEC, options=b"root=ro\n") == with_others
    assert node.open(shared=b"n", share=lib.SOCKER_SHARE_AUTO) == ""


# No container


def test_open_that_need_not_be_is_noted_and_not_asked_again(node: Node) -> None:
    node.answers(Draft(verdict=lib.SOCKER_PLAIN).plan)
    assert node.open(reference=b"", leaks=True) == ""
    record = node.record(reference=b"")
    assert (record.state, record.hold.pid) == (lib.RECORD_PLAIN, 0)
    node.answer.unlink()
    assert node.open(reference=b"", step=9, cwd=b"/tmp", script=b"/spool/script") == ""


def test_open_that_need_not_be_does_without_docker(node: Node) -> None:
    """Docker's silence is none of its business, and it says nothing of Docker."""
    now = int(time.clock_gettime(time.CLOCK_BOOTTIME))
    node.job.parent.mkdir(parents=True, mode=0o700)
    (node.job.parent / "silence").write_bytes(struct.pack("=Ixxxxq", 9, now))
    node.answers(Draft(verdict=lib.SOCKER_PLAIN).plan)
    assert node.open(reference=b"", leaks=True) == ""
    assert silence(node) == 9


def test_open_that_was_asked_for_is_not_answered_by_none(node: Node) -> None:
    node.answers(Draft(verdict=lib.SOCKER_PLAIN).plan)
    assert node.open() == "the policy engine refused without a reason"
    assert node.record() is None


# A Docker that does not answer


def silence(node: Node) -> int:
    """How many openings in a row have waited in vain."""
    path = node.job.parent / "silence"
    return struct.unpack("=Ixxxxq", path.read_bytes())[0] if path.exists() else 0


def silent() -> Any:
    return Draft(verdict=0, message=b"Docker does not answer", flags=lib.SOCKER_PLAN_SILENT).plan


def test_open_after_docker_was_silent_is_refused_at_once_until_it_answers(node: Node, docker: Container) -> None:
    node.answers(silent())
    for count in range(1, 4):
        assert node.open() == "Docker does not answer"
        assert silence(node) == count
    node.answers(granted(docker).plan)
    assert node.open().startswith("Docker on node node1 did not answer the last 3 times; it is asked again in ")
    assert node.record() is None
    (node.job.parent / "silence").write_bytes(struct.pack("=Ixxxxq", 3, 0))
    assert node.open() == ""
    assert silence(node) == 0


def test_open_of_what_is_open_is_not_refused_for_dockers_silence(node: Node, docker: Container) -> None:
    node.answers(granted(docker).plan)
    assert node.open() == ""
    now = int(time.clock_gettime(time.CLOCK_BOOTTIME))
    (node.job.parent / "silence").write_bytes(struct.pack("=Ixxxxq", 9, now))
    assert node.open(step=9) == ""


def test_open_whose_policy_engine_hangs_counts_as_silence(node: Node) -> None:
    os.mkfifo(node.answer)
    node.more = ("deadline=1",)
    assert "1 s" in node.open()
    assert silence(node) == 1


@pytest.mark.parametrize("before", [0, 2])
def test_open_that_fails_otherwise_ends_the_count(node: Node, before: int) -> None:
    for _ in range(before):
        node.answers(silent())
        node.open()
    assert silence(node) == before
    node.answers(Draft(verdict=0, message=b"no rule allows it").plan)
    assert node.open() == "no rule allows it"
    assert silence(node) == 0


def test_open_that_is_cancelled_does_not_end_the_count(node: Node) -> None:
    node.answers(silent())
    node.open()
    node.answer.unlink()
    os.mkfifo(node.answer)
    cancelled, cancel = os.pipe()

    def opener() -> str:
        os.dup2(cancelled, lib.OPENER_CANCEL)
        use_libdir()
        os.setgroups([])
        return refused(lib.opener_open, node.config(), new_request())

    child = Child(opener)
    # its intent is written before the policy engine is asked
    assert eventually(lambda: node.record() is not None)
    os.write(cancel, b"x")
    assert child.wait().said == "cancelled"
    assert silence(node) == 1
    os.close(cancelled)
    os.close(cancel)


def test_open_of_more_containers_than_a_job_may_have_is_refused(node: Node, docker: Container) -> None:
    node.answers(granted(docker).plan)
    assert node.open() == ""
    fd = done(lib.record_open_dir, os.fsencode(node.state), NODE, JOB, 0)
    for number in range(lib.RECORD_KEYS_MAX - 1):
        os.close(done(lib.record_lock, fd, f"{number:016x}".encode(), 1, -1))
    os.close(fd)
    reason = "the job has asked for 32 different containers on node node1, which is the most; use another job"
    assert node.open(reference=b"other") == reason
    assert node.open() == ""


def test_open_that_is_denied_says_why_and_leaves_no_record(node: Node) -> None:
    node.answers(Draft(verdict=0, message=b"no rule allows this image").plan)
    assert node.open() == "no rule allows this image"
    assert node.record() is None


def test_open_whose_policy_engine_fails_keeps_the_intent_for_the_epilog(node: Node) -> None:
    assert node.open() == "the policy engine failed on this node (exit 5); tell your administrator"
    record = node.record()
    assert (record.state, record.hold.pid) == (lib.RECORD_INTENT, 0)
    assert ffi.string(record.request.name).startswith(b"socker-")


def test_open_with_a_plan_that_c_would_not_grant_is_refused_and_closed(node: Node, docker: Container) -> None:
    node.answers(granted(docker, uid=0).plan)
    assert node.open() == "the plan is for another job or user"
    assert node.files() == [f"{key_of(new_request()).decode()}.lock"] or node.record() is None


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        ("HOLD_NEW_PRIVILEGES", "hold process: no_new_privs is not set"),
        ("HOLD_UNFILTERED", "Docker runs containers without a seccomp filter on this node"),
        ("HOLD_BOUNDED", "hold process: CapBnd: is not empty"),
        ("HOLD_HOST_MOUNTS", "hold process: has no mount namespace of its own"),
    ],
)
def test_open_of_a_container_that_is_not_as_ordered_is_refused_and_closed(
    node: Node, start: Callable[..., Container], flaw: str, reason: str
) -> None:
    container = start(uid=NOBODY, gid=NOBODY, flaws=getattr(lib, flaw))
    node.answers(granted(container).plan)
    assert node.open() == reason
    assert node.record() is None


def test_open_with_a_process_of_another_container_ends_nothing_of_it(
    node: Node, start: Callable[..., Container]
) -> None:
    """The plan names a number; whose process has it now is not ours to end before it is identified (P2, T40)."""
    other = start(uid=USER + 1, gid=GROUP + 1)
    task = in_mounts_of(other)
    node.answers(granted(other).plan)
    assert node.open() == f"hold process: not uid {NOBODY} and gid {NOBODY}"
    alive = runs(other.pid), runs(task.pid)
    task.kill()
    assert alive == (True, True)


def test_open_with_a_process_of_the_host_ends_nothing_of_it(node: Node, docker: Container) -> None:
    """The same for what shares the mount namespace of the opener: here, the tests'."""
    bystander = Child(signal.pause)
    node.answers(granted(docker, hold_pid=bystander.pid).plan)
    assert node.open() == f"hold process: pid {bystander.pid} is another program"
    alive = runs(bystander.pid), runs(docker.pid)
    bystander.kill()
    assert alive == (True, True)


def test_open_that_fails_late_ends_the_container(node: Node, docker: Container) -> None:
    (docker.root / "dev" / "pts").rmdir()
    node.answers(granted(docker).plan)
    assert node.open().startswith("the container could not be given the host's /dev/pts")
    assert not runs(docker.pid)
    assert node.record() is None


def test_open_that_fails_late_and_cannot_be_taken_back_keeps_the_record(node: Node, docker: Container) -> None:
    (docker.root / "dev" / "pts").rmdir()
    node.answers(granted(docker).plan)
    node.keeps(closing="1")
    assert node.open().startswith("the container could not be given the host's /dev/pts")
    record = node.record()
    assert (record.state, record.hold.pid, ffi.string(record.id)) == (lib.RECORD_INTENT, docker.pid, b"a1" * 32)


def test_open_after_the_container_was_ended_asks_the_policy_engine_again(
    node: Node, docker: Container, start: Callable[..., Container]
) -> None:
    node.answers(granted(docker).plan)
    assert node.open() == ""
    docker.end()
    second = start(uid=NOBODY, gid=NOBODY)
    node.answers(granted(second).plan)
    assert node.open() == ""
    assert node.record().hold.pid == second.pid


def test_open_of_a_request_with_the_same_key_and_another_group_is_refused(node: Node, docker: Container) -> None:
    node.answers(granted(docker).plan)
    assert node.open() == ""
    assert node.open(gid=GROUP + 1) == "two requests of this job have the same key; start one of them in another job"


def test_open_waits_for_another_opener_of_the_key(node: Node, docker: Container) -> None:
    node.answers(granted(docker).plan)
    fd = done(lib.record_open_dir, os.fsencode(node.state), NODE, JOB, 1)
    lock = done(lib.record_lock, fd, key_of(new_request()), 1, -1)
    node.more = ("deadline=1",)
    assert node.open() == "another step has been opening the container for 1 s; try again later"
    os.close(lock)
    assert node.open() == ""
    os.close(fd)


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("no-such-user", "the system user no-such-user does not exist on this node; tell your administrator"),
        ("root", "the hold process may not run as root, which is root or of its group; tell your administrator"),
    ],
)
def test_open_without_a_user_for_the_hold_process_is_refused(node: Node, user: str, reason: str) -> None:
    node.more = (f"hold_user={user}",)
    assert node.open() == reason


@pytest.mark.parametrize(("word", "length"), [("docker", 120), ("policy", 4096), ("slurm_conf", 4096)])
def test_open_with_a_word_that_is_too_long_is_refused(node: Node, word: str, length: int) -> None:
    node.more = (f"{word}=/{'x' * length}",)
    assert node.open() == f"plugstack line: {word}= is too long"


def test_open_without_the_hold_binary_is_refused(node: Node, trusted: Path) -> None:
    def opener() -> str:
        use_libdir(trusted)
        return refused(lib.opener_open, node.config(), new_request())

    assert in_child(opener) == f"{trusted}/hold: No such file or directory"


# The program


class Program:
    """socker-opener, started as slurmstepd starts it, with the descriptors 0 to 4."""

    def __init__(self, *words: str, request: bytes | None = None) -> None:
        self.outcome = os.memfd_create("outcome")
        question = os.memfd_create("request")
        os.write(question, bytes(ffi.buffer(new_request())) if request is None else request)
        self.life, life = os.pipe()
        cancel, self.cancel = os.pipe()

        def main() -> None:
            # above what they become
            sources = [os.dup2(fd, 100 + fd) for fd in (question, self.outcome, life, cancel)]
            null = os.open("/dev/null", os.O_WRONLY)
            for source, number in zip((*sources[:2], null, *sources[2:]), range(5), strict=True):
                os.dup2(source, number)
            os.umask(0)
            argv, _kept = strings(["socker-opener", *words])
            os._exit(lib.opener_main(len(words) + 1, argv))

        self.child = Child(main)
        for fd in (question, life, cancel):
            os.close(fd)

    def end(self) -> tuple[int, int, str]:
        """Its exit status, and verdict and message of the outcome once all of it has ended."""
        status = self.child.wait().status
        # nothing is ever written: it reads as ended when the last holder of the other end is gone
        assert os.read(self.life, 1) == b""
        outcome = ffi.new("struct outcome *")
        content = os.pread(self.outcome, ffi.sizeof("struct outcome"), 0)
        ffi.memmove(outcome, content, len(content))
        for fd in (self.outcome, self.life, self.cancel):
            os.close(fd)
        assert outcome.magic in (0, lib.OUTCOME_MAGIC)
        return status, outcome.verdict, bytes(ffi.string(outcome.message)).decode()


def test_program_with_a_malformed_request_refuses(node: Node) -> None:
    for request in (b"", b"short", bytes(ffi.sizeof("struct socker_request"))):
        status, verdict, message = Program("open", *node.words(), request=request).end()
        assert (status, verdict) == (0, 0)
        assert message in (
            "the opener got no whole request",
            "malformed request; the plugin and the opener are of different versions",
        )


def test_program_with_roots_request_refuses(node: Node) -> None:
    request = bytes(ffi.buffer(new_request(uid=0)))
    ending = Program("open", *node.words(), request=request).end()
    assert ending == (0, 0, "containers do not run as root; submit the job as a normal user")


def test_program_with_an_unknown_word_refuses() -> None:
    assert Program("open", "nonsense").end() == (0, 0, "plugstack line: unknown word 'nonsense'")


def test_program_goes_into_the_background_at_once_and_is_cancelled_by_a_byte(node: Node) -> None:
    fd = done(lib.record_open_dir, os.fsencode(node.state), NODE, JOB, 1)
    lock = done(lib.record_lock, fd, key_of(new_request()), 1, -1)
    began = time.monotonic()
    program = Program("open", *node.words())
    os.waitid(os.P_PID, program.child.pid, os.WEXITED | os.WNOWAIT)
    assert time.monotonic() - began < 2
    os.write(program.cancel, b"x")
    assert program.end() == (0, 0, "cancelled")
    os.close(lock)
    os.close(fd)


@pytest.mark.parametrize("arguments", [(), ("nonsense",)])
def test_program_without_a_verb_fails(arguments: tuple[str, ...]) -> None:
    assert Program(*arguments).end() == (2, 0, "")


def test_program_started_by_a_user_refuses() -> None:
    def as_user() -> int:
        os.setgroups([])
        os.setresuid(USER, USER, USER)
        argv, _kept = strings(["socker-opener", "close"])
        return int(lib.opener_main(2, argv))

    assert in_child(as_user) == 1


def test_program_close_of_a_job_without_records_succeeds(node: Node) -> None:
    assert Program("close", *node.words()).end() == (0, 0, "")


def test_program_close_with_a_malformed_request_fails(node: Node) -> None:
    assert Program("close", *node.words(), request=b"short").end() == (1, 0, "")
    assert messages() == []
    assert eventually(lambda: signal.getsignal(signal.SIGALRM) is not None)
