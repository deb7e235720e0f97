# SPDX-License-Identifier: Apache-2.0
"""Makes the man pages from the Markdown beside it: python docs/manpages.py OUT [PAGE.SECTION...]."""

from __future__ import annotations

import sys
from pathlib import Path

from docutils import nodes
from docutils.core import publish_doctree, publish_from_doctree
from myst_parser.docutils_ import Parser

HERE = Path(__file__).parent
# each page: its source, whose first line is the title for who reads it there, and what it is about
SOURCES = {
    "socker.1": ("socker.md", "administer Slurm steps in Docker containers"),
    "socker-policy.5": ("policy.md", "who may run which image"),
    "socker-images.5": ("images.md", "the catalogue of images"),
}
SETTINGS = {"report_level": 2, "output_encoding": "unicode", "myst_suppress_warnings": ["myst.header"]}


def version() -> str:
    """Return the version of the tree."""
    text = (HERE.parent / "socker/__init__.py").read_text()
    return text.partition('__version__ = "')[2].partition('"')[0]


def page(name: str) -> str:
    """Return a man page."""
    source, about = SOURCES[name]
    word, _, number = name.partition(".")
    _, _, body = (HERE / source).read_text().partition("\n")
    tree = publish_doctree(body, parser=Parser(), settings_overrides=SETTINGS | {"doctitle_xform": False})
    info = nodes.docinfo(
        "",
        nodes.field("", nodes.field_name("", "manual section"), nodes.field_body("", nodes.paragraph("", number))),
        nodes.field("", nodes.field_name("", "manual group"), nodes.field_body("", nodes.paragraph("", "socker"))),
        nodes.version("", version()),
    )
    tree["title"] = word
    tree[:0] = [nodes.title("", word), nodes.subtitle("", about), info]
    return str(publish_from_doctree(tree, writer="manpage", settings_overrides=SETTINGS))


def main() -> None:
    """Write the pages that are named, all without names."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or SOURCES:
        (out / name).write_text(page(name))


if __name__ == "__main__":
    main()
