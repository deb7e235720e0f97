# SPDX-License-Identifier: Apache-2.0
"""
The values of spank/wire.h: reading what the opener sent, filling what it gets.

`ffi` is cffi's, a value a pointer to its struct. Tests compare every constant here with the header.
"""

from __future__ import annotations

from socker.environment import encode
from socker.errors import InvalidRequest, PlanError
from socker.lifecycle import Closing, Item
from socker.model import Mark, Request
from socker.saving import Saving
from socker.text import decoded, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from socker.lifecycle import Closed, Opened
    from socker.model import Mount
    from socker.plan import Plan
    from socker.saving import Saved

    FFI = Any  # _cffi_backend.FFI, which has no usable types
    Struct = Any  # a pointer to one of the header's structs

REQUEST_MAGIC = 0x71736B73
PLAN_MAGIC = 0x706B736F
CLOSE_MAGIC = 0x636B736F
SAVE_MAGIC = 0x766B736F
POLICY_DONE = 0x534F434B
GRANT = 0x47524E54
PLAIN = 0x4E4F4E45
REFUSE = 0
MOUNT_READONLY = 1
MOUNT_TMPFS = 2
MOUNT_ASKED = 4
MOUNT_DEVICE = 8
MOUNT_FLAT = 16
SWEEP_RECORDED = 1
SWEEP_ALL = 2
PLAN_SUBMIT_DIR = 1
PLAN_LEFT = 2
PLAN_NET = 4
PLAN_IPC = 8
PLAN_UTS = 16
PLAN_READONLY = 32
PLAN_SILENT = 64
_PRIVATE = {"net": PLAN_NET, "ipc": PLAN_IPC, "uts": PLAN_UTS}


def zero(ffi: FFI, value: Struct) -> None:
    """Leave nothing but zeros in a value."""
    ffi.buffer(value)[:] = bytes(ffi.sizeof(value[0]))


def is_whole(ffi: FFI, value: Struct, magic: int) -> bool:
    """Tell whether a value is of the kind and the version that this code knows."""
    return bool(value.magic == magic and value.size == ffi.sizeof(value[0]))


def read_request(ffi: FFI, request: Struct) -> Request:
    """Return the request. Raises InvalidRequest."""
    if request.group_count > len(request.groups):
        raise InvalidRequest("the request has more groups than it has room for")
    return Request(
        job=request.job,
        step=request.step,
        uid=request.uid,
        gid=request.gid,
        groups=tuple(request.groups[0 : request.group_count]),
        hold_uid=request.hold_uid,
        hold_gid=request.hold_gid,
        reference=_string(ffi, request.reference),
        node=_string(ffi, request.node),
        name=_string(ffi, request.name),
        token=_string(ffi, request.token),
        docker=_string(ffi, request.docker),
        policy=_string(ffi, request.policy),
        hold=_string(ffi, request.hold),
        deadline_ms=request.deadline_ms,
        slurm_conf=_string(ffi, request.slurm_conf),
        options=_string(ffi, request.options),
        cwd=_string(ffi, request.cwd),
    )


def read_closing(ffi: FFI, value: Struct) -> Closing:
    """Return the containers to close. Raises InvalidRequest."""
    if value.count > len(value.items):
        raise InvalidRequest("the question has more items than it has room for")
    items = (value.items[index] for index in range(value.count))
    return Closing(
        node=_string(ffi, value.node),
        token=_string(ffi, value.token),
        items=tuple(Item(job=item.job, name=_string(ffi, item.name), id=_string(ffi, item.id)) for item in items),
    )


def read_saving(ffi: FFI, value: Struct) -> Saving:
    """Return the container to save. Raises InvalidRequest."""
    mark = Mark(
        token=_string(ffi, value.token),
        node=_string(ffi, value.node),
        job=value.job,
        uid=value.uid,
        name=_string(ffi, value.name),
    )
    return Saving(
        id=_string(ffi, value.id),
        mark=mark,
        step=value.step,
        base=_string(ffi, value.base),
        reference=_string(ffi, value.reference),
    )


def write_saved(ffi: FFI, value: Struct, saved: Saved) -> None:
    """Fill in whether the image is there, or why not."""
    _put(ffi, value.message, one_line(saved.message, len(value.message) - 1).encode())
    value.saved = GRANT if saved.image and not saved.message else REFUSE


def read_docker(ffi: FFI, value: Struct) -> str:
    """Return the path of Docker's socket."""
    return _string(ffi, value.docker)


def read_paths(ffi: FFI, value: Struct) -> tuple[str, str]:
    """Return the paths of Docker's socket and of slurm.conf (empty for Slurm's default) from a question to close."""
    return _string(ffi, value.docker), _string(ffi, value.slurm_conf)


def _string(ffi: FFI, field: Struct) -> str:
    data = ffi.string(field)
    if len(data) >= len(field):
        raise InvalidRequest("a string in the request does not end")
    return decoded(data)


def write_refusal(ffi: FFI, request: Struct, plan: Struct, message: str) -> None:
    """Fill the answer with a refusal: one printable line."""
    zero(ffi, plan)
    _echo(ffi, request, plan)
    _put(ffi, plan.message, one_line(message, len(plan.message) - 1).encode())


def write_plain(ffi: FFI, request: Struct, plan: Struct) -> None:
    """Fill the answer for a step that asked for no container and needs none."""
    zero(ffi, plan)
    _echo(ffi, request, plan)
    plan.verdict = PLAIN


def write_grant(ffi: FFI, request: Struct, plan: Struct, opened: Opened) -> None:
    """Fill the answer with a plan; the verdict comes last. Raises PlanError where something does not fit."""
    zero(ffi, plan)
    _echo(ffi, request, plan)
    arena = _Arena(ffi, plan)
    wanted = opened.plan
    plan.workdir = arena.add(wanted.workdir)
    for index, mount in enumerate(wanted.mounts):
        place = plan.mounts[index]
        place.source, place.target = arena.add(mount.source), arena.add(mount.target)
        place.flags, place.base = _mount_flags(mount), len(encode(mount.base))
    plan.mount_count = len(wanted.mounts)
    for index, variable in enumerate(wanted.env):
        plan.env[index] = arena.add(variable)
    plan.env_count = len(wanted.env)
    for index, word in enumerate(wanted.entrypoint):
        plan.entry[index] = arena.add(word)
    plan.entry_count = len(wanted.entrypoint)
    for index, name in enumerate(wanted.unset):
        plan.unset[index] = arena.add(name)
    plan.unset_count = len(wanted.unset)
    plan.passwd, plan.group = arena.add(wanted.passwd), arena.add(wanted.group)
    plan.save = arena.add(wanted.save) if wanted.save else 0
    plan.text_size = arena.used
    plan.flags = _plan_flags(wanted)
    plan.hold_pid = opened.started.pid
    _put(ffi, plan.digest, wanted.digest.encode())
    _put(ffi, plan.id, opened.started.id.encode())
    plan.verdict = GRANT


def _mount_flags(mount: Mount) -> int:
    kinds = {"bind": 0, "tmpfs": MOUNT_TMPFS, "device": MOUNT_DEVICE}
    flags = ((mount.read_only, MOUNT_READONLY), (mount.asked, MOUNT_ASKED), (mount.flat, MOUNT_FLAT))
    return kinds[mount.kind] | sum(flag for is_set, flag in flags if is_set)


def _plan_flags(plan: Plan) -> int:
    flags = sum(_PRIVATE[name] for name in plan.private)
    return flags | (PLAN_SUBMIT_DIR if plan.submit_dir else 0) | (PLAN_READONLY if plan.read_only else 0)


def write_closed(ffi: FFI, value: Struct, closed: Closed) -> None:
    """Fill in which items are kept, and what could not be done."""
    for index, kept in enumerate(closed.kept):
        value.items[index].keep = int(kept)
    _put(ffi, value.message, one_line(closed.message, len(value.message) - 1).encode())


def _echo(ffi: FFI, request: Struct, plan: Struct) -> None:
    plan.magic, plan.size, plan.nonce = PLAN_MAGIC, ffi.sizeof(plan[0]), request.nonce
    plan.job, plan.uid, plan.gid = request.job, request.uid, request.gid


def _put(ffi: FFI, field: Struct, data: bytes) -> None:
    if len(data) >= len(field) or b"\0" in data:
        raise PlanError(f"{len(data)} bytes do not fit where at most {len(field) - 1} can be")
    ffi.buffer(field)[:] = data.ljust(len(field), b"\0")


class _Arena:
    """The text of a plan, filled from its beginning."""

    def __init__(self, ffi: FFI, plan: Struct) -> None:
        self._buffer = ffi.buffer(plan.text)
        self.used = 0

    def add(self, text: str) -> int:
        """Append a string with its NUL and return where it begins."""
        data = encode(text) + b"\0"
        begin, end = self.used, self.used + len(data)
        if end > len(self._buffer) or b"\0" in data[:-1]:
            raise PlanError(f"the plan's text is longer than {len(self._buffer)} bytes")
        self._buffer[begin:end] = data
        self.used = end
        return begin
