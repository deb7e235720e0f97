# SPDX-License-Identifier: Apache-2.0
"""What socker doctor looks at on this host. Everything is looked at once and nothing is judged here."""

from __future__ import annotations

import grp
import os
import platform
import pwd
import stat
import subprocess
from typing import TYPE_CHECKING, Any

from socker.catalogue import DEFAULT_PATH, kept_index, load
from socker.cli.site import Site, SiteError, find_site, read_settings
from socker.errors import SockerError
from socker.policy import BUILT_IN
from socker.policyfile import is_indexed
from socker.policyfile import load as load_policy
from socker.text import one_line
from socker.trustedfile import open_trusted
from socker.value import Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from socker.policy import Policy

# beside each other in the library directory
PARTS = ("socker.so", "socker-opener", "socker-policy", "hold", "entry", "seccomp-hpc.json")
SECONDS = 20  # for each of Slurm's commands

_S_BINARIES = ("/usr/bin", "/usr/local/bin", "/opt/slurm/bin")


class Account(Value):
    """A system user and the names of all its groups."""

    uid: int
    groups: tuple[str, ...]


class Facts(Value):
    """
    The host as it is. A text that names an error is empty where there is none.

    `parts` gives what is wrong with each of socker's programs. `docker` is what docker info has, empty where Docker
    does not answer. `unreadable` are files that the policy engine's user cannot read.
    """

    root: bool
    site: Site
    site_error: str
    oci_conf: str
    parts: Mapping[str, str]
    loads: str
    slurm_version: str
    controller: str
    cgroup_conf: Mapping[str, str]
    docker: Mapping[str, Any]
    docker_error: str
    accounts: Mapping[str, Account]
    docker_members: tuple[str, ...]
    kernel: str
    cgroup: str
    python: str
    policy: str
    policy_error: str
    policy_index: bool
    catalogue: int | None
    catalogue_error: str
    catalogue_index: bool
    unreadable: tuple[str, ...]


def gather(slurm_conf: str | None) -> Facts:
    """Return the facts of this host."""
    try:
        site, site_error = find_site(slurm_conf), ""
    except SiteError as error:
        site, site_error = Site(slurm_conf="", slurm={}, plugstack="", lines=()), str(error)
    users = (site.word("user"), site.word("hold_user"))
    docker, docker_error = _docker(site.word("docker"))
    policy, policy_error = _policy(site.word("policy"))
    listed = DEFAULT_PATH if policy is None else policy.catalogue
    catalogue, catalogue_error, index = _catalogue(listed)
    directory = os.path.dirname(site.slurm_conf) if site.slurm_conf else "/etc/slurm"
    return Facts(
        root=os.geteuid() == 0,
        site=site,
        site_error=site_error,
        oci_conf=f"{directory}/oci.conf" if os.path.exists(f"{directory}/oci.conf") else "",
        parts={name: _fault(f"{site.libdir()}/{name}") for name in PARTS},
        loads=_loads(site),
        slurm_version=_slurm(site, "scontrol", "--version")[0].strip(),
        controller=_slurm(site, "scontrol", "ping")[2],
        cgroup_conf=_cgroup_conf(f"{directory}/cgroup.conf"),
        docker=docker,
        docker_error=docker_error,
        accounts={name: account for name in users if (account := _account(name)) is not None},
        docker_members=_members("docker"),
        kernel=platform.release(),
        cgroup=_cgroup(),
        python=platform.python_version(),
        policy=_policy_words(policy),
        policy_error=policy_error,
        policy_index=policy is None or policy.source == BUILT_IN or is_indexed(policy.source),
        catalogue=catalogue,
        catalogue_error=catalogue_error,
        catalogue_index=index,
        unreadable=tuple(filter(_is_hidden, (site.word("policy"), listed))),
    )


def _fault(path: str) -> str:
    """Return why root should not rely on a part of the installation, empty where it may."""
    try:
        facts = os.stat(path)
    except OSError as error:
        return (error.strerror or "it cannot be looked at").lower()
    if not os.path.isabs(path):
        return "it is not an absolute path"
    if facts.st_uid != 0:
        return f"it belongs to uid {facts.st_uid}, not to root"
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others than root can write it (mode {stat.S_IMODE(facts.st_mode):04o})"
    return "" if path.endswith(".json") or facts.st_mode & stat.S_IXOTH else "it cannot be executed"


def _slurm(site: Site, name: str, *words: str) -> tuple[str, str, str]:
    """Return what a command of Slurm's prints on stdout and on stderr, and what went wrong."""
    found = next((path for path in (f"{place}/{name}" for place in _S_BINARIES) if os.path.exists(path)), None)
    if found is None:
        return "", "", f"there is no {name} on this host"
    done = _run([found, *words], {"SLURM_CONF": site.slurm_conf} if site.slurm_conf else {})
    if done is None:
        return "", "", f"{name} does not answer in time"
    said = (done.stdout + done.stderr).strip()
    wrong = done.returncode != 0 or ("is DOWN" in said and "is UP" not in said)
    why = said.splitlines()[-1] if said else f"{name} ended with {done.returncode}"
    return done.stdout, done.stderr, one_line(why, 200) if wrong else ""


def _run(argv: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(  # noqa: S603 - Slurm's commands
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=dict(environment),
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _loads(site: Site) -> str:
    """Return what srun says of our plugin when it loads it, empty where it says nothing."""
    if site.line() is None:
        return ""
    _, said, _ = _slurm(site, "srun", "--help")
    return next((one_line(line, 300) for line in said.splitlines() if "socker" in line), "")


def _cgroup_conf(path: str) -> Mapping[str, str]:
    try:
        return read_settings(path)
    except SiteError:
        return {}


def _docker(path: str) -> tuple[Mapping[str, Any], str]:
    from socker.cli.dockerapi import Docker  # noqa: PLC0415 - the docker SDK is 100 ms

    try:
        return Docker(path).info(), ""
    except SockerError as error:
        return {}, str(error)


def _policy(path: str) -> tuple[Policy | None, str]:
    try:
        return load_policy(path), ""
    except SockerError as error:
        return None, str(error)


def _policy_words(policy: Policy | None) -> str:
    if policy is None:
        return ""
    return f"{policy.source}, {len(policy.rules)} rule{'' if len(policy.rules) == 1 else 's'}"


def _catalogue(path: str) -> tuple[int | None, str, bool]:
    """Return how many images the catalogue has (None: there is none), what is wrong, whether its index is of now."""
    try:
        if open_trusted(path) is None:
            return None, "", True
        count = len(load(path).entries())
        return count, "", all(_is_indexed(file) for file in _files(path))
    except SockerError as error:
        return 0, str(error), True


def _files(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    return [f"{path}/{name}" for name in os.listdir(path) if name.endswith((".yaml", ".yml")) and name[0] != "."]


def _is_indexed(path: str) -> bool:
    found = open_trusted(path)
    return found is None or kept_index(path, found.stamp) is not None


def _is_hidden(path: str) -> bool:
    """Tell whether a file is there that users other than root cannot read, or cannot get to."""
    if not os.path.exists(path):
        return False
    hidden = not os.stat(path).st_mode & stat.S_IROTH
    while (path := os.path.dirname(path)) != "/":
        hidden = hidden or not os.stat(path).st_mode & stat.S_IXOTH
    return hidden


def _account(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    numbers = os.getgrouplist(name, entry.pw_gid)
    return Account(uid=entry.pw_uid, groups=tuple(map(_group_name, numbers)))


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _members(group: str) -> tuple[str, ...]:
    """Return the users of a group: those it lists, and those whose own it is."""
    try:
        entry = grp.getgrnam(group)
    except KeyError:
        return ()
    owners = [user.pw_name for user in pwd.getpwall() if user.pw_gid == entry.gr_gid]
    return tuple(sorted({*entry.gr_mem, *owners}))


def _cgroup() -> str:
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return "v2"
    return "v1" if os.path.isdir("/sys/fs/cgroup/freezer") or os.path.isdir("/sys/fs/cgroup/memory") else ""
