# SPDX-License-Identifier: Apache-2.0
"""The flow of saving: from the container of a step that has ended to an image on its node. Policy was asked before."""

from __future__ import annotations

from socker.errors import InvalidReference, SockerError
from socker.model import step_name
from socker.reference import Named, parse
from socker.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socker.model import Mark
    from socker.ports import AuditSink, Clock, SavesImages


class Saving(Value):
    """A container to save: `id` and `mark` tell it, `base` is its image's id, `reference` the name to save it by."""

    id: str
    mark: Mark
    step: int
    base: str
    reference: str


class Saved(Value):
    """What came of it: the image's id, or why there is none (one of the two is empty)."""

    image: str = ""
    message: str = ""


def save_container(saving: Saving, engine: SavesImages, audit: AuditSink, clock: Clock) -> Saved:
    """Save a container. Failures become the message; either is on record."""
    began = clock.monotonic()
    try:
        reference = parse(saving.reference)
        if not isinstance(reference, Named) or reference.tag is None:
            raise InvalidReference("an image is saved by name and tag")
        saved = Saved(image=engine.save(saving.id, saving.mark, saving.base, reference))
    except SockerError as error:
        saved = Saved(message=str(error))
    audit.record(
        "save",
        {
            "time": round(clock.time(), 3),
            "node": saving.mark.node,
            "job": saving.mark.job,
            "step": step_name(saving.step),
            "uid": saving.mark.uid,
            "container": saving.id,
            "base": saving.base,
            "reference": saving.reference,
            "digest": saved.image,
            "verdict": "saved" if saved.image else "error",
            "reason": saved.message,
            "ms": round((clock.monotonic() - began) * 1000, 1),
        },
    )
    return saved
