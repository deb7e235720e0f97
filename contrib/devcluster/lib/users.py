# SPDX-License-Identifier: Apache-2.0
"""The machine's users and groups that a development cluster needs."""

import grp
import pwd
from dataclasses import dataclass
from pathlib import Path

from lib.errors import DevclusterError
from lib.tools import run


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user who can submit jobs, with a group of the same name and number."""

    name: str
    uid: int
    groups: tuple[str, ...]


_GROUPS = {"hpcdev": 20100, "alicegrp2": 20101, "bobproj": 20102}
_PEOPLE = (
    Person(name="alice", uid=20001, groups=("hpcdev", "alicegrp2")),
    Person(name="bob", uid=20002, groups=("hpcdev", "bobproj")),
)


def ensure() -> None:
    """All users and groups exist, with the ids and memberships that tests rely on."""
    for name, gid in _GROUPS.items():
        _ensure_group(name, gid)
    for person in _PEOPLE:
        _ensure_person(person)
    _ensure_system_group("docker")
    _ensure_system_group("socker")
    _ensure_system_user("socker", "socker")
    _ensure_system_user("dockerroot", "docker")


def _find_group(name: str) -> grp.struct_group | None:
    try:
        return grp.getgrnam(name)
    except KeyError:
        return None


def _find_user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _ensure_group(name: str, gid: int) -> None:
    found = _find_group(name)
    if found is None:
        run("groupadd", "--gid", str(gid), name)
    elif found.gr_gid != gid:
        raise DevclusterError(f"group {name} exists, with gid {found.gr_gid}, not {gid}")


def _ensure_person(person: Person) -> None:
    _ensure_group(person.name, person.uid)
    found = _find_user(person.name)
    if found is None:
        ids = ("--uid", str(person.uid), "--gid", person.name)
        home = ("--create-home", "--home-dir", f"/home/{person.name}")
        run("useradd", *ids, *home, "--shell", "/bin/bash", person.name)
    elif (found.pw_uid, found.pw_gid) != (person.uid, person.uid):
        raise DevclusterError(f"user {person.name} exists, with other ids")
    for group in person.groups:
        if person.name not in grp.getgrnam(group).gr_mem:
            run("usermod", "--append", "--groups", group, person.name)
    Path(pwd.getpwnam(person.name).pw_dir).chmod(0o700)


def _ensure_system_group(name: str) -> None:
    if _find_group(name) is None:
        run("groupadd", "--system", name)


def _ensure_system_user(name: str, group: str) -> None:
    found = _find_user(name)
    if found is None:
        shell = ("--no-create-home", "--shell", "/usr/sbin/nologin")
        run("useradd", "--system", "--gid", group, *shell, name)
    elif found.pw_gid != grp.getgrnam(group).gr_gid:
        raise DevclusterError(f"user {name} exists, with another group than {group}")
