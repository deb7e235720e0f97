# SPDX-License-Identifier: Apache-2.0
"""The Lua examples, in a real slurmctld and in real clients: an early word, and nodes without socker left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .accounting import catalogue_names, set_features
from .cluster import IMAGE, Cluster, Result


@pytest.fixture
def cluster(accounted: Cluster) -> Iterator[Cluster]:
    """It, clean afterwards."""
    yield accounted
    accounted.assert_clean()


@pytest.fixture
def around(cluster: Cluster, scratch: Path) -> dict[str, str]:
    """The environment of a user who goes around cli_filter.lua, which only spares waiting."""
    text = (cluster.base / "etc/slurm.conf").read_text().replace("CliFilterPlugins=lua\n", "")
    (scratch / "slurm.conf").write_text(text)
    return {"SLURM_CONF": str(scratch / "slurm.conf")}


def submit(cluster: Cluster, *words: str, env: dict[str, str] | None = None) -> Result:
    return cluster.run("sbatch", "--output=/dev/null", *words, "--wrap=true", env=env)


FAULTS = {
    "Debian:12": "the repository must be lower case",
    "GHCR.io/team/tool": "the registry must be lower case",
    "a//b": "a part of the repository is empty",
    "debian 12": "it has a character that no image reference has",
    "sha256:123": "an id is sha256: and 64 hex digits",
    "debian@sha256:0": "a digest is sha256: and 64 hex digits",
    "../etc": "this is no registry: ..",
    "x" * 512: "it is longer than 511 characters",
}


@pytest.mark.parametrize("image", FAULTS)
def test_what_is_no_image_reference_is_refused_at_once(cluster: Cluster, image: str) -> None:
    said = f'socker: image reference "{image[:100]}": {FAULTS[image]}'
    for command, rest in (("srun", "true"), ("sbatch", "--wrap=true"), ("salloc", "true")):
        done = cluster.run(command, f"--container={image}", rest)
        assert done.returncode != 0
        assert f"{command}: error: lua: {said}\n" in done.stderr, done.stderr


@pytest.mark.parametrize("image", FAULTS)
def test_the_controller_refuses_it_from_whoever_comes_another_way(
    cluster: Cluster, around: dict[str, str], image: str
) -> None:
    done = submit(cluster, f"--container={image}", env=around)
    assert done.returncode != 0
    assert f'socker: image reference "{image[:100]}": {FAULTS[image]}' in done.stderr, done.stderr
    assert not cluster.run("squeue", "--noheader", user="").stdout


GOOD = ["debian", "docker.io/library/debian:bookworm", "localhost:5000/a/b_c:1.0", "a__b/c-d.e", "ghcr.io/x/y:V_1.2"]
GOOD += [f"sha256:{'0' * 64}", f"debian@sha256:{'a' * 64}"]


@pytest.mark.parametrize("image", GOOD)
def test_what_is_one_passes(cluster: Cluster, image: str) -> None:
    done = submit(cluster, f"--container={image}", "--hold", "--parsable")
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    shown = cluster.run("scontrol", "show", "job", job, user="").stdout
    cluster.run("scancel", job, user="")
    assert f"Container={image}\n" in shown
    assert "Features=socker " in shown


def test_the_catalogue_is_asked_at_submission(cluster: Cluster, around: dict[str, str]) -> None:
    said = 'socker: the image "{}" is not in the catalogue; see: socker images'
    with catalogue_names(cluster, "debian:bookworm", "registry.site/tools/x:1", "busybox:latest"):
        for image in ("debian:12", "debian", "registry.site/tools/x", "registry.site/tools/x:11", "tools/x:1"):
            assert said.format(image) in submit(cluster, f"--container={image}").stderr
            assert said.format(image) in submit(cluster, f"--container={image}", env=around).stderr
        for image in ("debian:bookworm", "docker.io/library/debian:bookworm", "registry.site/tools/x:1", "busybox"):
            done = submit(cluster, f"--container={image}", "--hold", "--parsable")
            assert done.returncode == 0, done.stderr
            cluster.run("scancel", done.stdout.strip(), user="")
        assert cluster.srun("true").returncode == 0


def test_a_container_on_a_node_without_the_feature_is_refused(cluster: Cluster) -> None:
    with_socker, without = cluster.nodes
    set_features(cluster, without, "other")
    try:
        assert cluster.srun("--nodelist", with_socker, "true").returncode == 0
        for words in ((), ("--constraint=other",)):
            done = cluster.srun("--nodelist", without, *words, "true")
            assert done.returncode == 1
            assert "Requested node configuration is not available" in done.stderr
            assert cluster.srun("--nodelist", without, *words, "true", image=None).returncode == 0
    finally:
        set_features(cluster, without, "socker")


def test_a_batch_job_whose_environment_does_not_say_so_runs_in_its_container(cluster: Cluster) -> None:
    job = cluster.sbatch("#!/bin/sh\ncat /etc/socker-image\n", f"--container={IMAGE}", "--export=NIL")
    assert (job.state, job.output) == ("COMPLETED", "debian:bookworm\n"), job
