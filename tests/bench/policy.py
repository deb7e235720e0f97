# SPDX-License-Identifier: Apache-2.0
"""What a large policy costs: 1,000 rules and a catalogue of 10,000 images, measured where a job waits for them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from .table import Row

RULES = 1000
IMAGES = 10_000
REPOSITORY = Path(__file__).resolve().parents[2]

# In a process of its own, as the policy child is one: loads, decides, and says what each took.
_CHILD = """
import json, resource, sys, time
anchor, owner = sys.argv[1], int(sys.argv[2])
began = time.perf_counter()
from socker.model import Image, User
from socker.policy import Allow, Case, decide, group_names, preview
from socker.policyfile import load
from socker.reference import Named, parse
from socker import audit, container, engine, engine_http, identity, lifecycle, wire
imported = time.perf_counter()
policy = load("/policy.yaml", owner=owner, anchor=anchor)
from socker import catalogue
entries = catalogue.load("/images.yaml", owner=owner, anchor=anchor)
loaded = time.perf_counter()
user = User(uid=1000, gid=1000, groups=frozenset({1000}), name="alice", home="/home/alice")
reference = parse("registry.site/tools/tool9999:1.9999")
ids = {name: 7 for name in group_names(policy, user, reference)}
case = Case(user=user, reference=reference, group_ids=ids, find=entries.find)
preview(policy, case)
image = Image(id="sha256:" + f"{9999:064x}", names=(reference,), env=(), workdir="", volumes=())
decision = decide(policy, case.but(image=image))
decided = time.perf_counter()
assert isinstance(decision, Allow) and decision.rule == "last", decision
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"load": loaded - imported, "decide": decided - loaded, "peak": peak}))
"""


def _policy() -> str:
    lines = ["version: 1", "defaults: {mounts: {home: true}}", "rules:"]
    for number in range(RULES - 1):
        deny = number % 5 == 0
        lines += [
            f"  - name: rule-{number}",
            f"    effect: {'deny' if deny else 'allow'}",
            f"    users: [user{number}, {30000 + number}]" if number % 2 else f"    groups: [group{number % 50}]",
            f'    images: ["registry.site/team{number}/**", "ghcr.io/project{number}/*:v*"]',
            "    reason: ask the help desk" if deny else "    env: {set: {SITE: here}}",
        ]
    return "\n".join([*lines, "  - {name: last, effect: allow, images: catalogue}"]) + "\n"


def _catalogue() -> str:
    return "".join(
        f"registry.site/tools/tool{number}:1.{number}:\n"
        f"  id: sha256:{number:064x}\n  desc: a tool\n  repository: registry.site/tools/tool{number}\n"
        f"  tag: '1.{number}'\n  created_since: 2 days ago\n  created_at: 2026-01-01 00:00:00 +0000 UTC\n  size: 80MB\n"
        for number in range(IMAGES)
    )


class _Site:
    """A directory that the policy engine trusts, with both files."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o755)
        self.directory = directory
        (directory / "policy.yaml").write_text(_policy())
        (directory / "images.yaml").write_text(_catalogue())
        self._trust = {"owner": os.geteuid(), "anchor": str(directory)}

    def index_catalogue(self) -> None:
        from socker.catalogue import make_index
        from socker.cataloguetext import read_entries
        from socker.trustedfile import open_trusted

        found = open_trusted("/images.yaml", **self._trust)
        text = (self.directory / "images.yaml").read_bytes()
        (self.directory / ".images.yaml.index").write_bytes(make_index(read_entries(text, "/images.yaml"), found.stamp))

    def index_policy(self) -> None:
        from socker.policyfile import indexed

        (self.directory / ".policy.yaml.index").write_bytes(indexed("/policy.yaml", **self._trust))

    def measure(self, rounds: int) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {"load": [], "decide": [], "peak": []}
        argv = [sys.executable, "-c", _CHILD, str(self.directory), str(os.geteuid())]
        for _ in range(rounds):
            done = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=REPOSITORY)
            for key, value in json.loads(done.stdout).items():
                found[key].append(value)
        return found


def _row(what: str, values: list[float], goal: float, unit: str, detail: str) -> Row:
    low, _, high = statistics.quantiles(values, n=4)
    return Row(what=what, value=statistics.median(values), spread=(high - low) / 2, goal=goal, unit=unit, detail=detail)


def rows(rounds: int) -> list[Row]:
    """The decision and the memory of the child that makes it; how long the policy takes to load is in the details."""
    with tempfile.TemporaryDirectory(prefix="socker-bench-") as name:
        site = _Site(Path(name))
        site.index_catalogue()
        parsed = site.measure(rounds)
        site.index_policy()
        indexed = site.measure(rounds)
    detail = f"policy and catalogue loaded in {statistics.median(indexed['load']) * 1000:.1f} ms from their indexes, "
    detail += f"in {statistics.median(parsed['load']) * 1000:.1f} ms without the policy's"
    both = [second * 1000 for second in parsed["decide"] + indexed["decide"]]
    return [
        _row("a decision, 1,000 rules and 10,000 images", both, 10.0, "ms", detail),
        _row("memory of its process", parsed["peak"], 64.0, "M", "the policy without its index, which takes more"),
    ]
