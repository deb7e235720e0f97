# SPDX-License-Identifier: Apache-2.0
"""step.c and plugin.c through Slurm's hooks, in the processes and with the ids that slurmstepd calls them with (P4, P5)."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .driver import (
    GROUP,
    JOB,
    NODE,
    REFERENCE,
    USER,
    Child,
    Container,
    add_place,
    become_user,
    done,
    ffi,
    in_child,
    job_environment,
    key_of,
    lib,
    messages,
    new_record,
    new_request,
    process_status,
    strings,
)

pytestmark = pytest.mark.usefixtures("node_name")
EVERYTHING_IN_ORDER = {"root": True, "uid": USER, "capabilities": "0" * 16, "seccomp": "2"}


# The words of plugstack.conf live as long as slurmstepd, and the plugin points to them from hook to hook.
_words: list[Any] = []


def hook(name: str, words: tuple[str, ...] = ()) -> None:
    """Calls one of Slurm's hooks; in slurmstepd none may ever fail."""
    argv, kept = strings(words)
    _words.append((argv, kept))
    assert getattr(lib, f"slurm_spank_{name}")(lib.fake_handle(), len(words), argv) == 0


def inside() -> dict[str, Any]:
    """What a task is when Slurm would execute its command."""
    status = process_status()
    return {
        "root": not os.path.exists("/usr"),
        "uid": os.getuid(),
        "capabilities": status["CapPrm"],
        "seccomp": status["Seccomp"],
    }


def task(number: int) -> Any:
    """From the fork to where Slurm executes the command."""
    lib.fake_task(number)
    os.seteuid(0)
    os.setegid(0)
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
    hook("task_init_privileged")
    become_user()
    hook("task_init")
    return inside()


def run(*words: str, tasks: int = 1, cwd: str = "/", user: int = USER, leaks: bool = False) -> list[Any]:
    """For each task of a step: what it is inside, or its exit status where it did not get to run its command."""

    def stepd() -> list[Any]:
        os.chdir(cwd)
        # slurmstepd, before it forks the tasks: root by its real uid only
        os.setegid(GROUP)
        os.seteuid(user)
        hook("user_init", words)
        assert os.getresuid() == (0, user, 0)
        children = [Child(lambda number=number: task(number)) for number in range(tasks)]  # type: ignore[misc]
        endings = [child.wait() for child in children]
        os.seteuid(0)
        return [ending.said if ending.status == 0 else ending.status for ending in endings]

    result: list[Any] = in_child(stepd, leaks=leaks)
    return result


def said(reason: str) -> list[str]:
    """The one line of a refused step."""
    return [f"error: socker: {reason}"]


# A step without a container


def test_step_without_a_container_is_left_alone() -> None:
    lib.fake_env(b"SLURM_CONTAINER", ffi.NULL)
    before = len(os.listdir("/proc/self/fd"))

    def stepd() -> list[Any]:
        hook("user_init", ("nonsense",))
        hook("task_init_privileged")
        hook("task_init")
        return [len(os.listdir("/proc/self/fd")), process_status()["CapBnd"], process_status()["NoNewPrivs"]]

    descriptors, bounding, no_new_privs = in_child(stepd)
    assert (descriptors, bounding, no_new_privs) == (before + 1, process_status()["CapBnd"], "0")
    assert messages() == []


def test_step_that_did_not_begin_with_a_container_but_has_the_variable_later_is_refused() -> None:
    lib.fake_env(b"SLURM_CONTAINER", ffi.NULL)

    def stepd() -> int:
        hook("user_init")
        lib.fake_env(b"SLURM_CONTAINER", REFERENCE)
        return Child(lambda: task(0)).wait().status

    assert in_child(stepd) == 1
    assert messages() == said("a container was asked for, but the step did not begin with one")


# Refusals


def no_reference() -> None:
    lib.fake_env(b"SLURM_CONTAINER", b"")


def long_reference() -> None:
    lib.fake_env(b"SLURM_CONTAINER", b"x" * 512)


def unreadable() -> None:
    lib.fake_env_error(lib.ESPANK_NOT_REMOTE)


def root() -> None:
    lib.fake_item(lib.S_JOB_UID, 0)


def many_groups() -> None:
    lib.fake_groups([1] * 1025, 1025)


def unknown_job() -> None:
    lib.fake_item_error(lib.S_JOB_ID, lib.ESPANK_ERROR)


def unknown_option() -> None:
    lib.fake_env(b"SLURM_SOCKER_OPTIONS", b"root=ro\nx=y")


REFUSALS = [
    (unknown_option, 'SLURM_SOCKER_OPTIONS holds what is no option: "x=y"'),
    (no_reference, "--container: empty; give an image reference such as debian:bookworm"),
    (long_reference, "--container: the image reference is longer than 511 bytes"),
    (unreadable, "--container: unreadable: Valid only in remote context"),
    (root, "containers do not run as root; submit the job as a normal user"),
    (many_groups, "the user is in 1025 groups; at most 1024 can be kept in a container"),
    (unknown_job, "Slurm does not tell whose job this is"),
]


@pytest.mark.parametrize(("spoil", "reason"), REFUSALS)
def test_step_that_is_refused_runs_nothing_and_says_why_once(spoil: Callable[[], None], reason: str) -> None:
    spoil()
    assert run(tasks=3) == [1, 1, 1]
    assert messages() == said(reason)


def test_step_whose_tasks_have_no_number_runs_nothing_silently() -> None:
    lib.fake_env(b"SLURM_CONTAINER", b"")
    lib.fake_item_error(lib.S_TASK_ID, lib.ESPANK_ERROR)
    assert run() == [1]
    assert messages() == []


def test_step_with_an_unknown_word_in_the_plugstack_line_is_refused() -> None:
    assert run("nonsense") == [1]
    assert messages() == said("plugstack line: unknown word 'nonsense'")


@pytest.fixture
def state(trusted: Path) -> Path:
    return trusted / "state"


def words(state: Path, behaviour: str = "refuse/opened") -> tuple[str, str]:
    return f"state={state}", f"policy=/fake/{behaviour}"


def test_step_that_the_opener_refuses_says_its_reason_without_control_characters(state: Path) -> None:
    assert run(*words(state, "refuse/no \x1b[31m\nslurmd: image"), tasks=2) == [1, 1]
    assert messages() == said(r"no \x1b[31m\x0aslurmd: image")


def test_step_whose_opener_fails_at_its_start_is_refused(state: Path) -> None:
    assert run(*words(state, "fail")) == [1]
    assert messages() == said(f"the opener ended at its start (status {7 << 8}); tell your administrator")


def test_step_whose_opener_vanishes_is_refused(state: Path) -> None:
    assert run(*words(state, "vanish"), tasks=2) == [1, 1]
    assert messages() == said("opening the container was interrupted")


def test_step_whose_opener_grants_but_leaves_no_record_is_refused(state: Path) -> None:
    assert run(*words(state, "grant")) == [1]
    assert messages() == said(f"{state}: No such file or directory")


def test_step_whose_opener_grants_with_a_record_of_another_is_refused(state: Path, container: Container) -> None:
    put(state, container.record(new_request(gid=GROUP + 1)))
    assert run(*words(state, "grant")) == [1]
    assert messages() == said("the container has no record")


# A step with a container


def put(state: Path, record: Any, *, suffix: str = "", request: Any = None) -> Path:
    """Writes the record as the opener does, for the key of a step's request; its path."""
    fd = done(lib.record_open_dir, os.fsencode(state), NODE, JOB, 1)
    key = key_of(request or new_request())
    done(lib.record_write, fd, key, record)
    os.close(fd)
    path = state / NODE.decode() / str(JOB) / key.decode()
    if suffix:
        path.rename(f"{path}{suffix}")
    return path


def test_step_with_a_record_joins_without_an_opener(state: Path, container: Container) -> None:
    put(state, container.record())
    assert run(*words(state, "fail"), tasks=2, leaks=True) == [EVERYTHING_IN_ORDER] * 2
    assert messages() == []


def test_step_that_is_the_first_joins_after_the_opener_has_written_the_record(
    state: Path, container: Container
) -> None:
    path = put(state, container.record(), suffix=".ready")
    assert run(*words(state, f"publish{path}"), tasks=3) == [EVERYTHING_IN_ORDER] * 3
    assert messages() == []


def intent(container: Container) -> Any:
    record = container.record()
    record.state = lib.RECORD_INTENT
    return record


def of_another_job(container: Container) -> Any:
    return container.record(new_request(job=JOB + 1))


def of_another_user(container: Container) -> Any:
    return container.record(new_request(uid=USER + 1))


def of_a_dead_container(container: Container) -> Any:
    record = container.record()
    record.hold.start += 1
    return record


def without_the_directory(container: Container) -> Any:
    record = container.record()
    record.flags = lib.SOCKER_PLAN_SUBMIT_DIR
    return record


def with_a_namespace_that_is_the_hosts(container: Container) -> Any:
    record = container.record()
    record.flags = lib.SOCKER_PLAN_NET
    return record


def of_no_container(container: Container) -> Any:
    """Of a step that asked for none; this one did."""
    record = container.record(new_request(reference=b""))
    record.state = lib.RECORD_PLAIN
    return record


def with_other_options(container: Container) -> Any:
    return container.record(new_request(options=b"root=ro\n"))


@pytest.mark.parametrize(
    "made",
    [
        intent,
        of_another_job,
        of_another_user,
        of_a_dead_container,
        without_the_directory,
        with_a_namespace_that_is_the_hosts,
        of_no_container,
        with_other_options,
    ],
)
def test_step_does_not_join_by_a_record_that_is_not_for_it(
    state: Path, container: Container, trusted: Path, made: Callable[[Container], Any]
) -> None:
    put(state, made(container))
    assert run(*words(state, "refuse/the opener was asked"), cwd=str(trusted)) == [1]
    assert messages() == said("the opener was asked")


def test_step_whose_container_ends_before_its_tasks_start_still_joins_it(state: Path, container: Container) -> None:
    """The namespace was opened by slurmstepd; nothing is looked up again by a number."""
    put(state, container.record())

    def stepd() -> Any:
        hook("user_init", words(state, "fail"))
        container_pid = container.pid
        os.kill(container_pid, signal.SIGKILL)
        return Child(lambda: task(0)).wait().said

    assert in_child(stepd) == EVERYTHING_IN_ORDER


def test_step_gets_the_images_environment(state: Path, container: Container) -> None:
    record = container.record()
    for variable in (b"PATH=/image/bin", b"EMPTY=", b"WITH=a=b"):
        record.env[record.env_count] = lib.record_add_text(record, variable)
        record.env_count += 1
    put(state, record)
    lib.fake_env(b"PATH", b"/usr/bin")
    lib.fake_env(b"JOBS", b"own")
    assert run(*words(state, "fail")) == [EVERYTHING_IN_ORDER]
    found = {name: job_environment(name) for name in ("PATH", "EMPTY", "WITH", "JOBS")}
    assert found == {"PATH": "/image/bin", "EMPTY": "", "WITH": "a=b", "JOBS": "own"}


def add_env(record: Any, *variables: bytes) -> Any:
    for variable in variables:
        record.env[record.env_count] = lib.record_add_text(record, variable)
        record.env_count += 1
    return record


@pytest.mark.parametrize(
    ("names", "jobs"),
    [
        (b"PATH", True),
        (b"A,PATH", True),
        (b"PATH,B", True),
        (b"A,PATH,B", True),
        (b"XPATH,PATH", True),
        (b"PATHPATH,PATH", True),
        (b"XPATH", False),
        (b"PATHX", False),
        (b"PATHPATH", False),
        (b"PAT", False),
        (b"A,B", False),
    ],
)
def test_step_keeps_the_jobs_variables_that_were_named(
    state: Path, container: Container, names: bytes, *, jobs: bool
) -> None:
    put(state, add_env(container.record(), b"PATH=/image", b"OTHER=image"))
    lib.fake_env(b"PATH", b"/usr/bin")
    lib.fake_env(b"OTHER", b"job")
    lib.fake_env(b"SLURM_SOCKER_OPTIONS", b"env=" + names)
    assert run(*words(state, "fail")) == [EVERYTHING_IN_ORDER]
    assert job_environment("PATH") == ("/usr/bin" if jobs else "/image")
    assert job_environment("OTHER") == "image"


def test_step_keeps_an_empty_variable_and_takes_the_images_for_one_that_the_job_has_not(
    state: Path, container: Container
) -> None:
    put(state, add_env(container.record(), b"EMPTY=image", b"ABSENT=image"))
    lib.fake_env(b"EMPTY", b"")
    lib.fake_env(b"SLURM_SOCKER_OPTIONS", b"env=EMPTY,ABSENT")
    assert run(*words(state, "fail")) == [EVERYTHING_IN_ORDER]
    assert (job_environment("EMPTY"), job_environment("ABSENT")) == ("", "image")


def test_step_does_not_get_what_the_plan_takes_away(state: Path, container: Container) -> None:
    record = add_env(container.record(), b"CUDA_VISIBLE_DEVICES=all", b"KEPT=image")
    for index, name in enumerate((b"CUDA_VISIBLE_DEVICES", b"ROCR_VISIBLE_DEVICES", b"ABSENT")):
        record.unset[index] = lib.record_add_text(record, name)
        record.unset_count += 1
    put(state, record)
    lib.fake_env(b"ROCR_VISIBLE_DEVICES", b"0")
    lib.fake_env(b"SLURM_SOCKER_OPTIONS", b"env=ROCR_VISIBLE_DEVICES")
    assert run(*words(state, "fail")) == [EVERYTHING_IN_ORDER]
    names = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ABSENT", "KEPT")
    assert [job_environment(name) for name in names] == [None, None, None, "image"]


def test_step_whose_working_directory_is_none_in_the_container_is_refused(state: Path, container: Container) -> None:
    put(state, container.record())
    lib.fake_env(b"SLURM_SOCKER_OPTIONS", b"workdir=/absent")
    assert run(*words(state, "fail"), tasks=2) == [1, 1]
    assert messages() == said("the working directory /absent is none in the container: No such file or directory")


# The image's entry point


def with_entry(container: Container, *entry: bytes) -> Any:
    record = container.record()
    for index, word in enumerate(entry):
        record.entry[index] = lib.record_add_text(record, word)
        record.entry_count += 1
    return record


def command() -> list[str | None]:
    """What Slurm executes, and what entry.c is told."""
    names = ("SOCKER_ENTRY", "SOCKER_ENTRY_0", "SOCKER_ENTRY_1", "SOCKER_ENTRY_2", "SOCKER_ENTRY_COMMAND")
    return [ffi.string(lib.fake_argv_word(0)).decode(), *(job_environment(name) for name in names)]


@pytest.fixture
def argv() -> None:
    argv, _kept = strings(["cmd", "argument"])
    lib.fake_argv(2, argv)


@pytest.mark.usefixtures("argv")
def test_step_with_the_entry_point_executes_it_with_the_command(state: Path, container: Container) -> None:
    put(state, with_entry(container, b"/init", b""))
    lib.fake_env(b"SLURM_SOCKER_OPTIONS", b"entrypoint=yes")
    lib.fake_env(b"SOCKER_ENTRY_0", b"the user's own")
    assert run(*words(state, "fail")) == [EVERYTHING_IN_ORDER]
    assert command() == ["/.socker/entry", "2", "/init", "", None, "cmd"]
    assert ffi.string(lib.fake_argv_word(1)) == b"argument"


@pytest.mark.usefixtures("argv")
@pytest.mark.parametrize(
    ("options", "entry"), [(b"", (b"/init",)), (b"entrypoint=no", (b"/init",)), (b"entrypoint=yes", ())]
)
def test_step_without_the_entry_point_executes_the_command(
    state: Path, container: Container, options: bytes, entry: tuple[bytes, ...]
) -> None:
    put(state, with_entry(container, *entry))
    lib.fake_env(b"SLURM_SOCKER_OPTIONS", options)
    assert run(*words(state, "fail")) == [EVERYTHING_IN_ORDER]
    assert command() == ["cmd", None, None, None, None, None]


def test_step_with_the_entry_point_and_no_command_is_refused(state: Path, container: Container) -> None:
    put(state, with_entry(container, b"/init"))
    lib.fake_env(b"SLURM_SOCKER_OPTIONS", b"entrypoint=yes")
    assert run(*words(state, "fail")) == [1]
    assert messages() == said("Slurm does not tell the command that the ENTRYPOINT gets")


# A container by name


@pytest.mark.parametrize("mode", [b"", b":auto", b":exec"])
def test_step_with_a_name_joins_its_container_without_an_opener(state: Path, container: Container, mode: bytes) -> None:
    request = new_request(shared=b"n", share=lib.SOCKER_SHARE_CREATE)
    put(state, container.record(request), request=request)
    lib.fake_env(b"SLURM_SOCKER_OPTIONS", b"name=n" + mode)
    assert run(*words(state, "fail")) == [EVERYTHING_IN_ORDER]


def test_step_that_creates_a_name_asks_the_opener_whatever_is_there(state: Path, container: Container) -> None:
    request = new_request(shared=b"n")
    put(state, container.record(request), request=request)
    lib.fake_env(b"SLURM_SOCKER_OPTIONS", b"name=n:create")
    assert run(*words(state, "refuse/it is there")) == [1]
    assert messages() == said("it is there")
    # whose word its tasks take
    assert run(*words(state, "grant"), tasks=2) == [EVERYTHING_IN_ORDER] * 2


@pytest.mark.parametrize(
    ("fields", "lines"),
    [({"reference": b"alpine"}, b"name=n"), ({"options": b"root=ro\n"}, b"name=n\nroot=rw"), ({}, b"gpus=yes\nname=n")],
)
def test_step_with_a_name_of_another_container_asks_the_opener(
    state: Path, container: Container, fields: dict[str, bytes], lines: bytes
) -> None:
    request = new_request(shared=b"n", **fields)
    put(state, container.record(request), request=request)
    lib.fake_env(b"SLURM_SOCKER_OPTIONS", lines)
    assert run(*words(state, "refuse/another one")) == [1]
    assert messages() == said("another one")


def test_step_with_a_name_need_not_repeat_its_options(state: Path, container: Container) -> None:
    request = new_request(shared=b"n", options=b"gpus=yes\nroot=ro\n")
    put(state, container.record(request), request=request)
    for lines in (b"name=n", b"name=n\nroot=ro"):
        lib.fake_env(b"SLURM_SOCKER_OPTIONS", lines)
        assert run(*words(state, "fail")) == [EVERYTHING_IN_ORDER]


# Where policy may require a container

ON_THE_HOST = {"root": False, "uid": USER, "capabilities": "0" * 16, "seccomp": "0"}


@pytest.fixture
def plain() -> Any:
    """The request of a step that asks for no container."""
    lib.fake_env(b"SLURM_CONTAINER", ffi.NULL)
    return new_request(reference=b"")


def test_plain_step_runs_on_the_host_where_the_opener_says_so(state: Path, plain: Any) -> None:
    path = put(state, new_record(lib.RECORD_PLAIN, plain), suffix=".ready", request=plain)
    assert run(*words(state, f"publish{path}"), "plain=ask", tasks=2) == [ON_THE_HOST] * 2
    # the next one asks nobody
    assert run(*words(state, "fail"), "plain=ask", tasks=2, leaks=True) == [ON_THE_HOST] * 2
    assert messages() == []


def test_plain_step_for_which_a_container_is_required_joins_it(state: Path, container: Container, plain: Any) -> None:
    put(state, container.record(plain), request=plain)
    assert run(*words(state, "fail"), "plain=ask", tasks=2) == [EVERYTHING_IN_ORDER] * 2


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("refuse/no container for you", "no container for you"),
        ("vanish", "opening the container was interrupted"),
        ("fail", f"the opener ended at its start (status {7 << 8}); tell your administrator"),
    ],
)
def test_plain_step_that_cannot_be_asked_for_is_refused(state: Path, plain: Any, behaviour: str, reason: str) -> None:
    assert plain.job == JOB
    assert run(*words(state, behaviour), "plain=ask", tasks=2) == [1, 1]
    assert messages() == said(reason)


def test_plain_step_does_not_take_options_of_none(state: Path, plain: Any) -> None:
    lib.fake_env(b"SLURM_SOCKER_OPTIONS", b"nonsense")
    put(state, new_record(lib.RECORD_PLAIN, plain), request=plain)
    assert run(*words(state, "fail"), "plain=ask") == [ON_THE_HOST]


@pytest.mark.parametrize("more", [(), ("plain=host",)])
def test_plain_step_is_left_alone_where_nothing_is_asked(state: Path, plain: Any, more: tuple[str, ...]) -> None:
    assert plain.job == JOB
    assert run(*words(state, "fail"), *more) == [ON_THE_HOST]
    assert messages() == []


def test_step_that_is_refused_leaves_the_environment_alone(state: Path, container: Container) -> None:
    record = container.record()
    record.env[0] = lib.record_add_text(record, b"PATH=/image/bin")
    record.env_count = 1
    record.filter_count = 0
    put(state, record)
    lib.fake_env(b"PATH", b"/usr/bin")
    assert run(*words(state, "fail")) == [1]
    assert messages() == said("the task has no seccomp filter")
    assert job_environment("PATH") == "/usr/bin"


def test_step_says_once_what_of_its_directories_is_missing(state: Path, container: Container, trusted: Path) -> None:
    record = container.record()
    add_place(record, "/home/u", planned=True)
    add_place(record, "/data\x1b", error=errno.EACCES, planned=True)
    add_place(record, str(trusted), error=errno.ENOENT)
    add_place(record, "/of/another/step", error=errno.EACCES)
    put(state, record)
    assert run(*words(state, "fail"), tasks=2, cwd=str(trusted)) == [EVERYTHING_IN_ORDER] * 2
    assert messages() == [
        r"socker: /data\x1b is not mounted in the container: Permission denied",
        f"socker: {trusted} is not mounted in the container: No such file or directory",
    ]


def test_task_that_cannot_join_says_so_and_ends(state: Path, container: Container) -> None:
    put(state, container.record())
    lib.fake_groups([GROUP], 1)
    assert run(*words(state, "fail"), tasks=2) == [1, 1]
    assert messages() == said("the task has other groups than the job")


def test_step_that_is_cancelled_while_it_waits_ends_by_the_signal(state: Path) -> None:
    def stepd() -> int:
        hook("user_init", words(state, "wait"))
        child = Child(lambda: task(0))
        # its signals are blocked from before it waits, so none is lost
        while not int(process_status(child.pid)["SigBlk"], 16):
            pass
        os.kill(child.pid, signal.SIGTERM)
        return child.wait().status

    assert in_child(stepd) == -signal.SIGTERM
    assert messages() == []


# The other hooks


CONTEXTS = ("S_CTX_ERROR", "S_CTX_LOCAL", "S_CTX_REMOTE", "S_CTX_ALLOCATOR", "S_CTX_SLURMD", "S_CTX_JOB_SCRIPT")


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("name", ["init", "user_init", "task_init_privileged", "job_epilog"])
def test_hook_never_fails_in_any_context(context: str, name: str) -> None:
    lib.fake_context(getattr(lib, context))
    in_child(lambda: hook(name, ("state=/nowhere", "policy=/fake/refuse/x")))


@pytest.mark.parametrize("spoil", [spoil for spoil, _ in REFUSALS])
@pytest.mark.parametrize("name", ["user_init", "task_init_privileged", "job_epilog"])
def test_hook_never_fails_whatever_is_wrong(name: str, spoil: Callable[[], None]) -> None:
    spoil()
    in_child(lambda: hook(name, ("state=/nowhere", "policy=/fake/refuse/x")))


@pytest.mark.parametrize("context", CONTEXTS)
def test_init_forgets_an_outer_container_in_clients_only(context: str) -> None:
    lib.fake_context(getattr(lib, context))

    def outer() -> bool:
        os.environ["SLURM_CONTAINER"] = "outer"
        hook("init")
        return bool(lib.getenv(b"SLURM_CONTAINER") == ffi.NULL)

    assert in_child(outer) is (context in {"S_CTX_LOCAL", "S_CTX_ALLOCATOR"})


# The epilog


@pytest.fixture
def epilog(state: Path) -> Callable[..., None]:
    lib.fake_context(lib.S_CTX_JOB_SCRIPT)

    def run_epilog(behaviour: str, *more: str) -> None:
        in_child(lambda: hook("job_epilog", (*words(state, behaviour), *more)))

    return run_epilog


def test_epilog_of_a_job_without_records_starts_no_opener(state: Path, epilog: Callable[..., None]) -> None:
    epilog("fail")
    (state / "node2" / str(JOB)).mkdir(parents=True)
    (state / NODE.decode() / str(JOB + 1)).mkdir(parents=True)
    epilog("fail")
    assert messages() == []


def test_epilog_of_a_job_with_records_has_the_opener_close_them(state: Path, epilog: Callable[..., None]) -> None:
    path = put(state, new_record(), suffix=".ready")
    epilog(f"publish{path}")
    assert path.exists()
    assert messages() == []


def test_epilog_whose_opener_fails_says_so(state: Path, epilog: Callable[..., None]) -> None:
    put(state, new_record())
    epilog("fail")
    assert messages() == said("closing the containers failed; the sweep will finish it")


def test_epilog_with_an_unknown_word_says_so(epilog: Callable[..., None]) -> None:
    epilog("fail", "nonsense")
    assert messages() == said("plugstack line: unknown word 'nonsense'")


@pytest.mark.parametrize("node", [None, "", "..", "a/b", ".hidden"])
def test_epilog_without_a_node_says_so(
    monkeypatch: pytest.MonkeyPatch, epilog: Callable[..., None], node: str | None
) -> None:
    if node is None:
        monkeypatch.delenv("SLURMD_NODENAME")
    else:
        monkeypatch.setenv("SLURMD_NODENAME", node)
    epilog("fail")
    assert messages() == said("the epilog does not know its job and node")


def test_epilog_without_a_job_says_so(epilog: Callable[..., None]) -> None:
    lib.fake_item_error(lib.S_JOB_ID, lib.ESPANK_ERROR)
    epilog("fail")
    assert messages() == said("the epilog does not know its job and node")
