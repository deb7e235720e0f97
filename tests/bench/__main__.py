# SPDX-License-Identifier: Apache-2.0
"""make bench: measures section 7 of the design on a cluster of its own, prints a table, writes build/bench.json."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from . import catalogue, steps
from .measure import Bench
from .sample import Shell
from .table import Row, table

REPOSITORY = Path(__file__).resolve().parents[2]
DEVCLUSTER = REPOSITORY / "contrib/devcluster/devcluster"


def environment(name: str) -> dict[str, str]:
    """The variables that `devcluster env` prints."""
    text = subprocess.run([str(DEVCLUSTER), "env", "--name", name], check=True, capture_output=True, text=True).stdout
    pairs = (line.removeprefix("export ").partition("=") for line in text.splitlines())
    return {key: value.strip("'") for key, _, value in pairs}


def main() -> int:
    """0 when every number holds, 1 when one misses its goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cluster", help="a running cluster to use (default: one is made and taken down)")
    parser.add_argument("--rounds", type=int, default=30, help="how often each case is timed (default 30)")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build/bench.json")
    options = parser.parse_args()
    name = options.cluster or "bench"
    if not options.cluster:
        subprocess.run([str(DEVCLUSTER), "up", "--name", name, "--nodes", "1"], check=True)
    try:
        subprocess.run([str(DEVCLUSTER), "images", "--name", name, steps.MPI_IMAGE], check=True)
        variables = environment(name)
        bench = Bench(
            user=Shell(environment=variables, user="alice"),
            root=Shell(environment=variables, user="root"),
            base=Path(variables["DEVCLUSTER_BASE"]),
            prefix=Path(variables["SOCKER_PREFIX"]),
            rounds=options.rounds,
        )
        rows: list[Row] = bench.all()
    finally:
        if not options.cluster:
            subprocess.run([str(DEVCLUSTER), "down", "--name", name, "--purge"], check=True)
    rows += catalogue.rows(options.rounds)
    print(table(rows))
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps([row.as_json() for row in rows], indent=2) + "\n")
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
