# SPDX-License-Identifier: Apache-2.0
"""
The image that a saved container becomes: its base image's configuration over one more layer.

A commit gives an image the configuration of its container: our labels, the hold process as its entry point, the hold
process's user; what a commit's own settings leave out is taken from there, so they cannot be emptied. Therefore a
commit is only the way to the layer. The image itself is loaded, from an archive that holds a configuration and none of
the layers, since Docker does not look for those in the archive that it has already.
"""

from __future__ import annotations

import io
import json
import tarfile

from socker.errors import EngineRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

OUR_LABELS = "io.socker."

_CREATED_BY = "--container-save"


def archive(base: Mapping[str, object], committed: Mapping[str, object], reference: str) -> bytes:
    """
    Return what Docker loads to have the image `reference`, from the facts of the base image and of the commit.

    Raises EngineRefused where these do not belong together.
    """
    layers = layers_of(committed)
    if layers[: len(layers_of(base))] != layers_of(base):
        raise EngineRefused("Docker did not put the container's layer over those of its image")
    manifest = [
        {"Config": "config.json", "RepoTags": [reference], "Layers": [f"{number}.tar" for number in range(len(layers))]}
    ]
    return _tar({"config.json": _configuration(base, committed, layers), "manifest.json": manifest})


def layers_of(facts: Mapping[str, object]) -> list[str]:
    """Return the digests of an image's layers, from the lowest. Raises EngineRefused."""
    rootfs = facts.get("RootFS")
    layers = rootfs.get("Layers") if isinstance(rootfs, dict) else None
    if not isinstance(layers, list) or not all(isinstance(layer, str) for layer in layers):
        raise EngineRefused("Docker's answer has no layers")
    return layers


def _configuration(
    base: Mapping[str, object], committed: Mapping[str, object], layers: list[str]
) -> Mapping[str, object]:
    """Return the image's configuration as the OCI image specification has it."""
    own = base.get("Config")
    config = dict(own) if isinstance(own, dict) else {}
    labels = config.get("Labels")
    if isinstance(labels, dict):
        config["Labels"] = {name: value for name, value in labels.items() if not name.startswith(OUR_LABELS)}
    made = {
        "architecture": base.get("Architecture"),
        "os": base.get("Os"),
        "author": base.get("Author"),
        "created": committed.get("Created"),
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": layers},
        "history": [
            *({"created": base.get("Created"), "comment": "of the base image"} for _ in layers_of(base)),
            {
                "created": committed.get("Created"),
                "created_by": _CREATED_BY,
                "empty_layer": len(layers) == len(layers_of(base)),
            },
        ],
    }
    variant = base.get("Variant")
    return made | ({"variant": variant} if variant else {})


def _tar(files: Mapping[str, object]) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name, value in files.items():
            data = json.dumps(value).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return whole.getvalue()
