# SPDX-License-Identifier: Apache-2.0
"""socker built and installed in a release's own tree, at this machine's speed; the machine gets what that changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .image import GUEST, cache, facts
from .machine import Disk
from .sources import archive, wheels
from .suites import Suite

TESTS = "build/venv/bin/pip install --quiet -c requirements-dev.txt pytest pytest-xdist hypothesis"


def installation(suite: Suite) -> str:
    """The script that installs socker, and what the tests need, and builds the package."""
    return f"export PYTHON={suite.python}; make install; {TESTS}; contrib/packaging/deb"


class BuildError(Exception):
    """What was run in the tree has failed; the text says where its log is."""


@contextmanager
def changes(disk: Disk, script: str, log: Path) -> Iterator[Path]:
    """A tar archive of all files that a script has changed in the tree of a disk; the tree itself stays as it is."""
    python = ".".join(facts(disk)["python"].split(".")[:2])
    with tempfile.TemporaryDirectory(prefix="build-", dir=cache()) as scratch:
        changed, files, made = (Path(scratch) / name for name in ("changes", "files.tar", "changes.tar"))
        archive(files)
        environment = {
            **os.environ,
            "TREE": str(disk.directory / "tree"),
            "CHANGES": str(changed),
            "FILES": str(files),
            "WHEELS": str(wheels(python, cache())),
        }
        words = ["unshare", "--mount", "--propagation", "private", str(GUEST / "overlay"), script]
        with log.open("wb") as file:
            done = subprocess.run(
                words, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False
            )
        if done.returncode != 0:
            raise BuildError(f"building failed: see {log}")
        shutil.rmtree(changed / "wheels", ignore_errors=True)
        subprocess.run(
            ["tar", "-cf", str(made), "--exclude=./dev", "--exclude=./proc", "-C", str(changed), "."], check=True
        )
        yield made
