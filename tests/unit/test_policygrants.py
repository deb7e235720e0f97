# SPDX-License-Identifier: Apache-2.0
"""What a rule may give: each key of the file as it is meant, and each kind of wrong value with its place."""

from __future__ import annotations

import pytest

from socker.errors import PolicyFileError
from socker.grants import Grants, SiteMount
from socker.pattern import parse_pattern
from socker.policyschema import read_policy
from socker.rules import Required

WHOLE = """
version: 1
catalogue: /srv/images.yaml
policy: {module: /etc/socker/site.py, may_allow: true}
site_mounts:
  scratch: {source: /gpfs/scratch, target: /scratch}
  licences: {source: /opt/licences, read_only: true, default: false}
defaults:
  pull: never
  read_only: true
  mounts: {home: true}
rules:
  - name: gpu
    effect: allow
    accounts: [Physics]
    partitions: [gpu]
    qos: [High]
    reservations: [course]
    images: catalogue
    required: {image: "site/base:1"}
    mounts: {site: [scratch, licences], sources: [/gpfs, /data]}
    pull: missing
    registries: [ghcr.io, "localhost:5000"]
    network: private
    ipc: private
    uts: private
    read_only: false
    devices: [/dev/kfd, /dev/dri/card0]
    ask_devices: [/dev/fuse, site.example/gpu=0, "site.example/nic=*"]
    gpus: site.example/gpu
    env: {set: {SITE: x, EMPTY: ""}, remove: [LD_PRELOAD]}
    seccomp: /etc/socker/hpc.json
    save: ["site/**"]
    open_seconds: 300
  - name: rest
    effect: allow
    mounts: {sources: any}
    required: {}
"""
RULE = "version: 1\nsite_mounts: {s: {source: /s}}\nrules:\n  - name: r\n    effect: allow\n    "
DENY = "version: 1\nrules:\n  - name: r\n    effect: deny\n    reason: ask us\n    "


def test_every_key_is_read() -> None:
    policy = read_policy(WHOLE.encode(), "/p")
    assert (policy.catalogue, policy.module, policy.may_allow) == ("/srv/images.yaml", "/etc/socker/site.py", True)
    gpu, rest = policy.rules
    selected = {"physics"}, {"gpu"}, {"high"}, {"course"}
    assert (gpu.accounts, gpu.partitions, gpu.qos, gpu.reservations) == tuple(map(frozenset, selected))
    assert (gpu.images, gpu.catalogue, gpu.required) == (None, True, Required(image="site/base:1"))
    assert gpu.grants == Grants(
        site_mounts=(
            SiteMount(name="scratch", source="/gpfs/scratch", target="/scratch"),
            SiteMount(name="licences", source="/opt/licences", target="/opt/licences", read_only=True, default=False),
        ),
        mount_sources=("/gpfs", "/data"),
        pull="missing",
        registries=("ghcr.io", "localhost:5000"),
        network="private",
        ipc="private",
        uts="private",
        devices=("/dev/kfd", "/dev/dri/card0"),
        ask_devices=("/dev/fuse", "site.example/gpu=0", "site.example/nic=*"),
        gpus=True,
        gpu_kind="site.example/gpu",
        env_set=(("SITE", "x"), ("EMPTY", "")),
        env_remove=("LD_PRELOAD",),
        seccomp="/etc/socker/hpc.json",
        save=(parse_pattern("site/**"),),
        open_seconds=300,
    )
    assert rest.grants == Grants(mount_sources=None, read_only=True)
    assert rest.required == Required(image="")


def test_what_no_key_gives_is_not_given() -> None:
    policy = read_policy(b"version: 1\nrules: [{name: r, effect: allow}]", "/p")
    assert policy.rules[0].grants == Grants()
    assert (policy.catalogue, policy.module, policy.may_allow) == ("/var/lib/socker/images.yaml", "", False)
    given = Grants()
    assert (given.pull, given.registries, given.network, given.ipc, given.uts) == ("never", (), "host", "host", "host")
    assert (given.home, given.submit_dir, given.site_mounts, given.mount_sources) == (False, False, (), ())
    assert (given.devices, given.ask_devices, given.gpus, given.gpu_kind) == ((), (), False, "")
    assert (given.env_set, given.seccomp, given.save) == ((), "hpc", ())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (RULE + "accounts: a", "line 6, rules[0].accounts: expected a list, got a word"),
        (RULE + "accounts: []", "rules[0].accounts: expected a list of length >= 1"),
        (RULE + "accounts: [1]", "rules[0].accounts[0]: expected a word, got a number"),
        (RULE + 'partitions: [" a"]', 'rules[0].partitions[0]: this is no name: " a"'),
        (RULE + "partitions: {a: b}", "rules[0].partitions: expected a list, got a mapping"),
        (RULE + 'qos: [""]', 'rules[0].qos[0]: this is no name: ""'),
        (RULE + "qos: null", "rules[0].qos: expected a list, got nothing"),
        (RULE + "reservations: [[a]]", "rules[0].reservations[0]: expected a word, got a list"),
        (RULE + "reservations: true", "rules[0].reservations: expected a list, got true or false"),
        (RULE + "images: debian", "rules[0].images: there is no such choice: 'debian'"),
        (RULE + "images: 1", "rules[0].images: expected a list or a word, got a number"),
        (RULE + "required: true", "rules[0].required: expected a mapping, got true or false"),
        (RULE + "required: {image: ../x}", 'rules[0].required.image: image reference "../x": this is no registry'),
        (RULE + "required: {images: x}", "rules[0].required.images: there is no such key"),
        (RULE + "mounts: {site: [t]}", 'rules[0].mounts.site[0]: "site_mounts" has no "t"'),
        (RULE + "mounts: {site: s}", "rules[0].mounts.site: expected a list, got a word"),
        (RULE + "mounts: {sources: some}", "rules[0].mounts.sources: there is no such choice: 'some'"),
        (RULE + "mounts: {sources: [a]}", 'rules[0].mounts.sources[0]: this is no plain absolute path: "a"'),
        (RULE + "mounts: {sources: [/a/../b]}", "this is no plain absolute path"),
        (RULE + "pull: sometimes", "rules[0].pull: there is no such choice: 'sometimes'"),
        (RULE + "pull: true", "rules[0].pull: "),
        (
            RULE + "pull: missing",
            'line 6, rules[0].pull: name the registries that may be pulled from, under the key "r',
        ),
        (RULE + "pull: always\n    registries: []", "rules[0].pull: name the registries"),
        (RULE + "registries: ghcr.io", "rules[0].registries: expected a list, got a word"),
        (RULE + "registries: [GHCR.io]", "rules[0].registries[0]: the registry must be lower case"),
        (RULE + 'registries: ["ghcr.io/team"]', "rules[0].registries[0]: this is no registry"),
        (RULE + 'registries: ["*.io"]', "rules[0].registries[0]: this is no registry"),
        (RULE + "network: none", "rules[0].network: there is no such choice: 'none'"),
        (RULE + "ipc: {}", "rules[0].ipc: "),
        (RULE + "uts: Host", "rules[0].uts: there is no such choice: 'Host'"),
        (RULE + "read_only: 1", "rules[0].read_only: expected true or false, got a number"),
        (RULE + "devices: /dev/kfd", "rules[0].devices: expected a list, got a word"),
        (RULE + "devices: [/etc/passwd]", 'rules[0].devices[0]: this is no device below /dev: "/etc/passwd"'),
        (RULE + "ask_devices: [/etc/x]", 'rules[0].ask_devices[0]: this is no device below /dev: "/etc/x"'),
        (RULE + "gpus: all", "rules[0].gpus: this is neither true nor false, nor a vendor and class of CDI devices"),
        (
            RULE + f'save: ["sha256:{"0" * 64}"]',
            "rules[0].save[0]: images are saved by name; no digest is known before",
        ),
        (RULE + f'save: ["a@sha256:{"0" * 64}"]', "rules[0].save[0]: images are saved by name"),
        (RULE + "devices: [/dev]", "this is no device below /dev"),
        (RULE + "devices: [/dev/shm/x]", "this is no device below /dev"),
        (RULE + "devices: [/dev/../etc/x]", "this is no device below /dev"),
        (RULE + "env: [a]", "rules[0].env: expected a mapping, got a list"),
        (RULE + "env: {set: {A: 1}}", "rules[0].env.set[...]: expected a word, got a number"),
        (RULE + 'env: {set: {"A=B": c}}', 'rules[0].env.set.A=B: this is no name of a variable: "A=B"'),
        (RULE + "env: {set: {HOME: /x}}", "rules[0].env.set.HOME: HOME is the job's own; it cannot be set or removed"),
        (RULE + "env: {remove: [SLURM_JOB_ID]}", "rules[0].env.remove[0]: SLURM_JOB_ID is the job's own"),
        (RULE + 'env: {remove: [""]}', "rules[0].env.remove[0]: this is no name of a variable"),
        (RULE + 'env: {set: {A: "a\\nb"}}', "rules[0].env.set.A: a value is printable"),
        (RULE + f"env: {{set: {{A: {'x' * 4097}}}}}", "a value is printable and has at most 4096 bytes"),
        (
            RULE + "env: {set: {" + ", ".join(f"A{number}: x" for number in range(65)) + "}}",
            "line 6, rules[0].env.set: at most 64 variables can stand here",
        ),
        (
            RULE + "env: {remove: [" + ", ".join(f"A{number}" for number in range(65)) + "]}",
            "line 6, rules[0].env.remove: at most 64 variables can stand here",
        ),
        (RULE + "env: {unset: [A]}", "rules[0].env.unset: there is no such key"),
        (
            RULE + "seccomp: unconfined",
            'rules[0].seccomp: there is no such profile: "unconfined"; write "hpc", "docker" or',
        ),
        (RULE + "seccomp: /a//b", "rules[0].seccomp: this is no plain absolute path"),
        (RULE + "seccomp: [a]", "rules[0].seccomp: expected a word, got a list"),
        (RULE + 'save: ["*"]', 'rules[0].save[0]: image pattern "*"'),
        (RULE + "save: all", "rules[0].save: expected a list, got a word"),
        (RULE + "open_seconds: 0", "rules[0].open_seconds: expected a number >= 1"),
        (RULE + "open_seconds: 86401", "rules[0].open_seconds: expected a number <= 86400"),
        (RULE + "open_seconds: true", "rules[0].open_seconds: expected a number, got true or false"),
        (DENY + "pull: never", '/p, line 6, rules[0].pull: a rule that denies gives nothing; leave "pull" out'),
        (DENY + "required: {}", 'rules[0].required: a rule that denies gives nothing; leave "required" out'),
        ("version: 1\nrules: []\ndefaults: {seccomp: x}", "/p, line 3, defaults.seccomp: there is no such profile"),
        ("version: 1\nrules: []\ndefaults: {pull: always}", "/p, line 3, defaults.pull: name the registries"),
        ("version: 1\nrules: []\ndefaults: {users: [a]}", "/p, line 3, defaults.users: there is no such key"),
        ("version: 1\nrules: []\ncatalogue: images.yaml", "/p, line 3, catalogue: this is no plain absolute path"),
        ("version: 1\nrules: []\ncatalogue: [a]", "/p, line 3, catalogue: expected a word, got a list"),
        ("version: 1\nrules: []\npolicy: {}", '/p, line 3, policy: it lacks the key "module"'),
        ("version: 1\nrules: []\npolicy: {module: x.py}", "/p, line 3, policy.module: this is no plain absolute path"),
        ("version: 1\nrules: []\npolicy: {module: /x, may_allow: 1}", "policy.may_allow: expected true or false"),
        ("version: 1\nrules: []\nsite_mounts: []", "/p, line 3, site_mounts: expected a mapping, got a list"),
        ("version: 1\nrules: []\nsite_mounts: {a: /x}", "site_mounts[...]: expected a mapping, got a word"),
        (
            "version: 1\nrules: []\nsite_mounts: {a: {source: x}}",
            "site_mounts.a.source: this is no plain absolute path",
        ),
        ("version: 1\nrules: []\nsite_mounts: {a b: {source: /x}}", "site_mounts.a b: a name has 1 to 64 letters"),
        ("version: 1\nrules: []\nsite_mounts: {a: {}}", 'it lacks the key "source"'),
        ("version: 1\nrules: []\nsite_mounts: {a: {source: /x, target: /}}", "site_mounts.a.target: nothing can be mo"),
        ("version: 1\nrules: []\nsite_mounts: {a: {source: /proc}}", 'target: nothing can be mounted at "/proc"'),
        ("version: 1\nrules: []\nsite_mounts: {a: {source: /x, target: /dev/x}}", "nothing can be mounted at"),
    ],
)
def test_what_cannot_be_meant_is_an_error_with_its_place(text: str, why: str) -> None:
    with pytest.raises(PolicyFileError) as caught:
        read_policy(text.encode(), "/p")
    shown = str(caught.value)
    assert why in shown
    assert shown.startswith("/p")
    assert shown.isprintable()
    assert len(shown) < 700


def test_a_rule_overrides_the_defaults_key_by_key() -> None:
    text = "version: 1\ndefaults: {pull: missing, registries: [a.io], uts: private}\nrules:\n"
    text += "- {name: a, effect: allow}\n- {name: b, effect: allow, pull: never}\n"
    text += "- {name: c, effect: allow, registries: [b.io]}\n"
    a, b, c = (rule.grants for rule in read_policy(text.encode(), "/p").rules)
    assert a == Grants(pull="missing", registries=("a.io",), uts="private")
    assert b == Grants(pull="never", registries=("a.io",), uts="private")
    assert c == Grants(pull="missing", registries=("b.io",), uts="private")
