# SPDX-License-Identifier: Apache-2.0
"""
The request by which Docker creates a container: a closed list, always sent whole.

Nothing here comes from a user but the image's id, and from the image only the paths of its volumes: each is covered
by an empty tmpfs, so that Docker neither makes a volume for it nor copies anything. What an image could fill in where
a request is silent (entrypoint, command, user, health check, labels, stop signal) is always said.
"""

from __future__ import annotations

from socker.errors import PlanError
from socker.model import Image, Mark, Request, is_plain_path
from socker.plan import clean_path
from socker.text import quoted
from socker.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from socker.plan import Plan

LABEL_TOKEN = "io.socker.token"  # noqa: S105 - the name of a label
LABEL_NODE = "io.socker.node"
LABEL_JOB = "io.socker.job"
LABEL_UID = "io.socker.uid"
LABEL_NAME = "io.socker.name"
HOLD = "/.socker/hold"  # the hold binary in every container
ENTRY = "/.socker/entry"  # what runs an image's ENTRYPOINT, beside it on the host, too
MAX_HOSTNAME = 63
MAX_VOLUMES = 32
PIDS_LIMIT = 64  # runc's own threads count until the hold process is executed
# A negative one makes the start fail where dockerd lacks CAP_SYS_RESOURCE (in a container, say), and costs another
# start to try without; root can write a better one into /proc afterwards, and go on where it may not.
OOM_SCORE = 0

# Docker's own lists, said so that no daemon's default is relied on.
MASKED_PATHS = (
    *("/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"),
    *("/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/proc/interrupts", "/sys/firmware"),
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# Docker's kernel interfaces and ours: no volume may lie over them.
_KEPT_TREES = frozenset({"proc", "sys", "dev", ".socker"})


class ContainerSpec(Value):
    """
    A container to create: which image, whose, and what its hold process is. `hold` is a path of the host.

    `covers`, the image's volumes, get an empty tmpfs. `private` is as in Plan. `seccomp` is the text of a profile,
    empty for Docker's own.
    """

    mark: Mark
    image: str
    hold: str
    hold_uid: int
    hold_gid: int
    covers: tuple[str, ...]
    private: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    seccomp: str = ""


def make_spec(
    request: Request, image: Image, plan: Plan, devices: tuple[str, ...] = (), seccomp: str = ""
) -> ContainerSpec:
    """Return the container for a request and its plan. Raises PlanError for volumes that cannot be covered."""
    return ContainerSpec(
        mark=request.mark(),
        image=image.id,
        hold=request.hold,
        hold_uid=request.hold_uid,
        hold_gid=request.hold_gid,
        covers=_volumes(image.volumes),
        private=plan.private,
        devices=devices,
        seccomp=seccomp,
    )


def beside_hold(hold: str, name: str) -> str:
    """Return the path of another file of the installation, which lies where the hold binary does."""
    return f"{hold.rpartition('/')[0]}/{name}"


def _volumes(paths: tuple[str, ...]) -> tuple[str, ...]:
    if len(paths) > MAX_VOLUMES:
        raise PlanError(f"the image declares {len(paths)} volumes; at most {MAX_VOLUMES} can be used")
    cleaned = sorted({clean_path(path) for path in paths})
    for path in cleaned:
        if path == "/" or not is_plain_path(path) or path.split("/")[1] in _KEPT_TREES or not path.isprintable():
            raise PlanError(f"the image declares a volume at {quoted(path)}, where none can be")
    return tuple(cleaned)


def labels(mark: Mark) -> dict[str, str]:
    """Return every label of ours, all of them, so that none can come from an image."""
    if mark.uid is None:
        raise ValueError("a container of ours belongs to a user")
    return {
        LABEL_TOKEN: mark.token,
        LABEL_NODE: mark.node,
        LABEL_JOB: str(mark.job),
        LABEL_UID: str(mark.uid),
        LABEL_NAME: mark.name,
    }


def disagreement(mark: Mark, name: str, found: Mapping[str, object]) -> str | None:
    """Return which label or name of a container is not what the mark says, None when all agree."""
    expected: dict[str, str] = {
        LABEL_TOKEN: mark.token,
        LABEL_NODE: mark.node,
        LABEL_JOB: str(mark.job),
        LABEL_NAME: mark.name,
    }
    if mark.uid is not None:
        expected[LABEL_UID] = str(mark.uid)
    for label, value in expected.items():
        if found.get(label) != value:
            return label
    return None if name == mark.name else "name"


def create_body(spec: ContainerSpec) -> dict[str, object]:
    """Return the body of the create request."""
    return {
        "Image": spec.image,
        "Entrypoint": [HOLD],
        "Cmd": [],
        "Env": [],
        "User": f"{spec.hold_uid}:{spec.hold_gid}",
        "WorkingDir": "/",
        "StopSignal": "SIGKILL",
        "StopTimeout": 1,
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": labels(spec.mark),
        # of a private name; else the host's holds
        **({"Hostname": spec.mark.node[:MAX_HOSTNAME]} if "uts" in spec.private else {}),
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "HostConfig": _host_config(spec),
    }


def _host_config(spec: ContainerSpec) -> dict[str, object]:
    return {
        "Privileged": False,
        "CapAdd": [],
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true", *([f"seccomp={spec.seccomp}"] if spec.seccomp else [])],
        # the opener makes the root read-only when it has attached its mounts
        "ReadonlyRootfs": False,
        # a daemon without user namespaces takes "host" as what it does anyway
        "UsernsMode": "host",
        "PidMode": "host",
        "UTSMode": "" if "uts" in spec.private else "host",
        "IpcMode": "private" if "ipc" in spec.private else "host",
        # a private network has a loopback interface and nothing else
        "NetworkMode": "none" if "net" in spec.private else "host",
        "CgroupnsMode": "host",
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": False,
        "LogConfig": {"Type": "none", "Config": {}},
        "PidsLimit": PIDS_LIMIT,
        "Runtime": "runc",
        "OomScoreAdj": OOM_SCORE,
        "Init": False,
        "MaskedPaths": list(MASKED_PATHS),
        "ReadonlyPaths": list(READONLY_PATHS),
        "Mounts": [
            _program_mount(spec.hold, HOLD),
            _program_mount(beside_hold(spec.hold, "entry"), ENTRY),
            *map(_cover, spec.covers),
        ],
        **({"Devices": list(map(_device, spec.devices))} if spec.devices else {}),
    }


def _program_mount(source: str, target: str) -> dict[str, object]:
    return {
        "Type": "bind",
        "Source": source,
        "Target": target,
        "ReadOnly": True,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _device(path: str) -> dict[str, object]:
    return {"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rw"}


def _cover(path: str) -> dict[str, object]:
    return {"Type": "tmpfs", "Target": path, "TmpfsOptions": {"Mode": 0o1777}}
