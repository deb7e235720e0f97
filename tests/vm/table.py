# SPDX-License-Identifier: Apache-2.0
"""What the rig's runs came to: a result for each release, and a table of all."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

from .sources import REPOSITORY
from .suites import SUITES

RESULTS = REPOSITORY / "build/vm"
README = REPOSITORY / "README.md"
BEGIN, END = "<!-- tests/vm: begin -->\n", "<!-- tests/vm: end -->\n"
HEAD = ("Debian", "Slurm", "Docker", "kernel", "cgroup", "Docker's driver", "Python", "set", "tests passed")


def write_result(name: str, chosen: str, logs: Path, facts: dict[str, str]) -> None:
    """A run's result, from the reports of pytest and the facts of the machine, is in logs/result.json."""
    counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    failed = []
    for report in sorted(logs.glob("*.xml")):
        for suite in ET.parse(report).iter("testsuite"):
            for kind in counts:
                counts[kind] += int(suite.get(kind, "0"))
            failed += [
                f"{case.get('classname')}::{case.get('name')}"
                for case in suite.iter("testcase")
                if case.find("failure") is not None or case.find("error") is not None
            ]
    result: dict[str, object] = {"suite": name, "set": chosen, "facts": facts, "failed": sorted(set(failed)), **counts}
    (logs / "result.json").write_text(json.dumps(result, indent=1) + "\n")


def rows() -> list[tuple[str, ...]]:
    """A line for each release that has a result, in the order of the releases."""
    found: list[tuple[str, ...]] = []
    for name in SUITES:
        path = RESULTS / name / "result.json"
        if not path.exists():
            continue
        result = json.loads(path.read_text())
        facts = result["facts"]
        passed = result["tests"] - len(result["failed"]) - result["skipped"]
        count = f"{passed} of {result['tests']}"
        python = ".".join(facts["python"].split(".")[:2])
        kernel = re.sub(r"-(cloud-)?amd64$", "", facts["kernel"])
        docker = re.sub(r"\+.*", "", facts["docker.io"])
        slurm = re.sub(r".*\+really", "", facts["slurmd"])
        found.append(
            (name, slurm, docker, kernel, f"v{facts['cgroup']}", facts["driver"], python, result["set"], count)
        )
    return found


def markdown() -> str:
    """The table, as README has it."""
    lines = [HEAD, ("---",) * len(HEAD), *rows()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def plain() -> str:
    """The table, as a terminal shows it."""
    lines = [HEAD, *rows()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def write_readme() -> None:
    """README's table is the one of the results."""
    before, rest = README.read_text().split(BEGIN)
    _, after = rest.split(END)
    README.write_text(f"{before}{BEGIN}{markdown()}{END}{after}")
