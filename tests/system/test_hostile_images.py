# SPDX-License-Identifier: Apache-2.0
"""Images that are odd or mean: what their configuration says is not done, and what their files are does not help."""

from __future__ import annotations

import json
import os
import pwd
import re
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from .cluster import Allocation, Cluster

HEALTH_INTERVAL = 1.0


def inspect(cluster: Cluster, job: Allocation) -> dict[str, Any]:
    (name,) = job.containers()
    found: list[dict[str, Any]] = json.loads(cluster.docker("inspect", name))
    return found[0]


def volumes(cluster: Cluster) -> list[str]:
    return cluster.docker("volume", "ls", "--quiet").split()


@pytest.fixture
def copies(cluster: Cluster, scratch: Path) -> Path:
    """The privileged programs of odd:devices on the host, root's, where alice can run them."""
    made = cluster.docker("create", "odd:devices").strip()
    for name in ("suid-id", "cap-id"):
        cluster.docker("cp", "--archive", f"{made}:/{name}", str(scratch))
    cluster.docker("rm", made)
    subprocess.run(["setcap", "cap_dac_override,cap_sys_admin+ep", str(scratch / "cap-id")], check=True)
    assert (scratch / "suid-id").stat().st_mode & 0o7777 == 0o4755
    return scratch


def device_nodes(place: Path) -> list[Path]:
    """Nodes there that everybody may read: a zero device, and a loop device where this machine lets root open one."""
    nodes = [place / "zero", place / "loop"]
    os.mknod(nodes[0], stat.S_IFCHR | 0o666, os.makedev(1, 5))
    os.mknod(nodes[1], stat.S_IFBLK | 0o666, os.makedev(7, 0))
    for node in nodes:
        node.chmod(0o666)
    try:
        nodes[1].open("rb").close()
    except OSError:
        nodes.pop()
    return nodes


def test_image_of_one_static_file_runs_it(cluster: Cluster, scratch: Path) -> None:
    with cluster.allocation("--ntasks=2") as job:
        done = job.srun("--ntasks=2", "/hello", "a", "b c", image="static:latest")
        assert (done.returncode, done.stdout, done.stderr) == (0, "hello from static /hello a b c\n" * 2, "")
        done = job.srun("/hello", image="static:latest", cwd=str(scratch))
        assert (done.returncode, done.stdout, done.stderr) == (0, "hello from static /hello\n", "")
        none = job.srun("sh", "-c", "echo host", image="static:latest")
        assert (none.returncode, none.stdout) == (2, "")
    batch = cluster.sbatch("#!/hello\n", "--container=static:latest")
    assert (batch.state, batch.exit) == ("COMPLETED", "0:0"), batch.output
    assert batch.output.startswith("hello from static /hello ")


@pytest.mark.short
def test_configuration_of_the_image_is_not_carried_out(cluster: Cluster) -> None:
    before = volumes(cluster)
    system = pwd.getpwnam("socker")
    with cluster.allocation() as job:
        done = job.srun("sh", "-c", "id -u; cat /vol/file 2>&1; ls /traces; touch /tmp/by-task", image="odd:config")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0] == str(pwd.getpwnam("alice").pw_uid)
        time.sleep(2.5 * HEALTH_INTERVAL)
        container = inspect(cluster, job)
        changed = cluster.docker("diff", job.containers()[0]).splitlines()
        assert job.srun("ls", "/traces", image="odd:config").stdout == ""
        assert volumes(cluster) == before
    config, host = container["Config"], container["HostConfig"]
    assert config["Entrypoint"] == ["/.socker/hold"]
    assert not config["Cmd"]
    assert config["User"] == f"{system.pw_uid}:{system.pw_gid}"
    assert config["WorkingDir"] == "/"
    assert config["Healthcheck"]["Test"] == ["NONE"]
    assert config["StopSignal"] == "SIGKILL"
    assert not config.get("Tty")
    assert not config.get("OpenStdin")
    assert container["State"]["Running"]
    assert "Health" not in container["State"]
    assert container["RestartCount"] == 0
    assert not host["Privileged"]
    assert host["CapAdd"] in (None, [])
    assert host["CapDrop"] == ["ALL"]
    assert host["Binds"] is None
    assert host["PortBindings"] in (None, {})
    assert host["LogConfig"]["Type"] == "none"
    assert host["RestartPolicy"]["Name"] == "no"
    assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
    assert not any("unconfined" in option for option in host["SecurityOpt"])
    assert {mount["Type"] for mount in container["Mounts"]} <= {"bind", "tmpfs"}
    assert {mount["Source"] for mount in container["Mounts"] if mount["Type"] == "bind"} == {
        str(cluster.prefix / "lib/socker" / program) for program in ("hold", "entry")
    }
    assert "A /tmp/by-task" in changed
    assert not any("ran" in line.rpartition("/")[2] for line in changed), changed
    assert volumes(cluster) == before


def test_labels_of_the_image_are_not_believed(cluster: Cluster) -> None:
    with cluster.allocation() as job:
        assert job.srun("true", image="odd:hostile").returncode == 0
        time.sleep(1.5 * HEALTH_INTERVAL)
        labels = inspect(cluster, job)["Config"]["Labels"]
        assert labels["io.socker.job"] == str(job.id)
        assert labels["io.socker.uid"] == str(pwd.getpwnam("alice").pw_uid)
        assert re.fullmatch("[0-9a-f]{32}", labels["io.socker.token"])
        assert not any("health-ran" in line for line in cluster.docker("diff", job.containers()[0]).splitlines())
    # and the job's end finds it all the same
    cluster.assert_clean()


def test_accounts_and_variables_of_the_image_do_not_reach_slurm_or_who_the_user_is(cluster: Cluster) -> None:
    script = "id -u; id -G; env; sleep 1; echo end"
    with cluster.allocation() as job:
        with job.popen("sh", "-c", f"echo $PPID; {script}", image="odd:hostile") as step:
            assert step.stdout
            parent = int(step.stdout.readline())
            around = Path(f"/proc/{parent}/environ").read_bytes()
            assert Path(f"/proc/{parent}/comm").read_text() == "slurmstepd\n"
            out, err = step.communicate(timeout=20)
        assert step.returncode == 0, err
    uid, groups, *lines = out.splitlines()[:-1]
    assert uid == str(pwd.getpwnam("alice").pw_uid)
    assert "0" not in groups.split()
    inside = dict(line.split("=", 1) for line in lines)
    assert inside["LD_PRELOAD"] == "/evil.so"
    assert inside["GLIBC_TUNABLES"] == "glibc.malloc.check=3"
    assert inside["PATH"] == "/evil/bin:/bin"
    assert inside["SLURM_JOB_ID"] == str(job.id)
    assert inside["SLURM_CONTAINER"] == "odd:hostile"
    assert inside["HOME"] == "/home/alice"
    assert "PMI_RANK" not in inside
    assert b"evil" not in around


@pytest.mark.short
def test_device_nodes_cannot_be_opened_in_a_container(cluster: Cluster, scratch: Path) -> None:
    """T01: neither those of the image nor the user's; the same nodes open in a plain step, so nothing else stops it."""
    read = 'for node in {}; do test -r $node && echo readable; head -c 4 $node > /dev/null && echo "opened $node"; done'
    nodes = device_nodes(scratch)
    paths = " ".join(map(str, nodes))
    with cluster.allocation() as job:
        own = job.srun(
            "sh", "-c", f"{read.format('/blk /mem')}; test -b /blk && test -c /mem && echo there", image="odd:devices"
        )
        assert (own.returncode, own.stdout.splitlines()[-1]) == (0, "there")
        assert "opened" not in own.stdout
        assert own.stderr.count("Permission denied") == 2, own.stderr
        plain = job.srun("sh", "-c", read.format(paths), image=None)
        assert plain.stdout == "".join(f"readable\nopened {node}\n" for node in nodes), plain.stderr
        bound = job.srun("sh", "-c", read.format(paths), cwd=str(scratch))
        assert "opened" not in bound.stdout
        assert bound.stderr.count("Permission denied") == len(nodes), bound.stderr
        made = job.srun(
            "sh", "-c", "mknod /tmp/node c 1 5; head -c 4 /dev/zero | wc -c; echo x > /dev/null && echo written"
        )
        assert made.stdout == "4\nwritten\n"
        assert "Operation not permitted" in made.stderr


@pytest.mark.short
def test_set_user_id_and_capabilities_of_files_give_nothing(cluster: Cluster, copies: Path) -> None:
    """T10: in the image and in the user's directory; a plain step gets what the same file gives."""
    alice = pwd.getpwnam("alice").pw_uid
    none = f"{alice} {alice}\n{'0' * 16}\n"
    with cluster.allocation() as job:
        own = job.srun("sh", "-c", "/suid-id; /cap-id", image="odd:devices")
        assert (own.stdout, own.stderr) == (none, "")
        bound = job.srun("sh", "-c", "./suid-id; ./cap-id", cwd=str(copies))
        assert (bound.stdout, bound.stderr) == (none, "")
        plain = job.srun("sh", "-c", "./suid-id; ./cap-id", image=None, cwd=str(copies))
        effective, capabilities = plain.stdout.splitlines()
        assert effective == f"{alice} 0"
        assert int(capabilities, 16) != 0


@pytest.mark.short
@pytest.mark.parametrize("image", ["debian:bookworm", "odd:config", "odd:devices", "odd:homelink", "static:latest"])
def test_every_mount_is_nosuid_and_nodev_but_dev_and_its_terminals(cluster: Cluster, scratch: Path, image: str) -> None:
    with cluster.allocation() as job:
        # as the hold process sees it, since not every image has a tool for it
        assert job.srun("/hello" if image == "static:latest" else "true", image=image, cwd=str(scratch)).returncode == 0
        shown = Path(f"/proc/{inspect(cluster, job)['State']['Pid']}/mountinfo").read_text()
    mounts = {line.split()[4]: set(line.split()[5].split(",")) for line in shown.splitlines()}
    home = "/mnt/realhome/alice" if image == "odd:homelink" else "/home/alice"
    assert mounts.keys() >= {"/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/sys", "/.socker/hold", home, str(scratch)}
    assert {point for point, options in mounts.items() if "nosuid" not in options} == set()
    assert {point for point, options in mounts.items() if "nodev" not in options} == {"/dev", "/dev/pts"}


def test_devices_in_dev_are_the_harmless_ones_only(cluster: Cluster) -> None:
    done = cluster.srun("find", "/dev", "(", "-type", "b", "-o", "-type", "c", ")", "-not", "-path", "/dev/pts/*")
    assert set(done.stdout.split()) == {
        f"/dev/{name}" for name in ("full", "null", "ptmx", "random", "tty", "urandom", "zero")
    }


def test_home_that_leads_through_proc_is_not_followed(cluster: Cluster) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    with cluster.allocation() as job:
        done = job.srun(
            "sh", "-c", "pwd; ls -d /home/alice; readlink /home; cat /proc/self/mountinfo", image="odd:symlinks"
        )
        assert done.returncode == 0, done.stderr
        assert re.search(r"socker: /home/alice is not mounted in the container: \S", done.stderr)
        where, link, *mounts = done.stdout.splitlines()
        assert (where, link) == ("/", "/proc/self/cwd")
        assert not any("alice" in line for line in mounts)
        during = Path("/proc/self/mountinfo").read_text()
    new = {line.split()[4] for line in during.splitlines()} - {line.split()[4] for line in before.splitlines()}
    assert not any("alice" in point for point in new)


def test_root_of_the_image_cannot_be_written_by_the_user(cluster: Cluster) -> None:
    tried = "touch /new /etc/new /usr/bin/new /.socker/hold; rm -f /etc/passwd; chmod 777 /etc; echo x >> /etc/passwd"
    done = cluster.srun("sh", "-c", f"{tried}; ls /new /etc/new /usr/bin/new; cat /etc/socker-image")
    assert done.stdout == "debian:bookworm\n"
    assert done.stderr.count("denied") + done.stderr.count("Read-only") + done.stderr.count("not permitted") >= 6, (
        done.stderr
    )
