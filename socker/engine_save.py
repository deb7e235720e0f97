# SPDX-License-Identifier: Apache-2.0
"""Engine, for what has to do with saved images: making one of a container, and what an interrupted save left."""

from __future__ import annotations

from socker.container import LABEL_TOKEN, disagreement
from socker.engine import LOOK_SECONDS, WORK_SECONDS, DockerEngine, facts_labels, facts_name
from socker.errors import (
    ContainerGone,
    EngineError,
    EngineRefused,
    ForeignContainer,
    ImageExists,
    ImageMissing,
)
from socker.savedimage import OUR_LABELS, archive, layers_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from socker.model import Mark
    from socker.reference import Named

LEFT_SECONDS = 2 * 3600  # how old a commit is that no save works on any more: save_deadline is an hour at most


class SavingEngine(DockerEngine):
    """An engine that also saves."""

    def save(self, container: str, mark: Mark, base: str, reference: Named) -> str:
        """
        Make the image `reference` of a container of the mark, which runs the image `base`, and return its id.

        Raises ImageExists, ContainerGone, ForeignContainer and what Docker answers; after a failure there is no such
        image.
        """
        self._check(container, mark, base)
        self.check_free(reference)
        try:
            committed = self._api.commit(container, self._until)
        except EngineRefused as error:
            raise EngineRefused(f"Docker cannot commit the container: {error}", error.status) from None
        try:
            return self._load(committed, base, reference)
        finally:
            self._forget(committed)

    def check_free(self, reference: Named) -> None:
        """Raise ImageExists where the node has an image of that name."""
        try:
            self.resolve(reference)
        except ImageMissing:
            return
        raise ImageExists(f"there is an image {reference} on this node already; save under another name or tag")

    def _check(self, container: str, mark: Mark, base: str) -> None:
        try:
            found = self._find(container)
        except ContainerGone:
            raise ContainerGone("Docker has lost the container") from None
        other = disagreement(mark, facts_name(found), facts_labels(found))
        if other is None and found.get("Image") != base:
            other = "image"
        if other is not None:
            raise ForeignContainer(f"the container {container} is not the one of job {mark.job} ({other} differs)")

    def _load(self, committed: str, base: str, reference: Named) -> str:
        facts = self._api.inspect_image(committed, self._by(LOOK_SECONDS))
        whole = archive(self._api.inspect_image(base, self._by(LOOK_SECONDS)), facts, str(reference))
        try:
            self._api.load(whole, self._by(WORK_SECONDS))
        except EngineRefused as error:
            raise EngineRefused(f"Docker cannot make the image of the layer: {error}", error.status) from None
        made = self._api.inspect_image(str(reference), self._by(LOOK_SECONDS))
        if layers_of(made) != layers_of(facts) or any(name.startswith(OUR_LABELS) for name in facts_labels(made)):
            raise EngineRefused("Docker made another image than was asked for")
        return self.resolve(reference).id

    def _forget(self, image: str) -> None:
        """Remove a commit; its layer stays with the image that was made of it. What is left, a sweep removes."""
        self._until = self._last
        try:
            self._api.remove_image(image, self._by(WORK_SECONDS))
        except EngineError:
            return

    def remove_commits(self, token: str) -> tuple[str, ...]:
        """Remove the images without a name that carry this token, as interrupted saves left them; return their ids."""
        listed = self._api.list_images((f"{LABEL_TOKEN}={token}",), self._by(LOOK_SECONDS))
        old = [entry for entry in listed if isinstance(entry, dict) and self._is_left(entry)]
        for entry in old:
            self._api.remove_image(str(entry["Id"]), self._by(WORK_SECONDS))
        return tuple(str(entry["Id"]) for entry in old)

    def _is_left(self, entry: Mapping[str, object]) -> bool:
        created, names = entry.get("Created"), entry.get("RepoTags")
        named = isinstance(names, list) and any(name != "<none>:<none>" for name in names)
        return isinstance(created, int) and self._clock.time() - created > LEFT_SECONDS and not named
