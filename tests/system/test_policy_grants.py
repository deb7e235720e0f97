# SPDX-License-Identifier: Apache-2.0
"""What a rule gives, as a task meets it: mounts, read-only root, variables, devices, seccomp, pulls, the catalogue."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from .cluster import IMAGE, Cluster
from .faults import assert_refused, assert_soon, assert_srun_refused, assert_step_refused
from .registry import registry


def allowing(cluster: Cluster, given: str, top: str = "") -> AbstractContextManager[Path]:
    """The policy is one rule that allows everything, mounts home and submit directory, and gives this besides."""
    rule = f"version: 1\n{top}rules:\n  - name: all\n    effect: allow\n"
    if "mounts:" not in given:
        rule += "    mounts: {home: true, submit_dir: true}\n"
    return cluster.policy(rule + "".join(f"    {line}\n" for line in given.splitlines()))


@pytest.fixture
def site(scratch: Path) -> Path:
    """A directory of the site's that everybody may read, with one that only bob may."""
    (scratch / "data").mkdir(mode=0o755)
    (scratch / "data/file").write_text("the site's\n")
    (scratch / "closed").mkdir(mode=0o700)
    shutil.chown(scratch / "closed", "bob", "bob")
    return scratch


def test_a_site_mount_is_where_policy_says_and_as_it_says(cluster: Cluster, site: Path) -> None:
    top = f"site_mounts:\n  data: {{source: {site}/data, target: /opt/data, read_only: true}}\n"
    top += f"  ask: {{source: {site}/data, target: /opt/ask, default: false}}\n"
    shutil.chown(site / "data", "alice", "alice")
    with allowing(cluster, "mounts: {site: [data, ask]}", top):
        done = cluster.srun("sh", "-c", "cat /opt/data/file; ls -d /opt/ask; touch /opt/data/x")
        assert (done.returncode, done.stdout) == (1, "the site's\n"), done
        assert "Read-only file system" in done.stderr
        assert "/opt/ask" in done.stderr
    with allowing(cluster, "mounts: {site: [data]}", top.replace("true", "false")):
        assert cluster.srun("touch", "/opt/data/x").returncode == 0
        assert (site / "data/x").exists()


def test_a_site_mount_gives_nobody_what_they_could_not_reach(cluster: Cluster, site: Path) -> None:
    top = f"site_mounts:\n  closed: {{source: {site}/closed/in, target: /opt/closed}}\n"
    (site / "closed/in").mkdir(mode=0o755)
    with allowing(cluster, "mounts: {site: [closed]}", top):
        reached = cluster.srun("sh", "-c", "ls -d /opt/closed", user="bob")
        assert (reached.returncode, reached.stdout, reached.stderr) == (0, "/opt/closed\n", ""), reached
        done = cluster.srun("test", "-e", "/opt/closed")
        assert done.returncode == 1
        assert "socker: /opt/closed is not mounted in the container: Permission denied\n" in done.stderr


def test_a_read_only_root_leaves_scratch_and_mounts_writable(cluster: Cluster) -> None:
    with allowing(cluster, "read_only: true"):
        done = cluster.srun(
            "sh", "-c", "for d in /tmp /var/tmp ~ .; do touch $d/probe && rm $d/probe; done; touch /opt/x"
        )
        assert done.returncode == 1
        assert "/opt/x" in done.stderr
        assert "Read-only file system" in done.stderr
        assert "probe" not in done.stderr
    with allowing(cluster, ""):
        assert "Read-only" not in cluster.srun("touch", "/opt/x").stderr


def test_variables_are_set_whatever_image_and_job_say(cluster: Cluster) -> None:
    with allowing(cluster, 'env: {set: {SITE: "a b", PATH: /usr/bin}}'):
        done = cluster.run(
            "srun", "--quiet", f"--container={IMAGE}", "sh", "-c", 'echo "$SITE:$PATH"', env={"SITE": "x"}
        )
        assert (done.returncode, done.stdout) == (0, "a b:/usr/bin\n"), done


def test_a_device_is_there_where_policy_gives_it(cluster: Cluster) -> None:
    with allowing(cluster, ""):
        assert cluster.srun("test", "-c", "/dev/fuse").returncode == 1
    with allowing(cluster, "devices: [/dev/fuse]"):
        assert cluster.srun("test", "-c", "/dev/fuse").returncode == 0
    with allowing(cluster, "devices: [/dev/nosuch]"):
        assert_srun_refused(
            cluster,
            "Docker cannot start the container: error gathering device information while adding custom device "
            '"/dev/nosuch": no such file or directory',
        )


def test_a_seccomp_profile_of_the_site_holds_for_tasks(cluster: Cluster) -> None:
    path = cluster.base / "etc/profile.json"
    denied = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "args": []}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [denied]}
    path.write_text(json.dumps(profile))
    try:
        with allowing(cluster, ""):
            assert cluster.srun("mkdir", "/tmp/made").returncode == 0
        with allowing(cluster, f"seccomp: {path}"):
            done = cluster.srun("mkdir", "/tmp/made")
            assert (done.returncode, "Operation not permitted" in done.stderr) == (1, True), done
            path.write_text("{")
            why = f"the seccomp profile {path}: it is not JSON; tell your administrator"
            assert_srun_refused(cluster, why)
            path.write_text(json.dumps(profile))
            path.chmod(0o666)
            why = f"the seccomp profile {path}: others than root can write it (mode 0666); tell your administrator"
            assert_srun_refused(cluster, why)
    finally:
        path.unlink()


def test_namespaces_that_policy_separates_are_the_containers_own(cluster: Cluster) -> None:
    look = "readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts; grep -c : /proc/net/dev"
    hosts = [os.readlink(f"/proc/self/ns/{name}") for name in ("net", "ipc", "uts")]
    with allowing(cluster, ""):
        assert cluster.srun("sh", "-c", look).stdout.split()[:3] == hosts
    with allowing(cluster, "network: private\nipc: private\nuts: private"):
        *own, interfaces = cluster.srun("sh", "-c", look).stdout.split()
        assert not set(own) & set(hosts)
        assert interfaces == "1"  # its loopback


def test_variables_that_policy_removes_are_not_there(cluster: Cluster) -> None:
    with allowing(cluster, "env: {remove: [SECRET]}"):
        done = cluster.run(
            "srun", "--quiet", f"--container={IMAGE}", "sh", "-c", "echo ${SECRET-gone}", env={"SECRET": "x"}
        )
        assert (done.returncode, done.stdout) == (0, "gone\n"), done


# -- pulls


def forget(cluster: Cluster, *images: str) -> None:
    """The node does not have these images, whether it had them or not."""
    for image in images:
        cluster.run("docker", "image", "rm", "--force", image, user="")


def test_an_image_is_pulled_where_policy_says_so(cluster: Cluster, tmp_path: Path) -> None:
    with registry(cluster, "static:latest", tmp_path) as pushed:
        image, host = f"{pushed.repository}:latest", pushed.repository.partition("/")[0]
        try:
            with allowing(cluster, ""):
                refused = cluster.srun("/hello", image=image)
                assert_step_refused(
                    refused, f'the image "{image}" is not on node {{node}}; ask your administrator to pull it'
                )
            with allowing(cluster, "pull: missing\nregistries: [ghcr.io]"):
                why = f'the image "{image}" is not on node {{node}}, and rule "all" does not pull from {host}'
                assert_step_refused(cluster.srun("/hello", image=image), f"{why}; ask your administrator to pull it")
            with allowing(cluster, f'pull: missing\nregistries: ["{host}"]'):
                done = cluster.srun("/hello", image=image)
                assert (done.returncode, done.stdout) == (0, "hello from static /hello\n"), done
                absent = f"{pushed.repository}:nosuch"
                done = cluster.srun("true", image=absent)
                assert done.returncode == 1
                assert f"the image {absent} could not be pulled from {host}: manifest for" in done.stderr, done
        finally:
            forget(cluster, image, f"{pushed.repository}@{pushed.digest}")


def test_always_takes_the_registrys_image_and_missing_the_nodes(cluster: Cluster, tmp_path: Path) -> None:
    with registry(cluster, "static:latest", tmp_path) as pushed:
        image, host = f"{pushed.repository}:latest", pushed.repository.partition("/")[0]
        try:
            # on the node, the tag leads to something else
            cluster.docker("tag", IMAGE, image)
            with allowing(cluster, f'pull: missing\nregistries: ["{host}"]'):
                assert cluster.srun("cat", "/etc/socker-image", image=image).stdout == "debian:bookworm\n"
            with allowing(cluster, f'pull: always\nregistries: ["{host}"]'):
                assert cluster.srun("/hello", image=image).stdout == "hello from static /hello\n"
        finally:
            forget(cluster, image, f"{pushed.repository}@{pushed.digest}")


def test_a_registry_that_is_not_there_is_said(cluster: Cluster) -> None:
    with allowing(cluster, 'pull: missing\nregistries: ["localhost:1"]'):
        done = cluster.srun("true", image="localhost:1/x:1")
        assert done.returncode == 1
        assert "socker: the image localhost:1/x:1 could not be pulled from localhost:1: " in done.stderr
        assert "connection refused" in done.stderr


@contextmanager
def silent_registry() -> Iterator[str]:
    """Accepts connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield f"localhost:{listener.getsockname()[1]}"


def test_a_registry_that_is_silent_is_given_up_after_the_rules_time(cluster: Cluster) -> None:
    with silent_registry() as host, allowing(cluster, f'pull: missing\nregistries: ["{host}"]\nopen_seconds: 2'):
        began = time.monotonic()
        done = cluster.srun("true", image=f"{host}/x:1")
        why = f"the image {host}/x:1 could not be pulled from {host}: it takes longer than a step may wait"
        assert_step_refused(done, why)
        assert_soon(began, 8)
        assert time.monotonic() - began > 2


# -- the catalogue


@contextmanager
def catalogued(cluster: Cluster, **fields: str) -> Iterator[Path]:
    """The catalogue has debian:bookworm with these fields."""
    path = cluster.base / "etc/images.yaml"
    lines = {"repository": "debian", "tag": "bookworm", **fields}
    path.write_text("debian:bookworm:\n" + "".join(f"  {key}: {value}\n" for key, value in lines.items()))
    path.chmod(0o644)
    try:
        with allowing(cluster, "images: catalogue", f"catalogue: {path}\n"):
            yield path
    finally:
        path.unlink()


def test_a_retagged_image_is_refused(cluster: Cluster) -> None:
    image_id = cluster.docker("image", "inspect", "--format={{.Id}}", IMAGE).strip()
    other = cluster.docker("image", "inspect", "--format={{.Id}}", "busybox:latest").strip()
    with catalogued(cluster, id=image_id.removeprefix("sha256:")[:12]):
        assert cluster.srun("true").returncode == 0
        why = 'the image "busybox:latest" is denied: no rule allows alice the image "docker.io/library/busybox:latest"'
        assert_step_refused(cluster.srun("true", image="busybox:latest"), why)
        cluster.docker("tag", "busybox:latest", IMAGE)
        try:
            recorded = image_id.removeprefix("sha256:")[:12]
            why = f'the image "{IMAGE}" is denied by rule "all": its name leads to another image than the catalogue '
            why += f"recorded (this node has {other}, the catalogue {recorded}); tell your administrator"
            assert_refused(cluster, why)
        finally:
            cluster.docker("tag", image_id, IMAGE)
    with catalogued(cluster, digest=image_id):
        assert cluster.srun("true").returncode == 0
    with catalogued(cluster, digest=other):
        assert cluster.srun("true").returncode == 1


def test_a_catalogue_that_cannot_be_read_refuses(cluster: Cluster) -> None:
    with catalogued(cluster, id="0" * 12) as path:
        path.chmod(0o666)
        done = cluster.srun("true")
        assert done.returncode == 1
        assert f"socker: the catalogue {path}: others than root can write it (mode 0666)" in done.stderr


# -- a site's own module

MODULE = """
from socker.policy import Deny

def decide(case, decision):
    if case.user.name == "bob":
        return Deny(rule="", reason="not today, bob")
    if str(case.reference).endswith("busybox:latest"):
        raise RuntimeError("with a secret")
    return decision
"""


def test_a_sites_module_has_the_last_word(cluster: Cluster) -> None:
    path = cluster.base / "etc/site.py"
    path.write_text(MODULE)
    try:
        with allowing(cluster, "", f"policy: {{module: {path}}}\n"):
            assert cluster.srun("true").returncode == 0
            refused = f'the image "{IMAGE}" is denied by rule "(module)": not today, bob'
            assert_step_refused(cluster.srun("true", user="bob"), refused)
            failed = 'the image "busybox:latest" is denied by rule "(module)": the policy module failed (RuntimeError)'
            assert_step_refused(cluster.srun("true", image="busybox:latest"), f"{failed}; tell your administrator")
            os.chown(path, 20001, 0)
            why = f"the policy module {path}: it belongs to uid 20001, not to root; tell your administrator"
            assert_srun_refused(cluster, why)
    finally:
        path.unlink()
