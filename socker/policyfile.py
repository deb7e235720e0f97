# SPDX-License-Identifier: Apache-2.0
"""
The policy file, and what else policy reads: docs/policy.md has every key, `policyschema` and `grantschema` the schema.

yaml and msgspec are imported only where there is a file whose index is not of it.
"""

from __future__ import annotations

from socker.errors import PolicyFileError
from socker.policy import default_policy
from socker.trustedfile import ROOT, index_path, open_trusted, read_trusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socker.policy import Policy


def load(path: str, *, owner: int = ROOT, anchor: str = "/") -> Policy:
    """
    Return the policy in force: the file's, or the built-in one where there is no file.

    Raises PolicyFileError, whose line names file, line and key. Tests give `owner` and `anchor`, see `read_trusted`.
    """
    try:
        file = open_trusted(path, owner=owner, anchor=anchor)
        if file is None:
            return default_policy()
        kept = _from_index(path, file.stamp, owner, anchor)
        if kept is not None:
            return kept
        if file.names is not None:
            raise PolicyFileError(f"{path}: it is not a regular file")  # noqa: TRY301 - as one that cannot be read
        from socker.policyschema import read_policy  # noqa: PLC0415 - 30 ms of imports

        return read_policy(file.read(), path)
    except PolicyFileError as error:
        raise PolicyFileError(f"the policy file {error}; tell your administrator") from None


def indexed(path: str, *, owner: int = ROOT, anchor: str = "/") -> bytes | None:
    """Return what belongs into the index of a policy file, None where there is no file. Raises PolicyFileError."""
    from socker.policyindex import make_index  # noqa: PLC0415 - for whoever writes one
    from socker.policyschema import read_policy  # noqa: PLC0415

    file = open_trusted(path, owner=owner, anchor=anchor)
    if file is None:
        return None
    if file.names is not None:
        raise PolicyFileError(f"{path}: it is not a regular file")
    return make_index(read_policy(file.read(), path), file.stamp)


def is_indexed(path: str, *, owner: int = ROOT, anchor: str = "/") -> bool:
    """Tell whether the index beside a policy file is of the file as it is now. Raises PolicyFileError."""
    file = open_trusted(path, owner=owner, anchor=anchor)
    return file is not None and _from_index(path, file.stamp, owner, anchor) is not None


def _from_index(path: str, stamp: str, owner: int, anchor: str) -> Policy | None:
    """Return the policy as the index beside the file has it, None where there is none that can be used."""
    from socker.policyindex import MAX_SIZE, head, read_index  # noqa: PLC0415 - only where there is a file

    try:
        index = open_trusted(index_path(path), owner=owner, anchor=anchor)
        if index is None or index.names is not None:
            return None
        first = head(stamp)
        return read_index(index.read(MAX_SIZE), path) if index.read_at(0, len(first)) == first else None
    except PolicyFileError:
        return None


def read_profile(path: str, *, owner: int = ROOT, anchor: str = "/") -> str:
    """Return the text of a seccomp profile, which is a JSON object. Raises PolicyFileError."""
    try:
        data = read_trusted(path, owner=owner, anchor=anchor)
        if data is None:
            raise PolicyFileError(f"{path}: there is no such file")  # noqa: TRY301 - as one that cannot be read
        import json  # noqa: PLC0415 - only where there is one

        if isinstance(json.loads(data), dict):
            return data.decode()
        why = f"{path}: it is not a JSON object"
    except PolicyFileError as error:
        why = str(error)
    except (ValueError, RecursionError):
        why = f"{path}: it is not JSON"
    raise PolicyFileError(f"the seccomp profile {why}; tell your administrator")
