# SPDX-License-Identifier: Apache-2.0
"""socker images: what it prints, and what a sync makes of what was known and of what Docker has."""

from __future__ import annotations

import functools
import json
import os
from typing import TYPE_CHECKING

import pytest

from socker.catalogue import load
from socker.cli.app import FAILED, USAGE, YES, run
from socker.cli.imagesync import entries_of, human_size, merge, since
from socker.entry import FIELDS, Entry

if TYPE_CHECKING:
    from pathlib import Path

ID = "sha256:" + "1" * 64
DIGEST = "sha256:" + "d" * 64
OTHER = "sha256:" + "e" * 64
NOW = 1_800_000_000.0


def entry(repository: str = "debian", tag: str = "12", **changes: object) -> Entry:
    given: dict[str, object] = dict.fromkeys(FIELDS, "")
    return Entry(**(given | {"nodes": (), "repository": repository, "tag": tag} | changes))  # type: ignore[arg-type]


def synced(repository: str, *nodes: str, digest: str = DIGEST, desc: str = "") -> Entry:
    return entry(repository, digest=digest, nodes=nodes, desc=desc, synced_at="2026-01-01T00:00:00Z")


SORTED = [synced("a", "n1"), synced("b", "n1")]


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that `socker images` lists."""
    tmp_path.chmod(0o755)
    here = functools.partial(load, owner=os.getuid(), anchor=str(tmp_path))
    monkeypatch.setattr("socker.cli.images.load", here)
    path = tmp_path / "images.yaml"
    path.write_text(
        "debian:12:\n  id: sha256:7c55b31e62e9af687cd6\n  desc: a small one\n"
        "  created_at: 2026-01-15 12:57:07 +0000 UTC\n  size: 117MB\n  nodes: [n1, n2]\n"
        "<none>:<none>: {id: 3d8b2b1a0c5e, created_since: 2 months ago}\n"
    )
    path.chmod(0o644)
    return path


def test_a_table_of_images(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["images"], ["images", "list"]):
        assert run([*words, "-c", "/images.yaml"]) == YES
        assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
            ["REPOSITORY", "TAG", "ID", "CREATED", "SIZE", "NODES", "DESCRIPTION"],
            ["<none>", "<none>", "3d8b2b1a0c5e", "2", "months", "ago"],
            ["debian", "12", "7c55b31e62e9", "2026-01-15", "117MB", "n1,n2", "a", "small", "one"],
        ]


def test_names_of_images(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["images", "--format", "names", "-c", "/images.yaml"]) == YES
    assert capsys.readouterr().out == "<none>:<none>\ndebian:12\n"


@pytest.mark.parametrize("words", [["--json"], ["--format", "json"]])
def test_json_of_images(catalogue: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["images", "list", *words, "-c", "/images.yaml"]) == YES
    _, debian = json.loads(capsys.readouterr().out)
    assert debian["name"] == "debian:12"
    assert set(debian) == {"name", *FIELDS}
    assert debian["nodes"] == ["n1", "n2"]


def test_verbose_tells_what_was_read(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--verbose", "images", "--format", "names", "-c", "/images.yaml"]) == YES
    assert capsys.readouterr().err == "socker: /images.yaml: 2 images\n"


def test_options_before_a_verb_are_not_dropped_silently(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["-c", "/images.yaml", "list"], ["--json", "list"], ["--format", "names", "index"]):
        assert run(["images", *words]) == USAGE
        assert capsys.readouterr().err.splitlines()[-1] == "Error: write the options behind the verb"


@pytest.mark.parametrize("path", ["images.yaml", "/../images.yaml", "", "/nosuch.yaml"])
def test_a_path_without_a_catalogue_is_one_line(catalogue: Path, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["images", "-c", path]) == FAILED
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("socker: ")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("words", [["images", "sync"], ["images", "index"], ["sweep"]])
def test_what_changes_something_is_for_root(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert run(words) == FAILED
    assert capsys.readouterr().err.startswith("socker: only root may ")


# What Docker has


def test_an_image_of_docker_is_an_entry_for_each_of_its_tags() -> None:
    facts = {
        "Id": ID,
        "RepoTags": ["debian:12", "registry.site:5000/a/b:1.10", "<none>:<none>", "Bad:1"],
        "RepoDigests": [f"registry.site:5000/a/b@{DIGEST}", f"other@{OTHER}"],
        "Created": int(NOW) - 3 * 604800,
        "Size": 117_049_123,
    }
    first, second = entries_of(facts, "n1", NOW)
    assert first == Entry(
        id=ID,
        desc="",
        repository="debian",
        tag="12",
        created_since="3 weeks ago",
        created_at="2026-12-25 08:00:00 +0000 UTC",
        size="117MB",
        digest=ID,
        nodes=("n1",),
        synced_at="2027-01-15T08:00:00Z",
    )
    assert (second.repository, second.tag, second.digest) == ("registry.site:5000/a/b", "1.10", DIGEST)


@pytest.mark.parametrize("facts", [{}, {"RepoTags": None, "RepoDigests": None}, {"RepoTags": "debian"}])
def test_an_image_without_a_name_is_no_entry(facts: dict[str, object]) -> None:
    assert entries_of({"Id": ID} | facts, "n1", NOW) == []


@pytest.mark.parametrize(
    ("known", "found", "merged"),
    [
        ([], [synced("a", "n1")], [synced("a", "n1")]),
        ([synced("a", "n1", desc="mine")], [synced("a", "n1")], [synced("a", "n1", desc="mine")]),
        ([synced("a", "n2")], [synced("a", "n1")], [synced("a", "n1", "n2")]),
        ([synced("a", "n1", "n2")], [], [synced("a", "n2")]),
        ([synced("a", "n1")], [], []),
        # another digest: what the others have is another image
        ([synced("a", "n2", digest=OTHER, desc="x")], [synced("a", "n1")], [synced("a", "n1", desc="x")]),
        # by hand, or by go-socker: nobody synced it
        ([entry("hand", desc="mine")], [], [entry("hand", desc="mine")]),
        ([entry("a", desc="mine")], [synced("a", "n1")], [synced("a", "n1", desc="mine")]),
        ([synced("z", "n2")], [synced("b", "n1"), synced("a", "n1")], [*SORTED, synced("z", "n2")]),
    ],
    ids=["new", "description", "two nodes", "gone here", "gone", "moved", "by hand", "adopted", "sorted"],
)
def test_a_sync_changes_what_this_node_has_and_nothing_else(
    known: list[Entry], found: list[Entry], merged: list[Entry]
) -> None:
    assert merge(known, found, "n1") == merged


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "Less than a second ago"),
        (1, "1 second ago"),
        (59, "59 seconds ago"),
        (60, "About a minute ago"),
        (150, "2 minutes ago"),
        (3600, "About an hour ago"),
        (5300, "About an hour ago"),
        (5500, "2 hours ago"),
        (47 * 3600, "47 hours ago"),
        (49 * 3600, "2 days ago"),
        (14 * 86400, "2 weeks ago"),
        (61 * 86400, "2 months ago"),
        (800 * 86400, "2 years ago"),
    ],
)
def test_ages_are_in_dockers_words(seconds: float, words: str) -> None:
    assert since(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0B"), (999, "999B"), (999.9, "1kB"), (1_234_567, "1.23MB"), (117_049_123, "117MB"), (5.5e12, "5.5TB")],
)
def test_sizes_are_in_dockers_words(size: float, words: str) -> None:
    assert human_size(size) == words
