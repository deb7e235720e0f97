# SPDX-License-Identifier: Apache-2.0
"""
Devices of the Container Device Interface: what the specifications of a node say that a container needs for one.

Of a specification device nodes, mounts and variables count. Its hooks are programs that a runtime would run as root
over files of the image, so they are left out: a task finds libraries where they are mounted, but in no linker cache.
Pure.
"""

from __future__ import annotations

import re

from socker.environment import is_name
from socker.errors import CdiError
from socker.model import is_plain_path
from socker.text import quoted
from socker.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_VENDOR = r"[A-Za-z][A-Za-z0-9_.-]*"
_KIND = re.compile(rf"{_VENDOR}/[A-Za-z][A-Za-z0-9_-]*")
_NAME = re.compile(rf"({_VENDOR}/[A-Za-z][A-Za-z0-9_-]*)=([A-Za-z0-9][A-Za-z0-9_.:-]*)")
_KNOWN = frozenset({"deviceNodes", "mounts", "env", "hooks"})


class CdiDevice(Value):
    """
    A device by its full name, `vendor/class=name`. `nodes` are the paths of device files, on the host and inside;
    `mounts` such paths of files and directories, and whether they are read-only; `env` holds NAME=value.
    """

    name: str
    nodes: tuple[tuple[str, str], ...] = ()
    mounts: tuple[tuple[str, str, bool], ...] = ()
    env: tuple[str, ...] = ()


def is_cdi(name: str) -> bool:
    """Tell whether this is the full name of such a device."""
    return _NAME.fullmatch(name) is not None


def is_kind(text: str) -> bool:
    """Tell whether this is a vendor and a class."""
    return _KIND.fullmatch(text) is not None


def read_specification(content: object, path: str) -> tuple[CdiDevice, ...]:
    """Return the devices of a specification that was read from a file of that path. Raises CdiError."""
    try:
        whole = _mapping(content)
        kind = _read_kind(whole.get("kind"))
        common = _device(f"{kind}=all", whole.get("containerEdits"))
        return tuple(_named(kind, _mapping(entry), common) for entry in _list(whole.get("devices")))
    except CdiError as error:
        raise CdiError(f"the device specification {path}: {error}; tell your administrator") from None


def _read_kind(kind: object) -> str:
    if not isinstance(kind, str) or not is_kind(kind):
        raise CdiError(f"its kind is no vendor and class: {quoted(str(kind))}")
    return kind


def of_file(devices: Mapping[str, CdiDevice], kind: str, file: str, others: tuple[str, ...]) -> CdiDevice:
    """
    Return the device of a kind that has a device file and none of the others, which are not the job's.

    Of several the one with the fewest device files, since a specification may have one for all. Raises CdiError.
    """
    found = [
        device
        for name, device in devices.items()
        if name.startswith(f"{kind}=")
        and any(host == file for host, _ in device.nodes)
        and not any(host in others for host, _ in device.nodes)
    ]
    if not found:
        raise CdiError(f"no device of the kind {kind} on this node is {file} alone; tell your administrator")
    return min(found, key=lambda device: (len(device.nodes), device.name))


def _named(kind: str, entry: Mapping[str, object], common: CdiDevice) -> CdiDevice:
    name = f"{kind}={entry.get('name')}"
    if not is_cdi(name):
        raise CdiError(f"this is no name of a device: {quoted(name)}")
    own = _device(name, entry.get("containerEdits"))
    return own.but(nodes=common.nodes + own.nodes, mounts=common.mounts + own.mounts, env=common.env + own.env)


def _device(name: str, content: object) -> CdiDevice:
    edits = _mapping(content or {})
    for key in edits:
        if key not in _KNOWN:
            raise CdiError(f"{name}: {quoted(key)} is not supported")
    return CdiDevice(
        name=name,
        nodes=tuple(_node(_mapping(node)) for node in _list(edits.get("deviceNodes"))),
        mounts=tuple(_mount(_mapping(mount)) for mount in _list(edits.get("mounts"))),
        env=tuple(map(_variable, _list(edits.get("env")))),
    )


def _node(node: Mapping[str, object]) -> tuple[str, str]:
    inside = _path(node.get("path"))
    return _path(node.get("hostPath") or inside), inside


def _mount(mount: Mapping[str, object]) -> tuple[str, str, bool]:
    return _path(mount.get("hostPath")), _path(mount.get("containerPath")), "ro" in _list(mount.get("options"))


def _variable(text: object) -> str:
    if not isinstance(text, str) or not text.isprintable() or not is_name(text.partition("=")[0]) or "=" not in text:
        raise CdiError(f"this is no variable: {quoted(str(text))}")
    return text


def _path(text: object) -> str:
    if not isinstance(text, str) or not is_plain_path(text) or not text.isprintable() or text == "/":
        raise CdiError(f"this is no plain absolute path: {quoted(str(text))}")
    return text


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise CdiError(f"a mapping is expected, not {quoted(str(value))}")
    return value


def _list(value: object) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise CdiError(f"a list is expected, not {quoted(str(value))}")
    return value
