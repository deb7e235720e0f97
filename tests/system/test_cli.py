# SPDX-License-Identifier: Apache-2.0
"""The command socker on the cluster: what it shows is what Docker and Slurm have, and what it removes is gone."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import IMAGE, REPOSITORY, Cluster, until
from .command import NO, YES, answer, assert_line, doctor, socker
from .faults import assert_step_refused, leave_behind, stopped, wait_for_no_jobs

# As it is installed


def test_the_command_is_isolated_from_the_callers_python(cluster: Cluster, scratch: Path) -> None:
    (scratch / "socker").mkdir()
    (scratch / "socker/__init__.py").write_text("raise SystemExit('the wrong one')\n")
    (scratch / "click.py").write_text("raise SystemExit('the wrong one')\n")
    done = cluster.run(
        str(cluster.prefix / "bin/socker"),
        "--version",
        cwd=str(scratch),
        env={"PYTHONPATH": str(scratch), "PYTHONSTARTUP": str(scratch / "click.py"), "PYTHONHOME": "/nosuch"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (YES, "socker, version 0.1.0\n", "")


def test_what_make_install_put_in_place_is_whole(cluster: Cluster) -> None:
    share = cluster.prefix / "share"
    for shell, path, program in (
        ("bash", "bash-completion/completions/socker", "/bin/bash"),
        ("zsh", "zsh/site-functions/_socker", None),
        ("fish", "fish/vendor_completions.d/socker.fish", None),
    ):
        assert f"_SOCKER_COMPLETE={shell}_complete" in (share / path).read_text()
        if program:
            assert subprocess.run([program, "-n", str(share / path)], check=False).returncode == 0
    assert ".SH Exit codes" in (share / "man/man1/socker.1").read_text()
    unit = (cluster.prefix / "lib/systemd/system/socker-sweep.service").read_text()
    assert f"\nExecStart={cluster.prefix}/bin/socker sweep\n" in unit
    assert (cluster.prefix / "lib/systemd/system/socker-sweep.timer").exists()


def test_uninstall_takes_away_what_install_put_in_place(cluster: Cluster, tmp_path: Path) -> None:
    where = [f"DESTDIR={tmp_path}", "PREFIX=/opt/socker", "SYSCONFDIR=/etc"]
    for verb in ("install", "uninstall"):
        done = subprocess.run(
            ["make", f"--directory={REPOSITORY}", verb, *where], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir()]
        assert ("opt/socker/bin/socker" in left) is (verb == "install")
    assert left == []


def test_bash_completes_verbs_and_options(cluster: Cluster) -> None:
    script = (
        f"PATH={cluster.prefix}/bin:$PATH; source {cluster.prefix}/share/bash-completion/completions/socker; "
        "COMP_WORDS=(socker swe); COMP_CWORD=1; _socker_completion socker; echo ${COMPREPLY[@]}; "
        "COMPREPLY=(); COMP_WORDS=(socker sweep --dr); COMP_CWORD=2; _socker_completion socker; echo ${COMPREPLY[@]}"
    )
    assert cluster.run("bash", "-c", script).stdout == "sweep\n--dry-run\n"


# ps


def test_ps_shows_containers_with_job_user_image_and_age(cluster: Cluster) -> None:
    cluster.docker("create", "--name=foreign", "--label=io.socker.token=other", "--label=io.socker.job=1", IMAGE, "x")
    try:
        with cluster.allocation("--nodes=2") as job, cluster.allocation(user="bob") as other:
            assert job.srun("--ntasks=2", "true").returncode == 0
            assert other.srun("true", image="busybox:latest").returncode == 0
            found = answer(cluster, "ps")
            rows = sorted((each["job"], each["user"], each["node"], each["state"]) for each in found)
            names = {each["name"] for each in found}
            assert names == set(cluster.containers()) - {"foreign"}
            assert [row[:2] for row in rows] == [(job.id, "alice"), (job.id, "alice"), (other.id, "bob")]
            assert len({row[2] for row in rows[:2]}) == 2
            assert {row[2] for row in rows} <= set(cluster.nodes)
            assert {row[3] for row in rows} == {"running"}
            # the image has two names, and either is one of its own
            assert {each["image"] for each in found} <= {IMAGE, "debian:latest", "busybox:latest"}
            assert all(abs(time.time() - each["created"]) < 60 for each in found)
            lines = socker(cluster, "ps").stdout.splitlines()
            assert lines[0].split() == ["JOB", "USER", "IMAGE", "AGE", "NODE", "STATE", "CONTAINER"]
            assert len(lines) == 4
        wait_for_no_jobs(cluster)
    finally:
        cluster.docker("rm", "foreign")
    assert answer(cluster, "ps") == []


def test_ps_needs_docker_and_says_so(cluster: Cluster) -> None:
    where = f"Docker does not answer at {cluster.base}/run/docker.sock"
    assert_line(socker(cluster, "ps", user="alice"), f"{where}: permission denied")
    with stopped(cluster, "dockerd"):
        assert_line(socker(cluster, "ps"), where)


# Sweep


def test_sweep_shows_and_then_removes_what_an_epilog_left(cluster: Cluster) -> None:
    job, node = leave_behind(cluster), cluster.nodes[0]
    before = cluster.containers(), cluster.records()
    assert answer(cluster, "sweep", "--dry-run") == [{"job": job, "node": node, "removed": False}]
    assert before == (cluster.containers(), cluster.records())
    done = socker(cluster, "--verbose", "sweep")
    assert (done.returncode, done.stdout) == (YES, f"closed job {job} on {node}\n"), done
    assert done.stderr.startswith(f"socker: {cluster.prefix}/lib/socker/socker-opener sweep state=")
    cluster.assert_clean(seconds=5)
    assert answer(cluster, "sweep") == []


def test_two_sweeps_at_once_and_beside_epilogs_are_safe(cluster: Cluster) -> None:
    left = leave_behind(cluster)
    with cluster.allocation() as job:
        assert job.srun("true").returncode == 0
        argv = cluster.argv([str(cluster.prefix / "bin/socker"), "sweep"], user="")
        sweeps = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        cluster.run("scancel", str(job.id), user="")
        ended = [(*each.communicate(timeout=60), each.returncode) for each in sweeps]
    wait_for_no_jobs(cluster)
    assert [(err, code) for _, err, code in ended] == [("", YES)] * 2, ended
    assert any(f"closed job {left} on " in out for out, _, _ in ended)
    cluster.assert_clean(seconds=5)


def test_without_slurmctld_a_sweep_removes_nothing(cluster: Cluster) -> None:
    leave_behind(cluster)
    before = cluster.containers(), cluster.records()
    quick = cluster.base / "etc/quick.conf"
    quick.write_text(f"{(cluster.base / 'etc/slurm.conf').read_text()}\nMessageTimeout=1\n")
    with stopped(cluster, "slurmctld"):
        done = socker(cluster, "sweep", "--slurm-conf", str(quick))
        assert_line(done, "nothing is removed: scontrol failed (1): ", code=NO)
        finding = next(each for each in doctor(cluster, "--slurm-conf", str(quick)) if each["what"] == "slurmctld")
        assert finding["status"] == "fail"
    quick.unlink()
    assert before == (cluster.containers(), cluster.records())
    assert socker(cluster, "sweep").returncode == YES
    cluster.assert_clean(seconds=5)


def test_sweep_is_roots(cluster: Cluster) -> None:
    assert_line(socker(cluster, "sweep", user="alice"), "only root may sweep; run it as root")


# Check and explain


def test_check_judges_the_policy_in_force(cluster: Cluster) -> None:
    assert "the built-in policy is in force" in socker(cluster, "check", user="alice").stdout
    with cluster.policy("version: 1\nrules: []\n") as path:
        assert socker(cluster, "check").stdout == f"{path}: valid, 0 rules\n"
        path.chmod(0o666)
        refused = socker(cluster, "check")
        assert_line(refused, f"the policy file {path}: others than root can write it (mode 0666); tell", code=NO)
        assert refused.stderr.removeprefix("socker: ").strip() in cluster.srun("true").stderr


def test_an_index_of_the_policy_is_of_one_state_of_it(cluster: Cluster) -> None:
    with cluster.policy("version: 1\nrules:\n  - {name: all, effect: allow}\n") as path:
        index = path.with_name(".policy.yaml.index")
        index.unlink(missing_ok=True)
        assert_line(socker(cluster, "check", "--index", user="alice"), "only root may write the index of a policy")
        assert not index.exists()
        assert socker(cluster, "check", "--index").returncode == YES
        assert index.stat().st_mode & 0o7777 == 0o644
        assert cluster.srun("true").returncode == 0
        path.write_text("version: 1\nrules:\n  - {name: none, effect: deny, reason: not today}\n")
        assert_step_refused(cluster.srun("true"), f'the image "{IMAGE}" is denied by rule "none": not today')
        index.unlink()


EXPLAINED = """\
version: 1
defaults:
  mounts: {home: true}
rules:
  - {name: no-latest, effect: deny, images: ["**:latest"], reason: name a version of it}
  - {name: not-for-bob, effect: deny, users: [bob], images: ["debian:*"], reason: ask alice}
  - {name: project, effect: allow, groups: [bobproj], images: ["odd:*"]}
  - {name: main, effect: allow, partitions: [main], images: ["debian:*"]}
"""


def test_explain_says_what_srun_does(cluster: Cluster) -> None:
    with cluster.policy(EXPLAINED):
        for user in ("alice", "bob"):
            for image in (IMAGE, "debian", "odd:config", "busybox:latest", "nosuch:1"):
                words = ("--user", user, "--image", image, "--partition", "main")
                done = socker(cluster, "explain", *words, "--json")
                found = json.loads(done.stdout)
                ran = cluster.srun("true", image=image, user=user)
                assert (found["verdict"] == "allow") is (ran.returncode == 0), (found, ran)
                assert done.returncode == (YES if found["verdict"] == "allow" else NO)
                if ran.returncode:
                    assert found["reason"] in ran.stderr


def test_explain_needs_neither_docker_nor_slurm_nor_root(cluster: Cluster) -> None:
    with cluster.policy(EXPLAINED), stopped(cluster, "dockerd"), stopped(cluster, "slurmctld"):
        found = answer(cluster, "explain", "--image", IMAGE, "--partition", "main", user="alice")
    assert (found["user"], found["verdict"], found["rule"]) == ("alice", "allow", "main")
    assert found["plan"]["mounts"] == ["/home/alice"]


# Report


@pytest.fixture
def log(cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    """A file with what the cluster's nodes tell the host's log while the test lasts; no syslog daemon listens."""
    path, place = tmp_path / "auth.log", Path("/dev/log")
    assert not place.exists(), "a syslog daemon listens: its file has to be looked at"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(place))
        place.chmod(0o666)
        listener.settimeout(0.2)
        stop = threading.Event()

        def keep() -> None:
            with path.open("a") as file:
                while not stop.is_set():
                    with contextlib.suppress(TimeoutError):
                        line = listener.recv(65536).decode(errors="replace").partition(">")[2]
                        # other clusters of the machine have the same log
                        if f'"node": "{cluster.name}' in line:
                            file.write(f"n1 {line}\n")
                            file.flush()

        keeper = threading.Thread(target=keep)
        keeper.start()
        yield path
        stop.set()
        keeper.join()
    place.unlink()


def test_report_tells_who_used_which_image(cluster: Cluster, log: Path) -> None:
    with cluster.policy(EXPLAINED):
        assert cluster.srun("true").returncode == 0
        assert cluster.srun("true", user="bob").returncode == 1
        assert cluster.srun("true").returncode == 0
    until(lambda: log.exists() and log.read_text().count('"event"') >= 3, what="three audit lines")
    found = answer(cluster, "report", "--file", str(log))
    rows = {(each["image"], each["user"]): (each["allowed"], each["denied"]) for each in found}
    assert rows == {(IMAGE, "alice"): (2, 0), (IMAGE, "bob"): (0, 1)}
    assert all(abs(time.time() - each["last"]) < 60 for each in found)
