# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.vm SUITE`: makes what is missing, boots it, installs socker, runs the tests, tells what came out."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from . import build, image, table
from .machine import Machine, running
from .sources import REPOSITORY
from .suites import SUITES, Suite

TESTS_SECONDS = 5400.0
SETS = {"short": ("-m", "short and not native"), "all": ("-m", "not native")}


def main() -> int:
    """Runs the rig as the command line asks; 0 if all was well."""
    parser = argparse.ArgumentParser(prog="tests.vm", description=__doc__)
    parser.add_argument("suite", choices=SUITES, nargs="?", help="without one, the table of the last results is shown")
    parser.add_argument("--readme", action="store_true", help="write the table into README")
    parser.add_argument("--anew", action="store_true", help="make the disk again even if it is there")
    parser.add_argument("--set", choices=SETS, default="short", help="which of the system tests")
    parser.add_argument("tests", nargs="*", help="arguments for pytest instead (behind --)")
    options = parser.parse_args()
    # so that no machine outlives what started it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    result = 0
    if options.suite:
        tests = options.tests or [*SETS[options.set], "tests/system"]
        chosen = "some" if options.tests else options.set
        result = _run(SUITES[options.suite], tests, chosen, anew=options.anew)
    print(table.plain(), end="")
    if options.readme:
        table.write_readme()
    return result


def _run(suite: Suite, tests: list[str], chosen: str, *, anew: bool) -> int:
    logs = REPOSITORY / "build/vm" / suite.name
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {suite.name}: {text}", flush=True)

    disk = image.disk(suite, anew=anew)
    tell("building and installing socker in the release's tree")
    with build.changes(disk, build.installation(suite), logs / "build.log") as files:
        tell("booting")
        with running(disk, logs / "console.log") as machine:
            machine.send(files, "/")
            try:
                result = _test(machine, logs, tests, chosen, tell)
            finally:
                _fetch_logs(machine, logs)
    if (logs / "facts.json").exists():
        facts = json.loads((logs / "facts.json").read_text())
        table.write_result(suite.name, chosen, logs, image.facts(disk) | facts)
    tell("all tests have passed" if result == 0 else f"there were failures: see {logs}")
    return result


def _test(machine: Machine, logs: Path, tests: list[str], chosen: str, tell: Callable[[str], None]) -> int:
    """Configures the machine and runs its tests; 0 if all have passed."""
    here = "/root/socker/tests/vm/guest"
    tell("configuring")
    if machine.follow(f"cd {here} && ./install && ./configure", logs / "configure.log", timeout=600) != 0:
        tell("the machine cannot be configured")
        return 1
    tell("testing")
    settings = "yes" if chosen == "all" else "no"
    script = f"SETTINGS={settings} {here}/test {shlex.join(tests)}"
    result = machine.follow(script, logs / "tests.log", timeout=TESTS_SECONDS)
    tell("testing the package")
    return result | machine.follow(f"{here}/package", logs / "package.log", timeout=1200)


def _fetch_logs(machine: Machine, logs: Path) -> None:
    machine.run(
        "mkdir -p /root/logs; cp -r /var/lib/socker-devcluster/vm/log /root/logs/slurm; journalctl > /root/logs/journal"
    )
    machine.fetch("/root/logs", logs)


if __name__ == "__main__":
    raise SystemExit(main())
