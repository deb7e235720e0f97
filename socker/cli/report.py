# SPDX-License-Identifier: Apache-2.0
"""socker report: which images were used, by whom, from the audit lines in the journal or in syslog's files."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import time
from typing import IO, TYPE_CHECKING, Any

import click

from socker.cli.app import CannotTell, tell
from socker.cli.show import json_option, print_json, print_table
from socker.cli.site import find_site, slurm_conf_option

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

JOURNALCTL = "/usr/bin/journalctl"
FILES = ("/var/log/auth.log", "/var/log/secure", "/var/log/syslog", "/var/log/messages")
SECONDS = 120  # for the journal
MAX_TIME = 2**33  # seconds since the epoch; a line that says more says nothing

_HEAD = ("IMAGE", "USER", "ACCOUNT", "ALLOWED", "DENIED", "FAILED", "LAST")
_LINE = re.compile(r"\bsocker-policy(?:\[[0-9]+\])?: (\{.*\})\s*$")
_VERDICTS = {"allow": "allowed", "deny": "denied", "error": "failed"}


@click.command()
@click.option(
    "--file",
    "files",
    type=click.File("r", errors="replace", lazy=True),
    multiple=True,
    help="A file of syslog's, - for stdin, instead of the journal. May be given several times.",
)
@click.option("--since", metavar="TIME", default="", help="Only from then on: 2026-11-24, or 2026-11-24 08:00, local.")
@click.option("--user", metavar="NAME", default="", help="Only this user's.")
@click.option("--account", metavar="NAME", default="", help="Only this account's.")
@slurm_conf_option
@json_option
def report(
    *, files: Sequence[IO[str]], since: str, user: str, account: str, slurm_conf: str | None, as_json: bool
) -> None:
    """
    Tell which images were used on this node, by user and account: how often allowed, denied, failed, and when last.

    The account is known where a rule of the policy asks for it. The journal's lines are taken from the policy
    engine's user alone; in a file anybody's line counts whom syslog lets write there.

    Example: socker report --since 2026-11-01 --json
    """
    begin = _time(since) if since else 0.0
    events = _events(_lines(files, slurm_conf))
    chosen = [
        event
        for event in events
        if event["time"] >= begin and user in {"", event["user"]} and account in {"", event["account"]}
    ]
    tell(f"{len(chosen)} openings")
    rows = summary(chosen)
    if as_json:
        print_json(rows)
    else:
        print_table(_HEAD, [_row(row) for row in rows])


def summary(events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each image, user and account, the most used first; `last` in seconds since the epoch."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for event in events:
        key = (event["image"], event["user"], event["account"])
        start = dict(zip(("image", "user", "account"), key, strict=True)) | dict.fromkeys(_VERDICTS.values(), 0)
        row = rows.setdefault(key, start | {"last": 0.0})
        row[_VERDICTS[event["verdict"]]] += 1
        row["last"] = max(row["last"], event["time"])
    return sorted(rows.values(), key=lambda row: (-row["allowed"], -row["denied"], row["image"], row["user"]))


def _events(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        found = _LINE.search(line)
        try:
            fields = json.loads(found[1]) if found else None
        except ValueError:
            continue
        if isinstance(fields, dict) and fields.get("event") == "open" and fields.get("verdict") in _VERDICTS:
            yield _event(fields)


def _event(fields: Mapping[str, Any]) -> dict[str, Any]:
    when = fields.get("time")
    return {
        "time": float(when) if isinstance(when, int | float) and 0 <= when < MAX_TIME else 0.0,
        "image": str(fields.get("reference", "")),
        # a step that failed early has an id, but no name
        "user": str(fields.get("user") or _name(fields.get("uid"))),
        "account": str(fields.get("account") or ""),
        "verdict": str(fields["verdict"]),
    }


def _name(uid: object) -> str:
    try:
        return pwd.getpwuid(uid).pw_name if isinstance(uid, int) else ""
    except (KeyError, OverflowError):
        return str(uid)


def _lines(files: Sequence[IO[str]], slurm_conf: str | None) -> Iterator[str]:
    if files:
        for file in files:
            yield from file
    elif os.path.isdir("/run/systemd/system"):
        yield from _journal(find_site(slurm_conf).word("user"))
    else:
        known = [path for path in FILES if os.path.exists(path)]
        if not known:
            raise CannotTell("there is no journal, and none of syslog's usual files; name one with --file")
        for path in known:
            tell(f"reading {path}")
            with open(path, errors="replace") as file:
                yield from file


def _journal(user: str) -> Iterator[str]:
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        raise CannotTell(f"there is no user {user}, whose lines these are; see socker doctor") from None
    if os.geteuid() != 0:
        click.echo("socker: warning: not root, so only what you may read of the journal counts", err=True)
    argv = [JOURNALCTL, "--quiet", "--no-pager", "--output=short", "--identifier=socker-policy", f"_UID={uid}"]
    tell(" ".join(argv))
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotTell(f"the journal cannot be read: {error}; name a file with --file") from None
    if done.returncode:
        raise CannotTell(f"the journal cannot be read: {done.stderr.strip()[:200]}; name a file with --file")
    yield from done.stdout.splitlines()


def _time(text: str) -> float:
    for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S"):
        try:
            return time.mktime(time.strptime(text, form))
        except (ValueError, OverflowError):
            continue
    raise click.BadParameter(f"{text!r} is no time; write 2026-11-24 or '2026-11-24 08:00'", param_hint="--since")


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    last = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["last"])) if row["last"] else ""
    counts = (str(row[name]) for name in _VERDICTS.values())
    return row["image"], row["user"], row["account"], *counts, last
