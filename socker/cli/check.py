# SPDX-License-Identifier: Apache-2.0
"""socker check: is a policy file one that nodes will take?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from socker.cli.app import NO, leave, require_root, tell
from socker.cli.atomic import replace
from socker.cli.show import json_option, print_json
from socker.cli.site import find_site, slurm_conf_option
from socker.errors import PolicyFileError
from socker.policy import BUILT_IN
from socker.policyfile import indexed, load
from socker.policyschema import read_policy
from socker.trustedfile import MAX_SIZE, index_path, read_trusted

if TYPE_CHECKING:
    from socker.policy import Policy


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option("--index", "index", is_flag=True, help="Make its index, with which nodes read it faster. Root only.")
@slurm_conf_option
@json_option
def check(*, file: str | None, index: bool, slurm_conf: str | None, as_json: bool) -> None:
    """
    Tell whether a policy file is valid: FILE, or without it the one in force on this node.

    A FILE that root would not rely on (its owner, its rights, a link) is valid with a warning; the one in force is
    not valid then. With --index a valid one gets an index beside it, which counts until the file is changed.

    Exit codes: 0 valid, 1 not valid.

    Example: socker check ./policy.yaml && install -m 644 policy.yaml /etc/socker/
    """
    path = file or find_site(slurm_conf).word("policy")
    tell(f"reading {path}")
    if index:
        require_root("write the index of a policy")
    try:
        policy = load_draft(path) if file else load(path)
        if index:
            _write_index(os.path.abspath(path))
    except PolicyFileError as error:
        _finish(path, None, [], str(error), as_json=as_json)
        leave(NO)
    _finish(path, policy, _doubts(os.path.abspath(path)) if file else [], "", as_json=as_json)


def _write_index(path: str) -> None:
    """The file has its index; one that root cannot rely on gets none. Raises PolicyFileError."""
    data = indexed(path)
    if data is not None:
        replace(index_path(path), data)


def load_draft(path: str) -> Policy:
    """Return what a file says, whoever can write it. Raises PolicyFileError."""
    with Path(path).open("rb") as file:
        data = file.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise PolicyFileError(f"{path}: it is larger than {MAX_SIZE >> 20} MiB")
    return read_policy(data, path)


def _doubts(path: str) -> list[str]:
    try:
        read_trusted(path)
    except PolicyFileError as error:
        return [str(error)]
    return []


def _finish(path: str, policy: Policy | None, warnings: list[str], error: str, *, as_json: bool) -> None:
    rules = [] if policy is None else [rule.name for rule in policy.rules]
    built_in = policy is not None and policy.source == BUILT_IN
    if as_json:
        print_json(
            {"file": path, "valid": not error, "error": error, "warnings": warnings, "built_in": built_in}
            | {"rules": rules}
        )
        return
    for warning in warnings:
        click.echo(f"socker: warning: as it stands nodes would not rely on {warning}", err=True)
    if error:
        click.echo(f"socker: {error}", err=True)
    elif built_in:
        click.echo(f"{path}: there is no such file, so the built-in policy is in force")
    else:
        click.echo(f"{path}: valid, {len(rules)} rule{'' if len(rules) == 1 else 's'}")
