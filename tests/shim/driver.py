# SPDX-License-Identifier: Apache-2.0
"""What the tests share: the module under test, children that cannot hang, containers without Docker."""

from __future__ import annotations

import atexit
import ctypes
import importlib
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUILT = Path(os.environ.get("SOCKER_SHIM", "build/shim")).resolve()

# The user of a job, and whom hold processes run as: ids only, nobody has them.
USER, GROUP, EXTRA_GROUP = 61000, 61001, 61002
HOLD_UID, HOLD_GID = 61998, 61999
JOB = 4711
NODE = b"node1"
REFERENCE = b"debian:bookworm"

# What `run` has the sanitizers exit with, and a child of a test whose function raised.
SANITIZER_STATUS = 86
RAISED_STATUS = 87
CHILD_SECONDS = 20


def _stage() -> Path:
    """A directory that root trusts, with the module and, by the names the C looks for, the programs it executes."""
    stage = Path(tempfile.mkdtemp(prefix="socker-shim-", dir="/var/lib"))
    atexit.register(shutil.rmtree, stage)
    stage.chmod(0o755)
    for module in BUILT.glob("_shim.*.so"):
        (stage / module.name).symlink_to(module)
    programs = {"fake-opener": "socker-opener", "fake-policy": "socker-policy", "hold": "hold", "entry": "entry"}
    for built, name in programs.items():
        shutil.copy(BUILT / built, stage / name)
        (stage / name).chmod(0o755)
    # where socker-policy's Python code would be
    (stage / "venv" / "lib").mkdir(parents=True)
    return stage


STAGE = _stage()
HOLD = STAGE / "hold"
ENTRY = STAGE / "entry"
sys.path.insert(0, str(STAGE))
_shim: Any = importlib.import_module("_shim")
ffi: Any = _shim.ffi
lib: Any = _shim.lib
SANITIZED = hasattr(lib, "flaw_leak")


# Values


def exact(size: int) -> Any:
    """Zeros of that size; the sanitizer finds a byte that is written behind them."""
    return ffi.gc(lib.shim_bytes(size), lib.shim_free)


def text(err: Any) -> str:
    """The line of an error; it must be UTF-8."""
    return bytes(ffi.string(err.text)).decode()


def refused(function: Callable[..., int], *arguments: Any) -> str:
    """Calls a function that must fail and returns its reason, which must not be empty."""
    err = ffi.new("struct socker_error *")
    result = function(*arguments, err)
    assert result == -1, f"not refused but {result}"
    assert text(err), "refused without a reason"
    return text(err)


def done(function: Callable[..., int], *arguments: Any) -> int:
    """Calls a function that must succeed and returns what it returns."""
    err = ffi.new("struct socker_error *")
    result = function(*arguments, err)
    assert (text(err), result >= 0) == ("", True)
    return result


def strings(words: tuple[str, ...] | list[str]) -> tuple[Any, list[Any]]:
    """A `char *[]` of the words, and what must live as long as it."""
    kept = [ffi.new("char[]", word.encode()) for word in words]
    return ffi.new("char *[]", kept or 1), kept


def new_config(**fields: Any) -> Any:
    """A config with the defaults but for the fields; it keeps its strings alive."""
    config = ffi.new("struct socker_config *")
    done(lib.config_parse, config, 0, ffi.NULL)
    for name, value in fields.items():
        if isinstance(value, str | Path):
            _kept.append(ffi.new("char[]", os.fsencode(value)))
            setattr(config, name, _kept[-1])
        else:
            setattr(config, name, value)
    return config


_kept: list[Any] = []


def new_request(**fields: Any) -> Any:
    """A valid request of USER, but for the fields."""
    request = ffi.new("struct socker_request *")
    lib.request_init(request)
    values: dict[str, Any] = {
        "job": JOB,
        "uid": USER,
        "gid": GROUP,
        "node": NODE,
        "reference": REFERENCE,
        "groups": [GROUP, EXTRA_GROUP],
    }
    values |= fields
    groups = values.pop("groups")
    request.group_count = values.pop("group_count", len(groups))
    for index, group in enumerate(groups):
        request.groups[index] = group
    for name, value in values.items():
        setattr(request, name, value)
    return request


def new_record(state: int | None = None, request: Any = None) -> Any:
    """A whole record without a container."""
    record = ffi.new("struct socker_record *")
    record.magic = lib.RECORD_MAGIC
    record.size = ffi.sizeof("struct socker_record")
    record.state = lib.RECORD_OPEN if state is None else state
    record.request = (request or new_request())[0]
    record.workdir = lib.record_add_text(record, b"/")
    return record


def add_place(record: Any, path: str, *, error: int = 0, planned: bool = False, other: bool = False) -> None:
    """Appends a place to the record."""
    place = record.places[record.place_count]
    place.path, place.error = lib.record_add_text(record, path.encode()), error
    place.planned, place.other = planned, other
    assert place.path
    record.place_count += 1


def key_of(request: Any) -> bytes:
    """The request's key."""
    key = exact(17)
    lib.request_key(request, key)
    return bytes(ffi.string(key))


# Children


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a child ended: its exit status, or minus the signal that ended it, and what its function returned."""

    status: int
    said: Any


def _leaked() -> bool:
    """In the sanitized module: whether this process has memory that nothing refers to. It takes half a second."""
    return SANITIZED and bool(ctypes.CDLL(None).__lsan_do_recoverable_leak_check())


class Child:
    """
    A forked child that runs a function; what it returns comes back as JSON. Leaks are looked for where asked, by a
    child that is still root: those that the tests' process is checked for at its end are not a child's.
    """

    def __init__(self, function: Callable[[], Any], *, leaks: bool = False) -> None:
        self._answer = os.memfd_create("answer")
        self.pid = os.fork()
        if self.pid == 0:
            signal.alarm(CHILD_SECONDS)
            self._run(function, leaks=leaks)

    def _run(self, function: Callable[[], Any], *, leaks: bool) -> None:
        status = RAISED_STATUS
        try:
            answer = json.dumps(function())
            status = SANITIZER_STATUS if leaks and _leaked() else 0
        except BaseException:  # noqa: BLE001  the child must not go on in pytest
            answer = json.dumps(traceback.format_exc())
        try:
            os.pwrite(self._answer, answer.encode(), 0)
        finally:
            os._exit(status)

    def wait(self, seconds: float = CHILD_SECONDS) -> Ending:
        """Its end, which must come within the seconds."""
        pidfd = os.pidfd_open(self.pid)
        ready = select.select([pidfd], [], [], seconds)[0]
        os.close(pidfd)
        if not ready:
            os.kill(self.pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        answer = os.pread(self._answer, os.fstat(self._answer).st_size, 0)
        os.close(self._answer)
        said = json.loads(answer) if answer else None
        assert ready, f"a child was still running after {seconds} s"
        assert status != SANITIZER_STATUS, "a sanitizer found something in a child: see its standard error"
        assert status != RAISED_STATUS, said
        return Ending(status=status, said=said)

    def kill(self) -> None:
        """Ended, if it has not ended before."""
        os.kill(self.pid, signal.SIGKILL)
        assert self.wait().status == -signal.SIGKILL


def in_child(function: Callable[[], Any], *, leaks: bool = False) -> Any:
    """What the function returns in a child, which must end well."""
    ending = Child(function, leaks=leaks).wait()
    assert ending.status == 0, f"the child ended with {ending.status}"
    return ending.said


def eventually(condition: Callable[[], bool], *, seconds: float = 5) -> bool:
    """True as soon as the condition holds; False when it does not within the seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


def become_user(*, groups: tuple[int, ...] = (GROUP, EXTRA_GROUP)) -> None:
    """What Slurm does to a task between the two hooks."""
    os.setgroups(groups)
    os.setresgid(GROUP, GROUP, GROUP)
    os.setresuid(USER, USER, USER)


def process_status(pid: int | str = "self") -> dict[str, str]:
    """/proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def runs(pid: int) -> bool:
    """True while the process is there and no zombie."""
    try:
        return process_status(pid)["State"][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# Containers


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A line of mountinfo."""

    point: str
    options: frozenset[str]
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A root file system of its own and the process that holds it, made as Docker makes them."""

    pid: int

    @property
    def root(self) -> Path:
        """The container's root, seen from the host. Absolute symlinks in it lead to the host's files."""
        return Path(f"/proc/{self.pid}/root")

    def mounts(self) -> list[Mount]:
        """What is mounted in it, in order."""
        found = []
        for line in Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines():
            fields = line.split()
            kind = fields[fields.index("-") + 1]
            found.append(Mount(point=fields[4], options=frozenset(fields[5].split(",")), kind=kind))
        return found

    def end(self) -> None:
        """Killed, and gone for its parent."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def identify(self, *, uid: int = HOLD_UID, gid: int = HOLD_GID, program: Path = HOLD) -> Any:
        """The facts of its hold process, which must be as it should."""
        hold = ffi.new("struct record_hold *")
        done(lib.container_identify, hold, self.pid, os.fsencode(program), uid, gid)
        return hold

    def attach(self, flags: int = 0) -> Any:
        """An open container, with the namespaces of its own that flags name; end it with container_release."""
        container = ffi.new("struct container *")
        done(lib.container_attach, container, self.identify(), flags)
        return container

    def record(self, request: Any = None) -> Any:
        """An open record of it."""
        record = new_record(request=request)
        record.hold = self.identify()[0]
        done(lib.seccomp_copy, record, self.pid)
        return record


def start_container(
    root: Path, *, flaws: int = 0, uid: int = HOLD_UID, gid: int = HOLD_GID, program: Path = HOLD
) -> Iterator[Container]:
    """A running container; it is gone when the generator goes on."""
    container = Container(pid=done(lib.hold_start, os.fsencode(root), os.fsencode(program), uid, gid, flaws))
    yield container
    # a test may have ended it
    with suppress(ChildProcessError, ProcessLookupError):
        container.end()


# Slurm


def messages() -> list[str]:
    """What was said to Slurm's log since the test began; errors begin with `error: `, as Slurm writes them."""
    kinds = ("", "error: ")
    return [
        kinds[lib.fake_message_is_error(i)] + bytes(ffi.string(lib.fake_message(i))).decode()
        for i in range(lib.fake_message_count())
    ]


def job_environment(name: str) -> str | None:
    """A variable of the fake's job environment."""
    value = lib.fake_env_value(name.encode())
    return None if value == ffi.NULL else bytes(ffi.string(value)).decode()
