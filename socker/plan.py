# SPDX-License-Identifier: Apache-2.0
"""Plan: what the opener attaches and what the tasks get. Pure; the opener checks it again."""

from __future__ import annotations

from socker.errors import PlanError
from socker.model import Image, Mount, User, is_plain_path
from socker.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socker.grants import Grants
    from socker.policy import Allow

# The limits of the wire; tests compare them with spank/wire.h.
MAX_ENV = 512
MAX_MOUNTS = 32
MAX_PATH = 4095  # bytes
MAX_TEXT = 131072  # bytes of all strings with their NULs

NAMESPACES = ("net", "ipc", "uts")  # that a container may have of its own

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # Docker's, for images without one

# Slurm's and PMI's own, never an image's.
PROTECTED_PREFIXES = ("SLURM", "_SLURM", "SPANK", "_SPANK", "SRUN_", "SBATCH_", "SALLOC_", "PMI")
# The user's, from the node's accounts, and the job's devices.
PROTECTED_NAMES = frozenset(
    {
        *("HOME", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "TMPDIR"),
        *("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
        *("GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK"),
    }
)

# Homes of system accounts: mounted, they would hide what the image has there.
_SYSTEM_TREES = frozenset(
    {"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys"}
)
_SYSTEM_PATHS = frozenset(
    {"/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/usr", "/usr/bin", "/usr/games", "/usr/lib"}
    | {"/usr/lib64", "/usr/local", "/usr/sbin", "/usr/share", "/var", "/var/lib", "/var/tmp"}
)


class Plan(Value):
    """
    What is attached to the container and what its tasks get. `env` holds NAME=value, each name once.

    `private` are the namespaces, of NAMESPACES, that tasks enter beside the one of the mounts. `unset` are variables
    that tasks do not get, whoever set them.
    """

    digest: str
    mounts: tuple[Mount, ...]
    submit_dir: bool
    env: tuple[str, ...]
    workdir: str
    private: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()

    def _check(self) -> None:
        if len(self.mounts) > MAX_MOUNTS:
            raise PlanError(f"{len(self.mounts)} mounts are asked for; a container takes at most {MAX_MOUNTS}")
        if len(self.env) > MAX_ENV:
            raise PlanError(
                f"{len(self.env)} environment variables are set by image and policy; at most {MAX_ENV} can be used"
            )
        size = sum(len(encode(text)) + 1 for text in self.texts())
        if size > MAX_TEXT:
            raise PlanError(f"environment and mounts take {size} bytes; at most {MAX_TEXT} can be used")

    def texts(self) -> tuple[str, ...]:
        """Return every string of the plan."""
        paths = (path for mount in self.mounts for path in (mount.source, mount.target))
        return (self.workdir, *paths, *self.env, *self.unset)


def make_plan(user: User, allow: Allow, image: Image) -> Plan:
    """Return what the decision and the image make of a step. Raises PlanError where a limit is passed."""
    given = allow.grants
    return Plan(
        digest=image.id,
        mounts=_mounts(user, given),
        submit_dir=given.submit_dir,
        env=_environment(image, given),
        workdir=_workdir(image.workdir),
        private=private_namespaces(given),
        unset=given.env_remove,
    )


def private_namespaces(given: Grants) -> tuple[str, ...]:
    """Return which of NAMESPACES a container has of its own."""
    shared = zip(NAMESPACES, (given.network, given.ipc, given.uts), strict=True)
    return tuple(name for name, sharing in shared if sharing == "private")


def is_below(path: str, directory: str) -> bool:
    """Tell whether a plain path is the directory or something in it."""
    return directory in {"/", path} or path.startswith(f"{directory}/")


def _mounts(user: User, given: Grants) -> tuple[Mount, ...]:
    """Return the site's mounts, and the home unless one of them has it already."""
    sites = [
        Mount(source=site.source, target=site.target, read_only=site.read_only)
        for site in given.site_mounts
        if site.default
    ]
    home = clean_path(user.home)
    if given.home and is_home(home) and not any(is_below(home, mount.target) for mount in sites):
        return (Mount(source=home, target=home, read_only=False), *sites)
    return tuple(sites)


def _environment(image: Image, given: Grants) -> tuple[str, ...]:
    """Return the image's variables without those that policy removes, and policy's own, which win."""
    names = {*given.env_remove, *(name for name, _ in given.env_set)}
    kept = [entry for entry in image_environment(image.env) if entry.partition("=")[0] not in names]
    return (*kept, *(f"{name}={value}" for name, value in given.env_set))


def image_environment(entries: tuple[str, ...]) -> tuple[str, ...]:
    """Return what an image may set: well-formed, not protected, the last of equal names, and always a PATH."""
    kept: dict[str, str] = {}
    for entry in entries:
        name, equals, _ = entry.partition("=")
        if equals and is_name(name) and not is_protected(name) and _is_encodable(entry):
            kept.pop(name, None)
            kept[name] = entry
    kept.setdefault("PATH", DEFAULT_PATH)
    return tuple(kept.values())


def is_name(name: str) -> bool:
    """Tell whether a variable can have this name."""
    return name != "" and all("!" <= char <= "~" for char in name)


def is_protected(name: str) -> bool:
    """Tell whether a variable is Slurm's or the user's, which neither an image nor policy sets."""
    return name in PROTECTED_NAMES or name.startswith(PROTECTED_PREFIXES)


def _is_encodable(text: str) -> bool:
    if "\0" in text:
        return False
    try:
        encode(text)
    except UnicodeEncodeError:
        return False
    return True


def encode(text: str) -> bytes:
    """Return the text as bytes for the wire; bytes of the host that are not UTF-8 come out as they were."""
    return text.encode(errors="surrogateescape")


def clean_path(path: str) -> str:
    """Return an absolute path without empty parts, `.` and `..` (as text, no link is followed); any other unchanged."""
    if not path.startswith("/"):
        return path
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)
    return "/" + "/".join(parts)


def is_home(path: str) -> bool:
    """Tell whether a home directory is one that can be mounted: a plain path, and not one of the system's."""
    if not _fits(path) or path in _SYSTEM_PATHS:
        return False
    return path.split("/")[1] not in _SYSTEM_TREES


def _workdir(path: str) -> str:
    path = clean_path(path)
    return path if _fits(path) else "/"


def _fits(path: str) -> bool:
    return is_plain_path(path) and _is_encodable(path) and len(encode(path)) <= MAX_PATH
