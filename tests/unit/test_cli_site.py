# SPDX-License-Identifier: Apache-2.0
"""How the command finds what Slurm and the plugin are told."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socker.cli.site import WORDS, SiteError, find_site

CONFIG_C = (Path(__file__).parents[2] / "spank/config.c").read_text()


def test_words_and_their_defaults_are_the_plugins() -> None:
    said = dict(re.findall(r"^\t\t\.(\w+) = \"?([^\",]*)\"?,$", CONFIG_C, re.MULTILINE))
    # a word that needs no place in the structure
    assert '"plain=host"' in CONFIG_C
    assert said | {"plain": "host"} == WORDS


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "slurm.conf").write_text(
        "ClusterName=c # TaskProlog=/not/this\nTaskProlog=/etc/slurm/prolog ProctrackType=proctrack/cgroup\n"
        'LaunchParameters="a,b"\nNodeName=n1 TaskProlog=/nor/this\ninclude more.conf\n'
    )
    (tmp_path / "more.conf").write_text("PrivateData=jobs\ninclude more.conf\n")
    (tmp_path / "plugstack.conf").write_text(
        "# required /x/socker.so\nrequired /lib/other.so\ninclude plugstack.conf.d/*\n"
    )
    (tmp_path / "plugstack.conf.d").mkdir()
    (tmp_path / "plugstack.conf.d/socker.conf").write_text(
        "\nOPTIONAL /opt/sk/socker.so docker=/a docker=/b deadline=5 # policy=/c\n"
    )
    return tmp_path


def test_settings_and_lines_are_found_through_includes(etc: Path) -> None:
    site = find_site(str(etc / "slurm.conf"))
    assert dict(site.slurm) | {"taskprolog": "/etc/slurm/prolog"} == site.slurm
    assert (site.slurm["privatedata"], site.slurm["launchparameters"]) == ("jobs", "a,b")
    assert [line.plugin for line in site.lines] == ["/lib/other.so", "/opt/sk/socker.so"]
    line = site.line()
    assert line is not None
    assert (line.flag, line.where) == ("optional", f"{etc}/plugstack.conf.d/socker.conf:2")
    # of words that are given twice the plugin takes the last
    assert (site.word("docker"), site.word("deadline"), site.word("policy")) == ("/b", "5", WORDS["policy"])
    assert site.libdir() == "/opt/sk"


def test_plugstack_conf_may_be_elsewhere(etc: Path) -> None:
    (etc / "other").write_text("required /there/socker.so\n")
    (etc / "slurm.conf").write_text(f"PlugStackConfig={etc}/other\n")
    assert find_site(str(etc / "slurm.conf")).libdir() == "/there"


def test_the_variable_counts_where_nothing_is_named(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(etc / "slurm.conf"))
    assert find_site(None).libdir() == "/opt/sk"


def test_a_host_without_slurm_has_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_CONF", raising=False)
    monkeypatch.setattr("socker.cli.site._PLACES", ())
    site = find_site(None)
    assert (site.slurm_conf, site.line(), site.word("docker")) == ("", None, WORDS["docker"])


def test_a_file_that_was_named_must_be_there() -> None:
    with pytest.raises(SiteError, match="/nosuch/slurm.conf: no such file or directory"):
        find_site("/nosuch/slurm.conf")


def test_any_bytes_are_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "slurm.conf").write_bytes(b"\xff\x00=\x01\ninclude\nTaskProlog=\n")
    assert find_site(str(tmp_path / "slurm.conf")).slurm["taskprolog"] == ""


_WORDS = st.sampled_from(
    ["include", "required", "optional", "/x/socker.so", "socker.so", "=", "#", '"', "\0", "a=b", "*"]
)
_LINES = st.lists(st.one_of(_WORDS, st.text(max_size=5), st.just("\n")), max_size=20).map(" ".join)


@given(_LINES, _LINES)
def test_whatever_the_files_hold_is_a_site_or_one_line(slurm: str, plugstack: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "slurm.conf").write_text(slurm, errors="replace")
        (place / "plugstack.conf").write_text(plugstack, errors="replace")
        try:
            found = find_site(str(place / "slurm.conf"))
        except SiteError as error:
            assert "\n" not in str(error)
        else:
            assert all(found.word(word) is not None for word in WORDS)
            assert found.libdir() is not None
