# SPDX-License-Identifier: Apache-2.0
"""The policy file on a node: one that cannot be trusted or understood refuses every container; a good one decides."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .cluster import IMAGE, Cluster
from .faults import assert_refused, assert_srun_refused, assert_step_refused, assert_works, marker

ALLOW = "version: 1\nrules:\n  - name: all\n    effect: allow\n"
WHOLE = {"no YAML", "an unknown key"}

# What a file says, and what is wrong with it, behind "the policy file PATH".
TEXTS = {
    "no YAML": ("rules: [\n", ", line 2: did not find expected node content"),
    "an unknown key": (f"{ALLOW}    image: [debian]\n", ", line 5, rules[0].image: there is no such key"),
    "an unknown key at its top": (f"{ALLOW}allow_all: true\n", ", line 5, allow_all: there is no such key"),
    "a word for a list": (f"{ALLOW}    users: alice\n", ", line 5, rules[0].users: expected a list, got a word"),
    "a key twice": (f"{ALLOW}    effect: deny\n", ', line 5, rules[0]: the key "effect" is there twice'),
    "an anchor": ("version: 1\nrules: &all []\n", ", line 2: anchors are not used here"),
    "an alias": (
        "version: 1\nrules: []\ndefaults: *all\n",
        ", line 3: aliases are not used here; write the value again",
    ),
    "a tag": (
        "version: 1\nrules: !!python/object/apply:os.system [id]\n",
        ', line 2: tags are not used here: "tag:yaml.org,2002:python/object/apply:os.system"',
    ),
    "two documents": (f"{ALLOW}---\n{ALLOW}", ", line 5: it has more than one document"),
    "more than 1 MiB": ("#" * (1 << 20) + "\n", ": it is larger than 1 MiB"),
    "nothing": ("", ": expected a mapping, got nothing"),
    "no version": ("rules: []\n", ', line 1: it lacks the key "version"'),
    "a later version": ("version: 2\nrules: []\n", ", line 1, version: there is no such choice: 2"),
    "a denial without a reason": (
        "version: 1\nrules:\n  - name: a\n    effect: deny\n",
        ", line 3, rules[0].reason: a rule that denies needs a reason, which its users read",
    ),
    "a selector that is empty": (f"{ALLOW}    users: []\n", ", line 5, rules[0].users: expected a list of length >= 1"),
}


def refusal(path: Path, why: str) -> str:
    """What a user reads of a policy file."""
    return f"the policy file {path}{why}; tell your administrator"


@pytest.fixture
def directory(cluster: Cluster) -> Iterator[Path]:
    """A directory of root that holds the policy file in force while the test lasts; the test makes the file."""
    path = cluster.base / "etc/policy.d"
    path.mkdir(mode=0o755)
    real = f"policy={cluster.base}/etc/policy.yaml"
    try:
        with cluster.plugstack(lambda line: line.replace(real, f"policy={path}/policy.yaml")):
            yield path
    finally:
        shutil.rmtree(path)


@pytest.mark.parametrize("kind", TEXTS)
def test_a_policy_file_that_holds_something_else_refuses(cluster: Cluster, kind: str) -> None:
    text, why = TEXTS[kind]
    with cluster.policy(text) as path:
        (assert_refused if kind in WHOLE else assert_srun_refused)(cluster, refusal(path, why))


@pytest.mark.parametrize(
    ("mode", "owner", "why"),
    [
        pytest.param(0o664, 0, ": others than root can write it (mode 0664)", id="group-writable"),
        pytest.param(0o646, 0, ": others than root can write it (mode 0646)", id="world-writable"),
        pytest.param(0o644, 20001, ": it belongs to uid 20001, not to root", id="of-a-user"),
        # the policy engine is not root, so it needs to be let in
        pytest.param(0o600, 0, ": permission denied", id="unreadable"),
    ],
)
def test_a_policy_file_with_wrong_rights_refuses(cluster: Cluster, mode: int, owner: int, why: str) -> None:
    with cluster.policy(ALLOW, mode=mode, owner=owner) as path:
        assert_refused(cluster, refusal(path, why))


def a_symlink(path: Path) -> None:
    """To a file that would do."""
    path.with_name("real.yaml").write_text(ALLOW)
    path.symlink_to("real.yaml")


def a_hard_link(path: Path) -> None:
    """To a file that would do but for its second name."""
    path.with_name("real.yaml").write_text(ALLOW)
    os.link(path.with_name("real.yaml"), path)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(a_symlink, "it is a symbolic link", id="symlink"),
        pytest.param(a_hard_link, "it has 2 names (hard links)", id="hard-link"),
        pytest.param(Path.mkdir, "it is not a regular file", id="directory"),
        pytest.param(os.mkfifo, "it is not a regular file", id="fifo"),
    ],
)
def test_a_policy_file_that_is_no_plain_file_refuses(
    cluster: Cluster, directory: Path, make: Callable[[Path], None], why: str
) -> None:
    path = directory / "policy.yaml"
    make(path)
    assert_srun_refused(cluster, refusal(path, f": {why}"))


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_policy_file_in_a_directory_of_others_refuses(cluster: Cluster, directory: Path, mode: int) -> None:
    path = directory / "policy.yaml"
    path.write_text(ALLOW)
    assert_works(cluster)
    directory.chmod(mode)
    why = f" (its directory {directory}): others than root can write it (mode {mode:04o})"
    assert_srun_refused(cluster, refusal(path, why))


def test_without_a_policy_file_what_is_on_the_node_is_allowed_with_its_mounts(
    cluster: Cluster, directory: Path
) -> None:
    assert not any(directory.iterdir())
    done = cluster.srun("sh", "-c", "cat /etc/socker-image; test -w /home/alice && echo mounted")
    assert (done.returncode, done.stdout, done.stderr) == (0, "debian:bookworm\nmounted\n", "")


RULES = """\
version: 1
defaults:
  mounts: {home: true}
rules:
  - {name: no-latest, effect: deny, images: ["**:latest"], reason: "name a version of it"}
  - {name: not-for-bob, effect: deny, users: [bob], images: [debian], reason: ask alice}
  - {name: debian, effect: allow, images: ["docker.io/library/deb*:book*"]}
  - {name: alices, effect: allow, users: [alice], images: ["odd:c*"], mounts: {}}
  - {name: a-group, effect: allow, groups: [bobproj, 4242], images: ["odd:config", "odd:homelink"]}
"""
NO_LATEST = 'the image "{}" is denied by rule "no-latest": name a version of it'
FOR_ALICE = 'the image "{}" is denied by rule "not-for-bob": ask alice'
NO_RULE = 'the image "{}" is denied: no rule allows {} the image "docker.io/library/{}"'


@pytest.mark.native
def test_a_rule_gives_its_reason_to_those_it_denies(cluster: Cluster) -> None:
    with cluster.policy(RULES):
        assert_refused(cluster, NO_LATEST.format("busybox:latest"), image="busybox:latest")
        for image, user, reason in (
            ("debian", "alice", NO_LATEST.format("debian")),
            ("docker.io/library/busybox", "alice", NO_LATEST.format("docker.io/library/busybox")),
            # what does not exist is denied before it is looked for
            ("nosuch:latest", "bob", NO_LATEST.format("nosuch:latest")),
            (IMAGE, "bob", FOR_ALICE.format(IMAGE)),
            ("odd:devices", "alice", NO_RULE.format("odd:devices", "alice", "odd:devices")),
            ("odd:homelink", "alice", NO_RULE.format("odd:homelink", "alice", "odd:homelink")),
            ("nosuch:1", "bob", NO_RULE.format("nosuch:1", "bob", "nosuch:1")),
        ):
            assert_step_refused(cluster.srun("true", image=image, user=user), reason)
        everywhere = cluster.srun("--nodes=4", "--ntasks=8", "true", user="bob")
        assert_step_refused(everywhere, FOR_ALICE.format(IMAGE), nodes=4)


def test_a_denied_image_stays_denied_by_its_id(cluster: Cluster) -> None:
    rules = """\
version: 1
rules:
  - {name: not-for-bob, effect: deny, users: [bob], images: ["debian:bookworm"], reason: ask alice}
  - {name: all, effect: allow}
"""
    with cluster.policy(rules):
        for image in (IMAGE, cluster.docker("image", "inspect", "--format={{.Id}}", IMAGE).strip()):
            assert_step_refused(cluster.srun("true", image=image, user="bob"), FOR_ALICE.format(image))
            assert cluster.srun("true", image=image).returncode == 0


def test_an_image_is_allowed_by_pattern_by_user_and_by_group(cluster: Cluster) -> None:
    with cluster.policy(RULES):
        for image, user in ((IMAGE, "alice"), ("odd:config", "alice"), ("odd:config", "bob"), ("odd:homelink", "bob")):
            done = cluster.srun("id", "-u", image=image, user=user)
            assert (done.returncode, done.stderr) == (0, ""), (image, user, done)


def test_a_rule_mounts_only_what_it_says(cluster: Cluster) -> None:
    with cluster.policy(RULES), marker() as path:
        with_home = cluster.srun("sh", "-c", "ls -d /home/alice", cwd="/var/tmp")
        assert (with_home.returncode, with_home.stdout) == (0, "/home/alice\n")
        # the default says home; this rule says nothing is mounted, also not where the command was given
        without = cluster.srun("sh", "-c", f"touch {path}; pwd", image="odd:config")
        assert (without.returncode, without.stdout) == (0, "/opt/odd/work\n"), without


def test_a_policy_that_changes_is_in_force_for_the_next_container(cluster: Cluster) -> None:
    with cluster.policy(ALLOW):
        assert_works(cluster)
    with cluster.policy("version: 1\nrules: []\n"):
        assert_srun_refused(cluster, NO_RULE.format(IMAGE, "alice", IMAGE))
    assert_works(cluster)
