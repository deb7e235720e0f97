# SPDX-License-Identifier: Apache-2.0
"""Accounts of the node, through its name service. Nothing is looked up inside a container."""

from __future__ import annotations

import grp
import pwd

from socker.errors import UnknownAccount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class NodeAccounts:
    """The Accounts protocol on NSS."""

    def lookup(self, uid: int) -> tuple[str, str]:
        """Return name and home of a user. Raises UnknownAccount."""
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            raise UnknownAccount(f"the user id {uid} has no account on this node; tell your administrator") from None
        return entry.pw_name, entry.pw_dir

    def group_ids(self, names: Iterable[str]) -> Mapping[str, int]:
        """Return the ids of those groups that the node knows."""
        found: dict[str, int] = {}
        for name in names:
            try:
                found[name] = grp.getgrnam(name).gr_gid
            except KeyError:
                continue
        return found
