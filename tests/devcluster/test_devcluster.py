# SPDX-License-Identifier: Apache-2.0
"""The cluster tool itself, on clusters of its own: what comes up, what breaks, what is left after down."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DEVCLUSTER = REPOSITORY / "contrib/devcluster/devcluster"
ROOT = Path(os.environ.get("SOCKER_DEVCLUSTER_DIR", "/var/lib/socker-devcluster"))
FIRST, SECOND = "dct", "dcu"

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="starts daemons as root"),
    pytest.mark.skipif(not shutil.which("slurmctld", path="/usr/sbin"), reason="needs Slurm"),
]


def call(command: str, *words: str, name: str = FIRST, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    argv = [str(DEVCLUSTER), command, "--name", name, *words]
    env = {**os.environ, "SOCKER_DEVCLUSTER_DIR": str(root)}
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=300, check=False)


def succeed(command: str, *words: str, name: str = FIRST) -> str:
    done = call(command, *words, name=name)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def as_alice(*words: str, name: str = FIRST) -> str:
    return succeed("exec", "--user", "alice", "--", *words, name=name)


def processes(name: str) -> list[str]:
    """Command lines of the processes that were given the cluster's marker or name its directory."""
    base = str(ROOT / name)
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            words = (directory / "cmdline").read_bytes().split(b"\0")
            marked = f"SOCKER_DEVCLUSTER={base}".encode() in (directory / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if marked or any(word.decode(errors="replace").startswith(f"{base}/") for word in words):
            found.append(b" ".join(words).decode(errors="replace"))
    return found


def mounts(name: str) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {ROOT / name}/" in line]


def cgroups(name: str) -> list[Path]:
    ours = re.compile(f"slurm_{name}[0-9]+|socker-dev-{name}")
    return [path for path in Path("/sys/fs/cgroup").glob("*/*") if ours.fullmatch(path.name)]


def assert_nothing_left(name: str) -> None:
    assert processes(name) == []
    assert mounts(name) == []
    assert cgroups(name) == []


@pytest.fixture(scope="module", autouse=True)
def _no_old_clusters() -> Iterator[None]:
    for name in (FIRST, SECOND):
        succeed("down", "--purge", name=name)
    yield
    for name in (FIRST, SECOND):
        succeed("down", "--purge", name=name)


@pytest.fixture
def cluster() -> str:
    """A cluster of two nodes, up; made whole again if the test before broke it."""
    succeed("up", "--nodes", "2", "--no-socker")
    return FIRST


def test_up_runs_tasks_of_a_user_on_all_nodes(cluster: str) -> None:
    shown = as_alice("srun", "-N2", "sh", "-c", "echo $SLURMD_NODENAME $(id -u) $(hostname)")
    here = os.uname().nodename
    assert sorted(shown.splitlines()) == [f"{cluster}{n} 20001 {here}" for n in (1, 2)]


def test_up_of_a_cluster_that_is_up_says_so(cluster: str) -> None:
    assert succeed("up") == f"{cluster} is already up\n"


def test_up_with_other_options_refuses(cluster: str) -> None:
    done = call("up", "--nodes", "1", "--no-socker")
    assert done.returncode == 1
    assert f"{cluster} is up with other options" in done.stderr


def test_up_with_a_configuration_that_slurm_refuses_says_why() -> None:
    done = call("up", "--no-socker", "--conf", "SelectType=select/nonsense", name=SECOND)
    succeed("down", "--purge", name=SECOND)
    assert done.returncode == 1
    assert re.search("^slurmctld +down +not running$", done.stderr, re.MULTILINE)
    assert "select/nonsense" in done.stderr


@pytest.mark.parametrize("command", ["up", "down"])
def test_cluster_whose_name_is_taken_in_another_directory_refuses(cluster: str, command: str) -> None:
    other = ROOT.with_name("socker-devcluster-test")
    done = call(command, root=other)
    shutil.rmtree(other)
    assert done.returncode == 1
    assert f"another cluster {cluster} runs in {ROOT / cluster}" in done.stderr
    assert call("status").returncode == 0


def test_directory_that_others_can_write_to_refuses() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        done = call("up", "--no-socker", name=SECOND, root=Path(place) / "clusters")
    assert done.returncode == 1
    assert "/tmp: not a directory that only root can write" in done.stderr


@pytest.mark.parametrize("name", ["Dev", "1dev", "dev1", "d/v", "-dev", "a" * 17])
def test_name_that_no_cluster_can_have_refuses(name: str) -> None:
    done = call("status", f"--name={name}")
    assert done.returncode == 1
    assert "is no cluster name" in done.stderr


@pytest.mark.usefixtures("cluster")
def test_node_runs_eight_tasks() -> None:
    shown = as_alice("srun", "-N1", "-n8", "sh", "-c", "echo $SLURM_PROCID")
    assert sorted(shown.split()) == list("01234567")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
@pytest.mark.usefixtures("cluster")
def test_cpu_bind_gives_each_task_a_core() -> None:
    shown = as_alice("srun", "-n2", "--cpu-bind=cores", "grep", "Cpus_allowed_list", "/proc/self/status")
    assert len(set(shown.splitlines())) == 2


@pytest.mark.usefixtures("cluster")
def test_memory_limit_of_a_step_kills_and_is_reported() -> None:
    hog = ("/usr/bin/python3", "-c", "x = bytearray(300 << 20)")
    done = call("exec", "--user", "alice", "--", "srun", "--mem=50", *hog)
    assert done.returncode != 0
    assert "oom-kill event" in done.stderr


@pytest.mark.usefixtures("cluster")
def test_batch_output_is_in_the_home() -> None:
    as_alice("sbatch", "--wait", "--output=dct.out", "--wrap", "srun pwd")
    output = Path("/home/alice/dct.out")
    assert output.read_text() == "/home/alice\n"
    assert output.stat().st_uid == 20001
    output.unlink()


def test_docker_runs_a_container_below_the_cluster_cgroup(cluster: str) -> None:
    shown = succeed("exec", "--", "docker", "run", "--rm", "debian", "sh", "-c", "only-in-image; cat /proc/self/cgroup")
    assert "only-in-image\n" in shown
    assert f":/socker-dev-{cluster}/" in shown


def test_docker_is_closed_to_users(cluster: str) -> None:
    assert call("exec", "--user", "alice", "--", "docker", "ps").returncode != 0
    assert call("exec", "--user", "alice", "--", "ls", str(ROOT / cluster / "docker")).returncode != 0


@pytest.mark.usefixtures("cluster")
def test_exec_passes_the_exit_code_through() -> None:
    assert call("exec", "--user", "alice", "--", "sh", "-c", "exit 7").returncode == 7
    assert call("exec", "--", "no-such-command").returncode == 127


def test_env_can_be_evaluated(cluster: str) -> None:
    use = f"eval \"$('{DEVCLUSTER}' env --name {cluster})\""
    script = f"{use} && scontrol ping && docker info --format '{{{{.DockerRootDir}}}}'"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.splitlines()[0].endswith("is UP")
    assert done.stdout.splitlines()[1] == str(ROOT / cluster / "docker")


@pytest.mark.parametrize("daemon", ["munged", "slurmctld", "dockerd", f"{FIRST}2"])
@pytest.mark.usefixtures("cluster")
def test_status_without_a_daemon_fails_and_up_starts_it(daemon: str) -> None:
    assert call("status").returncode == 0
    succeed("kill", daemon)
    done = call("status")
    assert done.returncode == 1
    assert re.search(f"^{daemon} +down", done.stdout, re.MULTILINE)
    assert f"starting {daemon}\n" in succeed("up")
    assert call("status").returncode == 0


def test_status_with_a_drained_node_fails(cluster: str) -> None:
    node = f"{cluster}1"
    succeed("exec", "--", "scontrol", "update", f"nodename={node}", "state=drain", "reason=a test")
    done = call("status")
    succeed("exec", "--", "scontrol", "update", f"nodename={node}", "state=resume")
    assert done.returncode == 1
    assert re.search(f"^{node} +down .*drained, a test$", done.stdout, re.MULTILINE)


@pytest.mark.usefixtures("cluster")
def test_restart_makes_a_new_process() -> None:
    def pid() -> str:
        return succeed("status").partition("slurmctld")[2].partition("pid ")[2].partition("\n")[0]

    before = pid()
    succeed("restart", "slurmctld")
    succeed("up")
    assert pid() != before


def test_clusters_live_side_by_side_and_down_leaves_nothing_of_one(cluster: str) -> None:
    options = ("--conf", "KillWait=2", "--conf", "PartitionName=extra Nodes=ALL", "--plugstack", "# a comment")
    succeed("up", "--nodes", "1", "--no-socker", *options, name=SECOND)
    nodes = {name: as_alice("sinfo", "-hN", "-pmain", "-o%N", name=name).split() for name in (cluster, SECOND)}
    assert nodes == {cluster: [f"{cluster}1", f"{cluster}2"], SECOND: [f"{SECOND}1"]}
    configuration = as_alice("scontrol", "show", "config", name=SECOND)
    assert re.search(r"KillWait *= 2 sec", configuration)
    assert as_alice("sinfo", "-h", "-pextra", "-o%D", name=SECOND) == "1\n"
    as_alice("sbatch", "--wrap", "trap '' TERM; sleep 1000", name=SECOND)
    as_alice("srun", "-n1", "true", name=SECOND)
    succeed("exec", "--", "docker", "run", "--detach", "debian", "sleep", "1000", name=SECOND)
    succeed("kill", "dockerd", name=SECOND)
    assert processes(SECOND)
    assert cgroups(SECOND)
    succeed("down", name=SECOND)
    assert_nothing_left(SECOND)
    assert call("status", name=SECOND).returncode == 1
    assert call("status").returncode == 0
    as_alice("srun", "-N2", "true")


def test_down_keeps_logs_and_purge_removes_all(cluster: str) -> None:
    succeed("down")
    assert_nothing_left(cluster)
    assert (ROOT / cluster / "log/slurmctld.log").exists()
    assert not (ROOT / cluster / "run").exists()
    succeed("down", "--purge")
    assert not (ROOT / cluster).exists()


def test_accounting_charges_accounts_and_knows_qos_and_leaves_nothing() -> None:
    try:
        succeed("up", "--nodes", "1", "--no-socker", "--accounting", name=SECOND)
        assert {"mariadbd", "slurmdbd"} <= {line.split()[0] for line in succeed("status", name=SECOND).splitlines()}
        ask = 'squeue --noheader --jobs=$SLURM_JOB_ID --format="%a %q"'
        assert as_alice("srun", "--quiet", "sh", "-c", ask, name=SECOND) == "physics normal\n"
        other = ("--account=chemistry", "--qos=high")
        assert as_alice("srun", "--quiet", *other, "sh", "-c", ask, name=SECOND) == "chemistry high\n"
        for words in ("--account=physics", "--qos=high"):
            refused = call("exec", "--user", "bob", "--", "srun", words, "true", name=SECOND)
            assert refused.returncode != 0
            assert "Invalid" in refused.stderr
        kept, end = "", time.monotonic() + 20
        while set(kept.split()) != {"physics", "chemistry"}:
            # slurmctld sends what jobs have used when it has nothing else to do
            assert time.monotonic() < end, kept
            kept = succeed("exec", "--", "sacct", "-X", "--noheader", "--format=account%20", "--allusers", name=SECOND)
    finally:
        succeed("down", "--purge", name=SECOND)
    assert_nothing_left(SECOND)
