# SPDX-License-Identifier: Apache-2.0
"""
Engine: images and containers, on Docker.

It runs on either client of Docker's API: `engine_http` where a job waits, `engine_sdk` (the docker SDK) where none
does. What Docker answers is believed only as far as it fits what was asked.
"""

from __future__ import annotations

from socker.container import ENTRY, HOLD, LABEL_JOB, LABEL_NAME, LABEL_NODE, LABEL_TOKEN, create_body, disagreement
from socker.errors import (
    ContainerGone,
    EngineError,
    EngineRefused,
    EngineTimeout,
    ForeignContainer,
    ImageMissing,
    InvalidReference,
    PullFailed,
)
from socker.model import Found, Image, Started
from socker.reference import ImageId, Named, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from socker.container import ContainerSpec
    from socker.model import Mark
    from socker.ports import Clock, DockerApi
    from socker.reference import Reference

LOOK_SECONDS = 10.0  # for a call that changes nothing
WORK_SECONDS = 40.0  # for one that does
POLL_SECONDS = 0.02

HTTP_NOT_FOUND = 404
HTTP_CONFLICT = 409


class DockerEngine:
    """The Engine protocol. No call lasts beyond `until`, a time of the clock; cleaning up has `grace` seconds more."""

    def __init__(self, api: DockerApi, clock: Clock, until: float, grace: float) -> None:
        self._api = api
        self._clock = clock
        self._until = until
        self._last = until + grace
        self.left = False  # after a failure: whether a container by the spec's name may exist

    def _by(self, seconds: float) -> float:
        return min(self._until, self._clock.monotonic() + seconds)

    def resolve(self, reference: Reference) -> Image:
        """Return the image on the node that a reference leads to. Raises ImageMissing; never pulls."""
        try:
            # always the full form: Docker reads a short one as the beginning of an id, too
            facts = self._api.inspect_image(str(reference), self._by(LOOK_SECONDS))
        except EngineRefused as error:
            if error.status == HTTP_NOT_FOUND:
                raise ImageMissing(f"the image {reference} is not on this node") from None
            raise EngineRefused(f"Docker cannot look up the image {reference}: {error}", error.status) from None
        image = _image(facts)
        if not _leads_to(reference, image):
            raise EngineRefused(f"Docker gave another image than {reference}; ask for it as {image.id}")
        return image

    def shorten(self, until: float) -> None:
        """Let no call last beyond this time of the clock, if it comes before the one that was given at first."""
        self._until = min(self._until, until)

    def pull(self, reference: Named) -> Named:
        """Return the reference by the digest that a registry gave for it, and have the image. Raises PullFailed."""
        name = f"{reference.domain}/{reference.path}"
        try:
            digest = self._api.pull(name, reference.tag or reference.digest or "", self._until)
            return Named(domain=reference.domain, path=reference.path, tag=None, digest=digest)
        except EngineTimeout:
            why = "it takes longer than a step may wait"
        except EngineRefused as error:
            why = str(error)
        except InvalidReference:
            why = "Docker did not say which digest it has"
        raise PullFailed(f"the image {reference} could not be pulled from {reference.domain}: {why}")

    def open(self, spec: ContainerSpec) -> Started:
        """Create a container and start its hold process; after a failure nothing of it is left."""
        container = self._create(spec)
        try:
            return self._start(container, spec)
        except BaseException:
            self._discard(container, spec.mark)
            raise

    def _create(self, spec: ContainerSpec) -> str:
        try:
            try:
                return self._create_once(spec)
            except EngineRefused as error:
                if error.status != HTTP_CONFLICT:
                    raise
            # what an opener that was killed left: the name is this job's, so it is replaced if the labels agree
            self.remove(spec.mark.name, spec.mark)
            return self._create_once(spec)
        except EngineRefused as error:
            raise EngineRefused(f"Docker cannot create the container: {error}", error.status) from None

    def _create_once(self, spec: ContainerSpec) -> str:
        self.left = True
        try:
            return _text(self._api.create(spec.mark.name, create_body(spec), self._by(WORK_SECONDS)), "Id")
        except EngineRefused as error:
            # an answer with a status made nothing; one that broke off tells nothing
            self.left = error.status == 0
            raise
        except EngineTimeout:
            # it may still come into being, by this name
            self._discard(spec.mark.name, spec.mark)
            raise

    def _start(self, container: str, spec: ContainerSpec) -> Started:
        try:
            self._api.start(container, self._by(WORK_SECONDS))
            facts = self._api.inspect(container, self._by(LOOK_SECONDS))
        except EngineRefused as error:
            raise EngineRefused(f"Docker cannot start the container: {error}", error.status) from None
        state = _mapping(facts, "State")
        pid = state.get("Pid")
        if state.get("Running") is not True or not isinstance(pid, int) or pid <= 1:
            raise EngineRefused(f"the hold process ended at once (exit code {state.get('ExitCode')})")
        _check_made(facts, spec)
        return Started(id=container, pid=pid)

    def _discard(self, target: str, mark: Mark) -> None:
        """Remove what a failure left, as far as that goes: its record stays, so a sweep ends what this cannot."""
        self._until = self._last
        try:
            self.remove(target, mark)
        except EngineError:
            return
        self.left = False

    def remove(self, target: str, mark: Mark) -> None:
        """Leave no container by this id or name. Raises ForeignContainer where it is not the one of the mark."""
        try:
            found = self._find(target)
            other = disagreement(mark, facts_name(found), facts_labels(found))
            if other is not None:
                raise ForeignContainer(
                    f"the container {target} is not the one of job {mark.job} ({other} differs); it is kept"
                )
            self._remove_id(_text(found, "Id"))
        except ContainerGone:
            return

    def _find(self, target: str) -> Mapping[str, object]:
        try:
            return self._api.inspect(target, self._by(LOOK_SECONDS))
        except EngineRefused as error:
            if error.status == HTTP_NOT_FOUND:
                raise ContainerGone(target) from None
            raise

    def _remove_id(self, container: str) -> None:
        try:
            self._api.remove(container, self._by(WORK_SECONDS))
        except EngineRefused as error:
            if error.status == HTTP_NOT_FOUND:
                return
            if error.status != HTTP_CONFLICT:
                raise EngineRefused(
                    f"Docker cannot remove the container {container[:12]}: {error}", error.status
                ) from None
            self._wait_until_gone(container)

    def _wait_until_gone(self, container: str) -> None:
        """Wait for a removal that somebody else has begun."""
        try:
            while self._clock.monotonic() < self._until:
                self._find(container)
                self._clock.sleep(POLL_SECONDS)
        except EngineTimeout:
            pass
        raise EngineTimeout(f"the container {container[:12]} is being removed, but Docker does not finish it")

    def list_ours(self, token: str) -> tuple[Found, ...]:
        """Return the containers, running or not, that carry this token."""
        listed = self._api.list_labelled((f"{LABEL_TOKEN}={token}",), self._by(LOOK_SECONDS))
        found = (_found(entry) for entry in listed if isinstance(entry, dict))
        return tuple(container for container in found if container is not None)


def _check_made(facts: Mapping[str, object], spec: ContainerSpec) -> None:
    """Raise unless the container is what was asked for, where an image or another daemon could make it differ."""
    other = disagreement(spec.mark, facts_name(facts), facts_labels(facts))
    if other is not None:
        raise EngineRefused(f"Docker made another container than was asked for ({other} differs)")
    if facts.get("Image") != spec.image:
        raise EngineRefused("Docker made a container of another image")
    mounts = facts.get("Mounts")
    made = {(mount.get("Type"), mount.get("Destination")) for mount in mounts} if isinstance(mounts, list) else set()
    if made != {("bind", HOLD), ("bind", ENTRY), *(("tmpfs", path) for path in spec.covers)}:
        raise EngineRefused("Docker gave the container mounts that were not asked for")


def _leads_to(reference: Reference, image: Image) -> bool:
    match reference:
        case ImageId(digest=digest):
            return image.id == digest
        case Named():
            return reference in image.names


def _image(facts: Mapping[str, object]) -> Image:
    config = _mapping(facts, "Config")
    image_id = _text(facts, "Id")
    try:
        ImageId(digest=image_id)
    except InvalidReference as error:
        raise EngineRefused(f"Docker's answer has no image id: {error}") from None
    workdir = config.get("WorkingDir")
    volumes = config.get("Volumes")
    return Image(
        id=image_id,
        names=tuple(_names(_strings(facts.get("RepoTags")) + _strings(facts.get("RepoDigests")))),
        env=_strings(config.get("Env")),
        workdir=workdir if isinstance(workdir, str) else "",
        volumes=tuple(volumes) if isinstance(volumes, dict) else (),
        entrypoint=_strings(config.get("Entrypoint")),
    )


def _names(listed: tuple[str, ...]) -> Iterator[Named]:
    """Read the names Docker lists; one that is no reference, as <none>:<none>, is none that could be asked for."""
    for text in listed:
        try:
            reference = parse(text)
        except InvalidReference:
            continue
        if isinstance(reference, Named):
            yield reference


def _found(entry: Mapping[str, object]) -> Found | None:
    """Read an entry of a list; None for one whose other labels are not as we set them, which is not ours."""
    marks = entry.get("Labels")
    container, job, name, node = entry.get("Id"), None, None, None
    if isinstance(marks, dict):
        job, name, node = marks.get(LABEL_JOB), marks.get(LABEL_NAME), marks.get(LABEL_NODE)
    if not isinstance(container, str) or not isinstance(job, str) or not isinstance(name, str):
        return None
    if not isinstance(node, str) or not (job.isascii() and job.isdigit()):
        return None
    return Found(id=container, name=name, node=node, job=int(job))


def _text(facts: Mapping[str, object], key: str) -> str:
    value = facts.get(key)
    if not isinstance(value, str) or not value:
        raise EngineRefused(f"Docker's answer has no {key}")
    return value


def _mapping(facts: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = facts.get(key)
    if not isinstance(value, dict):
        raise EngineRefused(f"Docker's answer has no {key}")
    return value


def _strings(value: object) -> tuple[str, ...]:
    return tuple(entry for entry in value if isinstance(entry, str)) if isinstance(value, list) else ()


def facts_name(facts: Mapping[str, object]) -> str:
    """Return the name of a container, from its facts. Raises EngineRefused."""
    return _text(facts, "Name").removeprefix("/")


def facts_labels(facts: Mapping[str, object]) -> Mapping[str, object]:
    """Return the labels of a container or an image, from its facts. Raises EngineRefused."""
    labels = _mapping(facts, "Config").get("Labels")
    return labels if isinstance(labels, dict) else {}
