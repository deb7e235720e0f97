# SPDX-License-Identifier: Apache-2.0
"""Builds all of spank/: the plugin, the opener, the hold process, socker-policy and the module for the shim tests.

    build.py --out DIR [--sanitize] TARGET...      with TARGET one of the names in TARGETS

Run it with the interpreter that socker-policy is to embed (the distribution's), with cffi importable.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import cffi

HERE = Path(__file__).resolve().parent

COMMON = ("error", "config", "trust", "request", "record", "container", "place", "seccomp", "condense", "saving")
PLUGIN = (
    *COMMON,
    "plugin",
    "client",
    "step",
    "steprequest",
    "pmix",
    "options",
    "launch",
    "jobspace",
    "join",
    "confine",
)
OPENER = (
    *COMMON,
    "opener_main",
    "opener",
    "closer",
    "saver",
    "token",
    "policychild",
    "plan",
    "mounts",
    "source",
    "jobspace",
    "inside",
    "harden",
    "accounts",
    "breaker",
    "cgroup",
)
SHIM = tuple(dict.fromkeys((*PLUGIN, *OPENER)))

WARNINGS = [
    *("-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wformat=2", "-Wundef", "-Wpointer-arith", "-Wcast-align"),
    *("-Wwrite-strings", "-Wmissing-prototypes", "-Wstrict-prototypes", "-Wvla", "-Wno-format-truncation"),
]
HARDENING = ["-O2", "-g", "-D_FORTIFY_SOURCE=3", "-fstack-protector-strong", "-fvisibility=hidden"]
SANITIZE = [
    *("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"),
    "-fno-omit-frame-pointer",
]
LINK = ("-Wl,-z,now", "-Wl,-z,relro")
LANGUAGE = ("-std=gnu11", "-D_GNU_SOURCE")


def compiler() -> list[str]:
    """The C compiler: $CC, else cc."""
    return shlex.split(os.environ.get("CC", "cc"))


def sources(names: tuple[str, ...]) -> list[str]:
    """Absolute paths of the named C files."""
    return [str(HERE / f"{name}.c") for name in names]


def run(*words: str) -> None:
    """Runs the compiler; its failure ends the build."""
    subprocess.run([*compiler(), *words], check=True)


def declarations() -> str:
    """The part of wire.h that cffi can read."""
    text = (HERE / "wire.h").read_text()
    return text.split("/* cffi: begin */")[1].split("/* cffi: end */")[0]


def build_plugin(out: Path, flags: list[str]) -> None:
    """The SPANK plugin: C only, not linked against libpython, no symbol but Slurm's hooks."""
    run(
        *LANGUAGE,
        *WARNINGS,
        *flags,
        "-fPIC",
        "-shared",
        *LINK,
        "-Wl,-z,nodelete",
        f"-Wl,--version-script={HERE / 'plugin.map'}",
        "-o",
        str(out / "socker.so"),
        *sources(PLUGIN),
    )


def build_opener(out: Path, flags: list[str]) -> None:
    """The root half of opening and closing."""
    run(*LANGUAGE, *WARNINGS, *flags, "-fPIE", "-pie", *LINK, "-o", str(out / "socker-opener"), *sources(OPENER))


def build_hold(out: Path, _flags: list[str]) -> None:
    """The static hold process, without a libc."""
    run(
        "-std=gnu11",
        *WARNINGS,
        "-Os",
        "-ffreestanding",
        "-fno-stack-protector",
        "-fno-pie",
        "-no-pie",
        "-static",
        "-nostdlib",
        "-s",
        "-o",
        str(out / "hold"),
        str(HERE / "hold.c"),
    )


def build_entry(out: Path, flags: list[str]) -> None:
    """What runs an image's ENTRYPOINT inside: static, with a libc."""
    run(*LANGUAGE, *WARNINGS, *flags, "-static", "-s", "-o", str(out / "entry"), str(HERE / "entry.c"))


EMBEDDED = """
from _socker_policy import ffi
from socker import bridge

@ffi.def_extern(error=0)
def open_step(request, plan):
    return bridge.open_step(ffi, request, plan)

@ffi.def_extern(error=0)
def close_job(containers):
    return bridge.close_job(ffi, containers)

@ffi.def_extern(error=0)
def save_container(container):
    return bridge.save_container(ffi, container)

@ffi.def_extern(error=0)
def sweep_node(containers):
    return bridge.sweep_node(ffi, containers)
"""


def python_macros() -> list[str]:
    """Where the embedded interpreter finds itself; SOCKER_PYTHON_PACKAGES is below the directory of the program."""
    paths = sysconfig.get_paths()
    stdlib = paths["stdlib"]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    values = {
        "EXECUTABLE": os.path.realpath(sys.executable),
        "PREFIX": sys.base_prefix,
        "STDLIB": stdlib,
        "DYNLOAD": f"{stdlib}/lib-dynload",
        "PACKAGES": f"venv/lib/{version}/site-packages",
    }
    return [f'-DSOCKER_PYTHON_{name}="{value}"' for name, value in values.items()]


def python_library() -> list[str]:
    """Linker flags for libpython: of the distribution, or where an interpreter of another prefix has it."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    where = sysconfig.get_config_var("LIBDIR")
    own = [] if sys.base_prefix == "/usr" else [f"-L{where}", f"-Wl,-rpath,{where}"]
    return [*own, f"-lpython{version}"]


def build_policy(out: Path, flags: list[str]) -> None:
    """socker-policy: Python embedded through cffi, started isolated by policy.c."""
    ffi = cffi.FFI()
    ffi.cdef(declarations())
    ffi.embedding_api(
        "int open_step(const struct socker_request *request, struct socker_plan *plan);"
        "int close_job(struct socker_close *containers);"
        "int save_container(struct socker_save *container);"
        "int sweep_node(struct socker_close *containers);"
    )
    ffi.embedding_init_code(EMBEDDED)
    ffi.set_source("_socker_policy", (HERE / "policy.c").read_text())
    generated = out / "_socker_policy.c"
    ffi.emit_c_code(str(generated))
    # generated code: without our warnings
    run(
        *LANGUAGE,
        *flags,
        "-fPIE",
        "-pie",
        *LINK,
        f"-I{HERE}",
        f"-I{sysconfig.get_paths()['include']}",
        *python_macros(),
        "-o",
        str(out / "socker-policy"),
        str(generated),
        *python_library(),
        "-pthread",  # a library of its own before glibc 2.34
    )


def build_shim(out: Path, flags: list[str]) -> None:
    """The module through which pytest drives the C, and the fakes of tests/shim for what the C executes."""
    tests = HERE.parent / "tests" / "shim"
    helpers = ["fake_spank", "helpers"]
    headers = ["shim_api.h", "helpers.h"]
    preamble = f'#include "{tests / "shim.h"}"'
    if flags is SANITIZE:
        helpers.append("flaws")
        headers.append("flaws.h")
        preamble += f'\n#include "{tests / "flaws.h"}"'
    ffi = cffi.FFI()
    ffi.cdef(declarations())
    for header in headers:
        ffi.cdef((tests / header).read_text())
    ffi.set_source(
        "_shim",
        preamble,
        sources=[*sources(SHIM), *(str(tests / f"{name}.c") for name in helpers)],
        include_dirs=[str(HERE), str(tests)],
        # distutils compiles as Python was: with signed overflow defined
        extra_compile_args=[
            *LANGUAGE,
            *flags,
            "-fno-wrapv",
            "-fvisibility=default",
            "-Dmain=opener_main",
            "-Dexit=shim_exit",
        ],
        extra_link_args=[flag for flag in flags if flag.startswith("-fsanitize")],
    )
    ffi.compile(tmpdir=str(out), verbose=False)
    build_hold(out, flags)
    # static, which a sanitizer cannot be
    build_entry(out, HARDENING)
    # not by the names they stand for: a directory to install from must not hold them
    for name in ("opener", "policy"):
        source = tests / f"fake_{name}.c"
        run(*LANGUAGE, *WARNINGS, *HARDENING, *LINK, f"-I{HERE}", "-o", str(out / f"fake-{name}"), str(source))


TARGETS = {
    "plugin": build_plugin,
    "opener": build_opener,
    "hold": build_hold,
    "entry": build_entry,
    "policy": build_policy,
    "shim": build_shim,
}


def main() -> None:
    """Builds the targets named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sanitize", action="store_true")
    parser.add_argument("targets", nargs="+", choices=TARGETS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for target in options.targets:
        TARGETS[target](options.out, SANITIZE if options.sanitize else HARDENING)


if __name__ == "__main__":
    main()
