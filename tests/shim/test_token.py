# SPDX-License-Identifier: Apache-2.0
"""token.c: the node's token, which nobody but root can know (T22)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from stat import S_IMODE

import pytest

from .driver import USER, Child, done, exact, ffi, lib, refused

TOKEN = "0123456789abcdef" * 2


def read(path: Path) -> str:
    token = exact(int(lib.SOCKER_TOKEN_SIZE))
    done(lib.token_read, os.fsencode(path), token)
    return bytes(ffi.string(token)).decode()


def refusal(path: Path) -> str:
    return refused(lib.token_read, os.fsencode(path), ffi.new("char[]", int(lib.SOCKER_TOKEN_SIZE)))


@pytest.fixture
def path(trusted: Path) -> Path:
    return trusted / "lib" / "token"


@pytest.fixture
def kept(path: Path) -> Path:
    path.parent.mkdir(mode=0o755)
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


def test_token_that_is_missing_is_made_and_stays(path: Path) -> None:
    token = read(path)
    assert len(token) == 32
    assert set(token) <= set("0123456789abcdef")
    assert (read(path), path.read_text()) == (token, token)


@pytest.mark.parametrize("umask", [0, 0o077])
def test_token_that_is_made_can_only_be_read_by_root(path: Path, umask: int) -> None:
    """Its directory may be read by all: the default's holds the catalogue, too. 077 is the opener's umask."""
    old = os.umask(umask)
    try:
        read(path)
    finally:
        os.umask(old)
    assert (S_IMODE(path.stat().st_mode), S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o755)


def test_token_of_two_nodes_differs(path: Path) -> None:
    assert read(path) != read(path.with_name("other"))


def test_token_that_is_there_is_read(kept: Path) -> None:
    assert read(kept) == TOKEN


def test_token_made_by_many_at_once_is_one(path: Path) -> None:
    for round_number in range(4):
        own = path.with_name(f"token{round_number}")
        children = [Child(lambda own=own: read(own)) for _ in range(8)]  # type: ignore[misc]
        tokens = {child.wait().said for child in children}
        assert tokens == {own.read_text()}
    assert sorted(os.listdir(path.parent)) == [f"token{number}" for number in range(4)]


@pytest.mark.parametrize(
    "content", ["", TOKEN[:-1], TOKEN[:-1] + "g", TOKEN.upper(), TOKEN[:16] + "\0" + TOKEN[17:], "../" + TOKEN[3:]]
)
def test_token_that_is_damaged_is_refused(kept: Path, content: str) -> None:
    kept.write_text(content)
    assert refusal(kept) == f"{kept} is damaged; remove it when no job runs on this node"


def make_readable(path: Path) -> None:
    path.chmod(0o640)


def make_users(path: Path) -> None:
    os.chown(path, USER, 0)


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("change", [make_readable, make_users, make_fifo, make_directory])
def test_token_in_a_file_that_is_not_roots_own_is_refused(kept: Path, change: Callable[[Path], None]) -> None:
    change(kept)
    assert refusal(kept) == f"{kept}: not a file of root's that only root can read"


def test_token_that_is_a_symlink_is_refused(kept: Path) -> None:
    kept.rename(kept.with_name("real"))
    kept.symlink_to("real")
    assert refusal(kept) == f"{kept}: Too many levels of symbolic links"


def test_token_in_a_directory_that_others_can_write_is_refused(kept: Path) -> None:
    kept.parent.chmod(0o777)
    assert refusal(kept) == f"{kept.parent}: others than root can write it"


def test_token_below_a_missing_directory_is_refused(path: Path) -> None:
    assert refusal(path / "sub" / "token").endswith(": No such file or directory")
