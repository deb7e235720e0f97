# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import grp
import pwd

import pytest

from socker.errors import UnknownAccount
from socker.identity import NodeAccounts


def test_lookup_gives_name_and_home() -> None:
    root = pwd.getpwuid(0)
    assert NodeAccounts().lookup(0) == (root.pw_name, root.pw_dir)


def test_lookup_of_nobody_says_so() -> None:
    with pytest.raises(UnknownAccount, match="the user id 3999999999 has no account on this node"):
        NodeAccounts().lookup(3999999999)


def test_group_ids_leave_out_what_the_node_does_not_know() -> None:
    name = grp.getgrgid(0).gr_name
    assert NodeAccounts().group_ids([name, "no such group"]) == {name: 0}
