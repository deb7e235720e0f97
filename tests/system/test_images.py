# SPDX-License-Identifier: Apache-2.0
"""Which image a reference leads to, and what is said when there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .cluster import IMAGE, Cluster
from .registry import registry


def image_id(cluster: Cluster, reference: str) -> str:
    return cluster.docker("image", "inspect", "--format={{.Id}}", reference).strip()


@pytest.mark.short
def test_image_by_tag_without_tag_in_full_or_by_id_is_the_same(cluster: Cluster) -> None:
    wanted = image_id(cluster, IMAGE)
    references = ["debian:bookworm", "debian", "docker.io/library/debian:bookworm", wanted]
    with cluster.allocation() as job:
        for reference in references:
            done = job.srun("cat", "/etc/socker-image", image=reference)
            assert (done.returncode, done.stdout, done.stderr) == (0, "debian:bookworm\n", ""), reference
        opened = json.loads(cluster.docker("inspect", *job.containers()))
        assert [container["Image"] for container in opened] == [wanted] * len(references)
    # each spelling has its container; closing them must fit into an epilog
    cluster.assert_clean(seconds=5)


def test_image_by_repository_digest_is_found_by_it_alone(cluster: Cluster, tmp_path: Path) -> None:
    with registry(cluster, "static:latest", tmp_path) as pushed:
        by_digest = f"{pushed.repository}@{pushed.digest}"
        cluster.docker("pull", "--quiet", by_digest)
    try:
        with cluster.allocation() as job:
            for reference in (by_digest, f"{pushed.repository}:any@{pushed.digest}"):
                done = job.srun("/hello", image=reference)
                assert (done.returncode, done.stdout) == (0, "hello from static /hello\n"), done.stderr
            untagged = job.srun("/hello", image=pushed.repository)
            assert untagged.returncode != 0
            assert untagged.stdout == ""
            assert pushed.repository in untagged.stderr
    finally:
        cluster.docker("image", "rm", by_digest)


def test_image_that_is_not_on_the_nodes_is_refused_by_name_once_per_node(cluster: Cluster) -> None:
    absent = f"sha256:{'0' * 64}"
    for reference in ("nosuch:1.0", "debian:nosuch", absent):
        done = cluster.srun("--nodes=2", "--ntasks=8", "--label", "hostname", image=reference)
        assert done.returncode == 1
        assert done.stdout == ""
        said = sorted(line for line in done.stderr.splitlines() if "socker" in line)
        assert len(said) == 2, done.stderr
        for line, node in zip(said, cluster.nodes, strict=False):
            assert reference in line
            assert f"not on node {node}" in line
    assert set(cluster.node_states().values()) <= {"idle", "completing"}
