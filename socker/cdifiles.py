# SPDX-License-Identifier: Apache-2.0
"""The node's specifications of CDI devices, as files that only root can write. Read where a step asks for a device."""

from __future__ import annotations

import json

from socker.cdi import CdiDevice, read_specification
from socker.errors import CdiError, PolicyFileError
from socker.strictyaml import YamlError, read_yaml
from socker.trustedfile import ROOT, is_plain, open_trusted, read_trusted

DIRECTORIES = ("/etc/cdi", "/run/cdi")  # a device of the last one counts


def load_devices(
    directories: tuple[str, ...] = DIRECTORIES, *, owner: int = ROOT, anchor: str = "/"
) -> dict[str, CdiDevice]:
    """Return the devices by their full names. Raises CdiError."""
    found: dict[str, CdiDevice] = {}
    try:
        for directory in directories:
            opened = open_trusted(directory, owner=owner, anchor=anchor)
            for name in sorted(opened.names or ()) if opened else ():
                if name.endswith((".json", ".yaml", ".yml")):
                    path = f"{directory}/{name}"
                    devices = read_specification(_content(path, read_trusted(path, owner=owner, anchor=anchor)), path)
                    found |= {device.name: _mountable(device) for device in devices}
    except PolicyFileError as error:
        raise CdiError(f"the device specification {error}; tell your administrator") from None
    return found


def _content(path: str, data: bytes | None) -> object:
    try:
        return json.loads(data or b"") if path.endswith(".json") else read_yaml(data or b"", keep_lines=False).content
    except (ValueError, RecursionError):
        why = "it is not JSON"
    except YamlError as error:
        why = str(error)
    raise CdiError(f"the device specification {path}: {why}; tell your administrator")


def _mountable(device: CdiDevice) -> CdiDevice:
    """Leave out mounts of what is not there or is neither file nor directory, as the sockets of daemons."""
    return device.but(mounts=tuple(mount for mount in device.mounts if is_plain(mount[0])))
