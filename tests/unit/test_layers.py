# SPDX-License-Identifier: Apache-2.0
"""Who may import what: the layers of DESIGN section 5, and what a waiting job does not pay for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import socker

PACKAGE = Path(socker.__file__).parent
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))

# Modules from outside the package that each module may import; `from __future__` always.
CORE = (
    "container",
    "environment",
    "errors",
    "grants",
    "hardware",
    "lifecycle",
    "pattern",
    "plan",
    "policy",
    "rules",
    "saving",
    "text",
    "value",
    "wire",
)
OUTSIDE: dict[str, set[str]] = {module: set() for module in CORE} | {
    "__init__": set(),
    "audit": {"json", "socket"},
    "bridge": {"time", "traceback"},
    "catalogue": {"json"},
    "cdi": {"re"},
    "cdifiles": {"json"},
    "cataloguetext": {"typing", "yaml"},
    "engine": set(),
    "entry": set(),
    "engine_http": {"json", "re", "socket", "time"},
    "engine_save": set(),
    "engine_sdk": {"docker", "math", "re", "requests", "socket", "time", "typing"},
    "grantschema": {"msgspec", "re", "typing"},
    "gres": {"re"},
    "identity": {"grp", "pwd"},
    "model": {"re"},
    "opening": {"traceback"},
    "options": {"posixpath"},
    "policyfile": {"json"},
    "policyindex": {"json"},
    "policyschema": {"msgspec", "re", "typing"},
    "ports": {"typing"},
    "reference": {"re"},
    "savedimage": {"io", "json", "tarfile"},
    "sitepolicy": {"sys", "types"},
    "slurm": {"importlib", "pyslurm", "re", "subprocess", "time"},
    "strictyaml": {"re", "typing", "yaml"},
    "trustedfile": {"os", "stat"},
}
# Modules of ours, from the bottom upwards: each may import those of the lines above it.
ORDER = [
    {"value", "text", "environment", "errors", "__init__"},
    {"gres", "reference", "trustedfile", "strictyaml", "entry"},
    {"cataloguetext"},
    {"catalogue", "pattern", "model", "identity", "audit", "engine_http"},
    {"cdi", "grants", "engine_sdk", "slurm"},
    {"cdifiles", "rules", "options", "savedimage", "saving"},
    {"hardware", "policy"},
    {"plan", "sitepolicy"},
    {"container", "grantschema"},
    {"engine", "policyindex", "policyschema"},
    {"policyfile", "ports", "engine_save"},
    {"opening"},
    {"lifecycle"},
    {"wire"},
    {"bridge"},
]
# Of those lines, what a module below may import when it is called: a catalogue without an index is read from its text.
LATE = {"catalogue": {"cataloguetext"}}


def imports(module: str) -> set[str]:
    """Return what a module imports at run time, as dotted names."""
    found: set[str] = set()
    waiting: list[ast.AST] = list(ast.parse((PACKAGE / f"{module}.py").read_text()).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= (
                {f"socker.{alias.name}" for alias in node.names} if node.module == "socker" else {node.module or ""}
            )
        waiting += ast.iter_child_nodes(node)
    return found - {"__future__"}


def test_every_module_has_its_place() -> None:
    assert set(OUTSIDE) == set(MODULES)
    assert sorted(module for line in ORDER for module in line) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_what_it_may(module: str) -> None:
    outside = {name.partition(".")[0] for name in imports(module)} - {"socker"}
    assert outside <= OUTSIDE[module]


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_nothing_from_above(module: str) -> None:
    place = next(index for index, line in enumerate(ORDER) if module in line)
    below = set().union(*ORDER[:place])
    ours = {name.removeprefix("socker.") for name in imports(module) if name.startswith("socker.")}
    ours -= LATE.get(module, set())
    assert ours <= below | (ORDER[0] - {module} if place == 0 else set())


def test_nothing_that_a_job_waits_for_imports_the_command() -> None:
    assert not any(name.startswith("socker.cli") for module in MODULES for name in imports(module))


def test_ports_are_for_type_checkers_only() -> None:
    assert not any("socker.ports" in imports(module) for module in MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_have_the_size_to_be_read(module: str) -> None:
    text = (PACKAGE / f"{module}.py").read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 40, node.name


def test_opening_a_container_imports_nothing_slow() -> None:
    code = (
        "import sys; from socker import audit, catalogue, engine, engine_http, identity, lifecycle, policyfile; "
        "from socker import bridge, wire; "
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], check=True, capture_output=True, text=True)
    slow = {"docker", "requests", "urllib3", "http", "ssl", "email", "dataclasses", "inspect", "typing", "subprocess"}
    assert not slow & {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("word", ["eval(", "exec(", "pickle", "shell=True", "yaml.load(", "os.environ", "getenv"])
def test_no_module_has(word: str) -> None:
    for module in MODULES:
        if (word, module) != ("exec(", "sitepolicy"):  # which executes what root has written
            assert word not in (PACKAGE / f"{module}.py").read_text(), module
