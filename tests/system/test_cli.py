# SPDX-License-Identifier: Apache-2.0
"""The command socker on the cluster: what it shows is what Docker and Slurm have, and what it removes is gone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .cluster import IMAGE, Cluster, Result, until
from .faults import assert_step_refused, leave_behind, stopped, wait_for_no_jobs
from .registry import registry

YES, NO, USAGE, FAILED = 0, 1, 2, 3


def socker(cluster: Cluster, *words: str, user: str = "", stdin: str = "") -> Result:
    """Runs the installed command, as root unless said otherwise."""
    return cluster.run(str(cluster.prefix / "bin/socker"), *words, user=user, stdin=stdin, timeout=90)


def answer(cluster: Cluster, *words: str, user: str = "", code: int = YES) -> Any:
    """What the command says in JSON."""
    done = socker(cluster, *words, "--json", user=user)
    assert (done.returncode, done.stderr) == (code, ""), done
    return json.loads(done.stdout)


def assert_line(done: Result, line: str, *, code: int = FAILED) -> None:
    """The command failed with one line, which begins so."""
    assert (done.returncode, done.stdout) == (code, ""), done
    assert done.stderr.startswith(f"socker: {line}"), done
    assert done.stderr.count("\n") == 1, done


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


# sweep


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


# images


@pytest.fixture
def catalogue(cluster: Cluster) -> Iterator[Path]:
    """Where the test's catalogue is to be, in a directory that is root's."""
    directory = cluster.base / "etc/catalogue"
    directory.mkdir(mode=0o755)
    yield directory / "images.yaml"
    shutil.rmtree(directory)


def sync(cluster: Cluster, path: Path, *words: str) -> dict[str, list[str]]:
    """What a sync has changed."""
    found = answer(cluster, "images", "sync", "--config", str(path), "--node", "n1", *words)
    assert isinstance(found, dict)
    return found


def listed(cluster: Cluster, path: Path) -> dict[str, dict[str, Any]]:
    """The catalogue by name, as a user lists it."""
    return {each["name"]: each for each in answer(cluster, "images", "-c", str(path), user="alice")}


def test_sync_writes_what_docker_has_for_everybody_to_read(cluster: Cluster, catalogue: Path) -> None:
    added = sync(cluster, catalogue)["added"]
    tags = cluster.docker("images", "--format={{.Repository}}:{{.Tag}}").split()
    assert sorted(added) == sorted(tag for tag in tags if "<none>" not in tag)
    found = listed(cluster, catalogue)
    entry = found[IMAGE]
    identity = cluster.docker("image", "inspect", "--format={{.Id}}", IMAGE).strip()
    assert (entry["id"], entry["digest"], entry["nodes"]) == (identity, identity, ["n1"])
    shown = cluster.docker("images", "--format={{.Size}}|{{.CreatedSince}}", IMAGE).strip().split("|")
    assert [entry["size"], entry["created_since"]] == shown
    assert catalogue.stat().st_mode & 0o7777 == 0o644
    names = socker(cluster, "images", "list", "--format", "names", "-c", str(catalogue), user="alice").stdout.split()
    assert names == sorted(names)
    assert IMAGE in names
    assert cluster.srun("true", image=IMAGE).returncode == 0
    assert sync(cluster, catalogue) == {"added": [], "changed": [], "removed": []}


def test_sync_takes_dockers_filters_and_a_word(cluster: Cluster, catalogue: Path) -> None:
    assert sync(cluster, catalogue, "--filter", "reference=debian:book*")["added"] == [IMAGE]
    assert sync(cluster, catalogue, "-r", "usyb") == {
        "added": ["busybox:latest"],
        "changed": [],
        "removed": [IMAGE],
    }
    refused = socker(cluster, "images", "sync", "-c", str(catalogue), "-f", "nosuchfilter=1")
    assert_line(refused, "Docker: ")
    assert_line(socker(cluster, "images", "sync", "-c", str(catalogue), "-f", "x"), "a filter is KEY=VALUE: x")
    assert list(listed(cluster, catalogue)) == ["busybox:latest"]


def test_descriptions_and_entries_of_others_survive_a_sync(cluster: Cluster, catalogue: Path) -> None:
    sync(cluster, catalogue)
    text = catalogue.read_text()
    at = text.index(f"{IMAGE}:\n")
    desc = text.index("desc: ''", at)
    catalogue.write_text(f"{text[:desc]}desc: for everything{text[desc + 8 :]}\nby/hand:1: {{desc: mine}}\n")
    # what was written by hand counts at once, though its index is not made yet
    assert listed(cluster, catalogue)[IMAGE]["desc"] == "for everything"
    answer(cluster, "images", "sync", "--config", str(catalogue), "--node", "n2")
    found = listed(cluster, catalogue)
    assert (found[IMAGE]["desc"], found[IMAGE]["nodes"]) == ("for everything", ["n1", "n2"])
    assert found["by/hand:1"]["desc"] == "mine"


def test_a_file_of_go_socker_is_taken_over(cluster: Cluster, catalogue: Path) -> None:
    catalogue.write_text(
        "busybox:latest:\n  id: 0123456789ab\n  desc: kept\n  repository: busybox\n  tag: latest\n"
        "  created_since: 5 weeks ago\n  created_at: 2018-12-06 08:21:07 +0800 CST\n  size: 1.2MB\n"
        '<none>:<none>:\n  id: 3d8b2b1a0c5e\n  desc: ""\n  repository: <none>\n  tag: <none>\n'
        "  created_since: 2 months ago\n  created_at: 2018-11-02 08:12:43 +0800 CST\n  size: 1.13GB\n"
    )
    assert set(listed(cluster, catalogue)) == {"busybox:latest", "<none>:<none>"}
    assert "busybox:latest" in sync(cluster, catalogue)["changed"]
    assert listed(cluster, catalogue)["busybox:latest"]["desc"] == "kept"


def test_a_catalogue_is_whole_at_any_moment(cluster: Cluster, catalogue: Path) -> None:
    sync(cluster, catalogue)
    before = set(listed(cluster, catalogue))
    seen: list[Result] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.append(socker(cluster, "images", "--format", "names", "-c", str(catalogue)))

    reader = threading.Thread(target=look)
    reader.start()
    argv = cluster.argv([str(cluster.prefix / "bin/socker"), "images", "sync", "-c", str(catalogue)], user="")
    syncs = [subprocess.Popen([*argv, "--node", f"m{number}"], stdout=subprocess.DEVNULL) for number in range(4)]
    assert [each.wait(timeout=60) for each in syncs] == [0] * 4
    done.set()
    reader.join()
    assert seen
    assert {(each.returncode, each.stderr) for each in seen} == {(0, "")}
    assert all(set(each.stdout.split()) == before for each in seen)
    # each took its turn, so none was lost
    assert listed(cluster, catalogue)[IMAGE]["nodes"] == ["m0", "m1", "m2", "m3", "n1"]
    assert [path.name for path in catalogue.parent.iterdir() if path.name.endswith(".tmp")] == []


@pytest.mark.parametrize("verb", ["sync", "index"])
def test_the_catalogue_is_roots_to_write(cluster: Cluster, catalogue: Path, scratch: Path, verb: str) -> None:
    refused = socker(cluster, "images", verb, "-c", str(catalogue), user="alice")
    assert_line(refused, "only root may write the catalogue")
    path = scratch / "images.yaml"
    path.write_text("a:1: {}\n")
    refused = socker(cluster, "images", verb, "-c", str(path))
    assert refused.returncode == FAILED
    assert "it belongs to uid 20001, not to root" in refused.stderr or "others than root can write it" in refused.stderr
    assert path.read_text() == "a:1: {}\n"
    assert {each.name for each in scratch.iterdir()} == {"images.yaml"}


def test_without_docker_a_sync_changes_nothing(cluster: Cluster, catalogue: Path) -> None:
    sync(cluster, catalogue)
    before = catalogue.read_bytes(), catalogue.stat().st_ino
    with stopped(cluster, "dockerd"):
        assert_line(socker(cluster, "images", "sync", "-c", str(catalogue)), "Docker does not answer at ")
    assert before == (catalogue.read_bytes(), catalogue.stat().st_ino)


def test_a_tag_that_was_moved_is_refused_until_root_syncs(cluster: Cluster, catalogue: Path, scratch: Path) -> None:
    rules = f"version: 1\ncatalogue: {catalogue}\nrules:\n  - {{name: known, effect: allow, images: catalogue}}\n"
    with cluster.policy(rules), registry(cluster, IMAGE, scratch) as pushed:
        cluster.docker("pull", "--quiet", f"{pushed.repository}:latest")
        assert sync(cluster, catalogue, "--repo", "localhost:")["added"] == [f"{pushed.repository}:latest"]
        assert listed(cluster, catalogue)[f"{pushed.repository}:latest"]["digest"] == pushed.digest
        for image in (f"{pushed.repository}:latest", f"{pushed.repository}@{pushed.digest}"):
            assert cluster.srun("true", image=image).returncode == 0
            explained = answer(cluster, "explain", "--user", "alice", "--image", image)
            assert (explained["verdict"], explained["rule"]) == ("depends", "known")
        not_listed = f'the image "{IMAGE}" is denied: no rule allows alice the image "docker.io/library/{IMAGE}"'
        assert_step_refused(cluster.srun("true"), not_listed)
        cluster.docker("tag", "busybox:latest", f"{pushed.repository}:latest")
        moved = cluster.srun("true", image=f"{pushed.repository}:latest")
        assert moved.returncode == 1
        assert "its name leads to another image than the catalogue recorded" in moved.stderr, moved
        assert sync(cluster, catalogue, "--repo", "localhost:")["changed"] == [f"{pushed.repository}:latest"]
        assert cluster.srun("true", image=f"{pushed.repository}:latest").returncode == 0
        cluster.docker("image", "rm", f"{pushed.repository}:latest", f"{pushed.repository}@{pushed.digest}")


# check and explain


def test_check_judges_the_policy_in_force(cluster: Cluster) -> None:
    assert "the built-in policy is in force" in socker(cluster, "check", user="alice").stdout
    with cluster.policy("version: 1\nrules: []\n") as path:
        assert socker(cluster, "check").stdout == f"{path}: valid, 0 rules\n"
        path.chmod(0o666)
        refused = socker(cluster, "check")
        assert_line(refused, f"the policy file {path}: others than root can write it (mode 0666); tell", code=NO)
        assert refused.stderr.removeprefix("socker: ").strip() in cluster.srun("true").stderr


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


def with_slurm_conf(cluster: Cluster) -> contextlib.AbstractContextManager[None]:
    """The policy engine can ask Slurm, whose configuration is at no usual place."""
    return cluster.plugstack(lambda line: f"{line.rstrip()} slurm_conf={cluster.base}/etc/slurm.conf\n")


def test_explain_says_what_srun_does(cluster: Cluster) -> None:
    with cluster.policy(EXPLAINED), with_slurm_conf(cluster):
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


# doctor


def doctor(cluster: Cluster, *words: str) -> list[dict[str, str]]:
    """The doctor's findings."""
    done = socker(cluster, "doctor", "--json", *words)
    assert done.stderr == "", done
    findings: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    assert done.returncode == (NO if any(each["status"] == "fail" for each in findings) else YES)
    return findings


def bad(cluster: Cluster) -> set[str]:
    """What the doctor finds wrong, but for what is so on every devcluster."""
    return {f"{each['status']} {each['what']}" for each in doctor(cluster) if each["status"] != "ok"} - USUAL


USUAL = {"warn live-restore", "warn group docker"}


def test_the_doctor_finds_nothing_wrong_with_the_cluster(cluster: Cluster) -> None:
    assert bad(cluster) == set()
    lines = socker(cluster, "doctor").stdout.splitlines()
    assert any(line.startswith("ok    Docker: ") for line in lines)
    # without root it still says what it can
    assert "run it as root" in socker(cluster, "doctor", user="alice").stdout


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(lambda line: line.replace("required", "optional"), {"fail plugstack line"}, id="optional"),
        pytest.param(lambda _line: "# none\n", {"fail plugstack line"}, id="no line"),
        pytest.param(lambda line: f"{line}required /usr/lib/nosuch/other.so\n", {"warn plugstack line"}, id="not last"),
        pytest.param(lambda line: f"{line.rstrip()} colour=red\n", {"fail plugstack line"}, id="unknown word"),
        pytest.param(lambda line: f"{line.rstrip()} docker=/nosuch\n", {"fail Docker"}, id="no Docker"),
        pytest.param(lambda line: f"{line.rstrip()} user=nosuchuser\n", {"fail system users"}, id="no user"),
        pytest.param(lambda line: f"{line.rstrip()} user=alice\n", {"fail system users"}, id="user in other groups"),
        pytest.param(lambda line: f"{line.rstrip()} hold_user=root\n", {"fail system users"}, id="root as hold user"),
    ],
)
def test_the_doctor_finds_a_wrong_plugstack_line(
    cluster: Cluster, change: Callable[[str], str], expected: set[str]
) -> None:
    with cluster.plugstack(change):
        assert bad(cluster) >= expected
    assert bad(cluster) == set()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(lambda lib: (lib / "hold").unlink(), {"fail programs"}, id="no hold"),
        pytest.param(lambda lib: (lib / "socker-opener").chmod(0o777), {"fail programs"}, id="writable"),
        pytest.param(lambda lib: os.chown(lib / "socker-policy", 20001, 0), {"fail programs"}, id="a user's"),
        pytest.param(lambda lib: (lib / "socker.so").write_text("x"), {"fail plugin"}, id="no plugin of this Slurm"),
    ],
)
def test_the_doctor_finds_a_broken_installation(
    cluster: Cluster, change: Callable[[Path], object], expected: set[str]
) -> None:
    with cluster.installation(change):
        assert bad(cluster) == expected


@contextlib.contextmanager
def setting(cluster: Cluster, name: str, line: str) -> Iterator[None]:
    """A line more at the end of one of Slurm's files; daemons do not read it again."""
    path = cluster.base / "etc" / name
    before = path.read_text() if path.exists() else None
    path.write_text(f"{before or ''}{line}\n")
    try:
        yield
    finally:
        path.write_text(before) if before is not None else path.unlink()


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("oci.conf", "RunTimeRun=/bin/false", {"fail oci.conf"}),
        ("slurm.conf", "TaskProlog=/bin/true", {"warn TaskProlog"}),
        ("slurm.conf", "ProctrackType=proctrack/linuxproc", {"fail ProctrackType"}),
        ("slurm.conf", "PrivateData=jobs", {"warn PrivateData"}),
        ("slurm.conf", "LaunchParameters=test_exec", {"warn LaunchParameters"}),
        ("cgroup.conf", "ConstrainDevices=no", {"warn ConstrainDevices"}),
    ],
)
def test_the_doctor_finds_what_is_in_the_way(cluster: Cluster, name: str, line: str, expected: set[str]) -> None:
    with setting(cluster, name, line):
        assert bad(cluster) == expected


def test_the_doctor_finds_a_wrong_policy_and_a_wrong_catalogue(cluster: Cluster, catalogue: Path) -> None:
    with cluster.policy("version: 3\n"):
        assert bad(cluster) == {"fail policy"}
    with cluster.policy("version: 1\nrules: []\n", mode=0o600):
        assert bad(cluster) == {"fail rights"}
    with cluster.policy(f"version: 1\ncatalogue: {catalogue}\nrules: []\n"):
        assert bad(cluster) == set()
        catalogue.write_text("a:1: {}\n")
        assert bad(cluster) == {"warn catalogue"}
        assert socker(cluster, "images", "index", "-c", str(catalogue)).returncode == YES
        assert bad(cluster) == set()
        catalogue.write_text("- a\n")
        assert bad(cluster) == {"fail catalogue"}
        catalogue.parent.chmod(0o700)
        assert "fail rights" in bad(cluster)
        catalogue.parent.chmod(0o755)


def test_the_doctor_finds_dockerd_gone(cluster: Cluster) -> None:
    with stopped(cluster, "dockerd"):
        assert bad(cluster) == {"fail Docker"}


# report


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """A file that holds what the node's log gets while the test lasts, where no syslog daemon listens."""
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
                        file.write(f"n1 {listener.recv(65536).decode(errors='replace').partition('>')[2]}\n")
                        file.flush()

        keeper = threading.Thread(target=keep)
        keeper.start()
        yield path
        stop.set()
        keeper.join()
    place.unlink()


def test_report_tells_who_used_which_image(cluster: Cluster, log: Path) -> None:
    with cluster.policy(EXPLAINED), with_slurm_conf(cluster):
        assert cluster.srun("true").returncode == 0
        assert cluster.srun("true", user="bob").returncode == 1
        assert cluster.srun("true").returncode == 0
    until(lambda: log.exists() and log.read_text().count('"event"') >= 3, what="three audit lines")
    found = answer(cluster, "report", "--file", str(log))
    rows = {(each["image"], each["user"]): (each["allowed"], each["denied"]) for each in found}
    assert rows == {(IMAGE, "alice"): (2, 0), (IMAGE, "bob"): (0, 1)}
    assert all(abs(time.time() - each["last"]) < 60 for each in found)
