# SPDX-License-Identifier: Apache-2.0
"""The options beside --container: what each does, who may give it, and how a wrong one ends."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .cluster import IMAGE, Allocation, Cluster, Result
from .faults import assert_step_refused

CLIENTS = ((("srun",), ("true",)), (("salloc", "--quiet"), ("true",)), (("sbatch",), ("--wrap=true",)))


def inside(cluster: Cluster, *words: str, script: str, **options: object) -> str:
    """The output of a shell script in a container, which must succeed without a word."""
    done = cluster.srun(*words, "sh", "-c", script, **options)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def refused(cluster: Cluster, *words: str, reason: str, **options: object) -> None:
    """A step with these options is refused on its node with this reason."""
    assert_step_refused(cluster.srun(*words, "touch", "/tmp/never", **options), reason)


def client_refused(done: Result, said: str) -> None:
    """The client ended with one line, before anything was submitted."""
    assert (done.returncode, done.stdout) == (1, ""), done
    assert done.stderr.split("error: ", 1)[1] == f"socker: {said}\n"


@pytest.fixture
def tree(scratch: Path) -> Path:
    """A directory of alice with a file and a directory in it."""
    (scratch / "sub").mkdir()
    (scratch / "file").write_text("of the host\n")
    (scratch / "sub/deep").write_text("deep\n")
    for path in (scratch / "sub", scratch / "file", scratch / "sub/deep"):
        os.chown(path, pwd.getpwnam("alice").pw_uid, pwd.getpwnam("alice").pw_gid)
    return scratch


@pytest.fixture
def job(cluster: Cluster) -> Iterator[Allocation]:
    with cluster.allocation("--ntasks=2") as allocation:
        yield allocation


# -- mounts


def test_mounts_put_directories_and_files_where_they_are_wanted(cluster: Cluster, tree: Path) -> None:
    mounts = f"--container-mounts={tree}:/data/in/it,{tree}/file:/etc/motd.d/file"
    script = "cat /data/in/it/sub/deep /etc/motd.d/file; echo new > /data/in/it/new"
    assert inside(cluster, mounts, script=script) == "deep\nof the host\n"
    assert (tree / "new").read_text() == "new\n"
    assert (tree / "new").owner() == "alice"


def test_mount_of_a_source_alone_has_its_own_path(cluster: Cluster, tree: Path) -> None:
    assert inside(cluster, f"--container-mounts={tree}", script=f"cat {tree}/file", cwd="/") == "of the host\n"


def test_mount_that_is_read_only_cannot_be_written(cluster: Cluster, tree: Path) -> None:
    script = "cat /data/file; touch /data/x 2>&1; touch /data/sub/x 2>&1; true"
    shown = inside(cluster, f"--container-mounts={tree}:/data:ro", script=script, cwd="/")
    assert shown.count("Read-only file system") == 2
    assert not (tree / "x").exists()


def test_mounts_of_mounts_are_there_and_bind_does_not_uncover_what_they_hide(cluster: Cluster, tree: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(tree / "sub")], check=True)
    try:
        (tree / "sub/of-the-mount").touch()
        both = f"--container-mounts={tree}:/all,{tree}:/ro:ro+rbind"
        shown = inside(cluster, both, script="ls /all/sub /ro/sub; touch /ro/sub/x 2>&1; true", cwd="/")
        why = f"{tree} cannot be mounted with bind: something is mounted below it, and what that hides would be seen"
        refused(cluster, f"--container-mounts={tree}:/flat:bind", reason=f"{why}; leave bind out")
    finally:
        subprocess.run(["umount", str(tree / "sub")], check=True)
    listed, _, said = shown.partition("/ro/sub:\n")
    assert listed == "/all/sub:\nof-the-mount\n\n"
    assert "of-the-mount" in said
    assert "Read-only file system" in said
    assert inside(cluster, f"--container-mounts={tree}:/flat:bind", script="cat /flat/sub/deep") == "deep\n"


def test_relative_source_is_taken_from_the_directory_of_the_step(cluster: Cluster, tree: Path) -> None:
    script = "cat /data/deep; cat /up/file"
    mounts = "--container-mounts=sub:/data,./sub/..:/up"
    assert inside(cluster, mounts, script=script, cwd=str(tree)) == "deep\nof the host\n"


def test_spaces_colons_and_commas_are_part_of_a_path_when_escaped(cluster: Cluster, tree: Path) -> None:
    odd = tree / "a b:c,d"
    odd.mkdir()
    (odd / "x").write_text("odd\n")
    escaped = str(odd).replace(":", r"\:").replace(",", r"\,")
    mounts = rf"--container-mounts={escaped}:/in\:side\,with space"
    assert inside(cluster, mounts, script="cat '/in:side,with space/x'") == "odd\n"


def test_tmpfs_is_empty_and_writable_and_gone_with_the_job(cluster: Cluster, tree: Path) -> None:
    mounts = f"--container-mounts=tmpfs:/scratch,tmpfs:{tree}"
    script = f"ls -A /scratch; ls -A {tree}; touch /scratch/x {tree}/x; stat -f -c %T /scratch"
    assert inside(cluster, mounts, script=script) == "tmpfs\n"
    assert not (tree / "x").exists()


def test_mount_may_cover_what_is_in_another(cluster: Cluster, tree: Path) -> None:
    mounts = f"--container-mounts={tree}:/data,{tree}/file:/data/sub/deep"
    assert inside(cluster, mounts, script="cat /data/sub/deep") == "of the host\n"


@pytest.mark.parametrize(
    ("mounts", "reason"),
    [
        ("/nosuch/dir:/data", "/nosuch/dir cannot be mounted: No such file or directory"),
        ("/root:/data", "/root cannot be mounted: Permission denied"),
        ("/:/host", "/ cannot be mounted: Operation not permitted"),
        ("/proc:/data", "/proc cannot be mounted: Operation not permitted"),
        ("/proc/self/root:/data", "/proc/self/root cannot be mounted: Too many levels of symbolic links"),
        ("/sys/fs/cgroup:/data", "/sys/fs/cgroup cannot be mounted: Operation not permitted"),
        ("/dev/null:/data", "/dev/null cannot be mounted: it is neither a file nor a directory"),
        ("/dev/pts:/data", "/dev/pts cannot be mounted: Operation not permitted"),
        ("/srv:/", "nothing can be mounted at / in a container; choose another target"),
        ("/srv:/proc", "nothing can be mounted at /proc in a container; choose another target"),
        ("/srv:/x/../proc/sys", "nothing can be mounted at /proc/sys in a container; choose another target"),
        ("/srv:/sys/x", "nothing can be mounted at /sys/x in a container; choose another target"),
        ("/srv:/dev/shm", "nothing can be mounted at /dev/shm in a container; choose another target"),
        ("/srv:/.socker/hold", "nothing can be mounted at /.socker/hold in a container; choose another target"),
        ("/srv:/run/socker", "nothing can be mounted at /run/socker in a container; choose another target"),
        ("/srv:/etc/socker-image", "nothing can be mounted at /etc/socker-image in this container: Not a directory"),
        ("/srv:data", '--container-mounts: "/srv:data": the target is no absolute path'),
        ("/srv:/data:x", '--container-mounts: "/srv:/data:x": there is no flag "x"; there are ro, rw, bind, rbind'),
        ("/srv:/data:ro+rw", '--container-mounts: "/srv:/data:ro+rw": it says both ro and rw'),
        (":/data", '--container-mounts: ":/data": source or target is empty'),
        ("/srv:", '--container-mounts: "/srv:": source or target is empty'),
        ("/srv,,/opt", '--container-mounts: "": source or target is empty'),
        ("tmpfs", '--container-mounts: "tmpfs": a tmpfs has a target and nothing else'),
        ("/a:/b:ro:/c", None),
        ("/srv\\", '--container-mounts: "/srv\\": a backslash stands at its end'),
    ],
)
def test_mount_that_cannot_be_is_refused(cluster: Cluster, mounts: str, reason: str | None) -> None:
    more = '"/a:/b:ro:/c": it has more than source, target and flags; a colon in a path needs a backslash'
    refused(cluster, f"--container-mounts={mounts}", reason=reason or f"--container-mounts: {more}")


def test_sockets_are_no_source_whoever_owns_them(cluster: Cluster) -> None:
    socket = cluster.base / "run/docker.sock"
    done = cluster.srun(f"--container-mounts={socket}:/docker.sock", "true")
    assert done.returncode == 1
    assert f"{socket} cannot be mounted: " in done.stderr


def test_more_mounts_than_there_is_room_for_are_refused(cluster: Cluster) -> None:
    mounts = ",".join(f"/srv:/m{number}" for number in range(129))
    done = cluster.srun(f"--container-mounts={mounts}", "true")
    assert done.returncode == 1
    assert "mounts are asked for; a container takes at most 128" in done.stderr


def test_links_that_change_meanwhile_never_lead_to_what_the_user_cannot_read(cluster: Cluster, tree: Path) -> None:
    """SECURITY T27 to T29: the link is flipped between a directory of the user's and one that only root may enter."""
    closed = tree / "closed"
    closed.mkdir(mode=0o700)
    (closed / "secret").write_text("secret\n")
    flipper = (
        "import os\n"
        f"os.chdir({str(tree)!r})\n"
        "os.symlink('sub', 'link')\n"
        "print(flush=True)\n"
        "for number in range(10**9):\n"
        "    os.symlink(('closed', 'sub', '/etc/..')[number % 3], 'new')\n"
        "    os.rename('new', 'link')\n"
        "    if number == 10000: print('enough', flush=True)\n"
    )
    with cluster.popen("/usr/bin/python3", "-c", flipper) as attacker:
        assert attacker.stdout
        attacker.stdout.readline()
        try:
            outcomes = [
                cluster.srun(f"--container-mounts={tree}/link:/m{number}", "sh", "-c", "cat /m*/secret; ls /m*/shadow*")
                for number in range(20)
            ]
            assert attacker.stdout.readline() == "enough\n"
        finally:
            cluster.run("pkill", "-u", "alice", "-f", "os.rename", user="")
            attacker.wait(10)
    assert not any("secret" in done.stdout for done in outcomes)
    assert len({done.returncode for done in outcomes}) > 1, "the attacker never won nor lost"


def test_target_that_a_link_of_the_image_leads_to_proc_is_refused(cluster: Cluster) -> None:
    refused(
        cluster,
        "--container-mounts=/srv:/home/x",
        image="odd:symlinks",
        reason="nothing can be mounted at /home/x in this container: Too many levels of symbolic links",
    )


def test_target_that_a_link_of_the_user_leads_to_the_root_is_refused(cluster: Cluster, tree: Path) -> None:
    """What lay there would be the root of root's own visits, which make what is missing in it (T29)."""
    (tree / "way").symlink_to("/")
    refused(
        cluster,
        f"--container-mounts={tree},/srv:{tree}/way,{tree}/sub:/made-by-root",
        reason=f"nothing can be mounted at {tree}/way in this container: Operation not permitted",
    )
    assert not Path("/srv/made-by-root").exists()
    assert not Path("/srv/etc").exists()


# -- policy


RULE = """
version: 1
site_mounts:
  data: {{source: {tree}/sub, target: /site/data, read_only: true, default: false}}
rules:
  - name: few
    effect: allow
    mounts: {{home: false, sources: [{tree}/sub], site: [data]}}
    read_only: true
"""


def test_mounts_lie_below_what_policy_names_and_no_link_leads_out(cluster: Cluster, tree: Path) -> None:
    (tree / "sub/out").symlink_to("../file")
    (tree / "sub/in").symlink_to("deep")
    with cluster.policy(RULE.format(tree=tree)):
        assert inside(cluster, f"--container-mounts={tree}/sub/in:/x", script="cat /x", cwd="/") == "deep\n"
        why = f"{tree}/sub/out cannot be mounted: a link in it leads out of what policy allows"
        refused(cluster, f"--container-mounts={tree}/sub/out:/x", reason=why)
        outside = f'"{tree}/file" is in none of the directories that it lets users mount ({tree}/sub)'
        refused(
            cluster,
            f"--container-mounts={tree}/file:/x",
            reason=f'--container-mounts is denied by rule "few": {outside}',
        )
        home = '--container-mount-home is denied by rule "few": it does not let users mount "/home/alice"'
        refused(cluster, "--container-mount-home", reason=home)
        writable = '--container-writable is denied by rule "few": its containers are read-only'
        refused(cluster, "--container-writable", reason=writable)


def test_site_s_mount_is_asked_for_by_its_name(cluster: Cluster, tree: Path) -> None:
    with cluster.policy(RULE.format(tree=tree)):
        script = "cat /site/data/deep; touch /site/data/x 2>/dev/null || echo read-only"
        assert inside(cluster, "--container-mounts=data", script=script, cwd="/") == "deep\nread-only\n"
        assert inside(cluster, "--container-mounts=data:/d", script="cat /d/deep", cwd="/") == "deep\n"
        assert inside(cluster, script="ls -d /site 2>&1 || true", cwd="/").endswith("No such file or directory\n")


# -- home


def test_home_is_mounted_or_not_as_asked(cluster: Cluster) -> None:
    marker = Path("/home/alice/marker-of-home")
    marker.touch()
    try:
        script = f"test -e {marker} && echo there || echo absent"
        assert inside(cluster, script=script, cwd="/") == "there\n"
        assert inside(cluster, "--no-container-mount-home", script=script, cwd="/") == "absent\n"
        with cluster.policy("version: 1\nrules:\n- {name: r, effect: allow, mounts: {sources: any}}\n"):
            assert inside(cluster, script=script, cwd="/") == "absent\n"
            assert inside(cluster, "--container-mount-home", script=script, cwd="/") == "there\n"
    finally:
        marker.unlink()


# -- workdir, env


def test_workdir_must_exist_and_is_the_task_s(cluster: Cluster, scratch: Path) -> None:
    assert inside(cluster, "--container-workdir=/usr/bin", script="pwd", cwd=str(scratch)) == "/usr/bin\n"
    why = "the working directory /nosuch is none in the container: No such file or directory"
    refused(cluster, "--container-workdir=/nosuch", reason=why)
    refused(cluster, "--container-workdir=usr", reason='--container-workdir: "usr" is not an absolute path')


def test_steps_that_differ_in_workdir_and_env_share_a_container(job: Allocation) -> None:
    for words in ((), ("--container-workdir=/usr",), ("--container-env=PATH",), ("--container-entrypoint",)):
        assert job.srun(*words, "true").returncode == 0
    assert len(job.containers()) == 1


def test_env_names_variables_whose_value_is_the_job_s(cluster: Cluster) -> None:
    script = 'echo "$FOO $BAR"'
    mine = {"FOO": "from-job", "BAR": "mine"}
    assert inside(cluster, script=script, image="odd:config", env=mine) == "from-image mine\n"
    assert inside(cluster, "--container-env=BAR,FOO", script=script, image="odd:config", env=mine) == "from-job mine\n"
    assert inside(cluster, "--container-env=FOO", script=script, image="odd:config") == "from-image \n"
    assert inside(cluster, "--container-env=FO,OO", script=script, image="odd:config", env=mine) == "from-image mine\n"
    refused(cluster, "--container-env=FOO,1x", reason='--container-env: not the name of a variable: "1x"')


# -- names


def test_steps_of_one_name_share_a_container_and_others_do_not(job: Allocation) -> None:
    first = job.srun("--container-name=mine", "sh", "-c", "echo kept > /tmp/kept")
    assert first.returncode == 0, first.stderr
    other = ("--container-name=mine", "--container-workdir=/tmp")
    assert job.srun(*other, "cat", "kept").stdout == "kept\n"
    assert job.srun("--container-name=mine:exec", "cat", "/tmp/kept").stdout == "kept\n"
    assert job.srun("--container-name=ro", "--container-readonly", "--no-container-mount-home", "true").returncode == 0
    later = job.srun("--ntasks=1", "--container-name=ro", "--container-readonly", "touch", "/x")
    assert "Read-only file system" in later.stderr
    assert "Read-only file system" in job.srun("--ntasks=1", "--container-name=ro", "touch", "/x").stderr
    assert job.srun("--container-name=yours", "cat", "/tmp/kept").returncode == 1
    assert job.srun("cat", "/tmp/kept").returncode == 1
    assert len(job.containers()) == 4
    why = "the job has a container mine already, and :create wants a new one"
    assert_step_refused(job.srun("--ntasks=1", "--container-name=mine:create", "true"), why)
    why = "the job's container mine is of the image debian:bookworm; use another name for busybox:latest"
    assert_step_refused(job.srun("--ntasks=1", "--container-name=mine", "true", image="busybox:latest"), why)
    why = "the job's container mine was opened with other options; give the same, or another name"
    assert_step_refused(job.srun("--ntasks=1", "--container-name=mine", "--container-readonly", "true"), why)


def test_steps_of_one_name_at_the_same_time_open_one_container(job: Allocation) -> None:
    with ThreadPoolExecutor(8) as pool:
        words = ("--overlap", "--ntasks=1", "--container-name=one:auto", "cat", "/etc/socker-image")
        done = list(pool.map(lambda _: job.srun(*words), range(8)))
    assert {one.stdout for one in done} == {"debian:bookworm\n"}
    assert len(job.containers()) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a b", '"a b": a name has letters, digits, . _ and -, and behind it may stand :create, :exec or :auto'),
        ("a:stop", '"a:stop": a name has letters, digits, . _ and -, and behind it may stand :create, :exec or :auto'),
        ("/x", '"/x" does not begin with 1 to 63 letters, digits, . _ or -'),
        ("x" * 64, f'"{"x" * 64}" does not begin with 1 to 63 letters, digits, . _ or -'),
    ],
)
def test_name_that_is_none_is_refused(cluster: Cluster, name: str, reason: str) -> None:
    refused(cluster, f"--container-name={name}", reason=f"--container-name: {reason}")


def test_name_that_is_to_be_there_and_is_not_is_refused(cluster: Cluster) -> None:
    done = cluster.srun("--container-name=none:exec", "true")
    assert_step_refused(done, "the job has no container none on node {node} yet, and :exec opens none")


# -- the root


def test_read_only_root_has_a_writable_tmp_and_what_was_mounted(cluster: Cluster, tree: Path) -> None:
    script = f"touch /x 2>&1; touch /etc/x 2>&1; touch /tmp/a /var/tmp/b {tree}/c /data/d ~/e && rm ~/e && echo ok"
    shown = inside(cluster, "--container-readonly", f"--container-mounts={tree}:/data", script=script, cwd=str(tree))
    assert shown.count("Read-only file system") == 2
    assert shown.endswith("ok\n")
    assert {path.name for path in tree.iterdir()} >= {"c", "d"}


def test_directory_of_a_later_step_appears_in_a_read_only_root(job: Allocation, tree: Path) -> None:
    assert job.srun("--container-readonly", "true", cwd="/").returncode == 0
    later = job.srun("--container-readonly", "--ntasks=1", "sh", "-c", "cat file; touch /y", cwd=str(tree))
    assert later.stdout == "of the host\n"
    assert "Read-only file system" in later.stderr
    assert len(job.containers()) == 1


def test_writable_is_the_default_and_the_last_of_both_counts(cluster: Cluster) -> None:
    script = "touch /tmp/x && findmnt -n -o OPTIONS / | cut -c1-2"
    assert inside(cluster, "--container-readonly", "--container-writable", script=script) == "rw\n"
    assert inside(cluster, "--container-writable", "--container-readonly", script=script) == "ro\n"


# -- entry points


def test_entry_point_runs_as_the_user_with_the_command_behind_it(cluster: Cluster) -> None:
    script = "--container-entrypoint"
    done = cluster.srun(script, "/tmp/as-argument", "/tmp/and this", image="odd:config")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with cluster.allocation() as job:
        job.srun(script, "/tmp/as argument", image="odd:config")
        shown = job.srun("stat", "-c", "%n %U", "/tmp/as argument", "/traces/entrypoint-ran", image="odd:config")
    assert shown.stdout == "/tmp/as argument alice\n/traces/entrypoint-ran alice\n", shown


def test_entry_point_is_not_run_unless_asked_and_absent_ones_change_nothing(cluster: Cluster) -> None:
    shown = cluster.srun("sh", "-c", "ls /traces", image="odd:config")
    assert shown.stdout == ""
    assert inside(cluster, "--container-entrypoint", script="echo plain") == "plain\n"
    both = ("--container-entrypoint", "--no-container-entrypoint")
    assert cluster.srun(*both, "echo", "plain", image="odd:config").stdout == "plain\n"


def test_entry_point_keeps_exit_codes_and_signals(cluster: Cluster) -> None:
    image = "odd:entry"
    assert cluster.srun("--container-entrypoint", "sh", "-c", "exit 42", image=image).returncode == 42
    killed = cluster.srun("--container-entrypoint", "sh", "-c", "kill -9 $$", image=image)
    assert killed.returncode == 137
    shown = cluster.srun("--container-entrypoint", "sh", "-c", "echo $MARK; env | grep -c ^SOCKER_ENTRY", image=image)
    assert shown.stdout == "by-entry\n0\n"
    batch = cluster.sbatch("#!/bin/sh\necho $MARK\n", f"--container={image}", "--container-entrypoint")
    assert batch.output == "by-entry\n"


# -- namespaces


def test_namespaces_are_shared_by_default_and_private_when_asked(job: Allocation) -> None:
    script = "for n in net ipc uts; do readlink /proc/self/ns/$n; done"
    host = [os.readlink(f"/proc/self/ns/{name}") for name in ("net", "ipc", "uts")]
    assert job.srun("--ntasks=1", "sh", "-c", script).stdout.split() == host
    own = job.srun("--ntasks=2", "--container-unshare=net,ipc,uts", "sh", "-c", script).stdout.split()
    assert len(set(own)) == 3, "both tasks are in the same ones"
    assert not set(own) & set(host)
    only = job.srun("--ntasks=1", "--container-unshare=uts", "sh", "-c", script).stdout.split()
    assert [one == other for one, other in zip(only, host, strict=True)] == [True, True, False]


def test_private_network_has_loopback_up_and_nothing_else(cluster: Cluster) -> None:
    script = "tail -n +3 /proc/net/dev | cut -d: -f1; hostname"
    interfaces, host = inside(cluster, "--container-unshare=net,uts", script=script).split()
    assert interfaces == "lo"
    assert host in cluster.nodes
    connected = cluster.srun("--container-unshare=net", "perl", "-e", CONNECT)
    assert connected.stdout == "up", connected


CONNECT = (
    "use IO::Socket::INET; my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die $!; "
    "IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $s->sockport) or die $!; print 'up'"
)


def test_namespace_that_is_none_is_refused(cluster: Cluster) -> None:
    why = '--container-unshare: "pid" is no namespace to choose; there are net, ipc, uts'
    refused(cluster, "--container-unshare=net,pid", reason=why)


# -- what is asked of what there is not


def test_devices_gpus_and_saving_are_denied_by_name_where_policy_gives_none(cluster: Cluster) -> None:
    refused(
        cluster,
        "--container-device=/dev/fuse",
        reason='--container-device is denied by rule "built-in": it names no device "/dev/fuse"',
    )


# -- the clients


@pytest.mark.parametrize(("client", "command"), CLIENTS)
def test_options_without_a_container_are_an_error(
    cluster: Cluster, client: tuple[str, ...], command: tuple[str, ...]
) -> None:
    done = cluster.run(*client, "--container-readonly", *command)
    client_refused(done, "--container-* options were given without --container; add --container=IMAGE")


def test_options_of_a_batch_script_s_lines_count_and_the_command_line_wins(cluster: Cluster) -> None:
    script = f"#!/bin/sh\n#SBATCH --container={IMAGE}\n#SBATCH --container-workdir=/usr\npwd\n"
    assert cluster.sbatch(script).output == "/usr\n"
    assert cluster.sbatch(script, "--container-workdir=/etc").output == "/etc\n"
    assert cluster.sbatch(script, "--export=NONE").output == "/usr\n"


def test_options_of_an_outer_job_are_forgotten(cluster: Cluster) -> None:
    words = ("salloc", "--quiet", f"--container={IMAGE}", "--container-workdir=/usr", "--container-readonly")
    done = cluster.run(
        *words, "srun", f"--container={IMAGE}", "sh", "-c", "touch /tmp/x; findmnt -n -o OPTIONS / | cut -c1-2"
    )
    assert (done.returncode, done.stdout) == (0, "rw\n"), done
    plain = cluster.run(*words, "srun", "true")
    assert (plain.returncode, plain.stderr) == (0, "")


def test_variables_are_defaults_and_the_command_line_wins(cluster: Cluster, tree: Path) -> None:
    mine = {
        "SOCKER_CONTAINER_WORKDIR": "/usr",
        "SOCKER_CONTAINER_MOUNTS": f"{tree}:/data",
        "SOCKER_CONTAINER_READONLY": "yes",
        "SOCKER_CONTAINER_MOUNT_HOME": "no",
    }
    script = "pwd; cat /data/file; touch /x 2>/dev/null || echo ro; ls -d /home/alice 2>/dev/null || echo no home"
    assert inside(cluster, script=script, env=mine, cwd="/") == "/usr\nof the host\nro\nno home\n"
    assert inside(cluster, "--container-workdir=/etc", script="pwd", env=mine) == "/etc\n"
    assert inside(cluster, "--container-writable", script="findmnt -n -o OPTIONS / | cut -c1-2", env=mine) == "rw\n"
    plain = cluster.srun("pwd", image=None, env=mine, cwd="/")
    assert (plain.stdout, plain.stderr) == ("/\n", "")
    wrong = cluster.srun("true", env={"SOCKER_CONTAINER_READONLY": "perhaps"})
    client_refused(wrong, "SOCKER_CONTAINER_READONLY is neither yes nor no: give it one of the two, or unset it")


def test_image_option_and_variable_are_the_container_s(cluster: Cluster) -> None:
    show = ("cat", "/etc/socker-image")
    assert cluster.srun("--container-image=debian:bookworm", *show, image=None).stdout == "debian:bookworm\n"
    assert cluster.srun("--container-image=debian:bookworm", *show).stdout == "debian:bookworm\n"
    default = {"SOCKER_CONTAINER_IMAGE": "debian:bookworm"}
    assert cluster.srun(*show, image=None, env=default).stdout == "debian:bookworm\n"
    assert cluster.srun("readlink", "/bin/ls", image="busybox:latest", env=default).stdout == "busybox\n"
    batch = cluster.sbatch("#!/bin/sh\ncat /etc/socker-image\n", "--container-image=debian:bookworm")
    assert batch.output == "debian:bookworm\n"
    both = cluster.srun("--container-image=busybox:latest", "true")
    client_refused(both, "--container and --container-image name different images; give one of them")


@pytest.mark.parametrize("value", ["a\nb", "a\x1b[31m", "\x7f"])
def test_control_characters_are_refused_where_they_are_typed(cluster: Cluster, value: str) -> None:
    done = cluster.srun(f"--container-workdir=/{value}", "true")
    client_refused(done, "--container-workdir: a control character cannot be part of it")


def test_empty_values_and_long_ones_are_refused_where_they_are_typed(cluster: Cluster) -> None:
    client_refused(
        cluster.srun("--container-mounts=", "true"),
        "--container-mounts: empty; give a value, or leave the option out",
    )
    client_refused(
        cluster.srun(f"--container-mounts=/{'x' * 9000}", "true"),
        "the --container-* options are longer than 8191 bytes; shorten --container-mounts",
    )


def test_options_that_somebody_wrote_into_the_variable_are_looked_at(cluster: Cluster) -> None:
    """The variable is the plugin's; a job that sets it by itself gets what it could have asked for, or a refusal."""
    for text, why in {
        "privileged=yes": 'SLURM_SOCKER_OPTIONS holds what is no option: "privileged=yes"',
        "mounts": 'SLURM_SOCKER_OPTIONS holds what is no option: "mounts"',
    }.items():
        words = (f"--export=ALL,SLURM_SOCKER_OPTIONS={text}", f"--container={IMAGE}", "true")
        done = cluster.run("srun", *words)
        assert done.returncode == 0 or why in done.stderr, done


def test_prefix_of_the_plugstack_line_renames_the_options(cluster: Cluster) -> None:
    with cluster.plugstack(lambda line: line.rstrip("\n") + " option_prefix=socker\n"):
        assert inside(cluster, "--socker-workdir=/usr", script="pwd") == "/usr\n"
        unknown = cluster.srun("--container-workdir=/usr", "true")
        assert unknown.returncode != 0
        assert "unrecognized option" in unknown.stderr
        wrong = cluster.srun("--socker-env=1", "true")
        assert_step_refused(wrong, '--socker-env: not the name of a variable: "1"')
        alone = cluster.srun("--socker-readonly", "true", image=None)
        client_refused(alone, "--socker-* options were given without --container; add --container=IMAGE")


def test_help_shows_the_options(cluster: Cluster) -> None:
    shown = cluster.run("srun", "--help").stdout
    for name in ("mounts", "name", "workdir", "env", "readonly", "unshare"):
        assert f"--container-{name}" in shown


def test_interactive_step_of_a_salloc_is_in_its_container_with_its_options(cluster: Cluster, scratch: Path) -> None:
    """With use_interactive_step the shell of a salloc is a step; it is the salloc's own container, not inherited."""
    conf = scratch / "slurm.conf"
    text = (cluster.base / "etc/slurm.conf").read_text()
    more = 'LaunchParameters=use_interactive_step\nInteractiveStepOptions="--interactive --preserve-env $SHELL"\n'
    conf.write_text(text + more)
    words = ("salloc", "--quiet", f"--container={IMAGE}", "--container-workdir=/usr")
    script = f"pwd; cat /etc/socker-image; readlink /proc/self/root; ls -d {cluster.base} 2>&1\n"
    done = cluster.run(*words, env={"SLURM_CONF": str(conf), "SHELL": "/bin/sh"}, stdin=script)
    assert done.stdout.splitlines()[:2] == ["/usr", "debian:bookworm"], done
    assert f"{cluster.base}'" in done.stdout, "the host's directories are not there"


def test_variables_that_contradict_each_other_are_refused(cluster: Cluster) -> None:
    both = {"SOCKER_CONTAINER_READONLY": "yes", "SOCKER_CONTAINER_WRITABLE": "yes"}
    said = "SOCKER_CONTAINER_READONLY says the contrary of another variable: unset one of them"
    client_refused(cluster.srun("true", env=both), said)
    assert cluster.srun("true", env=both | {"SOCKER_CONTAINER_WRITABLE": "no"}).returncode == 0


def test_etc_of_the_host_may_be_mounted_and_is_left_as_it_is(cluster: Cluster) -> None:
    mine = Path("/etc/passwd").read_text()
    assert inside(cluster, "--container-mounts=/etc:/etc:ro", script="cat /etc/passwd") == mine
    assert inside(cluster, "--container-mounts=/etc/passwd:/etc/passwd", script="cat /etc/passwd") == mine
