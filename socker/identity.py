# SPDX-License-Identifier: Apache-2.0
"""Accounts of the node, through its name service. Nothing is looked up inside a container."""

from __future__ import annotations

import grp
import pwd

from socker.errors import UnknownAccount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from socker.model import User


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

    def lines(self, user: User) -> tuple[str, str]:
        """Return the lines that name the user in a file as /etc/passwd, and the groups in one as /etc/group."""
        try:
            shell = pwd.getpwuid(user.uid).pw_shell
        except KeyError:
            shell = ""
        passwd = _line(user.name, "x", str(user.uid), str(user.gid), "", user.home, shell or "/bin/sh")
        return passwd, "".join(_group_line(number) for number in sorted({user.gid, *user.groups}))


def _group_line(number: int) -> str:
    """Name a group; one without a name on the node has none inside either."""
    try:
        return _line(grp.getgrgid(number).gr_name, "x", str(number), "")
    except KeyError:
        return ""


def _line(*fields: str) -> str:
    """Join fields, none of which can end a field or a line."""
    return ":".join("".join("_" if char in ":\n\0" else char for char in field) for field in fields) + "\n"
