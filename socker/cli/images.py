# SPDX-License-Identifier: Apache-2.0
"""socker images: the catalogue, listed and brought up to date."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from socker.catalogue import DEFAULT_PATH, load
from socker.cli.app import require_root, tell
from socker.cli.show import json_option, print_json, print_table
from socker.entry import FIELDS
from socker.text import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from socker.entry import Entry

_HEAD = ("REPOSITORY", "TAG", "ID", "CREATED", "SIZE", "NODES", "DESCRIPTION")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _config(function: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "-c",
        "--config",
        metavar="PATH",
        default=DEFAULT_PATH,
        show_default=True,
        help="The catalogue: a file, or a directory of files NAME.yaml.",
    )(function)


def _listing(function: Callable[..., None]) -> Callable[..., None]:
    form = click.option(
        "--format",
        "form",
        type=click.Choice(["table", "json", "names"]),
        default="table",
        show_default=True,
        help="How to print it; names are what --container takes.",
    )
    return _config(form(json_option(function)))


@click.group(invoke_without_command=True)
@_listing
@click.pass_context
def images(context: click.Context, *, config: str, form: str, as_json: bool) -> None:
    """
    List the images that this site knows, or write them down.

    Without a verb of its own it lists them, as `socker images list` does.

    Example: socker images --format names
    """
    if context.invoked_subcommand is None:
        _print(config, form, as_json=as_json)
    elif any(context.get_parameter_source(name) is not ParameterSource.DEFAULT for name in context.params):
        raise click.UsageError("write the options behind the verb", context)


@images.command("list")
@_listing
def list_images(*, config: str, form: str, as_json: bool) -> None:
    """
    List the images that this site knows.

    Example: socker images list --format json -c /var/lib/socker/images.d
    """
    _print(config, form, as_json=as_json)


@images.command("sync")
@_config
@click.option(
    "-f",
    "--filter",
    "filters",
    metavar="KEY=VALUE",
    multiple=True,
    help="Docker's filter of images, as in docker images --filter. May be given several times.",
)
@click.option("-r", "--repo", "keyword", metavar="WORD", default="", help="Only repositories that contain this word.")
@click.option("--node", metavar="NAME", default="", help="This node's name in Slurm; the host's name if not given.")
@click.option("--docker", "socket", metavar="SOCKET", default="", help="Docker's socket; the plugstack line's else.")
@json_option
def sync(*, config: str, filters: Sequence[str], keyword: str, node: str, socket: str, as_json: bool) -> None:
    """
    Write the images of this node's Docker into the catalogue. Root only.

    Descriptions stay as somebody wrote them, entries that were written by hand stay whole, and what other nodes have
    stays theirs. An image whose tag has moved gets its new digest. Comments of the file are lost.

    Example: socker images sync --repo registry.site/tools --filter label=approved=yes
    """
    require_root("write the catalogue")
    from socker.cli import imagesync  # noqa: PLC0415 - the docker SDK is 100 ms

    change = imagesync.sync(config, filters=filters, keyword=keyword, node=node, docker=socket)
    if as_json:
        print_json(change)
        return
    for what in ("added", "changed", "removed"):
        for name in change[what]:
            click.echo(f"{what} {escape(name)}")
    count = len(load(config).entries())
    click.echo(f"{config}: {count} images" if count != 1 else f"{config}: 1 image")


@images.command("index")
@_config
def index(*, config: str) -> None:
    """
    Make the index of a catalogue that was changed by hand. Root only.

    Without it everything works, but each first step whose rules ask for the catalogue reads the YAML itself.

    Example: socker images index
    """
    require_root("write the catalogue's index")
    from socker.cli.cataloguewrite import write_indexes  # noqa: PLC0415 - YAML

    for path in write_indexes(config):
        tell(f"{path}: indexed")


def name_of(entry: Entry) -> str:
    """Return an entry's name as its file has it."""
    return f"{entry.repository}:{entry.tag}" if entry.tag else entry.repository


def _print(config: str, form: str, *, as_json: bool) -> None:
    entries = load(config).entries()
    tell(f"{config}: {len(entries)} images")
    if as_json or form == "json":
        print_json([{"name": name_of(entry)} | {field: getattr(entry, field) for field in FIELDS} for entry in entries])
    elif form == "names":
        click.echo("".join(f"{escape(name_of(entry))}\n" for entry in entries), nl=False)
    else:
        print_table(_HEAD, [_row(entry) for entry in entries])


def _row(entry: Entry) -> tuple[str, ...]:
    date = _DATE.match(entry.created_at)
    created = date[0] if date else entry.created_since
    identity = entry.id.removeprefix("sha256:")[:12]
    return entry.repository, entry.tag, identity, created, entry.size, ",".join(entry.nodes), entry.desc
