# SPDX-License-Identifier: Apache-2.0
"""Grants: what a rule gives to the steps that it allows. A thing that is not named is not given."""

from __future__ import annotations

from socker.model import is_plain_path
from socker.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from socker.pattern import Pattern

    Pull = Literal["never", "missing", "always"]
    Sharing = Literal["host", "private"]

SECCOMP_HPC = "hpc"  # the profile that comes with socker, see docs/seccomp.md
SECCOMP_DOCKER = "docker"  # the one that Docker has by itself


class SiteMount(Value):
    """A directory of the site that policy names. With `default` it is mounted unasked, else where it is asked for."""

    name: str
    source: str
    target: str
    read_only: bool = False
    default: bool = True

    def _check(self) -> None:
        for path in (self.source, self.target):
            if not is_plain_path(path):
                raise ValueError(f"not a plain path: {path!r}")


class Grants(Value):
    """
    What is given, and what holds where nothing is said.

    `registries` are those that may be pulled from, with their ports. `mount_sources` are the directories below which
    a user's own mounts may lie, None for any that the user can open. `seccomp` is the name of a profile or the path of
    one. `devices` are in every container, `ask_devices` where they are asked for, `gpus` lets the job's be asked for,
    as CDI devices of the `gpu_kind` where there is one.
    `save` are the images that may be written. `open_seconds` limits opening, None for the plugin's own limit.
    """

    home: bool = False
    submit_dir: bool = False
    site_mounts: tuple[SiteMount, ...] = ()
    mount_sources: tuple[str, ...] | None = ()
    pull: Pull = "never"
    registries: tuple[str, ...] = ()
    network: Sharing = "host"
    ipc: Sharing = "host"
    uts: Sharing = "host"
    read_only: bool = False
    devices: tuple[str, ...] = ()
    ask_devices: tuple[str, ...] = ()
    gpus: bool = False
    gpu_kind: str = ""
    env_set: tuple[tuple[str, str], ...] = ()
    env_remove: tuple[str, ...] = ()
    seccomp: str = SECCOMP_HPC
    save: tuple[Pattern, ...] = ()
    open_seconds: int | None = None
