# SPDX-License-Identifier: Apache-2.0
"""The installed command socker, as tests use it."""

from __future__ import annotations

import json
from typing import Any

from .cluster import Cluster, Result

YES, NO, USAGE, FAILED = 0, 1, 2, 3


def socker(cluster: Cluster, *words: str, user: str = "", stdin: str = "") -> Result:
    """Runs the installed command, as root unless said otherwise."""
    return cluster.run(str(cluster.prefix / "bin/socker"), *words, user=user, stdin=stdin, timeout=90)


def answer(cluster: Cluster, *words: str, user: str = "", code: int = YES) -> Any:
    """What the command says in JSON."""
    done = socker(cluster, *words, "--json", user=user)
    assert (done.returncode, done.stderr) == (code, ""), done
    return json.loads(done.stdout)


def assert_line(done: Result, line: str, *, code: int = FAILED) -> None:
    """The command failed with one line, which begins so."""
    assert (done.returncode, done.stdout) == (code, ""), done
    assert done.stderr.startswith(f"socker: {line}"), done
    assert done.stderr.count("\n") == 1, done


def doctor(cluster: Cluster, *words: str) -> list[dict[str, str]]:
    """The doctor's findings."""
    done = socker(cluster, "doctor", "--json", *words)
    assert done.stderr == "", done
    findings: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    assert done.returncode == (NO if any(each["status"] == "fail" for each in findings) else YES)
    return findings
