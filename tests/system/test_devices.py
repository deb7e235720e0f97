# SPDX-License-Identifier: Apache-2.0
"""
Devices in containers: those of the policy, and the GPUs that Slurm gave the job and no other.

On a cluster of its own, whose GPUs are device nodes of a number that no driver has: to open one that Slurm allows ends
with ENXIO, one that it does not with EPERM. SOCKER_TEST_GPUS names one that is kept.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .cluster import DEVCLUSTER, Cluster, Result
from .faults import assert_step_refused, wait_for_no_jobs

MAJOR = 240  # for local use
GPUS = tuple(Path(f"/dev/sockergpu{number}") for number in range(4))
EXTRA = Path("/dev/sockerextra")
POLICY = """\
version: 1
defaults: {mounts: {home: true}}
rules:
  - {name: gpus, effect: allow, users: [alice], gpus: true, devices: [/dev/fuse], ask_devices: [/dev/sockerextra]}
  - {name: others, effect: allow}
"""
# who may open what is there
LOOK = "for d in /dev/sockergpu*; do test -e $d && echo $d $(cat $d 2>&1 | sed 's/.*: //'); done; true"
OPEN = "No such device or address"


@pytest.fixture(scope="module")
def gpu_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes with four GPUs each, of two kinds, whose files are in another order than their numbers."""
    kept = os.environ.get("SOCKER_TEST_GPUS")
    name = kept or "gpus"
    nodes = f"NodeName={name}[1-2] Name=gpu"
    gres = tmp_path_factory.mktemp("gpus") / "gres.conf"
    gres.write_text(f"{nodes} Type=small File={GPUS[2]},{GPUS[3]}\n{nodes} Type=big File=/dev/sockergpu[0-1]\n")
    for number, path in enumerate((*GPUS, EXTRA)):
        with suppress(FileExistsError):
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(MAJOR, number))
        path.chmod(0o666)
    base = Path(os.environ.get("SOCKER_DEVCLUSTER_DIR", "/var/lib/socker-devcluster")) / name
    options = ["--conf", "GresTypes=gpu", "--conf", "NodeName=DEFAULT Gres=gpu:small:2,gpu:big:2", "--etc", str(gres)]
    options += ["--socker-arg", f"slurm_conf={base}/etc/slurm.conf"]
    try:
        if not kept:
            subprocess.run([str(DEVCLUSTER), "up", "--name", name, *options], check=True, timeout=600)
        yield Cluster(name=name)
        if not kept:
            subprocess.run([str(DEVCLUSTER), "down", "--name", name, "--purge"], check=True, timeout=120)
    finally:
        for path in (*GPUS, EXTRA):
            path.unlink()


@pytest.fixture
def cluster(gpu_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, clean before and after the test."""
    with gpu_cluster.policy(POLICY):
        yield gpu_cluster
    gpu_cluster.assert_clean()


def on_first(cluster: Cluster, *words: str, **options: object) -> Result:
    return cluster.srun(f"--nodelist={cluster.nodes[0]}", *words, **options)


def seen(*gpus: Path) -> str:
    return "".join(f"{gpu} {OPEN}\n" for gpu in gpus)


@pytest.mark.parametrize(
    ("asked", "gpus"),
    [
        ("small:1", GPUS[2:3]),
        ("small:2", GPUS[2:4]),
        ("big:1", GPUS[0:1]),
        ("big:2", GPUS[0:2]),
        ("small:1,big:1", (GPUS[0], GPUS[2])),
    ],
)
def test_gpus_are_those_that_slurm_gave(cluster: Cluster, asked: str, gpus: tuple[Path, ...]) -> None:
    done = on_first(cluster, f"--gpus-per-node={asked}", "--container-gpus", "sh", "-c", LOOK)
    assert (done.returncode, done.stdout, done.stderr) == (0, seen(*gpus), ""), done


def test_two_jobs_have_different_gpus(cluster: Cluster) -> None:
    first, second = (cluster.allocation("--gpus-per-node=small:1", f"--nodelist={cluster.nodes[0]}") for _ in range(2))
    with first as one, second as other:
        got = [job.srun("--container-gpus", "sh", "-c", LOOK).stdout for job in (one, other)]
    assert got == [seen(GPUS[2]), seen(GPUS[3])]


def test_no_variable_of_the_user_gives_a_gpu(cluster: Cluster) -> None:
    names = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "CUDA_VISIBLE_DEVICES", "SLURM_JOB_GRES", "NVIDIA_VISIBLE_DEVICES")
    lies = dict.fromkeys(names, "0,1,2,3")
    done = on_first(cluster, "--gpus-per-node=small:1", "--container-gpus", "sh", "-c", LOOK, env=lies)
    assert (done.returncode, done.stdout) == (0, seen(GPUS[2])), done
    none = "--container-gpus: Slurm gave this job no GPU on this node; ask for one, as with --gpus=1"
    assert_step_refused(on_first(cluster, "--container-gpus", "true", env=lies), none)
    wait_for_no_jobs(cluster)


def test_gpus_on_two_nodes_are_each_nodes_own(cluster: Cluster) -> None:
    done = cluster.srun("--nodes=2", "--gpus-per-node=big:1", "--container-gpus", "sh", "-c", LOOK)
    assert (done.returncode, done.stdout, done.stderr) == (0, 2 * seen(GPUS[0]), "")


def test_a_batch_script_has_the_jobs_gpus(cluster: Cluster) -> None:
    options = ("--container=debian:bookworm", "--container-gpus", "--gpus-per-node=small:1")
    job = cluster.sbatch(f"#!/bin/sh\n{LOOK}\n", *options)
    assert (job.state, job.output) == ("COMPLETED", seen(GPUS[2]))


def test_without_the_option_there_is_no_gpu(cluster: Cluster) -> None:
    done = on_first(cluster, "--gpus-per-node=small:1", "sh", "-c", LOOK)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_gpus_are_the_rules_to_give(cluster: Cluster) -> None:
    why = '--container-gpus is denied by rule "others": it does not let users have GPUs in a container'
    done = on_first(cluster, "--gpus-per-node=small:1", "--container-gpus", "true", user="bob")
    assert_step_refused(done, why)


def test_a_gpu_of_another_cannot_be_mounted(cluster: Cluster) -> None:
    done = on_first(cluster, "--gpus-per-node=small:1", f"--container-device={GPUS[3]}", "true")
    assert_step_refused(done, f'--container-device is denied by rule "gpus": it names no device "{GPUS[3]}"')
    (cluster.base / "etc/policy.yaml").unlink()
    done = on_first(cluster, "--gpus-per-node=small:1", f"--container-mounts={GPUS[3]}", "true")
    assert_step_refused(done, f"nothing can be mounted at {GPUS[3]} in a container; choose another target")
    done = on_first(cluster, "--gpus-per-node=small:1", f"--container-mounts={GPUS[3]}:/opt/gpu", "true")
    assert_step_refused(done, f"{GPUS[3]} cannot be mounted: it is neither a file nor a directory")


def test_devices_are_given_or_asked_for(cluster: Cluster) -> None:
    look = f"test -c /dev/fuse && echo fuse; test -c {EXTRA} && cat {EXTRA} 2>&1; true"
    assert on_first(cluster, "sh", "-c", look).stdout == "fuse\n"
    asked = on_first(cluster, f"--container-device={EXTRA},/dev/fuse", "sh", "-c", look)
    assert asked.stdout == f"fuse\ncat: {EXTRA}: {OPEN}\n"
    assert on_first(cluster, "sh", "-c", look, user="bob").stdout == ""
    why = f'--container-device is denied by rule "others": it names no device "{EXTRA}"'
    assert_step_refused(on_first(cluster, f"--container-device={EXTRA}", "true", user="bob"), why)


def test_an_asked_device_that_the_node_lacks_is_refused(cluster: Cluster) -> None:
    EXTRA.unlink()
    try:
        done = on_first(cluster, f"--container-device={EXTRA}", "true")
        assert_step_refused(done, f"{EXTRA} cannot be mounted: No such file or directory")
    finally:
        os.mknod(EXTRA, stat.S_IFCHR | 0o666, os.makedev(MAJOR, len(GPUS)))
        EXTRA.chmod(0o666)


@pytest.fixture
def specification(cluster: Cluster) -> Iterator[Path]:
    """
    What a vendor's tool writes for the GPUs, and a device that is no GPU: the name of a GPU is its file's number.

    Each comes with the extra device as its control device, a file of the host's, and variables.
    """

    def device(name: str, *paths: Path) -> dict[str, object]:
        return {"name": name, "containerEdits": {"deviceNodes": [{"path": str(path)} for path in paths]}}

    library = cluster.base / "etc/libgpu.so"
    library.write_text("library\n")
    edits = {
        "deviceNodes": [{"path": "/dev/gpuctl", "hostPath": str(EXTRA)}],
        "mounts": [{"hostPath": str(library), "containerPath": "/usr/lib/libgpu.so", "options": ["ro"]}],
        "env": ["GPU_LIBRARY=/usr/lib/libgpu.so", "SLURM_JOB_ID=1"],
        "hooks": [{"hookName": "createContainer", "path": "/bin/touch", "args": ["touch", f"{library}.hook"]}],
    }
    devices = [device("all", *GPUS), *(device(str(number), path) for number, path in enumerate(GPUS))]
    directory = Path("/etc/cdi")
    path = directory / "socker-test.json"
    made = not directory.exists()
    directory.mkdir(mode=0o755, exist_ok=True)
    path.write_text(
        json.dumps({"cdiVersion": "0.5.0", "kind": "socker.test/gpu", "devices": devices, "containerEdits": edits})
    )
    path.chmod(0o644)
    try:
        yield path
        assert not Path(f"{library}.hook").exists(), "a hook has run"
    finally:
        library.unlink()
        path.unlink()
        if made:
            shutil.rmtree(directory)


CDI = """\
version: 1
rules:
  - {name: gpus, effect: allow, users: [alice], gpus: socker.test/gpu, ask_devices: [socker.test/gpu=3]}
  - {name: some, effect: allow, gpus: socker.test/none, ask_devices: ["socker.test/gpu=*"]}
"""
PARTS = f"{LOOK}; ls /dev/gpuctl; cat /usr/lib/libgpu.so; echo $GPU_LIBRARY; test $SLURM_JOB_ID = 1 || echo own"
LIBRARY = "/dev/gpuctl\nlibrary\n/usr/lib/libgpu.so\nown\n"


def test_gpus_of_a_kind_come_with_what_their_specification_says(cluster: Cluster, specification: Path) -> None:
    with cluster.policy(CDI):
        done = on_first(cluster, "--gpus-per-node=small:1,big:1", "--container-gpus", "sh", "-c", PARTS)
        assert (done.returncode, done.stdout, done.stderr) == (0, seen(GPUS[0], GPUS[2]) + LIBRARY, ""), done
        none = on_first(cluster, "--gpus-per-node=small:1", "--container-gpus", "true", user="bob")
        why = f"no device of the kind socker.test/none on this node is {GPUS[2]} alone; tell your administrator"
        assert_step_refused(none, why)
        specification.chmod(0o666)
        others = "others than root can write it (mode 0666); tell your administrator"
        why = f"the device specification {specification}: {others}"
        assert_step_refused(on_first(cluster, "--gpus-per-node=small:1", "--container-gpus", "true"), why)


def test_cdi_devices_are_asked_for_by_name(cluster: Cluster, specification: Path) -> None:
    with cluster.policy(CDI):
        done = on_first(
            cluster, "--container-device=socker.test/gpu=3", "sh", "-c", "ls /dev/socker*; cat $GPU_LIBRARY"
        )
        assert (done.returncode, done.stdout) == (0, f"{GPUS[3]}\nlibrary\n"), done
        why = '--container-device is denied by rule "gpus": it names no device "socker.test/gpu=2"'
        assert_step_refused(on_first(cluster, "--container-device=socker.test/gpu=2", "true"), why)
        assert (
            on_first(cluster, "--container-device=socker.test/gpu=2", "test", "-c", str(GPUS[2]), user="bob").returncode
            == 0
        )
        why = '--container-device: this node has no device "socker.test/gpu=9"'
        assert_step_refused(on_first(cluster, "--container-device=socker.test/gpu=9", "true", user="bob"), why)
