# SPDX-License-Identifier: Apache-2.0
"""The database of `up --accounting`: MariaDB's files, whether it answers, and the accounts that jobs are charged to."""

import shutil
from collections.abc import Sequence

from lib.errors import DevclusterError
from lib.layout import Layout
from lib.slurm import slurm
from lib.tools import run, takes_connections

USER = "mysql"
"""The package's own user, as whom mariadbd runs."""

_TIMEOUT = 120.0

_QOS = ("high", "low")
_ACCOUNTS = ("physics", "chemistry")
# user, accounts (the first is the default), QOS (the first is the default)
_PEOPLE = (("alice", ("physics", "chemistry"), ("normal", "high")), ("bob", ("chemistry",), ("normal", "low")))


def prepare(paths: Layout) -> None:
    """An empty database is there, which root can use through its socket."""
    paths.database_run.mkdir(mode=0o755, exist_ok=True)
    shutil.chown(paths.database_run, USER, USER)
    if (paths.database / "mysql").exists():
        return
    paths.database.mkdir(mode=0o700, exist_ok=True)
    shutil.chown(paths.database, USER, USER)
    run(
        "mariadb-install-db",
        "--no-defaults",
        f"--user={USER}",
        f"--datadir={paths.database}",
        "--auth-root-authentication-method=socket",
        "--skip-test-db",
        timeout=_TIMEOUT,
    )


def mariadbd_answers(paths: Layout) -> bool:
    """Whether MariaDB takes connections."""
    return takes_connections(paths.database_socket)


def slurmdbd_answers(paths: Layout) -> bool:
    """Whether slurmdbd answers a question that it has to ask the database."""
    return slurm(paths, "sacctmgr", "--noheader", "list", "qos", check=False).returncode == 0


def fill(paths: Layout) -> None:
    """The cluster, accounts, QOS and their users are known, before slurmctld asks for them."""
    _add(paths, "cluster", paths.name)
    for qos in _QOS:
        _add(paths, "qos", qos)
    for account in _ACCOUNTS:
        _add(paths, "account", account)
    for user, accounts, qos in _PEOPLE:
        wishes = (f"qos={','.join(qos)}", f"defaultqos={qos[0]}")
        _add(paths, "user", user, f"account={','.join(accounts)}", f"defaultaccount={accounts[0]}", *wishes)


def _add(paths: Layout, *words: str) -> None:
    done = slurm(paths, "sacctmgr", "--immediate", "add", *words, check=False)
    said: Sequence[str] = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if done.returncode != 0 and not any("Nothing" in line or "already" in line for line in said):
        raise DevclusterError(f"sacctmgr add {' '.join(words)}: exit {done.returncode}: {' '.join(said)}")
