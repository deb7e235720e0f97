# SPDX-License-Identifier: Apache-2.0
"""An image in which srun and sbatch work, as sites make them: with this machine's Slurm and all that it needs."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from .cluster import Cluster

# Beside the image's own libraries, which may be of another release.
_ROOM = "/opt/client"
_WRAPPER = """#!/bin/sh
exec {room}/ld.so --library-path {room} {room}/{name} "$@"
"""


@contextlib.contextmanager
def client_image(cluster: Cluster, base: str, name: str) -> Iterator[str]:
    """The image `name`: base, and the Slurm clients; steps need the cluster's directory, for slurm.conf and munge."""
    context = Path("/var/tmp") / f"socker-test-client-{cluster.name}.tar"
    try:
        _write(context, cluster, base)
        with context.open("rb") as file:
            argv = cluster.argv(["docker", "build", "--quiet", f"--tag={name}", "-"], user="")
            subprocess.run(argv, stdin=file, check=True, capture_output=True, timeout=120)
        yield name
    finally:
        context.unlink(missing_ok=True)
        cluster.docker("image", "rm", "--force", name)


def _write(context: Path, cluster: Cluster, base: str) -> None:
    shown = cluster.run("scontrol", "show", "config", user="").stdout
    plugins = Path(re.search(r"^PluginDir\s*= (\S+)", shown, re.MULTILINE)[1])  # type: ignore[index]
    programs = [Path("/usr/bin/srun"), Path("/usr/bin/sbatch")]
    ours = cluster.prefix / "lib/socker/socker.so"
    found = _libraries([*programs, ours, plugins / "auth_munge.so"])
    with tarfile.open(context, "w", dereference=True) as archive:
        _add(archive, "Dockerfile", f"FROM {base}\nCOPY root /\n")
        for program in programs:
            archive.add(program, f"root{_ROOM}/{program.name}")
            _add(archive, f"root/usr/bin/{program.name}", _WRAPPER.format(room=_ROOM, name=program.name))
        for library in found:
            archive.add(library, f"root{_ROOM}/{'ld.so' if library.name.startswith('ld-') else library.name}")
        archive.add(ours, f"root{ours}")
        archive.add(plugins, f"root{plugins}")


def _libraries(binaries: list[Path]) -> set[Path]:
    listed = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=True).stdout
    return set(map(Path, re.findall(r"(/\S+)(?= \(0x)", listed)))


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    info = tarfile.TarInfo(name)
    info.mode, info.size = 0o755, len(text)
    archive.addfile(info, BytesIO(text.encode()))
