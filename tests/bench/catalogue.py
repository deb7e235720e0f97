# SPDX-License-Identifier: Apache-2.0
"""A large site's catalogue: how fast it is listed, and what a decision that asks it costs. No cluster is needed."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from socker.catalogue import index_path, make_index
from socker.cataloguetext import read_entries, write_entries
from socker.entry import Entry
from socker.trustedfile import open_trusted

from .table import Row

IMAGES = 10_000
RULES = 1_000
REPOSITORY = Path(__file__).resolve().parents[2]

# a process as the policy child is: the policy is read and asked, the catalogue is looked into
_DECIDE = """
import json, sys, time
from socker.catalogue import load as load_catalogue
from socker.model import Facts, Image, User
from socker.policy import Allow, Case, decide, preview
from socker.policyfile import load
from socker.reference import parse
began = time.perf_counter()
policy = load(sys.argv[1])
read = time.perf_counter()
user = User(uid=20001, gid=20001, groups=frozenset({20001}), name="alice", home="/home/alice")
reference = parse(sys.argv[2])
opened = []
def find(asked):
    if not opened:
        opened.append(load_catalogue(policy.catalogue))
    return opened[0].find(asked)
facts = lambda: Facts(account="physics", partition="main", qos="normal", reservation="")
case = Case(user=user, reference=reference, group_ids={}, facts=facts, find=find)
preview(policy, case)
image = Image(id=sys.argv[3], names=(reference,), env=(), workdir="", volumes=())
decision = decide(policy, case.but(image=image))
ended = time.perf_counter()
assert isinstance(decision, Allow) and decision.rule == "listed", decision
size = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(json.dumps({"read": (read - began) * 1000, "decide": (ended - read) * 1000, "size": int(size) / 1024}))
"""


def entries() -> list[Entry]:
    """Ten thousand images of fifty groups."""
    return [
        Entry(
            id=f"sha256:{number:064x}",
            desc=f"Tool {number} of the collection, built for all nodes",
            repository=f"registry.site:5000/group{number % 50}/tool{number}",
            tag=f"1.{number % 9}",
            created_since="3 weeks ago",
            created_at="2026-01-15 12:57:07 +0000 UTC",
            size="1.88GB",
            digest=f"sha256:{number + 1:064x}",
            nodes=("n1", "n2", "n3"),
            synced_at="2026-02-05T08:00:00Z",
        )
        for number in range(IMAGES)
    ]


def policy(catalogue: Path) -> str:
    """A thousand rules, of which the last decides."""
    rules = [
        f'  - {{name: r{number}, effect: allow, users: [u{number}, alice], images: ["a.site:5000/o{number}/**"]}}\n'
        for number in range(RULES - 1)
    ]
    last = "  - {name: listed, effect: allow, images: catalogue}\n"
    return f"version: 1\ncatalogue: {catalogue}\nrules:\n{''.join(rules)}{last}"


@contextmanager
def site() -> Iterator[Path]:
    """A directory of root's with the catalogue, its index and the policy."""
    with tempfile.TemporaryDirectory(prefix="socker-bench-", dir="/var/lib") as name:
        place = Path(name)
        place.chmod(0o755)
        path = place / "images.yaml"
        path.write_bytes(write_entries(entries()))
        path.chmod(0o644)
        found = open_trusted(str(path))
        assert found is not None
        index = Path(index_path(str(path)))
        index.write_bytes(make_index(read_entries(path.read_bytes(), str(path)), found.stamp))
        index.chmod(0o644)
        (place / "policy.yaml").write_text(policy(path))
        (place / "policy.yaml").chmod(0o644)
        yield place


def middle(values: list[float]) -> tuple[float, float]:
    """Median and half of the distance between the quartiles."""
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return ordered[len(ordered) // 2], (ordered[-1 - quarter] - ordered[quarter]) / 2


def rows(rounds: int) -> list[Row]:
    """The rows of the table."""
    with site() as place:
        return [listing(place, rounds), *decision(place, rounds)]


def listing(place: Path, rounds: int) -> Row:
    """`socker images` from its start to its end."""
    argv = [sys.executable, "-m", "socker.cli", "images", "--config", str(place / "images.yaml")]
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - start)
        assert done.stdout.count("\n") == IMAGES + 1
    value, spread = middle(seconds)
    return Row(
        what=f"socker images, {IMAGES} of them",
        value=value,
        spread=spread,
        goal=0.5,
        unit="s",
        detail="in columns, from start to end",
    )


def decision(place: Path, rounds: int) -> list[Row]:
    """A decision by the last of a thousand rules, which asks the catalogue, in a process of its own."""
    # the image on the node is the one that was recorded
    asked = ("registry.site:5000/group49/tool9999:1.0", f"sha256:{IMAGES:064x}")
    argv = [sys.executable, "-c", _DECIDE, str(place / "policy.yaml"), *asked]
    found = []
    for _ in range(rounds):
        done = subprocess.run(
            [*argv, f"sha256:{IMAGES:064x}"], cwd=REPOSITORY, capture_output=True, text=True, check=True
        )
        found.append(json.loads(done.stdout))
    value, spread = middle([each["decide"] for each in found])
    size, size_spread = middle([each["size"] for each in found])
    read, _ = middle([each["read"] for each in found])
    what, detail = f"a decision, {RULES} rules, {IMAGES} images", f"reading the policy {read:.1f} ms before"
    return [
        Row(
            what=what,
            value=value,
            spread=spread,
            goal=10.0,
            unit="ms",
            detail=detail,
        ),
        Row(what="its process", value=size, spread=size_spread, goal=64.0, unit="M", detail="largest resident size"),
    ]
