# SPDX-License-Identifier: Apache-2.0
"""Devices and GPUs: what Slurm's words mean, and who gets which."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socker.cdi import CdiDevice, is_cdi, of_file, read_specification
from socker.cdifiles import load_devices
from socker.errors import CdiError, PlanError, SlurmError
from socker.gres import allocated, expand, gpu_files
from socker.hardware import Hardware
from socker.lifecycle import Opened
from socker.model import Mount
from socker.options import read_options
from socker.plan import make_plan
from socker.policy import Allow, Grants
from socker.slurm import SlurmCommands

from .daemon import soon
from .fakes import make_image, make_rule, make_user
from .test_lifecycle import World

if TYPE_CHECKING:
    from pathlib import Path

JOB = """\
JobId={id} JobName=sh
   UserId=alice(20001) GroupId=alice(20001) MCS_label=N/A
   NumNodes=2 NumCPUs=2 NumTasks=2 CPUs/Task=1 ReqB:S:C:T=0:0:*:*
   JOB_GRES=gpu:big:4,gpu:small:2
     Nodes=n[1-2] CPU_IDs=0 Mem=200 GRES=gpu:big:2(IDX:2-3),gpu:small:1(IDX:0)
     Nodes=n3 CPU_IDs=0 Mem=200 GRES=gpu:1(IDX:0,2-3),nic:1(IDX:0)
     Nodes=n4 CPU_IDs=0 Mem=200 GRES=
     Nodes=n5 CPU_IDs=0 Mem=200 GRES=shard:4(IDX:0),gpu_like:1(IDX:1)
     Nodes=n6 CPU_IDs=0 Mem=200 GRES=gpu:1
   MinCPUsNode=1 MinMemoryCPU=200M MinTmpDiskNode=0
   TresPerNode=gres:gpu:big:2,gres:gpu:small:1
"""
SLURMD = """\
slurmd: Gres Name=gpu Type=small Count=2 Index=0 ID=7696487 File=/dev/gpu[2-3] (null)
slurmd: Gres Name=nic Type=(null) Count=1 Index=0 ID=1 File=/dev/nic0 (null)
slurmd: Gres Name=gpu Type=big Count=2 Index=0 ID=7696487 File=/dev/gpu0,/dev/gpu1 Links=(null)
slurmd: Gres Name=gpu Type=x Count=1 Index=0 ID=7696487 File=/dev/a,/dev/b (null)
slurmd: Gres Name=gpu Type=y Count=2 Index=0 ID=7696487 (null)
"""


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", ("n1",)),
        ("n[1-3]", ("n1", "n2", "n3")),
        ("n[08-10],m1", ("n08", "n09", "n10", "m1")),
        ("n[1,3-4]-ib", ("n1-ib", "n3-ib", "n4-ib")),
        ("r[1-2]n[0-1]", ("r1n0", "r1n1", "r2n0", "r2n1")),
        ("/dev/nvidia[0-1],/dev/x", ("/dev/nvidia0", "/dev/nvidia1", "/dev/x")),
        ("", ()),
    ],
)
def test_expand(text: str, names: tuple[str, ...]) -> None:
    assert expand(text) == names


@pytest.mark.parametrize("text", ["n[1-99999999]", "n[a]", "n[1-]", "n[]"])
def test_expand_of_what_is_no_list_is_an_error(text: str) -> None:
    with pytest.raises(SlurmError, match="are not understood"):
        expand(text)


@given(st.text("n[]-,0123456789", max_size=30))
def test_expand_of_anything_ends_or_is_an_error(text: str) -> None:
    try:
        expand(text)
    except SlurmError:
        return


@pytest.mark.parametrize(
    ("node", "numbers"), [("n1", (0, 2, 3)), ("n2", (0, 2, 3)), ("n3", (0, 2, 3)), ("n4", ()), ("n5", ()), ("n", ())]
)
def test_allocated_are_the_nodes_own(node: str, numbers: tuple[int, ...]) -> None:
    text = "\n".join(JOB.replace("{id}", number) for number in ("4710", "4711")).replace("JobId=4710", "JobId=47110")
    assert allocated(text, 4711, node) == numbers


@pytest.mark.parametrize("text", ["", "slurm_load_jobs error", JOB.replace("{id}", "4712"), 2 * (JOB + "\n")])
def test_allocated_without_the_jobs_own_record_is_an_error(text: str) -> None:
    with pytest.raises(SlurmError, match="Slurm's words for the job 4711 are not understood"):
        allocated(text.replace("{id}", "4711"), 4711, "n1")


def test_allocated_without_numbers_is_an_error() -> None:
    with pytest.raises(SlurmError, match="which GPUs a job has are not understood: gpu:1"):
        allocated(JOB.replace("{id}", "4711"), 4711, "n6")


def test_gpu_files_are_in_slurmds_order() -> None:
    assert gpu_files(SLURMD) == ("/dev/gpu2", "/dev/gpu3", "/dev/gpu0", "/dev/gpu1", "", "", "")
    assert gpu_files("") == ()


def commands(directory: Path, job: str, slurmd: str = SLURMD) -> SlurmCommands:
    for name, text, stream in (("scontrol", job, 1), ("slurmd", slurmd, 2)):
        (directory / f"{name}.txt").write_text(text)
        script = f'#!/bin/sh\necho "$@" >> {directory}/{name}.args\n/bin/cat {directory}/{name}.txt >&{stream}\n'
        (directory / name).write_text(script)
        (directory / name).chmod(0o755)
    return SlurmCommands("", soon(), scontrol=f"{directory}/scontrol", slurmd=f"{directory}/slurmd")


def test_gpus_are_the_files_of_the_jobs_numbers(tmp_path: Path) -> None:
    asked = commands(tmp_path, JOB.replace("{id}", "4711"))
    assert asked.gpus(4711, "n1") == (("/dev/gpu2", "/dev/gpu0", "/dev/gpu1"), ("/dev/gpu3",))
    assert (tmp_path / "scontrol.args").read_text() == "--all --details show job 4711\n"
    assert (tmp_path / "slurmd.args").read_text() == "-G -N n1\n"


def test_gpus_of_a_job_without_any_ask_no_slurmd(tmp_path: Path) -> None:
    assert commands(tmp_path, JOB.replace("{id}", "4711")).gpus(4711, "n4") == ((), ())
    assert not (tmp_path / "slurmd.args").exists()


@pytest.mark.parametrize("slurmd", ["", SLURMD.replace("[2-3]", "2"), SLURMD.replace("File=/dev/gpu[2-3] ", "")])
def test_gpus_without_a_file_each_are_an_error(tmp_path: Path, slurmd: str) -> None:
    with pytest.raises(SlurmError, match="names no device file for a GPU of this job, or more than one"):
        commands(tmp_path, JOB.replace("{id}", "4711"), slurmd).gpus(4711, "n1")


GIVEN = Grants(devices=("/dev/fuse",), ask_devices=("/dev/kvm", "/dev/net/tun"), gpus=True)


def devices(options: str, grants: Grants = GIVEN, gpus: tuple[str, ...] = ()) -> list[str]:
    plan = make_plan(
        make_user(), Allow(rule="r", grants=grants), make_image(), read_options(options), "/", Hardware(gpus=gpus)
    )
    assert all(mount.asked and not mount.read_only and mount.source == mount.target for mount in plan.mounts)
    return [mount.target for mount in plan.mounts if mount.kind == "device"]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("", []),
        ("device=/dev/kvm,/dev/kvm,/dev/net/tun", ["/dev/kvm", "/dev/net/tun"]),
        # Docker puts it there
        ("device=/dev/fuse", []),
        ("gpus=no", []),
        ("gpus=yes", ["/dev/gpu1", "/dev/gpu3"]),
        ("gpus=yes\ndevice=/dev/kvm,/dev/gpu1", None),
    ],
)
def test_devices_are_those_that_the_rule_and_slurm_give(options: str, found: list[str] | None) -> None:
    if found is None:
        with pytest.raises(PlanError, match='it names no device "/dev/gpu1"'):
            devices(options, gpus=("/dev/gpu1", "/dev/gpu3"))
    else:
        assert devices(options, gpus=("/dev/gpu1", "/dev/gpu3") if "yes" in options else ()) == found


@pytest.mark.parametrize(
    ("options", "grants", "why"),
    [
        ("device=/dev/sda", GIVEN, '--container-device is denied by rule "r": it names no device "/dev/sda"'),
        ("device=/dev/kvm2", GIVEN, 'it names no device "/dev/kvm2"'),
        ("device=/dev/kvm", Grants(), 'it names no device "/dev/kvm"'),
        ("gpus=yes", Grants(), '--container-gpus is denied by rule "r": it does not let users have GPUs'),
        ("gpus=yes", GIVEN, "Slurm gave this job no GPU on this node; ask for one, as with --gpus=1"),
    ],
)
def test_devices_that_are_not_given_are_refused(options: str, grants: Grants, why: str) -> None:
    with pytest.raises(PlanError) as caught:
        devices(options, grants)
    assert why in str(caught.value)


def test_a_device_of_the_rule_may_be_mounted_elsewhere() -> None:
    options = read_options("mounts=/dev/kvm:/opt/kvm")
    plan = make_plan(make_user(), Allow(rule="r", grants=GIVEN), make_image(), options, "/")
    assert plan.mounts == (Mount(source="/dev/kvm", target="/opt/kvm", read_only=False, kind="device", asked=True),)


def test_slurm_is_asked_for_gpus_only_where_they_are_wanted_and_given() -> None:
    world = World(make_rule("allow", "**", grants=Grants(gpus=True)))
    world.gpus = None
    assert isinstance(world.open(), Opened)
    why = "--container-gpus: it is not known which GPUs Slurm gave this job: slurmd does not answer in time"
    assert world.open(options="gpus=yes").message == why  # type: ignore[union-attr]
    world.gpus = ("/dev/gpu1",)
    opened = world.open(options="gpus=yes")
    assert isinstance(opened, Opened)
    assert [mount.source for mount in opened.plan.mounts] == ["/dev/gpu1"]
    denied = World(make_rule("allow", "**"))
    denied.gpus = None
    assert "denied by rule" in denied.refusal(options="gpus=yes")


def test_a_container_is_opened_to_be_saved_where_the_name_is_given_and_free() -> None:
    given_name = World(make_rule("allow", "**", grants=Grants(save=make_rule("allow", "site/**").images or ())))
    opened = given_name.open(options="save=site/tool:1")
    assert isinstance(opened, Opened)
    assert opened.plan.save == "docker.io/site/tool:1"
    taken = World(make_rule("allow", "**", grants=Grants(save=make_rule("allow", "debian").images or ())))
    why = '--container-save: there is an image "docker.io/library/debian:12" on node n1 already; choose another tag'
    assert taken.refusal(options="save=debian:12") == why
    assert "it does not let users save" in taken.refusal(options="save=debian2:12")


# CDI


def specification(**edits: Any) -> dict[str, Any]:
    """What a vendor's tool writes: two devices, and one for both."""

    def device(name: str, *numbers: int) -> dict[str, Any]:
        return {"name": name, "containerEdits": {"deviceNodes": [{"path": f"/dev/gpu{number}"} for number in numbers]}}

    common = {
        "deviceNodes": [{"path": "/dev/gpuctl", "hostPath": "/dev/ctl", "permissions": "rw"}],
        "mounts": [
            {"hostPath": "/usr/lib/libgpu.so.1", "containerPath": "/usr/lib/libgpu.so.1", "options": ["ro", "nosuid"]}
        ],
        "env": ["GPU_VISIBLE=void", "CUDA_VISIBLE_DEVICES=7", "LD_PRELOAD=/x"],
        "hooks": [{"hookName": "createContainer", "path": "/usr/bin/tool"}],
    }
    listed = [device("0", 0), device("1", 1), device("all", 0, 1)]
    return {"cdiVersion": "0.5.0", "kind": "site.example/gpu", "devices": listed, "containerEdits": common | edits}


DEVICES = {device.name: device for device in read_specification(specification(), "/s")}


def test_a_specification_gives_its_devices_with_what_they_share() -> None:
    assert set(DEVICES) == {"site.example/gpu=0", "site.example/gpu=1", "site.example/gpu=all"}
    assert DEVICES["site.example/gpu=1"] == CdiDevice(
        name="site.example/gpu=1",
        nodes=(("/dev/ctl", "/dev/gpuctl"), ("/dev/gpu1", "/dev/gpu1")),
        mounts=(("/usr/lib/libgpu.so.1", "/usr/lib/libgpu.so.1", True),),
        env=("GPU_VISIBLE=void", "CUDA_VISIBLE_DEVICES=7", "LD_PRELOAD=/x"),
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ([], "a mapping is expected"),
        ({"kind": "gpu"}, 'its kind is no vendor and class: "gpu"'),
        ({"kind": "a/b", "devices": {}}, "a list is expected"),
        ({"kind": "a/b", "devices": [{"name": "x y"}]}, 'this is no name of a device: "a/b=x y"'),
        (specification(deviceNodes=[{"path": "dev/x"}]), 'this is no plain absolute path: "dev/x"'),
        (specification(mounts=[{"hostPath": "/a"}]), "this is no plain absolute path"),
        (specification(mounts=[{"hostPath": "/a/../b", "containerPath": "/b"}]), "this is no plain absolute path"),
        (specification(mounts=[{"hostPath": "/", "containerPath": "/b"}]), "this is no plain absolute path"),
        (specification(env=["A"]), 'this is no variable: "A"'),
        (specification(env=["A=\n"]), "this is no variable"),
        (specification(intelRdt={}), 'site.example/gpu=all: "intelRdt" is not supported'),
    ],
)
def test_a_specification_that_is_none_is_refused(content: object, why: str) -> None:
    with pytest.raises(CdiError) as caught:
        read_specification(content, "/etc/cdi/x.json")
    assert str(caught.value).startswith(f"the device specification /etc/cdi/x.json: {why}")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("site.example/gpu=0", True),
        ("a/b=all", True),
        ("/dev/kvm", False),
        ("a/b", False),
        ("a/b=", False),
        ("a/b=*", False),
    ],
)
def test_a_cdi_name_has_a_vendor_a_class_and_a_name(name: str, is_one: bool) -> None:
    assert is_cdi(name) is is_one


def test_the_device_of_a_file_has_no_file_of_others() -> None:
    assert of_file(DEVICES, "site.example/gpu", "/dev/gpu1", ("/dev/gpu0",)).name == "site.example/gpu=1"
    # of several the smallest
    assert of_file(DEVICES, "site.example/gpu", "/dev/gpu1", ()).name == "site.example/gpu=1"
    for kind, file in (("site.example/gpu", "/dev/gpu7"), ("site.example/gp", "/dev/gpu1")):
        with pytest.raises(CdiError, match=f"no device of the kind {kind} on this node is {file} alone"):
            of_file(DEVICES, kind, file, ())
    both = {"site.example/gpu=all": DEVICES["site.example/gpu=all"]}
    with pytest.raises(CdiError, match="alone"):
        of_file(both, "site.example/gpu", "/dev/gpu1", ("/dev/gpu0",))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    library = tmp_path / "lib.so"
    library.touch()
    os.mkfifo(tmp_path / "socket")
    mounts = [{"hostPath": f"{tmp_path}/{name}", "containerPath": "/x"} for name in ("lib.so", "socket", "none")]
    (tmp_path / "cdi").mkdir(mode=0o755)
    (tmp_path / "cdi/a.json").write_text(json.dumps(specification(mounts=mounts)))
    (tmp_path / "cdi/b.yaml").write_text('cdiVersion: 0.5.0\nkind: site.example/nic\ndevices:\n- name: "0"\n')
    (tmp_path / "cdi/notes.txt").write_text("{")
    return tmp_path


def load(directory: Path) -> dict[str, CdiDevice]:
    return load_devices(("/none", "/cdi"), owner=os.getuid(), anchor=str(directory))


def test_specifications_are_read_from_their_directories(directory: Path) -> None:
    found = load(directory)
    assert set(found) == {*DEVICES, "site.example/nic=0"}
    # what is there, and is a file or a directory
    assert found["site.example/gpu=0"].mounts == ((f"{directory}/lib.so", "/x", False),)


@pytest.mark.parametrize(
    ("name", "text", "mode", "why"),
    [
        ("c.json", "{", 0o644, "it is not JSON"),
        ("c.yaml", "a: [", 0o644, "did not find"),
        ("c.yml", "kind: gpu", 0o644, "its kind is no vendor and class"),
        ("c.json", "{}", 0o666, "others than root can write it"),
    ],
)
def test_a_specification_that_cannot_be_relied_on_is_refused(
    directory: Path, name: str, text: str, mode: int, why: str
) -> None:
    (directory / "cdi" / name).write_text(text)
    (directory / "cdi" / name).chmod(mode)
    with pytest.raises(CdiError, match=rf"^the device specification /cdi/{name}.*{why}.*; tell your admin"):
        load(directory)


def test_a_cdi_device_comes_with_its_mounts_and_variables() -> None:
    given_one = Grants(ask_devices=("site.example/gpu=1",), env_set=(("LD_PRELOAD", "/site"),))
    plan = make_plan(
        make_user(),
        Allow(rule="r", grants=given_one),
        make_image(env=("GPU_VISIBLE=image",)),
        read_options("device=site.example/gpu=1"),
        "/",
        Hardware(cdi=DEVICES),
    )
    assert [(mount.source, mount.target, mount.kind, mount.read_only) for mount in plan.mounts] == [
        ("/dev/ctl", "/dev/gpuctl", "device", False),
        ("/dev/gpu1", "/dev/gpu1", "device", False),
        ("/usr/lib/libgpu.so.1", "/usr/lib/libgpu.so.1", "bind", True),
    ]
    assert all(mount.asked for mount in plan.mounts)
    assert sorted(plan.env)[:2] == ["GPU_VISIBLE=void", "LD_PRELOAD=/site"]
    assert len(plan.env) == 3  # with a PATH, and without what is the job's own


@pytest.mark.parametrize(
    ("asked", "named", "why"),
    [
        ("site.example/gpu=0", ("site.example/gpu=1",), 'it names no device "site.example/gpu=0"'),
        ("site.example/gpu=7", ("site.example/gpu=*",), 'this node has no device "site.example/gpu=7"'),
        ("site.example/gpu2=0", ("site.example/gpu=*",), 'it names no device "site.example/gpu2=0"'),
    ],
)
def test_a_cdi_device_that_is_not_given_is_refused(asked: str, named: tuple[str, ...], why: str) -> None:
    with pytest.raises(PlanError) as caught:
        devices(f"device={asked}", Grants(ask_devices=named))
    assert why in str(caught.value)


def test_gpus_of_a_kind_are_the_devices_of_the_jobs_files() -> None:
    world = World(make_rule("allow", "**", grants=Grants(gpus=True, gpu_kind="site.example/gpu")))
    world.gpus, world.cdi = ("/dev/gpu1",), dict(DEVICES)
    opened = world.open(options="gpus=yes")
    assert isinstance(opened, Opened)
    assert [mount.target for mount in opened.plan.mounts] == ["/dev/gpuctl", "/dev/gpu1", "/usr/lib/libgpu.so.1"]
    # and without the wish nothing is read
    world.cdi = None
    assert isinstance(world.open(), Opened)
