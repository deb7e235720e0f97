# SPDX-License-Identifier: Apache-2.0
"""
What a user asks for beside the image: the options that shape a container, as the plugin's lines NAME=VALUE.

A list of mounts is `SRC:DST[:FLAGS],...`; `SRC` alone appears at the same path, `tmpfs:DST` is an empty one. A
backslash takes the next character for itself, so that a path may hold commas and colons. FLAGS are joined by `+`.
"""

from __future__ import annotations

import posixpath

from socker.cdi import is_cdi
from socker.errors import InvalidRequest
from socker.model import is_plain_path
from socker.text import quoted
from socker.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TMPFS = "tmpfs"
NAMESPACES = ("net", "ipc", "uts")

_FLAGS = ("ro", "rw", "bind", "rbind")
_SPECIAL = "\\,:"


class AskedMount(Value):
    """
    A mount as it was asked for. `source` is a path, absolute or to be taken from the step's directory, or the name of
    a site mount; empty for a tmpfs. `target` is empty where it is the source's.
    """

    source: str
    target: str
    read_only: bool = False
    flat: bool = False


class Options(Value):
    """What is asked for; None where nothing is said."""

    mounts: tuple[AskedMount, ...] = ()
    home: bool | None = None
    read_only: bool | None = None
    private: tuple[str, ...] = ()
    gpus: bool = False
    devices: tuple[str, ...] = ()
    save: str = ""


NOTHING = Options()


def read_options(text: str) -> Options:
    """Return what the lines say. Raises InvalidRequest, whose line names the option."""
    if not text:
        return NOTHING
    said: dict[str, object] = {}
    for line in text.rstrip("\n").split("\n"):
        name, equals, value = line.partition("=")
        if not equals or name not in _READERS:
            raise InvalidRequest(f"there is no option {quoted(line)}; plugin and policy engine are of two versions")
        said.update(_READERS[name](value))
    return Options(**said)  # type: ignore[arg-type]  # each reader gives its own fields


def parse_mounts(text: str) -> tuple[AskedMount, ...]:
    """Return the mounts of a list. Raises InvalidRequest."""
    return tuple(_mount(fields) for fields in _entries(text))


def format_mounts(mounts: Iterable[AskedMount]) -> str:
    """Return the list that parse_mounts reads so."""
    return ",".join(map(_format, mounts))


def absolute(path: str, directory: str) -> str:
    """Return a path without `.` and `..` (as text; links are followed when it is opened), taken from a directory."""
    return posixpath.normpath(posixpath.join(directory or "/", path)).replace("//", "/")


def _format(mount: AskedMount) -> str:
    if not mount.source:
        return f"{TMPFS}:{_escape(mount.target)}"
    flags = [name for name, is_set in (("ro", mount.read_only), ("bind", mount.flat)) if is_set]
    # the name of the file system stands for itself where it is a path
    source = f"./{mount.source}" if mount.source == TMPFS else mount.source
    fields = [source, *([mount.target or mount.source] if mount.target or flags else [])]
    return ":".join([*map(_escape, fields), *(["+".join(flags)] if flags else [])])


def _escape(text: str) -> str:
    return "".join(f"\\{char}" if char in _SPECIAL else char for char in text)


def _entries(text: str) -> Iterator[list[str]]:
    """Split a list into entries and these into fields, and take the backslashes away."""
    fields = [""]
    rest = iter(text)
    for char in rest:
        if char == "\\":
            taken = next(rest, "")
            if not taken:
                raise _wrong(text, "a backslash stands at its end")
            fields[-1] += taken
        elif char == ":":
            fields.append("")
        elif char == ",":
            yield fields
            fields = [""]
        else:
            fields[-1] += char
    yield fields


def _mount(fields: list[str]) -> AskedMount:
    shown = ":".join(fields)
    if len(fields) > 3:
        raise _wrong(shown, "it has more than source, target and flags; a colon in a path needs a backslash")
    source, target, flags = (*fields, "", "")[:3]
    if not source or (len(fields) > 1 and not target):
        raise _wrong(shown, "source or target is empty")
    if source == TMPFS:
        if len(fields) != 2:
            raise _wrong(shown, "a tmpfs has a target and nothing else")
        return AskedMount(source="", target=_target(target, shown))
    chosen = flags.split("+") if flags else []
    for flag in chosen:
        if flag not in _FLAGS:
            raise _wrong(shown, f"there is no flag {quoted(flag)}; there are {', '.join(_FLAGS)}")
    for one, other in (("ro", "rw"), ("bind", "rbind")):
        if one in chosen and other in chosen:
            raise _wrong(shown, f"it says both {one} and {other}")
    return AskedMount(
        source=source,
        target=_target(target, shown) if target and target != source else "",
        read_only="ro" in chosen,
        flat="bind" in chosen,
    )


def _target(path: str, shown: str) -> str:
    if not path.startswith("/"):
        raise _wrong(shown, "the target is no absolute path")
    return absolute(path, "/")


def _wrong(shown: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"--container-mounts: {quoted(shown)}: {why}")


def _chosen(option: str, value: str, yes: str, no: str) -> bool:
    if value not in {yes, no}:
        raise InvalidRequest(f"{option}: {quoted(value)} is neither {yes} nor {no}")
    return value == yes


def _read_mounts(value: str) -> Mapping[str, object]:
    return {"mounts": parse_mounts(value)}


def _read_home(value: str) -> Mapping[str, object]:
    return {"home": _chosen("--container-mount-home", value, "yes", "no")}


def _read_root(value: str) -> Mapping[str, object]:
    return {"read_only": _chosen("--container-readonly", value, "ro", "rw")}


def _read_unshare(value: str) -> Mapping[str, object]:
    words = value.split(",")
    for word in words:
        if word not in NAMESPACES:
            raise InvalidRequest(
                f"--container-unshare: {quoted(word)} is no namespace to choose; there are {', '.join(NAMESPACES)}"
            )
    return {"private": tuple(name for name in NAMESPACES if name in words)}


def _read_gpus(value: str) -> Mapping[str, object]:
    return {"gpus": _chosen("--container-gpus", value, "yes", "no")}


def _read_device(value: str) -> Mapping[str, object]:
    devices = tuple(value.split(","))
    for device in devices:
        if not is_cdi(device) and not (is_plain_path(device) and device.startswith("/dev/")):
            raise InvalidRequest(
                f"--container-device: {quoted(device)} is neither a path below /dev nor a CDI device, vendor/class=name"
            )
    return {"devices": devices}


def _read_save(value: str) -> Mapping[str, object]:
    return {"save": value}


_READERS = {
    "mounts": _read_mounts,
    "home": _read_home,
    "root": _read_root,
    "unshare": _read_unshare,
    "gpus": _read_gpus,
    "device": _read_device,
    "save": _read_save,
}
