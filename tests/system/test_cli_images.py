# SPDX-License-Identifier: Apache-2.0
"""socker images on the cluster: what Docker has, who may write it down, and what a rule makes of it."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from .cluster import IMAGE, Cluster, Result
from .command import FAILED, answer, assert_line, socker
from .faults import assert_step_refused, stopped
from .registry import registry


def sync(cluster: Cluster, path: Path, *words: str) -> dict[str, list[str]]:
    """What a sync has changed."""
    found = answer(cluster, "images", "sync", "--config", str(path), "--node", "n1", *words)
    assert isinstance(found, dict)
    return found


def listed(cluster: Cluster, path: Path) -> dict[str, dict[str, Any]]:
    """The catalogue by name, as a user lists it."""
    return {each["name"]: each for each in answer(cluster, "images", "-c", str(path), user="alice")}


def test_sync_writes_what_docker_has_for_everybody_to_read(cluster: Cluster, catalogue: Path) -> None:
    added = sync(cluster, catalogue)["added"]
    tags = cluster.docker("images", "--format={{.Repository}}:{{.Tag}}").split()
    assert sorted(added) == sorted(tag for tag in tags if "<none>" not in tag)
    found = listed(cluster, catalogue)
    entry = found[IMAGE]
    identity = cluster.docker("image", "inspect", "--format={{.Id}}", IMAGE).strip()
    assert (entry["id"], entry["digest"], entry["nodes"]) == (identity, identity, ["n1"])
    shown = cluster.docker("images", "--format={{.Size}}|{{.CreatedSince}}", IMAGE).strip().split("|")
    assert [entry["size"], entry["created_since"]] == shown
    assert catalogue.stat().st_mode & 0o7777 == 0o644
    names = socker(cluster, "images", "list", "--format", "names", "-c", str(catalogue), user="alice").stdout.split()
    assert names == sorted(names)
    assert IMAGE in names
    assert cluster.srun("true", image=IMAGE).returncode == 0
    assert sync(cluster, catalogue) == {"added": [], "changed": [], "removed": []}


def test_sync_takes_dockers_filters_and_a_word(cluster: Cluster, catalogue: Path) -> None:
    assert sync(cluster, catalogue, "--filter", "reference=debian:book*")["added"] == [IMAGE]
    assert sync(cluster, catalogue, "-r", "usyb") == {
        "added": ["busybox:latest"],
        "changed": [],
        "removed": [IMAGE],
    }
    refused = socker(cluster, "images", "sync", "-c", str(catalogue), "-f", "nosuchfilter=1")
    assert_line(refused, "Docker: ")
    assert_line(socker(cluster, "images", "sync", "-c", str(catalogue), "-f", "x"), "a filter is KEY=VALUE: x")
    assert list(listed(cluster, catalogue)) == ["busybox:latest"]


def test_descriptions_and_entries_of_others_survive_a_sync(cluster: Cluster, catalogue: Path) -> None:
    sync(cluster, catalogue)
    text = catalogue.read_text()
    at = text.index(f"{IMAGE}:\n")
    desc = text.index("desc: ''", at)
    catalogue.write_text(f"{text[:desc]}desc: for everything{text[desc + 8 :]}\nby/hand:1: {{desc: mine}}\n")
    # what was written by hand counts at once, though its index is not made yet
    assert listed(cluster, catalogue)[IMAGE]["desc"] == "for everything"
    answer(cluster, "images", "sync", "--config", str(catalogue), "--node", "n2")
    found = listed(cluster, catalogue)
    assert (found[IMAGE]["desc"], found[IMAGE]["nodes"]) == ("for everything", ["n1", "n2"])
    assert found["by/hand:1"]["desc"] == "mine"


def test_a_file_of_go_socker_is_taken_over(cluster: Cluster, catalogue: Path) -> None:
    catalogue.write_text(
        "busybox:latest:\n  id: 0123456789ab\n  desc: kept\n  repository: busybox\n  tag: latest\n"
        "  created_since: 5 weeks ago\n  created_at: 2018-12-06 08:21:07 +0800 CST\n  size: 1.2MB\n"
        '<none>:<none>:\n  id: 3d8b2b1a0c5e\n  desc: ""\n  repository: <none>\n  tag: <none>\n'
        "  created_since: 2 months ago\n  created_at: 2018-11-02 08:12:43 +0800 CST\n  size: 1.13GB\n"
    )
    assert set(listed(cluster, catalogue)) == {"busybox:latest", "<none>:<none>"}
    assert "busybox:latest" in sync(cluster, catalogue)["changed"]
    assert listed(cluster, catalogue)["busybox:latest"]["desc"] == "kept"


def test_a_catalogue_is_whole_at_any_moment(cluster: Cluster, catalogue: Path) -> None:
    sync(cluster, catalogue)
    before = set(listed(cluster, catalogue))
    seen: list[Result] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.append(socker(cluster, "images", "--format", "names", "-c", str(catalogue)))

    reader = threading.Thread(target=look)
    reader.start()
    argv = cluster.argv([str(cluster.prefix / "bin/socker"), "images", "sync", "-c", str(catalogue)], user="")
    syncs = [subprocess.Popen([*argv, "--node", f"m{number}"], stdout=subprocess.DEVNULL) for number in range(4)]
    assert [each.wait(timeout=60) for each in syncs] == [0] * 4
    done.set()
    reader.join()
    assert seen
    assert {(each.returncode, each.stderr) for each in seen} == {(0, "")}
    assert all(set(each.stdout.split()) == before for each in seen)
    # each took its turn, so none was lost
    assert listed(cluster, catalogue)[IMAGE]["nodes"] == ["m0", "m1", "m2", "m3", "n1"]
    assert [path.name for path in catalogue.parent.iterdir() if path.name.endswith(".tmp")] == []


@pytest.mark.parametrize("verb", ["sync", "index"])
def test_the_catalogue_is_roots_to_write(cluster: Cluster, catalogue: Path, scratch: Path, verb: str) -> None:
    refused = socker(cluster, "images", verb, "-c", str(catalogue), user="alice")
    assert_line(refused, "only root may write the catalogue")
    path = scratch / "images.yaml"
    path.write_text("a:1: {}\n")
    refused = socker(cluster, "images", verb, "-c", str(path))
    assert refused.returncode == FAILED
    assert "it belongs to uid 20001, not to root" in refused.stderr or "others than root can write it" in refused.stderr
    assert path.read_text() == "a:1: {}\n"
    assert {each.name for each in scratch.iterdir()} == {"images.yaml"}


def test_without_docker_a_sync_changes_nothing(cluster: Cluster, catalogue: Path) -> None:
    sync(cluster, catalogue)
    before = catalogue.read_bytes(), catalogue.stat().st_ino
    with stopped(cluster, "dockerd"):
        assert_line(socker(cluster, "images", "sync", "-c", str(catalogue)), "Docker does not answer at ")
    assert before == (catalogue.read_bytes(), catalogue.stat().st_ino)


def test_a_tag_that_was_moved_is_refused_until_root_syncs(cluster: Cluster, catalogue: Path, scratch: Path) -> None:
    rules = f"version: 1\ncatalogue: {catalogue}\nrules:\n  - {{name: known, effect: allow, images: catalogue}}\n"
    with cluster.policy(rules), registry(cluster, IMAGE, scratch) as pushed:
        cluster.docker("pull", "--quiet", f"{pushed.repository}:latest")
        assert sync(cluster, catalogue, "--repo", "localhost:")["added"] == [f"{pushed.repository}:latest"]
        assert listed(cluster, catalogue)[f"{pushed.repository}:latest"]["digest"] == pushed.digest
        for image in (f"{pushed.repository}:latest", f"{pushed.repository}@{pushed.digest}"):
            assert cluster.srun("true", image=image).returncode == 0
            explained = answer(cluster, "explain", "--user", "alice", "--image", image)
            assert (explained["verdict"], explained["rule"]) == ("depends", "known")
        not_listed = f'the image "{IMAGE}" is denied: no rule allows alice the image "docker.io/library/{IMAGE}"'
        assert_step_refused(cluster.srun("true"), not_listed)
        cluster.docker("tag", "busybox:latest", f"{pushed.repository}:latest")
        moved = cluster.srun("true", image=f"{pushed.repository}:latest")
        assert moved.returncode == 1
        assert "its name leads to another image than the catalogue recorded" in moved.stderr, moved
        assert sync(cluster, catalogue, "--repo", "localhost:")["changed"] == [f"{pushed.repository}:latest"]
        assert cluster.srun("true", image=f"{pushed.repository}:latest").returncode == 0
        cluster.docker("image", "rm", f"{pushed.repository}:latest", f"{pushed.repository}@{pushed.digest}")
