# SPDX-License-Identifier: Apache-2.0
"""Loads the tests' images, which are contrib/devcluster's, into this machine's own dockerd."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "contrib/devcluster"))

from lib.docker import docker
from lib.images import archive, is_loaded
from lib.layout import Layout
from lib.recipes import RECIPES


class Packaged(Layout):
    """The devcluster's places, with the packaged dockerd's socket."""

    @property
    def docker_socket(self) -> Path:
        """Where Docker's unit listens."""
        return Path("/run/docker.sock")


def main() -> None:
    """All images are loaded."""
    paths = Packaged(root=Path("/var/lib/socker-devcluster"), name="vm")
    paths.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    for recipe in RECIPES.values():
        image = recipe()
        if not is_loaded(paths, image):
            docker(paths, "load", "--quiet", "--input", str(archive(paths, image)))


if __name__ == "__main__":
    main()
