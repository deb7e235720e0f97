# SPDX-License-Identifier: Apache-2.0
"""
Which device files are the GPUs that Slurm gave a job: from the words of `scontrol show job -d` and of `slurmd -G`.

The controller numbers a node's GPUs (`GRES=gpu:2(IDX:0-1)`) in the order in which slurmd reported them, and that is the
order in which `slurmd -G` tells their files. Pure.
"""

from __future__ import annotations

import re

from socker.errors import SlurmError
from socker.text import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NAMES = 1 << 16  # that one list of names may stand for
MAX_SHOWN = 200

_ON_NODES = re.compile(r"^ +Nodes=(\S+) CPU_IDs=\S* Mem=\S* GRES=(\S*)", re.MULTILINE)
_GPUS = re.compile(r"(?:^|,)gpu(?::[^,():]+)?:[0-9]+\(IDX:([0-9][0-9,-]*)\)")
_GRES = re.compile(r"(?:^|: )Gres Name=(\S+) (.*)$", re.MULTILINE)
_BRACKETS = re.compile(r"([^\[\]]*)\[([^\[\]]*)\](.*)")
_RANGE = re.compile(r"([0-9]+)(?:-([0-9]+))?")


def expand(text: str) -> tuple[str, ...]:
    """Return the names in a list as Slurm writes them, "n[1-3,05],m1". Raises SlurmError."""
    names = tuple(name for entry in _entries(text) for name in _expanded(entry))
    if len(names) > MAX_NAMES:
        raise _unclear("a list of names", text)
    return names


def _entries(text: str) -> list[str]:
    """Split at the commas that are outside of brackets."""
    return re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+", text)


def _expanded(entry: str) -> Iterator[str]:
    found = _BRACKETS.fullmatch(entry)
    if found is None:
        yield entry
        return
    rest = tuple(_expanded(found[3]))
    for part in found[2].split(","):
        for number in _numbers(part):
            yield from (f"{found[1]}{number}{tail}" for tail in rest)


def _numbers(text: str) -> Iterator[str]:
    """Return the numbers of a range, each as wide as its first one."""
    found = _RANGE.fullmatch(text)
    if found is None or int(found[2] or found[1]) - int(found[1]) >= MAX_NAMES:
        raise _unclear("a range of numbers", text)
    for number in range(int(found[1]), int(found[2] or found[1]) + 1):
        yield str(number).zfill(len(found[1]))


def allocated(text: str, job: int, node: str) -> tuple[int, ...]:
    """Return the numbers of the job's GPUs on a node, from what scontrol shows of the job. Raises SlurmError."""
    own = [record for record in re.split(r"\n\s*\n", text) if record.lstrip().startswith(f"JobId={job} ")]
    if len(own) != 1:
        raise _unclear(f"the job {job}", text.strip())
    numbers: list[int] = []
    for nodes, gres in _ON_NODES.findall(own[0]):
        if node not in expand(nodes):
            continue
        found = _GPUS.findall(gres)
        if len(found) != len(re.findall(r"(?:^|,)gpu[:(]", gres)):
            raise _unclear("which GPUs a job has", gres)
        numbers += (int(number) for listed in found for part in listed.split(",") for number in _numbers(part))
    return tuple(sorted(numbers))


def gpu_files(text: str) -> tuple[str, ...]:
    """Return the device file of each GPU of the node, "" where it has none, as slurmd shows them. Raises SlurmError."""
    files: list[str] = []
    for name, rest in _GRES.findall(text):
        if name != "gpu":
            continue
        fields = dict(word.partition("=")[::2] for word in rest.split())
        count, listed = fields.get("Count", ""), fields.get("File", "")
        if not count.isdecimal():
            raise _unclear("how many GPUs a node has", rest)
        found = expand(listed) if listed.startswith("/dev/") else ()
        # more files than GPUs: which belong to which is not told
        files += found if len(found) == int(count) else [""] * int(count)
    return tuple(files)


def _unclear(what: str, text: str) -> SlurmError:
    return SlurmError(f"Slurm's words for {what} are not understood: {one_line(text, MAX_SHOWN)}")
