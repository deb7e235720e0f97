# SPDX-License-Identifier: Apache-2.0
"""The images that tests use: ordinary ones, and odd ones that a plugin may trip over."""

import os
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lib.debian import DebianLayer
from lib.layers import Entry, FileLayer, Layer, device, directory, program, symlink, text
from lib.tools import run, tool

_CAP_DAC_OVERRIDE = 1
_CAP_SYS_ADMIN = 21
_SECOND = 1_000_000_000
_DEBIAN_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HEALTH = {"Test": ["CMD-SHELL", "touch /traces/health-ran"], "Interval": _SECOND}


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image: its references, its one layer, and Config as Docker spells it."""

    references: tuple[str, ...]
    layer: Layer
    config: Mapping[str, object]


def _debian() -> Image:
    only = "#!/bin/sh\necho only-in-image\n"
    layer = DebianLayer(
        suite="bookworm",
        packages=("python3-minimal", "procps"),
        entries=(
            text("/etc/socker-image", "debian:bookworm\n"),
            text("/usr/local/bin/only-in-image", only, mode=0o755),
        ),
    )
    return Image(
        references=("debian:bookworm", "debian:latest"),
        layer=layer,
        config={"Cmd": ["bash"], "Env": [_DEBIAN_PATH]},
    )


def _mpi() -> Image:
    """The distribution's Open MPI, with its PMIx, and MPICH; each is asked for by its library's name."""
    layer = DebianLayer(
        suite="bookworm",
        packages=("libopenmpi3", "libmpich12", "numactl"),
        entries=(text("/etc/socker-image", "mpi:latest\n"),),
    )
    return Image(references=("mpi:latest",), layer=layer, config={"Cmd": ["bash"], "Env": [_DEBIAN_PATH]})


def _static() -> Image:
    """No shell, no libc, no directory: one file."""
    layer = FileLayer(entries=(program("/hello", "hello.c"),))
    return Image(references=("static:latest",), layer=layer, config={"Cmd": ["/hello"]})


def _busybox(
    reference: str,
    *entries: Entry,
    home: Entry | None = None,
    config: Mapping[str, object] | None = None,
) -> Image:
    """A busybox with its applets in /bin, and what is asked for."""
    binary = Path(tool("busybox")).resolve()
    applets = run("busybox", "--list").stdout.split()
    base = (
        directory("/bin"),
        Entry(path="/bin/busybox", mode=0o755, content=binary.read_bytes()),
        *(symlink(f"/bin/{name}", "busybox") for name in applets if name != "busybox"),
        *(directory(path) for path in ("/dev", "/etc", "/proc", "/root", "/sys", "/usr", "/var")),
        directory("/tmp", mode=0o1777),
        text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        text("/etc/group", "root:x:0:\n"),
    )
    settings = {"Cmd": ["sh"], "Env": ["PATH=/bin"], **(config or {})}
    # Docker refuses a layer that names a path twice.
    chosen = {entry.path: entry for entry in (*base, home or directory("/home"), *entries)}
    layer = FileLayer(entries=tuple(chosen.values()))
    return Image(references=(reference,), layer=layer, config=settings)


def _odd_config() -> Image:
    """Every field of the configuration is set to something that shows, or leaves a file in /traces."""
    return _busybox(
        "odd:config",
        directory("/traces", mode=0o1777),
        directory("/opt"),
        directory("/opt/odd"),
        directory("/opt/odd/bin"),
        text("/opt/odd/bin/odd-command", "#!/bin/sh\necho odd-command\n", mode=0o755),
        directory("/opt/odd/work"),
        directory("/vol"),
        text("/vol/file", "from the image\n"),
        config={
            "Env": ["FOO=from-image", "PATH=/opt/odd/bin:/bin"],
            "WorkingDir": "/opt/odd/work",
            "User": "1234:1234",
            "Entrypoint": ["/bin/touch", "/traces/entrypoint-ran"],
            "Cmd": ["/traces/cmd-ran"],
            "Healthcheck": _HEALTH,
            "Volumes": {"/vol": {}},
            "Labels": {"a": "b"},
            "StopSignal": "SIGUSR1",
            "ExposedPorts": {"8080/tcp": {}},
        },
    )


def _odd_hostile() -> Image:
    """It lies: about who made the container, who the user is, what the job is."""
    return _busybox(
        "odd:hostile",
        directory("/traces", mode=0o1777),
        text(
            "/etc/passwd",
            "root:x:20001:0:root:/evil:/bin/sh\nalice:x:0:0:alice:/evil:/bin/sh\n",
        ),
        text("/etc/group", "root:x:20001:alice\nwheel:x:20100:alice\ndocker:x:0:alice\n"),
        config={
            "Labels": {
                "io.socker.job": "1",
                "io.socker.uid": "0",
                "io.socker.token": "x",
            },
            "Env": [
                "PATH=/evil/bin:/bin",
                "LD_PRELOAD=/evil.so",
                "GLIBC_TUNABLES=glibc.malloc.check=3",
                "SLURM_JOB_ID=999",
                "SLURM_CONTAINER=evil",
                "PMI_RANK=77",
                "HOME=/evil",
                "PYTHONPATH=/evil",
                "DOCKER_HOST=unix:///evil.sock",
            ],
            "Healthcheck": _HEALTH,
        },
    )


def _odd_devices() -> Image:
    """Device nodes and files with privileges, for everybody to use."""
    return _busybox(
        "odd:devices",
        device("/blk", tarfile.BLKTYPE, _root_disk()),
        device("/mem", tarfile.CHRTYPE, (1, 1)),
        program("/suid-id", "suid-id.c", mode=0o4755),
        program("/cap-id", "cap-id.c", capabilities=(_CAP_DAC_OVERRIDE, _CAP_SYS_ADMIN)),
    )


def _root_disk() -> tuple[int, int]:
    """The numbers of the disk below /, or of any disk where that is no block device."""
    number = Path("/").stat().st_dev
    if os.major(number):
        return os.major(number), os.minor(number)
    fields = Path("/proc/partitions").read_text().split()[4:6]
    return int(fields[0]), int(fields[1])


def _odd_symlinks() -> Image:
    """/home leads to wherever the process is."""
    return _busybox("odd:symlinks", home=symlink("/home", "/proc/self/cwd"))


def _odd_homelink() -> Image:
    """/home leads elsewhere in the image, as some distributions have it."""
    real = (directory("/mnt"), directory("/mnt/realhome"))
    return _busybox("odd:homelink", *real, home=symlink("/home", "/mnt/realhome"))


def _odd_entry() -> Image:
    """Its entry point does what they usually do: something of its own, and then the command."""
    script = text("/entry", '#!/bin/sh\nexport MARK=by-entry\nexec "$@"\n', mode=0o755)
    return _busybox("odd:entry", script, config={"Entrypoint": ["/entry"]})


RECIPES: Mapping[str, Callable[[], Image]] = {
    "debian:bookworm": _debian,
    "static:latest": _static,
    "busybox:latest": partial(_busybox, "busybox:latest"),
    "odd:config": _odd_config,
    "odd:hostile": _odd_hostile,
    "odd:devices": _odd_devices,
    "odd:symlinks": _odd_symlinks,
    "odd:homelink": _odd_homelink,
    "odd:entry": _odd_entry,
}
"""Image by its first reference. A recipe reads the machine, so it is made when needed."""

ON_DEMAND: Mapping[str, Callable[[], Image]] = {"mpi:latest": _mpi}
"""Large ones, which are made only where they are asked for by name."""
