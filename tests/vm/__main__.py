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
        settings = options.set == "all" and not options.tests
        result = _run(SUITES[options.suite], tests, settings=settings, anew=options.anew)
    print(table.plain(), end="")
    if options.readme:
        table.write_readme()
    return result


def _run(suite: Suite, tests: list[str], *, settings: bool, anew: bool) -> int:
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
            tell("configuring")
            machine.send(files, "/")
            try:
                script = "cd /root/socker/tests/vm/guest && ./install && ./configure"
                if machine.follow(script, logs / "configure.log", timeout=600) != 0:
                    tell(f"the machine cannot be configured: see {logs}")
                    return 1
                tell("testing")
                script = f"SETTINGS={'yes' if settings else 'no'} /root/socker/tests/vm/guest/test {shlex.join(tests)}"
                result = machine.follow(script, logs / "tests.log", timeout=TESTS_SECONDS)
                tell("testing the package")
                result |= machine.follow("/root/socker/tests/vm/guest/package", logs / "package.log", timeout=1200)
            finally:
                _fetch_logs(machine, logs)
    facts = json.loads((logs / "facts.json").read_text())
    table.write_result(suite.name, logs, image.facts(disk) | facts)
    tell("all tests have passed" if result == 0 else f"there were failures: see {logs}")
    return result


def _fetch_logs(machine: Machine, logs: Path) -> None:
    machine.run(
        "mkdir -p /root/logs; cp -r /var/lib/socker-devcluster/vm/log /root/logs/slurm; journalctl > /root/logs/journal"
    )
    machine.fetch("/root/logs", logs)


if __name__ == "__main__":
    raise SystemExit(main())
