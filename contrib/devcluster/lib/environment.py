# SPDX-License-Identifier: Apache-2.0
"""The environment in which a cluster is used, and running commands in it."""

import os
import pwd
import shlex
import sys
from collections.abc import Sequence
from typing import NoReturn

from lib.cluster import Cluster
from lib.errors import DevclusterError
from lib.tools import PATH

_NOT_FOUND = 127


def variables(cluster: Cluster) -> dict[str, str]:
    """What the clients of Slurm, Docker and socker need to find this cluster."""
    paths = cluster.layout
    return {
        "SLURM_CONF": str(paths.slurm_conf),
        "DOCKER_HOST": paths.docker_url,
        "PATH": f"{cluster.prefix / 'bin'}:{PATH}",
        "SOCKER_STATE": str(paths.run / "socker"),
        "SOCKER_PREFIX": str(cluster.prefix),
        "DEVCLUSTER_BASE": str(paths.base),
    }


def exports(cluster: Cluster) -> str:
    """Text for the shell to evaluate."""
    pairs = variables(cluster).items()
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in pairs)


def execute(cluster: Cluster, argv: Sequence[str], *, user: str | None, cwd: str | None) -> NoReturn:
    """This process becomes the command: as it is, or as a user who has logged in."""
    environment = dict(os.environ)
    if user:
        person = _find(user)
        environment = _login(person)
        _become(person)
        os.chdir(cwd or person.pw_dir)
    elif cwd:
        os.chdir(cwd)
    environment |= variables(cluster)
    try:
        os.execvpe(argv[0], list(argv), environment)
    except OSError as error:
        sys.stderr.write(f"devcluster: {argv[0]}: {error.strerror}\n")
        sys.exit(_NOT_FOUND)


def _find(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise DevclusterError(f"{user}: no such user") from None


def _login(person: pwd.struct_passwd) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("TERM", "LANG") if name in os.environ}
    return kept | {
        "HOME": person.pw_dir,
        "USER": person.pw_name,
        "LOGNAME": person.pw_name,
        "SHELL": person.pw_shell,
    }


def _become(person: pwd.struct_passwd) -> None:
    os.initgroups(person.pw_name, person.pw_gid)
    os.setresgid(person.pw_gid, person.pw_gid, person.pw_gid)
    os.setresuid(person.pw_uid, person.pw_uid, person.pw_uid)
