# SPDX-License-Identifier: Apache-2.0
"""An entry of the catalogue: the first seven fields are go-socker's."""

from __future__ import annotations

from socker.value import Value


class Entry(Value):
    """
    One image, every field as its file has it; one that is not there is empty.

    `repository` and `tag` are as Docker shows them. `digest` is what the name is pinned to, `sha256:` and 64 hex
    digits. `created_at` and `created_since` are Docker's words; `synced_at` is UTC, ISO 8601.
    """

    id: str
    desc: str
    repository: str
    tag: str
    created_since: str
    created_at: str
    size: str
    digest: str
    nodes: tuple[str, ...]
    synced_at: str


FIELDS = tuple(Entry.__annotations__)
