# SPDX-License-Identifier: Apache-2.0
"""The catalogue: what loads, what is found in it, and that neither depends on the index beside a file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socker.catalogue import Catalogue, kept_index, load, make_index
from socker.cataloguetext import read_entries, write_entries
from socker.cli import cataloguewrite
from socker.cli.app import CannotTell
from socker.cli.cataloguewrite import locked, read_file, write_file, write_index
from socker.entry import FIELDS, Entry
from socker.errors import CatalogueError
from socker.reference import parse
from socker.trustedfile import index_path, open_trusted

if TYPE_CHECKING:
    from collections.abc import Callable

DIGEST = "sha256:" + "d" * 64
OTHER = "sha256:" + "e" * 64
ID = "sha256:" + "1" * 64
UID = os.getuid()

# as go-socker writes it: sorted keys, its seven fields, nothing in quotes that needs none
GO_SOCKER = """\
<none>:<none>:
  id: 3d8b2b1a0c5e
  desc: ""
  repository: <none>
  tag: <none>
  created_since: 2 months ago
  created_at: 2018-11-02 08:12:43 +0800 CST
  size: 1.13GB
centos:7:
  id: 1e1148e4cc2c
  desc: the system of old
  repository: centos
  tag: "7"
  created_since: 5 weeks ago
  created_at: 2018-12-06 08:21:07 +0800 CST
  size: 202MB
harbor.example/hpc/openfoam:v6:
  id: 940e35119722
  desc: ""
  repository: harbor.example/hpc/openfoam
  tag: v6
  created_since: 8 days ago
  created_at: 2019-01-05 17:01:40 +0800 CST
  size: 2.41GB
"""


def entry(repository: str = "debian", tag: str = "12", **changes: object) -> Entry:
    given: dict[str, object] = dict.fromkeys(FIELDS, "")
    return Entry(**(given | {"nodes": (), "repository": repository, "tag": tag, "digest": DIGEST} | changes))  # type: ignore[arg-type]


class Directory:
    """A directory that is trusted in the tests, with files of the catalogue."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.anchor = str(path)
        path.chmod(0o755)

    def write(self, text: str | bytes, name: str = "images.yaml") -> None:
        target = self.path / name
        target.write_bytes(text if isinstance(text, bytes) else text.encode())
        target.chmod(0o644)

    def load(self, path: str = "/images.yaml") -> Catalogue:
        return load(path, owner=UID, anchor=self.anchor)

    def stamp(self, name: str = "images.yaml") -> str:
        found = open_trusted(f"/{name}", owner=UID, anchor=self.anchor)
        assert found is not None
        return found.stamp

    def index(self, text: str | None = None, name: str = "images.yaml") -> None:
        """Put an index beside a file; with a text it says that, so that it can be told from the file."""
        data = (self.path / name).read_bytes() if text is None else text.encode()
        made = make_index(read_entries(data, name), self.stamp(name))
        self.write(made, index_path(f"/{name}")[1:])


@pytest.fixture
def place(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


def test_a_file_of_go_socker_loads(place: Directory) -> None:
    place.write(GO_SOCKER)
    catalogue = place.load()
    assert [(one.repository, one.tag) for one in catalogue.entries()] == [
        ("<none>", "<none>"),
        ("centos", "7"),
        ("harbor.example/hpc/openfoam", "v6"),
    ]
    assert catalogue.find(parse("centos:7")) == entry(
        "centos",
        "7",
        id="1e1148e4cc2c",
        desc="the system of old",
        created_since="5 weeks ago",
        created_at="2018-12-06 08:21:07 +0800 CST",
        size="202MB",
        digest="",
    )


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("debian:12", "12"),
        ("docker.io/library/debian:12", "12"),
        ("index.docker.io/library/debian:12", "12"),
        ("debian:13", None),
        ("debian", None),
        ("ebian:12", None),
        ("registry.example/debian:12", None),
        ("registry.example/library/debian:12", None),
        (f"debian@{DIGEST}", "12"),
        (f"registry.example/debian@{DIGEST}", None),
        (f"debian@{OTHER}", None),
        (ID, "12"),
        (DIGEST, None),
    ],
)
def test_a_reference_is_found_by_tag_digest_and_id(
    place: Directory, indexed: bool, asked: str, found: str | None
) -> None:
    place.write(f"debian:12: {{id: '{ID}', digest: '{DIGEST}'}}\n")
    if indexed:
        place.index()
    got = place.load().find(parse(asked))
    assert (None if got is None else got.tag) == found


def test_values_are_the_text_that_is_written(place: Directory) -> None:
    place.write("a/b:1.10: {tag: 1.10, repository: a/b, desc: yes, nodes: [010, n2], size: ~, id: '~'}\n")
    assert place.load().entries() == (
        entry("a/b", "1.10", desc="yes", nodes=("010", "n2"), size="", id="~", digest=""),
    )


@pytest.mark.parametrize("text", ["", "{}\n", "# nothing yet\n", "---\n"])
def test_a_file_with_nothing_in_it_is_an_empty_catalogue(place: Directory, text: str) -> None:
    place.write(text)
    assert place.load().entries() == ()
    assert place.load().find(parse("debian")) is None


WRONG: dict[str, tuple[str | bytes, str]] = {
    "a list": ("- debian\n", ", line 1: a map from repository:tag to fields is expected"),
    "a word for fields": ("debian:12: yes\n", ', line 1: "debian:12": a map of fields is expected'),
    "an unknown field": ("a:1:\n  Id: 1\n", ', line 2: "a:1": there is no such key: "Id"'),
    "a field twice": ("a:1:\n  id: 1\n  id: 2\n", ', line 3: "a:1": the key "id" is there twice'),
    "a key twice": ("a:1: {}\nb:1: {}\na:1: {}\n", ', line 3: "docker.io/library/a:1" is there already, on line 1'),
    "a key twice in other words": (
        "a:1: {}\ndocker.io/library/a:1: {}\n",
        ', line 2: "docker.io/library/a:1" is there already, on line 1',
    ),
    "a name for nodes": ("a:1: {nodes: n1}\n", ', line 1: "a:1": nodes is a list of names'),
    "a map for a word": ("a:1: {id: {}}\n", ", line 1: a word is expected"),
    "a list in nodes": ("a:1: {nodes: [[]]}\n", ", line 1: a word is expected"),
    "a digest that is none": (
        "a:1:\n  digest: sha256:12\n",
        ', line 1: "a:1": this is no digest, sha256: and 64 hex digits: "sha256:12"',
    ),
    "a key of another image": (
        "a:1:\n  repository: b\n  tag: '1'\n",
        ', line 1: the key "a:1" and the fields repository and tag, "b" and "1", name different images',
    ),
    "a digest in the key": (
        f"a@{DIGEST}: {{}}\n",
        f', line 1: the key "a@{DIGEST}" has a digest: a key is repository:tag, and digest is a field',
    ),
    "an alias": ("a:1: &x {}\nb:1: *x\n", ", line 1: anchors and aliases are not used here"),
    "a tag": ("a:1: {id: !!python/name:os.system ''}\n", ", line 1: tags are not used here"),
    "two documents": ("a:1: {}\n---\nb:1: {}\n", ", line 2: there is more than one document"),
    "no YAML": ("a: {\n", ", line 2: did not find expected node content"),
    "no UTF-8": (b"a:1: {desc: \xff}\n", ": it is not UTF-8, or has characters that YAML does not allow"),
    "a control character": ("a:1: {desc: '\a'}\n", ": it is not UTF-8, or has characters that YAML does not allow"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_file_that_says_something_else_is_refused_with_its_line(place: Directory, kind: str) -> None:
    text, why = WRONG[kind]
    place.write(text)
    with pytest.raises(CatalogueError) as caught:
        place.load()
    assert str(caught.value) == f"the catalogue /images.yaml{why}; tell your administrator"


def test_without_a_file_there_is_no_catalogue(place: Directory) -> None:
    with pytest.raises(CatalogueError) as caught:
        place.load()
    said = "there is no catalogue /images.yaml; an administrator makes it with: socker images sync"
    assert str(caught.value) == said


def test_a_file_that_others_can_write_is_refused(place: Directory) -> None:
    place.write(GO_SOCKER)
    (place.path / "images.yaml").chmod(0o664)
    with pytest.raises(CatalogueError, match="the catalogue /images.yaml: others than root can write it .mode 0664.; "):
        place.load()


def test_a_link_is_not_followed(place: Directory) -> None:
    place.write(GO_SOCKER, "real.yaml")
    (place.path / "images.yaml").symlink_to("real.yaml")
    with pytest.raises(CatalogueError, match="the catalogue /images.yaml: it is a symbolic link; "):
        place.load()


def test_a_file_of_more_than_the_limit_is_refused(place: Directory) -> None:
    place.write(b"#" * (33 << 20))
    with pytest.raises(CatalogueError, match="the catalogue /images.yaml: it is larger than 32 MiB; "):
        place.load()


# A directory of files


def test_a_directory_has_the_entries_of_its_files_and_the_later_file_counts(place: Directory) -> None:
    place.write("a:1: {desc: first}\nb:1: {desc: only}\n", "10-site.yaml")
    place.write("a:1: {desc: second}\n", "20-node.yml")
    place.write("c:1: {}\n", ".hidden.yaml")
    place.write("c:1: {}\n", "notes.txt")
    catalogue = load("/d", owner=UID, anchor=_below(place, "d"))
    assert [(one.repository, one.desc) for one in catalogue.entries()] == [("a", "second"), ("b", "only")]
    assert catalogue.find(parse("a:1")) == entry("a", "1", desc="second", digest="")
    assert catalogue.find(parse("c:1")) is None


def _below(place: Directory, name: str) -> str:
    """Move all files one directory further down, and return the anchor."""
    directory = place.path / name
    directory.mkdir(mode=0o755)
    for path in place.path.iterdir():
        if path.is_file():
            path.rename(directory / path.name)
    return place.anchor


def test_a_digest_that_a_later_file_replaced_is_not_found_any_more(place: Directory) -> None:
    place.write(f"a:1: {{digest: '{DIGEST}'}}\na:2: {{digest: '{DIGEST}'}}\n", "1.yaml")
    place.write(f"a:1: {{digest: '{OTHER}'}}\n", "2.yaml")
    catalogue = load("/d", owner=UID, anchor=_below(place, "d"))
    assert catalogue.find(parse(f"a@{OTHER}")) == entry("a", "1", digest=OTHER)
    assert catalogue.find(parse(f"a@{DIGEST}")) == entry("a", "2")
    assert catalogue.find(parse("a:1")) == entry("a", "1", digest=OTHER)


def test_one_broken_file_breaks_the_catalogue(place: Directory) -> None:
    place.write("a:1: {}\n", "1.yaml")
    place.write("[]\n", "2.yaml")
    anchor = _below(place, "d")
    with pytest.raises(CatalogueError, match="the catalogue /d/2.yaml, line 1: "):
        load("/d", owner=UID, anchor=anchor)


# The index


def test_an_index_of_the_file_as_it_is_saves_reading_it(place: Directory) -> None:
    place.write("a:1: {}\n")
    place.index("a:1: {desc: from the index}\n")
    found = place.load().find(parse("a:1"))
    assert found is not None
    assert found.desc == "from the index"


def in_place(path: Path) -> None:
    """As an editor without a backup does."""
    with path.open("a") as file:
        file.write("\n")


def of_equal_size(path: Path) -> None:
    """The size does not tell it."""
    path.write_text(path.read_text().replace("b", "c"))


def with_its_old_times(path: Path) -> None:
    """The time of the content does not tell it."""
    before = path.stat()
    path.write_text(path.read_text().replace("b", "c"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path) -> None:
    """As an editor with a backup does."""
    new = path.with_name("new")
    new.write_text(path.read_text())
    new.chmod(0o644)
    new.rename(path)


@pytest.mark.parametrize("change", [in_place, of_equal_size, with_its_old_times, replaced])
def test_a_file_that_was_changed_by_hand_counts_and_not_its_index(
    place: Directory, change: Callable[[Path], None]
) -> None:
    place.write("b:1: {}\n")
    place.index("a:1: {}\n")
    assert place.load().find(parse("a:1")) is not None
    os.utime(place.path / "images.yaml", ns=(1, 1))  # a change a moment later, whatever the clock's tick is
    place.index("a:1: {}\n")
    change(place.path / "images.yaml")
    assert place.load().find(parse("a:1")) is None


@pytest.mark.parametrize("mode", [0o666, 0o664])
def test_an_index_that_others_can_write_is_not_used(place: Directory, mode: int) -> None:
    place.write("b:1: {}\n")
    place.index("a:1: {}\n")
    (place.path / ".images.yaml.index").chmod(mode)
    assert place.load().find(parse("a:1")) is None
    assert place.load().find(parse("b:1")) is not None


def test_an_index_that_is_a_link_is_not_used(place: Directory) -> None:
    place.write("b:1: {}\n")
    place.index("a:1: {}\n")
    (place.path / ".images.yaml.index").rename(place.path / "real")
    (place.path / ".images.yaml.index").symlink_to("real")
    assert place.load().find(parse("a:1")) is None


def test_an_index_that_is_not_whole_is_not_used(place: Directory) -> None:
    place.write("b:1: {}\n")
    place.index("a:1: {}\n")
    path = place.path / ".images.yaml.index"
    path.write_bytes(path.read_bytes()[:-1])
    assert place.load().find(parse("a:1")) is None
    assert place.load().find(parse("b:1")) is not None


@pytest.mark.parametrize("damage", [("[", "{"), ("]", " "), ('"",', ""), ('[],""', '[],"",""'), ('[],""', '1,""')])
def test_a_damaged_index_is_an_error_and_no_answer(place: Directory, damage: tuple[str, str]) -> None:
    data = make_index([(parse("a:1"), entry("a", "1", digest=""))], "stamp").decode()
    catalogue = Catalogue("/images.yaml", [_Bytes(data.replace(*damage, 1).encode())])
    with pytest.raises(CatalogueError, match="the index of the catalogue /images.yaml is damaged; as root: socker im"):
        catalogue.find(parse("a:1"))
    with pytest.raises(CatalogueError, match="is damaged"):
        catalogue.entries()


_NAMES = st.from_regex(r"[a-c]{1,3}(/[a-c]{1,3})?", fullmatch=True)
_TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(["x" * 5000, "\t", "a\tb", "é\n", '"', "="]))
_CATALOGUES = st.dictionaries(st.tuples(_NAMES, st.sampled_from(["1", "2", "latest"])), _TEXTS, max_size=60)


@settings(max_examples=60)
@given(_CATALOGUES, st.tuples(_NAMES, st.sampled_from(["1", "2", "latest"])))
def test_an_index_finds_what_is_there_and_nothing_else(
    known: dict[tuple[str, str], str], asked: tuple[str, str]
) -> None:
    entries = [(parse(f"{name}:{tag}"), entry(name, tag, desc=desc)) for (name, tag), desc in known.items()]
    catalogue = Catalogue("/c", [_Bytes(make_index(entries, "stamp"))])
    for reference, one in entries:
        assert catalogue.find(reference) == one
    found = catalogue.find(parse(":".join(asked)))
    assert (found is not None) == (asked in known)
    assert len(catalogue.entries()) == len(known)


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read_at(self, offset: int, count: int) -> bytes:
        return self.data[offset : offset + count]


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_catalogue_or_one_line(data: bytes) -> None:
    try:
        read_entries(data, "/c")
    except CatalogueError as error:
        assert str(error).isprintable()


# Writing


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(_NAMES, _TEXTS.filter(str.isprintable), st.sampled_from(["", "1.10", "yes", "~", "0x1"])),
        max_size=5,
        unique_by=lambda each: each[0],
    )
)
def test_what_is_written_is_read_again(listed: list[tuple[str, str, str]]) -> None:
    entries = [entry(name, "1", desc=desc, size=size, nodes=("n1",) if size else ()) for name, desc, size in listed]
    read = [one for _, one in read_entries(write_entries(entries), "/c")]
    assert read == [entry(one.repository, "1", desc=one.desc, size=one.size, nodes=one.nodes) for one in entries]


@pytest.fixture
def writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that counts as root's."""
    tmp_path.chmod(0o755)
    anchor = str(tmp_path)

    def here(path: str, **_ignored: object) -> object:
        return open_trusted(path.removeprefix(anchor) or "/.", owner=UID, anchor=anchor)

    monkeypatch.setattr(cataloguewrite, "open_trusted", here)
    monkeypatch.setattr(cataloguewrite, "_check_directory", lambda _directory: None)
    return tmp_path


def test_writing_replaces_the_file_and_makes_its_index(writable: Path, place: Directory) -> None:
    place.write("old:1: {}\n")
    before = (writable / "images.yaml").stat().st_ino
    write_file(f"{writable}/images.yaml", [entry()])
    found = (writable / "images.yaml").stat()
    assert found.st_ino != before
    assert found.st_mode & 0o7777 == 0o644
    assert kept_index("/images.yaml", place.stamp(), owner=UID, anchor=place.anchor) is not None
    assert place.load().entries() == (entry(),)
    assert sorted(each.name for each in writable.iterdir()) == [".images.yaml.index", "images.yaml"]


def test_a_file_that_cannot_be_replaced_stays_as_it_is(writable: Path, place: Directory) -> None:
    (writable / "images.yaml").mkdir()
    with pytest.raises(CannotTell, match="images.yaml cannot be written: is a directory"):
        write_file(f"{writable}/images.yaml", [entry()])
    assert [each.name for each in writable.iterdir()] == ["images.yaml"]


def test_a_link_where_the_file_is_to_be_is_replaced_and_not_followed(writable: Path, place: Directory) -> None:
    (writable / "target").write_text("untouched")
    (writable / "images.yaml").symlink_to("target")
    write_file(f"{writable}/images.yaml", [entry()])
    assert (writable / "target").read_text() == "untouched"
    assert place.load().entries() == (entry(),)


def test_what_a_writer_that_died_left_is_no_hindrance(writable: Path, place: Directory) -> None:
    (writable / f".images.yaml.{os.getpid()}.tmp").symlink_to("/nowhere/at/all")
    write_file(f"{writable}/images.yaml", [entry()])
    assert place.load().entries() == (entry(),)


def test_one_writer_at_a_time(writable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cataloguewrite, "LOCK_SECONDS", 0.1)
    path = f"{writable}/images.yaml"
    with locked(path), pytest.raises(CatalogueError, match="somebody else is writing the catalogue"), locked(path):
        raise AssertionError
    with locked(path):
        pass


@pytest.mark.parametrize("path", ["images.yaml", "", "/some/"])
def test_a_path_that_names_no_file_is_refused(writable: Path, path: str) -> None:
    with pytest.raises(CannotTell, match="give the absolute path of a file"), locked(path):
        raise AssertionError


def test_what_is_to_be_written_must_be_a_file_that_can_be_relied_on(writable: Path, place: Directory) -> None:
    (writable / "d").mkdir()
    with pytest.raises(CatalogueError, match="/d is a directory; name the file in it that is to be written"):
        read_file(f"{writable}/d")
    place.write("a:1: {}\n")
    (writable / "images.yaml").chmod(0o666)
    with pytest.raises(CatalogueError, match=".mode 0666.; nothing is written"):
        read_file(f"{writable}/images.yaml")
    with pytest.raises(CatalogueError, match=".mode 0666.; it gets no index"):
        write_index(f"{writable}/images.yaml")
    with pytest.raises(CatalogueError, match="there is no catalogue"):
        write_index(f"{writable}/none.yaml")


def test_nothing_slow_is_imported_to_find_an_image(place: Directory) -> None:
    place.write("a:1: {}\n")
    place.index()
    code = (
        "import sys; from socker.catalogue import load; from socker.reference import parse; "
        f"assert load('/images.yaml', owner={UID}, anchor={place.anchor!r}).find(parse('a:1')); "
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], check=True, capture_output=True, text=True)
    slow = {"yaml", "docker", "click", "rich", "msgspec", "dataclasses", "typing", "inspect", "subprocess"}
    assert not slow & {name.partition(".")[0] for name in done.stdout.split()}
