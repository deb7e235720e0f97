# SPDX-License-Identifier: Apache-2.0
"""The create request: one allowing test, and a closed list that denies everything else."""

from __future__ import annotations

from typing import Any

import pytest

from socker.container import HOLD, create_body, disagreement, labels, make_spec
from socker.errors import PlanError
from socker.grants import Grants
from socker.plan import make_plan
from socker.policy import Allow

from .fakes import IMAGE_ID, TOKEN, make_image, make_mark, make_request, make_step_plan, make_user

OUR_LABELS = {
    "io.socker.token": TOKEN,
    "io.socker.node": "n1",
    "io.socker.job": "4711",
    "io.socker.uid": "1000",
    "io.socker.name": "socker-abcd-4711-k",
}
HOLD_MOUNT = {
    "Type": "bind",
    "Source": "/usr/lib/socker/hold",
    "Target": "/.socker/hold",
    "ReadOnly": True,
    "BindOptions": {"Propagation": "rprivate"},
}
ENTRY_MOUNT = HOLD_MOUNT | {"Source": "/usr/lib/socker/entry", "Target": "/.socker/entry"}
# SECURITY 4.1: every field, its value; nothing may be missing and nothing may be more.
CLOSED_LIST: dict[str, object] = {
    "Image": IMAGE_ID,
    "Entrypoint": ["/.socker/hold"],
    "Cmd": [],
    "Env": [],
    "User": "990:990",
    "WorkingDir": "/",
    "StopSignal": "SIGKILL",
    "StopTimeout": 1,
    "Healthcheck": {"Test": ["NONE"]},
    "Labels": OUR_LABELS,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
}
CLOSED_HOST_CONFIG: dict[str, object] = {
    "Privileged": False,
    "CapAdd": [],
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges:true"],
    "ReadonlyRootfs": False,
    "UsernsMode": "host",
    "PidMode": "host",
    "UTSMode": "host",
    "IpcMode": "host",
    "NetworkMode": "host",
    "CgroupnsMode": "host",
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "AutoRemove": False,
    "LogConfig": {"Type": "none", "Config": {}},
    "PidsLimit": 64,
    "Runtime": "runc",
    "OomScoreAdj": 0,
    "Init": False,
    "Mounts": [HOLD_MOUNT, ENTRY_MOUNT],
}
NEVER = [
    "Devices",
    "DeviceCgroupRules",
    "DeviceRequests",
    "VolumesFrom",
    "VolumeDriver",
    "Links",
    "PortBindings",
    "PublishAllPorts",
    "GroupAdd",
    "Sysctls",
    "Ulimits",
    "StorageOpt",
    "CgroupParent",
    "Isolation",
    "ExtraHosts",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "Annotations",
    "Binds",
    "Tmpfs",
    "Memory",
    "NanoCpus",
    "CpuShares",
    "BlkioWeight",
    "OomKillDisable",
    "Hostname",
    "Domainname",
    "MacAddress",
    "ExposedPorts",
    "Volumes",
    "Shell",
    "OnBuild",
    "ArgsEscaped",
    "NetworkDisabled",
    "NetworkingConfig",
    "Platform",
    "Name",
]


def body(**changes: Any) -> dict[str, Any]:
    return create_body(make_spec(make_request(), make_image(**changes), make_step_plan()))


def test_create_request_is_the_closed_list_and_nothing_more() -> None:
    made = body()
    host = made.pop("HostConfig")
    masked, readonly = host.pop("MaskedPaths"), host.pop("ReadonlyPaths")
    assert made == CLOSED_LIST
    assert host == CLOSED_HOST_CONFIG
    assert {"/proc/kcore", "/proc/keys", "/sys/firmware"} <= set(masked)
    assert {"/proc/sys", "/proc/sysrq-trigger", "/proc/bus", "/proc/irq", "/proc/fs"} == set(readonly)


@pytest.mark.parametrize("field", NEVER)
def test_create_request_never_has(field: str) -> None:
    made = body(volumes=("/data",), env=("A=1",), workdir="/srv")
    assert field not in made
    assert field not in made["HostConfig"]


def test_nothing_of_an_image_is_in_the_request_but_its_id_and_volume_paths() -> None:
    plain = body()
    hostile = body(env=("LD_PRELOAD=/x",), workdir="/x", volumes=("/data",))
    hostile["HostConfig"]["Mounts"].pop()
    assert hostile == plain


def test_volumes_are_covered_by_empty_file_systems() -> None:
    made = body(volumes=("/data/", "/a/../e", "/data"))
    covers = made["HostConfig"]["Mounts"][2:]
    assert covers == [{"Type": "tmpfs", "Target": path, "TmpfsOptions": {"Mode": 0o1777}} for path in ("/data", "/e")]


@pytest.mark.parametrize(
    "path",
    ["/", "data", "", "/proc", "/proc/1", "/sys/x", "/dev/shm", "/.socker", "/.socker/hold", "/a/../..", "/a\nb"],
)
def test_volume_where_none_can_be_is_refused(path: str) -> None:
    with pytest.raises(PlanError, match="declares a volume at .*, where none can be"):
        body(volumes=(path,))


def test_too_many_volumes_are_refused() -> None:
    paths = tuple(f"/v{number}" for number in range(33))
    assert len(body(volumes=paths[:32])["HostConfig"]["Mounts"]) == 34
    with pytest.raises(PlanError, match="declares 33 volumes; at most 32 can be used"):
        body(volumes=paths)


def test_labels_are_all_of_ours() -> None:
    assert labels(make_mark()) == OUR_LABELS
    with pytest.raises(ValueError, match="belongs to a user"):
        labels(make_mark(uid=None))


def test_marks_agree_only_in_all() -> None:
    mark = make_mark()
    assert disagreement(mark, mark.name, OUR_LABELS) is None
    assert disagreement(make_mark(uid=None), mark.name, OUR_LABELS) is None
    for label in OUR_LABELS:
        assert disagreement(mark, mark.name, OUR_LABELS | {label: "x"}) == label
        assert disagreement(mark, mark.name, {key: OUR_LABELS[key] for key in OUR_LABELS if key != label}) == label
    assert disagreement(mark, "another", OUR_LABELS) == "name"


def test_hold_is_where_the_c_side_expects_it() -> None:
    assert HOLD == "/.socker/hold"


def given(**grants: Any) -> dict[str, Any]:
    plan = make_plan(make_user(), Allow(rule="r", grants=Grants(**grants)), make_image())
    devices = grants.get("devices", ())
    made = create_body(make_spec(make_request(), make_image(volumes=("/data",)), plan, devices))
    host: dict[str, Any] = made["HostConfig"]  # type: ignore[assignment]
    return host


@pytest.mark.parametrize(
    ("grants", "field", "value"),
    [
        ({"network": "private"}, "NetworkMode", "none"),
        ({"ipc": "private"}, "IpcMode", "private"),
        ({"uts": "private"}, "UTSMode", ""),
        (
            {"devices": ("/dev/kfd",)},
            "Devices",
            [{"PathOnHost": "/dev/kfd", "PathInContainer": "/dev/kfd", "CgroupPermissions": "rw"}],
        ),
    ],
)
def test_what_policy_gives_changes_its_field_and_no_other(grants: dict[str, Any], field: str, value: object) -> None:
    plain, made = given(), given(**grants)
    assert made[field] == value
    plain.pop(field, None)
    made.pop(field)
    assert made == plain


def test_a_read_only_root_is_not_docker_s() -> None:
    """The opener makes it so, behind its mounts."""
    assert given(read_only=True) == given()


def test_a_host_name_of_its_own_is_the_node_s() -> None:
    plan = make_plan(make_user(), Allow(rule="r", grants=Grants(uts="private")), make_image())
    assert create_body(make_spec(make_request(), make_image(), plan))["Hostname"] == "n1"


def test_a_seccomp_profile_is_sent_as_its_text() -> None:
    made = create_body(
        make_spec(make_request(), make_image(), make_step_plan(), seccomp='{"defaultAction": "SCMP_ACT_ALLOW"}')
    )
    options = made["HostConfig"]["SecurityOpt"]  # type: ignore[index]
    assert options == ["no-new-privileges:true", 'seccomp={"defaultAction": "SCMP_ACT_ALLOW"}']
