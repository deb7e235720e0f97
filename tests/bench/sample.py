# SPDX-License-Identifier: Apache-2.0
"""Timing commands fairly: in turns, in one run, as the user who would type them."""

from __future__ import annotations

import os
import pwd
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Shell:
    """How commands run: the cluster's environment and a user."""

    environment: Mapping[str, str]
    user: str

    def run(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end; a failure ends the benchmark, since its time would mean nothing."""
        person = pwd.getpwnam(self.user)
        done = subprocess.run(
            argv,
            env={**self.environment, "HOME": person.pw_dir, "USER": person.pw_name},
            cwd=person.pw_dir if person.pw_uid else "/",
            user=person.pw_uid,
            group=person.pw_gid,
            extra_groups=os.getgrouplist(person.pw_name, person.pw_gid),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"bench: {' '.join(argv)}: exit {done.returncode}: {done.stderr}")
        return done


@dataclass(kw_only=True)
class Case:
    """One thing that is timed; prepare runs before each time and is not."""

    action: Callable[[], object]
    prepare: Callable[[], object] = lambda: None
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half of the distance between the quartiles, in seconds."""
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return (high - low) / 2


def in_turns(cases: Mapping[str, Case], rounds: int) -> None:
    """Times every case once a round, in an order that alternates, after one round that does not count."""
    names = list(cases)
    for number in range(rounds + 1):
        for name in names if number % 2 else reversed(names):
            case = cases[name]
            case.prepare()
            start = time.perf_counter()
            case.action()
            elapsed = time.perf_counter() - start
            if number:
                case.seconds.append(elapsed)


def ratio_spread(over: Case, under: Case) -> tuple[float, float]:
    """Median and half quartile distance of the ratio, pair by pair."""
    ratios = sorted(a / b for a, b in zip(over.seconds, under.seconds, strict=True))
    low, _, high = statistics.quantiles(ratios, n=4)
    return over.median / under.median, (high - low) / 2
