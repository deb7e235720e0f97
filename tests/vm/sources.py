# SPDX-License-Identifier: Apache-2.0
"""What a machine is given: the files of this checkout, and the Python packages that they need."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
REQUIREMENTS = ("requirements.txt", "requirements-docs.txt", "requirements-dev.txt")


def archive(path: Path) -> None:
    """A tar archive of the checkout as it is now: what git knows, with changes that are not committed."""
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=REPOSITORY
    )
    with tarfile.open(path, "w") as made:
        for name in sorted(filter(None, listed.decode().split("\0"))):
            if (REPOSITORY / name).exists():
                made.add(REPOSITORY / name, name, recursive=False)


def wheels(python: str, cache: Path) -> Path:
    """A directory with wheels, for a Python version such as 3.13, of all that building and testing needs."""
    texts = b"".join((REPOSITORY / name).read_bytes() for name in (*REQUIREMENTS, "pyproject.toml"))
    place = cache / f"wheels-{python}-{hashlib.sha256(texts).hexdigest()[:12]}"
    if place.exists():
        return place
    for old in cache.glob(f"wheels-{python}-*"):
        shutil.rmtree(old)
    unfinished = cache / f".wheels-{python}"
    shutil.rmtree(unfinished, ignore_errors=True)
    build = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["build-system"]["requires"]
    tests = ("pytest", "pytest-xdist", "hypothesis")
    needed = ("-r", "requirements.txt", "-r", "requirements-docs.txt")
    for words in ([*needed], [*build, *tests, "-c", "requirements-dev.txt"]):
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
                *("--dest", str(unfinished), "--only-binary=:all:", "--python-version", python, *words),
            ],
            cwd=REPOSITORY,
            check=True,
        )
    unfinished.rename(place)
    return place
