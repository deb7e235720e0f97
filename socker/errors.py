# SPDX-License-Identifier: Apache-2.0
"""
The exceptions of socker. A denial is a value (`policy.Deny`); these are failures, and each text is one line for a user.

    SockerError
        InvalidRequest         the request from the opener is not one that can be served
        InvalidReference       what was typed is no image reference
        InvalidPattern         an image pattern of a rule is none
        UnknownAccount         the user has no account on this node
        PolicyFileError        the policy file cannot be trusted, read or understood
        CatalogueError         the catalogue cannot be trusted, read or understood
        PlanError              the image or the policy asks for more than a plan holds
        EngineError            Docker cannot do what was asked
            EngineUnreachable  nobody answers at its socket
            EngineTimeout      it did not answer in time
            EngineRefused      it answered with an error, or with something that is no answer
            ImageMissing       the node does not have the image
            PullFailed         no registry gave the image
            ImageExists        the node has an image of the name that one is to be saved by
            ContainerGone      there is no such container
            ForeignContainer   the container is not the one that was meant, so it is left alone
        CdiError               the node's CDI specifications cannot be trusted, read or understood, or lack a device
        SlurmError             Slurm cannot say which jobs live, or what it knows of one
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Never


class SockerError(Exception):
    """Base of all of them; its text is one line for the user."""


class InvalidRequest(SockerError):
    """The request from the opener is not one that can be served."""


class InvalidReference(SockerError):
    """What was typed is no image reference. `why` says it without the reference, `part` is the piece at fault."""

    def __init__(self, why: str, part: str = "", shown: str = "") -> None:
        super().__init__(f"{shown}{why}")
        self.why = why
        self.part = part


class InvalidPattern(SockerError):
    """An image pattern of a rule is none."""


class UnknownAccount(SockerError):
    """The user has no account on this node."""


class PolicyFileError(SockerError):
    """The policy file cannot be trusted, read or understood; the text names file, line and key."""


class CatalogueError(SockerError):
    """The catalogue cannot be trusted, read or understood; the text names the file."""


class PlanError(SockerError):
    """The image or the policy asks for more than a plan holds; the text names the limit."""


class EngineError(SockerError):
    """Docker cannot do what was asked."""


class EngineUnreachable(EngineError):
    """Nobody answers at Docker's socket."""


class EngineTimeout(EngineError):
    """Docker did not answer in time; whether it did what was asked is not known."""


class EngineRefused(EngineError):
    """Docker answered with an error (`status` is HTTP's), or with something that is no answer (`status` 0)."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class ImageMissing(EngineError):
    """The node does not have the image."""


class PullFailed(EngineError):
    """No registry gave the image; the text says which one was asked, and why."""


class ImageExists(EngineError):
    """The node has an image of the name that one is to be saved by."""


class ContainerGone(EngineError):
    """There is no such container."""


class ForeignContainer(EngineError):
    """The container is not the one that was meant, so it is left alone."""


class CdiError(SockerError):
    """The node's CDI specifications cannot be trusted, read or understood, or lack a device."""


class SlurmError(SockerError):
    """Slurm cannot say which jobs live, or what it knows of one; nothing may be concluded from that."""


def assert_never(value: Never, /) -> Never:
    """Mark code that no value reaches; type checkers prove it. `typing.assert_never` without importing typing."""
    raise AssertionError(f"unexpected value: {value!r}")
