# SPDX-License-Identifier: Apache-2.0
"""How Slurm is set up on this host: slurm.conf, plugstack.conf and the words of socker's line in it."""

from __future__ import annotations

import glob
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from socker.errors import SockerError
from socker.text import quoted
from socker.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Where Slurm's own commands look, and distributions put it.
_PLACES = (
    *("/etc/slurm/slurm.conf", "/run/slurm/conf/slurm.conf", "/etc/slurm-llnl/slurm.conf"),
    *("/usr/local/etc/slurm.conf", "/opt/slurm/etc/slurm.conf"),
)
# The words of the plugstack line with their defaults; a test compares them with spank/config.c.
WORDS = {
    "state": "/run/socker",
    "token": "/var/lib/socker/token",
    "docker": "/run/docker.sock",
    "policy": "/etc/socker/policy.yaml",
    "user": "dockerroot",
    "hold_user": "socker",
    "deadline": "60",
    "save_deadline": "300",
    "slurm_conf": "",
    "option_prefix": "container",
    "plain": "host",
}
PLUGIN = "socker.so"
MAX_DEPTH = 10  # of files that include others

_PAIR = re.compile(r'([A-Za-z][A-Za-z0-9_]*)\s*=\s*("[^"]*"|\S*)')
_OWN_LINES = ("nodename", "nodeset", "partitionname", "downnodes", "frontendname")

slurm_conf_option = click.option(
    "--slurm-conf",
    metavar="FILE",
    envvar="SLURM_CONF",
    help="Slurm's configuration, where it is not at its usual place.",
)


class SiteError(SockerError):
    """Slurm's configuration cannot be read."""


class Line(Value):
    """A line of plugstack.conf: `flag` is required or optional; `where` is FILE:LINE."""

    where: str
    flag: str
    plugin: str
    words: tuple[str, ...]


class Site(Value):
    """What the files say. `slurm_conf` is empty where none was found; keys of `slurm` are lower case."""

    slurm_conf: str
    slurm: Mapping[str, str]
    plugstack: str
    lines: tuple[Line, ...]

    def line(self) -> Line | None:
        """Return socker's line, None where there is none."""
        return next((line for line in self.lines if os.path.basename(line.plugin) == PLUGIN), None)

    def word(self, name: str) -> str:
        """Return what a word of socker's line says, its default where it says nothing."""
        line = self.line()
        for word in reversed(line.words if line else ()):
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
        return WORDS[name]

    def libdir(self) -> str:
        """Return where socker's programs are: beside the plugin, else around this very command."""
        line = self.line()
        if line is not None and line.plugin.startswith("/"):
            return os.path.dirname(line.plugin)
        return os.path.dirname(sys.prefix)


def find_site(slurm_conf: str | None) -> Site:
    """Return how Slurm is set up; a file that was named must be there. Raises SiteError."""
    found = slurm_conf or os.environ.get("SLURM_CONF") or next(filter(os.path.exists, _PLACES), "")
    settings = dict(_settings(found, MAX_DEPTH)) if found else {}
    directory = os.path.dirname(found) if found else "/etc/slurm"
    plugstack = settings.get("plugstackconfig") or f"{directory}/plugstack.conf"
    lines = tuple(_plugins(plugstack, MAX_DEPTH)) if os.path.exists(plugstack) else ()
    return Site(slurm_conf=found, slurm=settings, plugstack=plugstack, lines=lines)


def _text(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError as error:
        raise SiteError(f"{path}: {(error.strerror or 'it cannot be read').lower()}") from None
    except ValueError:
        raise SiteError(f"{quoted(path)} is no path of a file") from None


def _settings(path: str, depth: int) -> Iterator[tuple[str, str]]:
    for line in _text(path):
        words = line.partition("#")[0].strip()
        if words.lower().startswith("include ") and depth:
            yield from _settings(os.path.join(os.path.dirname(path), words.split(maxsplit=1)[1]), depth - 1)
        elif not words.lower().startswith(_OWN_LINES):
            for key, value in _PAIR.findall(words):
                yield key.lower(), value.strip('"')


def _plugins(path: str, depth: int) -> Iterator[Line]:
    for number, line in enumerate(_text(path), 1):
        words = line.partition("#")[0].split()
        if len(words) < 2:
            continue
        flag = words[0].lower()
        if flag == "include" and depth:
            for included in sorted(glob.glob(os.path.join(os.path.dirname(path), words[1]))):
                yield from _plugins(included, depth - 1)
        elif flag in {"required", "optional"}:
            yield Line(where=f"{path}:{number}", flag=flag, plugin=words[1], words=tuple(words[2:]))


def read_settings(path: str) -> Mapping[str, str]:
    """Return the settings of a file of Slurm's, keys in lower case. Raises SiteError."""
    return dict(_settings(path, MAX_DEPTH))
