# SPDX-License-Identifier: Apache-2.0
"""Disks of the rig's machines: a release's own packages, made by debootstrap, kept by a hash of what went in."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .machine import Disk, running
from .sources import REPOSITORY, archive
from .suites import Suite

GUEST = Path(__file__).resolve().parent / "guest"
DEVCLUSTER = REPOSITORY / "contrib/devcluster"
IMAGES = ("lib/recipes.py", "lib/layers.py", "lib/debian.py", "lib/images.py", "images")
GIGABYTES = 10
FORMAT = 2
"""Changes when disks have to be made anew although nothing else has changed."""


class ImageError(Exception):
    """A disk cannot be made; the text says which command failed."""


def cache() -> Path:
    """Where disks and wheels are kept: SOCKER_VM_CACHE, or /var/cache/socker-vm."""
    return Path(os.environ.get("SOCKER_VM_CACHE", "/var/cache/socker-vm"))


def disk(suite: Suite, *, anew: bool = False) -> Disk:
    """The disk of a release, made if it is not there."""
    place = cache() / f"{suite.name}-{_key(suite)}"
    found = Disk(directory=place, kernel_words=suite.kernel)
    if place.exists() and not anew:
        return found
    for old in cache().glob(f"{suite.name}-*"):
        shutil.rmtree(old)
    unfinished = cache() / f".{suite.name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    _make(suite, unfinished)
    unfinished.rename(place)
    return found


def facts(made: Disk) -> dict[str, str]:
    """Versions of what is on the disk, by package, as written when it was made."""
    known = json.loads((made.directory / "facts.json").read_text())
    assert isinstance(known, dict)
    return known


def _key(suite: Suite) -> str:
    digest = hashlib.sha256(
        json.dumps([FORMAT, GIGABYTES, suite.name, suite.packages, suite.script, suite.python_of]).encode()
    )
    roots = [GUEST / "etc", GUEST / "prepare", GUEST / "images.py", *(DEVCLUSTER / name for name in IMAGES)]
    for root in roots:
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.is_file() and path.suffix != ".pyc":
                digest.update(f"{path.relative_to(REPOSITORY)}\0{path.stat().st_mode & 0o111}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _make(suite: Suite, place: Path) -> None:
    tree = place / "tree"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vm", "-f", str(place / "key")], check=True)
    _say(f"{suite.name}: installing the release below {tree}")
    _install(suite, tree)
    _take_boot_files(tree, place)
    (place / "facts.json").write_text(json.dumps(_versions(suite, tree), indent=1))
    made = Disk(directory=place, kernel_words=suite.kernel)
    size = f"{GIGABYTES}G"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), "-E", "root_owner=0:0", made.root, size], check=True)
    _say(f"{suite.name}: first boot, loading Docker images")
    _load_images(suite, made)


def _install(suite: Suite, tree: Path) -> None:
    # mounts made on the way end with the namespace
    script = ["unshare", "--mount", "--propagation", "private", str(GUEST / "prepare")]
    environment = {name: value for name, value in os.environ.items() if name.endswith("_proxy")} | {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "DEBIAN_FRONTEND": "noninteractive",
        "LC_ALL": "C.UTF-8",
        "TREE": str(tree),
        "SUITE": suite.name,
        "SCRIPT": suite.script,
        "MIRROR": _mirror(),
        "PYTHON_OF": suite.python_of,
        "PACKAGES": " ".join(suite.packages),
        "KEY": (tree.parent / "key.pub").read_text().strip(),
    }
    log = tree.parent / "prepare.log"
    with log.open("wb") as file:
        done = subprocess.run(script, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False)
    if done.returncode != 0:
        raise ImageError(f"{suite.name} cannot be installed: see {log}")


def _mirror() -> str:
    """Where apt of this machine gets Debian's main packages."""
    words = ("--format", "$(REPO_URI)", "Created-By: Packages", "Component: main")
    found = subprocess.run(["apt-get", "indextargets", *words], capture_output=True, text=True, check=True)
    for line in found.stdout.split():
        if "security" not in line:
            return line.rstrip("/")
    raise ImageError("apt of this machine has no source of Debian's packages")


def _take_boot_files(tree: Path, place: Path) -> None:
    for name, pattern in (("vmlinuz", "vmlinuz-*"), ("initrd", "initrd.img-*")):
        (found,) = (tree / "boot").glob(pattern)
        shutil.copyfile(found, place / name)


def _versions(suite: Suite, tree: Path) -> dict[str, str]:
    words = ["chroot", str(tree), "dpkg-query", "--show", "--showformat=${Package} ${source:Upstream-Version}\n"]
    names = ("slurmd", "docker.io", "containerd", "runc", "systemd")
    listed = dict(line.split() for line in subprocess.check_output(words, text=True).splitlines())
    (kernel,) = (path.name.removeprefix("vmlinuz-") for path in (tree / "boot").glob("vmlinuz-*"))
    python = subprocess.check_output(["chroot", str(tree), suite.python, "-V"], text=True).split()[1]
    return {name: listed[name] for name in names} | {"kernel": kernel, "python": python}


def _load_images(suite: Suite, made: Disk) -> None:
    with tempfile.TemporaryDirectory(dir=made.directory) as scratch:
        files = Path(scratch) / "files.tar"
        archive(files)
        with running(made, made.directory / "console.log", keep_changes=True) as machine:
            machine.send(files, "/root/socker")
            debian = _debian_archive()
            kept = f"/var/lib/socker-devcluster/cache/{debian.name}"
            machine.run(f"mkdir -p {Path(kept).parent}; cat > {kept}", stdin=debian.read_bytes())
            script = f"docker load --quiet --input {kept} && {suite.python} /root/socker/tests/vm/guest/images.py"
            done = machine.run(f"{script} && rm -rf /root/socker", timeout=900)
            if done.returncode != 0:
                raise ImageError(f"Docker images cannot be loaded:\n{done.stdout.decode(errors='replace')}")


def _debian_archive() -> Path:
    """The devcluster's archive of debian:bookworm, which needs the network to be made and the machine has none."""
    script = (
        "from lib import images, layout, recipes; "
        "print(images.archive(layout.layout('vm'), recipes.RECIPES['debian:bookworm']()))"
    )
    return Path(subprocess.check_output([sys.executable, "-c", script], cwd=DEVCLUSTER, text=True).strip())


def _say(text: str) -> None:
    print(text, flush=True)
