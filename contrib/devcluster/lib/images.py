# SPDX-License-Identifier: Apache-2.0
"""Images: archives as `docker load` takes them, cached, and in the cluster's dockerd."""

import hashlib
import json
import platform
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path

from lib.docker import docker
from lib.errors import DevclusterError
from lib.layers import add, text
from lib.layout import Layout
from lib.recipes import ON_DEMAND, RECIPES, Image

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_FORMAT = 1
"""Changes when the archives have to be made anew although no recipe has changed."""


def load(paths: Layout, wanted: Iterable[str] = ()) -> list[str]:
    """The images asked for, or all but the large ones, are in dockerd; their references."""
    known = {**RECIPES, **ON_DEMAND}
    loaded: list[str] = []
    for name in list(wanted) or RECIPES:
        recipe = known.get(name)
        if recipe is None:
            raise DevclusterError(f"{name}: no such image; there are {', '.join(known)}")
        image = recipe()
        if not is_loaded(paths, image):
            docker(paths, "load", "--quiet", "--input", str(archive(paths, image)))
        loaded += image.references
    return loaded


def _key(image: Image) -> str:
    recipe = [_FORMAT, image.references, image.layer.recipe(), image.config]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]


def _mark(image: Image) -> str:
    return f"devcluster {_key(image)}"


def is_loaded(paths: Layout, image: Image) -> bool:
    """Whether dockerd has the image, as its recipe is now."""
    argv = ("history", "--no-trunc", "--format", "{{.CreatedBy}}")
    marks = (docker(paths, *argv, ref, check=False).stdout.strip() for ref in image.references)
    return all(mark == _mark(image) for mark in marks)


def archive(paths: Layout, image: Image) -> Path:
    """The image's archive in the cache, made if it is not there."""
    stem = re.sub(r"[:/]", "-", image.references[0])
    path = paths.cache / f"{stem}-{_key(image)}.tar"
    if path.exists():
        return path
    paths.cache.mkdir(mode=0o700, exist_ok=True)
    for old in paths.cache.glob(f"{stem}-{'?' * 12}.tar"):
        old.unlink()
    layer, made = path.with_suffix(".layer"), path.with_suffix(".new")
    try:
        image.layer.write(layer)
        _write(made, image, layer)
        made.rename(path)
    finally:
        layer.unlink(missing_ok=True)
        made.unlink(missing_ok=True)
    return path


def _write(path: Path, image: Image, layer: Path) -> None:
    with layer.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    epoch = "1970-01-01T00:00:00Z"
    config = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": epoch,
        "config": image.config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": epoch, "created_by": _mark(image)}],
    }
    content = json.dumps(config)
    name = hashlib.sha256(content.encode()).hexdigest() + ".json"
    manifest = [{"Config": name, "RepoTags": image.references, "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        add(tar, text(name, content))
        tar.add(layer, "layer.tar")
        add(tar, text("manifest.json", json.dumps(manifest)))
