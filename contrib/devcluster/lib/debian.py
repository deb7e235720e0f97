# SPDX-License-Identifier: Apache-2.0
"""A small Debian as the layer of an image, from the distribution's packages."""

import json
import os
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lib.layers import Entry, add
from lib.mounts import unmount_below
from lib.tools import run

_TIMEOUT = 900.0
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")

# Docker writes the first two itself; the others are of no use in an image.
_UNWANTED = (
    "etc/hostname",
    "etc/resolv.conf",
    "dev/*",
    "usr/share/doc/*",
    "usr/share/info/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "var/cache/apt/*",
    "var/lib/apt/lists/*",
    "var/log/*",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DebianLayer:
    """A minimal Debian of a suite, with these packages and these files on top."""

    suite: str
    packages: tuple[str, ...]
    entries: tuple[Entry, ...]

    def recipe(self) -> str:
        """Everything but the versions of the packages."""
        return json.dumps([self.suite, self.packages, repr(self.entries), _UNWANTED])

    def write(self, path: Path) -> None:
        """The archive, from packages of the mirror that apt uses here."""
        place = Path(tempfile.mkdtemp(prefix="debian-", dir=path.parent))
        place.chmod(0o755)
        try:
            self._debootstrap(place)
            _clean(place)
            owner = ("--numeric-owner", "--sort=name", f"--directory={place}")
            run("tar", "--create", f"--file={path}", *owner, ".", timeout=_TIMEOUT)
        finally:
            unmount_below(place)
            shutil.rmtree(place)
        with tarfile.open(path, "a", format=tarfile.GNU_FORMAT) as archive:
            for entry in self.entries:
                add(archive, entry)

    def _debootstrap(self, place: Path) -> None:
        proxies = {name: os.environ[name] for name in _PROXIES if name in os.environ}
        options = ("--variant=minbase", f"--include={','.join(self.packages)}")
        argv = ("debootstrap", *options, self.suite, str(place), *_mirror(self.suite))
        run(*argv, env=proxies, timeout=_TIMEOUT)


def _mirror(suite: str) -> list[str]:
    """Where apt gets this suite; empty if it does not, then debootstrap's own choice."""
    form = "$(CODENAME) $(COMPONENT) $(REPO_URI)"
    wanted = ("Created-By: Packages", f"Codename: {suite}", "Component: main")
    lines = run("apt-get", "indextargets", "--format", form, *wanted).stdout.split("\n")
    return [line.split()[2] for line in lines[:1] if line]


def _clean(place: Path) -> None:
    for pattern in _UNWANTED:
        for path in place.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
