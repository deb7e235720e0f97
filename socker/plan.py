# SPDX-License-Identifier: Apache-2.0
"""Plan: what the opener attaches and what the tasks get. Pure; the opener checks it again."""

from __future__ import annotations

from socker.environment import encode, image_environment, is_encodable
from socker.errors import InvalidReference, PlanError
from socker.hardware import NO_HARDWARE, Hardware, devices, not_given
from socker.model import Image, Mount, User, is_plain_path
from socker.options import NAMESPACES, NOTHING, AskedMount, Options, absolute
from socker.reference import Named, parse
from socker.text import quoted
from socker.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socker.grants import Grants
    from socker.policy import Allow

# The limits of the wire; tests compare them with spank/wire.h.
MAX_ENV = 512
MAX_ENTRY = 32
MAX_UNSET = 64
MAX_MOUNTS = 128
MAX_PATH = 4095  # bytes
MAX_TEXT = 131072  # bytes of all strings with their NULs

SCRATCH = ("/tmp", "/var/tmp")
SCRATCH_MODE = "mode=1777"

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
    that tasks do not get, whoever set them. `entrypoint` is the image's, for tasks that want it. `passwd` and `group`
    are lines for the account files. `save` is the full name of the image to save as.
    """

    digest: str
    mounts: tuple[Mount, ...]
    submit_dir: bool
    env: tuple[str, ...]
    workdir: str
    private: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()
    read_only: bool = False
    entrypoint: tuple[str, ...] = ()
    passwd: str = ""
    group: str = ""
    save: str = ""

    def _check(self) -> None:
        if len(self.mounts) > MAX_MOUNTS:
            raise PlanError(f"{len(self.mounts)} mounts are asked for; a container takes at most {MAX_MOUNTS}")
        if len(self.env) > MAX_ENV:
            raise PlanError(
                f"{len(self.env)} environment variables are set by image and policy; at most {MAX_ENV} can be used"
            )
        if len(self.entrypoint) > MAX_ENTRY:
            raise PlanError(f"the image's ENTRYPOINT has {len(self.entrypoint)} words; at most {MAX_ENTRY} can be used")
        size = sum(len(encode(text)) + 1 for text in self.texts())
        if size > MAX_TEXT:
            raise PlanError(f"environment and mounts take {size} bytes; at most {MAX_TEXT} can be used")

    def texts(self) -> tuple[str, ...]:
        """Return every string of the plan."""
        paths = (path for mount in self.mounts for path in (mount.source, mount.target))
        return (
            self.workdir,
            *paths,
            *self.env,
            *self.unset,
            *self.entrypoint,
            self.passwd,
            self.group,
            *filter(None, [self.save]),
        )


def make_plan(  # noqa: PLR0913, PLR0917 - each is a fact of its own
    user: User, allow: Allow, image: Image, wish: Options = NOTHING, cwd: str = "", hardware: Hardware = NO_HARDWARE
) -> Plan:
    """
    Return what the decision, the image and the user's options make of a step; their paths are taken from `cwd`.

    Raises PlanError where a limit is passed or more is asked for than the rule gives, CdiError for what the node lacks.
    """
    given = allow.grants
    _check_wish(allow, wish, clean_path(user.home))
    device_mounts, device_env = devices(allow, wish, hardware)
    return Plan(
        digest=image.id,
        mounts=(
            *_scratch(given, wish),
            *_mounts(user, given, wish),
            *device_mounts,
            *asked_mounts(allow, wish, cwd),
        ),
        submit_dir=given.submit_dir,
        env=_environment(image, given, device_env),
        workdir=_workdir(image.workdir),
        private=private_namespaces(given, wish),
        unset=given.env_remove,
        read_only=is_read_only(given, wish),
        entrypoint=tuple(filter(is_encodable, image.entrypoint)),
        save=_saved_as(allow, wish.save) if wish.save else "",
    )


def private_namespaces(given: Grants, wish: Options = NOTHING) -> tuple[str, ...]:
    """Return which of NAMESPACES a container has of its own: those that policy says, and those that were asked for."""
    shared = zip(NAMESPACES, (given.network, given.ipc, given.uts), strict=True)
    return tuple(name for name, sharing in shared if sharing == "private" or name in wish.private)


def _check_wish(allow: Allow, wish: Options, home: str) -> None:
    given = allow.grants
    if wish.home and not _may_mount(given, home):
        raise not_given(allow, "--container-mount-home", f"it does not let users mount {quoted(home)}")
    if wish.home and not is_home(home):
        raise PlanError(f"--container-mount-home: {quoted(home)} cannot be mounted in a container")
    if wish.read_only is False and given.read_only:
        raise not_given(allow, "--container-writable", "its containers are read-only")


def _saved_as(allow: Allow, asked: str) -> str:
    """Return the full name to save a container by. Raises PlanError for one that the rule does not give."""
    try:
        reference = parse(asked)
    except InvalidReference as error:
        raise PlanError(f"--container-save: {error}") from None
    if not isinstance(reference, Named) or reference.tag is None:
        raise PlanError(
            f"--container-save: {quoted(asked)} is a digest, which nobody can choose; give a name and a tag"
        )
    if not any(pattern.digest is None and pattern.covers(reference) for pattern in allow.grants.save):
        raise not_given(allow, "--container-save", f"it does not let users save {quoted(str(reference))}")
    return str(reference)


def asked_mounts(allow: Allow, wish: Options, cwd: str) -> tuple[Mount, ...]:
    """Return the mounts that were asked for. Raises PlanError for one that the rule does not give."""
    return tuple(_asked(allow, mount, cwd) for mount in wish.mounts)


def _asked(allow: Allow, mount: AskedMount, cwd: str) -> Mount:
    given = allow.grants
    if not mount.source:
        return Mount(source=SCRATCH_MODE, target=mount.target, read_only=False, kind="tmpfs", asked=True)
    for site in given.site_mounts:
        if mount.source == site.name:
            target = mount.target or site.target
            return Mount(source=site.source, target=target, read_only=site.read_only or mount.read_only, asked=True)
    source = absolute(mount.source, cwd)
    target = mount.target or source
    if source in given.devices or source in given.ask_devices:
        return Mount(source=source, target=target, read_only=mount.read_only, kind="device", asked=True)
    base = _base(allow, source)
    return Mount(source=source, target=target, read_only=mount.read_only, asked=True, flat=mount.flat, base=base)


def _base(allow: Allow, source: str) -> str:
    """Return the directory of policy's in which a source lies, the deepest; empty where policy allows any."""
    sources = allow.grants.mount_sources
    if sources is None:
        return ""
    around = [directory for directory in sources if is_below(source, directory)]
    if not around:
        allowed = ", ".join(sources) if sources else "none"
        why = f"{quoted(source)} is in none of the directories that it lets users mount ({allowed})"
        raise not_given(allow, "--container-mounts", why)
    return max(around, key=len)


def is_below(path: str, directory: str) -> bool:
    """Tell whether a plain path is the directory or something in it."""
    return directory in {"/", path} or path.startswith(f"{directory}/")


def _mounts(user: User, given: Grants, wish: Options) -> tuple[Mount, ...]:
    """Return the site's mounts, and the home unless one of them has it already; what was asked for goes before."""
    taken = {mount.target for mount in wish.mounts}
    sites = [
        Mount(source=site.source, target=site.target, read_only=site.read_only)
        for site in given.site_mounts
        if site.default and site.target not in taken and not any(site.name == mount.source for mount in wish.mounts)
    ]
    home = clean_path(user.home)
    wanted = given.home if wish.home is None else wish.home
    if wanted and is_home(home) and home not in taken and not any(is_below(home, mount.target) for mount in sites):
        return (Mount(source=home, target=home, read_only=False, asked=bool(wish.home)), *sites)
    return tuple(sites)


def is_read_only(given: Grants, wish: Options) -> bool:
    """Tell whether the container's root cannot be written."""
    return given.read_only or bool(wish.read_only)


def _scratch(given: Grants, wish: Options) -> tuple[Mount, ...]:
    """Return what stays writable in a read-only root."""
    taken = {mount.target for mount in wish.mounts}
    places = SCRATCH if is_read_only(given, wish) else ()
    return tuple(
        Mount(source=SCRATCH_MODE, target=path, read_only=False, kind="tmpfs") for path in places if path not in taken
    )


def _may_mount(given: Grants, home: str) -> bool:
    sources = given.mount_sources
    return given.home or sources is None or any(is_below(home, directory) for directory in sources)


def _environment(image: Image, given: Grants, more: tuple[str, ...]) -> tuple[str, ...]:
    """Return the image's and the devices' variables without those that policy removes, and policy's own, which win."""
    names = {*given.env_remove, *(name for name, _ in given.env_set)}
    kept = [entry for entry in image_environment((*image.env, *more)) if entry.partition("=")[0] not in names]
    return (*kept, *(f"{name}={value}" for name, value in given.env_set))


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
    return is_plain_path(path) and is_encodable(path) and len(encode(path)) <= MAX_PATH
