# SPDX-License-Identifier: Apache-2.0
"""
A step in a container is a step: what srun, scancel and the kernel do to it, and what it does, equal the plain step.

Each test runs the same twice in one job, in debian:bookworm and on the host, and compares all that a user sees.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import IMAGE, Allocation, Cluster, Result, until
from .faults import job_of
from .terminal import Terminal, terminal

BOTH = (IMAGE, None)
LOOP = "while :; do sleep 0.05; done"


@pytest.fixture(scope="module")
def job(whole_cluster: Cluster) -> Iterator[Allocation]:
    """One job for all steps here; its container is open, and is the only one in the end."""
    with whole_cluster.allocation("--ntasks=2", "--mem=1000") as allocation:
        first = allocation.srun("cat", "/etc/socker-image")
        assert first.stdout == "debian:bookworm\n", first.stderr
        yield allocation
        assert len(allocation.containers()) == 1


@pytest.fixture(scope="module", autouse=True)
def overdue(whole_cluster: Cluster) -> Iterator[list[tuple[int, subprocess.Popen[str]]]]:
    """
    Two jobs, one in a container, whose time is over, and their sruns.

    Slurm looks at limits every 30 s, so they are started before the first test and looked at after the others.
    """
    script = f"trap 'echo usr1' USR1; trap 'echo term' TERM; echo ready; {LOOP}"
    # away from the other steps, which want certain CPUs
    common = ("--time=1", "--signal=USR1@30", f"--nodelist={whole_cluster.nodes[-1]}")
    jobs: list[tuple[int, subprocess.Popen[str]]] = []
    for image in BOTH:
        name = f"overdue-{len(jobs)}"
        container = [f"--container={image}"] if image else []
        step = whole_cluster.popen("srun", *common, f"--job-name={name}", *container, "sh", "-c", script)
        assert step.stdout
        assert step.stdout.readline() == "ready\n"
        jobs.append((job_of(whole_cluster, name), step))
    assert any(f"-{jobs[0][0]}-" in container for container in whole_cluster.containers())
    for number, _ in jobs:
        whole_cluster.run("scontrol", "update", f"JobId={number}", "EndTime=now+1seconds", user="")
    yield jobs
    for number, step in jobs:
        # a job that is cancelled gets SIGTERM first, which these ignore
        whole_cluster.run("scancel", "--signal=KILL", str(number), user="")
        step.communicate(timeout=30)
    whole_cluster.assert_clean()


def same(text: str) -> list[str]:
    """The lines of a step without what differs between any two steps, in an order that does not depend on time."""
    text = re.sub(r"((?:Step ?Id=|STEP |Step )\d+)\.\d+", r"\1.N", text, flags=re.IGNORECASE)
    text = re.sub(r"Id=\d+", "Id=J", text)
    text = re.sub(r"STEP \d+", "STEP J", text)
    text = re.sub(r"AT \d{4}-\d\d-\d\dT[0-9:]{8}", "AT TIME", text)
    # said by srun when a step before has not quite ended
    busy = ("step creation temporarily disabled", "Step created for")
    return sorted(line for line in text.splitlines() if not any(words in line for words in busy))


def assert_same(inside: Result, plain: Result) -> None:
    for one, other in ((inside.stdout, plain.stdout), (inside.stderr, plain.stderr)):
        assert same(one) == same(other)
    assert inside.returncode == plain.returncode


def both(job: Allocation, *argv: str, **options: object) -> Result:
    """Runs a step of one task in a container and on the host; they are alike, and the first is returned."""
    tasks = () if any(word.startswith("--ntasks") for word in argv) else ("--ntasks=1",)
    inside, plain = (job.srun(*tasks, *argv, image=image, **options) for image in BOTH)
    assert_same(inside, plain)
    return inside


def finished(step: subprocess.Popen[str], *, seconds: float = 30) -> Result:
    """A started step has ended."""
    out, err = step.communicate(timeout=seconds)
    return Result(args=step.args, returncode=step.returncode, stdout=out, stderr=err)


def started(job: Allocation, script: str, *, cwd: str | None = None) -> list[tuple[subprocess.Popen[str], str]]:
    """Starts a shell in a container and one on the host; each with the id of its step, once it has come to READY."""
    steps = []
    for image in BOTH:
        shell = ("sh", "-c", script.replace("READY", "echo $SLURM_STEP_ID"))
        step = job.popen("--ntasks=1", "--overlap", "--mem=100", *shell, image=image, cwd=cwd)
        assert step.stdout
        steps.append((step, f"{job.id}.{step.stdout.readline().strip()}"))
    return steps


@pytest.mark.short
@pytest.mark.parametrize("code", [0, 42, 255])
def test_exit_code_is_the_command_s(job: Allocation, code: int) -> None:
    assert both(job, "sh", "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize("name", ["SEGV", "KILL", "TERM"])
def test_death_by_a_signal_is_reported_as_such(job: Allocation, name: str) -> None:
    done = both(job, "sh", "-c", f"kill -{name} $$")
    assert done.returncode == 128 + signal.Signals[f"SIG{name}"]
    assert "task 0: " in done.stderr


def test_exit_codes_of_two_tasks_are_reported_apart(job: Allocation) -> None:
    done = both(job, "--ntasks=2", "--kill-on-bad-exit=0", "sh", "-c", "exit $((SLURM_PROCID * 3))")
    assert done.returncode == 3
    assert "task 1: Exited with exit code 3" in done.stderr


@pytest.mark.parametrize("command", ["nosuch-command", "/nosuch/command", "/etc/passwd", "/tmp"])
def test_command_that_cannot_be_executed_is_reported_by_slurm(job: Allocation, command: str) -> None:
    done = both(job, command)
    assert done.returncode in {2, 13}
    assert f"error: execve(): {command}: " in done.stderr


def test_output_streams_stay_apart_and_labels_tell_the_task(job: Allocation) -> None:
    done = both(job, "--ntasks=2", "--label", "sh", "-c", "echo out; echo err >&2; printf 'no newline'")
    assert same(done.stdout) == ["0: no newline", "0: out", "1: no newline", "1: out"]
    assert same(done.stderr) == ["0: err", "1: err"]


@pytest.mark.native
def test_100_megabytes_pass_through_stdin_and_stdout_unchanged(job: Allocation, scratch: Path) -> None:
    data = scratch / "data"
    subprocess.run(["sh", "-c", f"head -c 100000000 /dev/urandom > {data}"], check=True)
    wanted = subprocess.run(["sh", "-c", f"sha256sum < {data}"], capture_output=True, text=True, check=True).stdout
    for image in BOTH:
        option = f"--container={image}" if image else ""
        passed = f"srun --jobid={job.id} --ntasks=1 {option} cat < {data} | sha256sum"
        done = job.cluster.run("bash", "-o", "pipefail", "-c", passed)
        assert (done.returncode, done.stdout, done.stderr) == (0, wanted, "")


def test_input_and_output_files_are_slurm_s(job: Allocation, scratch: Path) -> None:
    (scratch / "in").write_text("from a file\n")
    for image, name in zip(BOTH, ("inside", "plain"), strict=True):
        files = (f"--input={scratch}/in", f"--output={scratch}/{name}-%t.out", f"--error={scratch}/{name}-%t.err")
        done = job.srun("--ntasks=2", *files, "sh", "-c", "cat; echo err >&2", image=image, cwd="/")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert [(scratch / f"{name}-{task}.out").read_text() for task in (0, 1)] == ["from a file\n"] * 2
        assert [(scratch / f"{name}-{task}.err").read_text() for task in (0, 1)] == ["err\n"] * 2
        assert (scratch / f"{name}-0.out").owner() == "alice"


def test_arguments_arrive_as_they_were_typed(job: Allocation) -> None:
    words = ["", " ", "a b", "'", '"', "$HOME", "*", "%t", "\\n", "é", "-n", "--", "x" * 100_000]
    done = both(job, "sh", "-c", 'printf "<%s>" "$@" | cksum; echo $#', "name", *words)
    assert done.stdout.endswith(f"\n{len(words)}\n")


def test_programs_of_a_list_run_as_their_tasks(job: Allocation, scratch: Path) -> None:
    (scratch / "list").write_text("0 sh -c 'exit 2'\n1 echo one %t %o\n")
    done = both(job, "--ntasks=2", "--multi-prog", str(scratch / "list"))
    assert same(done.stdout) == ["one 1 0"]
    assert done.returncode == 2


def test_environment_without_export_is_slurm_s_and_the_image_s_only(job: Allocation) -> None:
    def variables(image: str | None, export: str) -> dict[str, str]:
        shown = job.srun("--ntasks=1", f"--export={export}", "/usr/bin/env", image=image, env={"MINE": "1"})
        assert shown.returncode == 0, shown.stderr
        return dict(line.split("=", 1) for line in shown.stdout.splitlines())

    def is_counted(name: str) -> bool:
        return name.endswith(("_PORT", "STEP_ID", "STEPID", "_PID")) or "CPU_BIND" in name

    for export in ("NONE", "ALL", "ALL,ADDED=x y", "MINE"):
        inside, plain = (variables(image, export) for image in BOTH)
        assert inside.pop("SLURM_CONTAINER") == IMAGE
        assert inside.pop("PATH") == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        plain.pop("PATH", None)
        assert inside.keys() == plain.keys()
        assert {name for name in inside if inside[name] != plain[name] and not is_counted(name)} == set()
        assert ("MINE" in inside) == (export != "NONE")


def test_working_directory_that_is_asked_for_is_used_where_a_plain_step_would(job: Allocation, scratch: Path) -> None:
    for place in (scratch, Path("/tmp"), Path("/var/tmp")):
        done = both(job, f"--chdir={place}", "sh", "-c", "pwd; echo $PWD", cwd="/")
        assert done.stdout == f"{place}\n{place}\n"


def test_working_directory_that_is_not_there_is_replaced_as_in_a_plain_step(job: Allocation) -> None:
    for place in ("/nosuch", "/home/bob"):
        inside, plain = (job.srun("--ntasks=1", f"--chdir={place}", "pwd", image=image) for image in BOTH)
        assert (inside.returncode, inside.stdout) == (plain.returncode, plain.stdout) == (0, "/tmp\n")
        for done in (inside, plain):
            assert f"couldn't chdir to `{place}'" in done.stderr


@pytest.mark.short
def test_cpu_binding_is_slurm_s(job: Allocation) -> None:
    shown = ("sh", "-c", "echo $SLURM_PROCID; grep -E 'Cpus_allowed_list|Mems_allowed_list' /proc/self/status")
    done = both(job, "--ntasks=2", "--label", "--cpu-bind=map_cpu:1,0", *shown)
    assert "0: Cpus_allowed_list:\t1\n" in done.stdout
    assert "1: Cpus_allowed_list:\t0\n" in done.stdout
    both(job, "--ntasks=2", "--label", "--cpu-bind=none", *shown)


def test_resource_limits_umask_and_priority_are_the_submitter_s(job: Allocation) -> None:
    shown = "cat /proc/self/limits; umask; cat /proc/self/oom_score_adj; cut -d' ' -f19 /proc/self/stat"
    limits = "ulimit -n 1234; ulimit -s 4096; ulimit -c 0; umask 027"
    seen = []
    for option in (f"--container={IMAGE}", ""):
        step = f'exec srun --jobid={job.id} --ntasks=1 --mem=300 --nice {option} sh -c "{shown}"'
        seen.append(job.cluster.run("bash", "-c", f"{limits}; {step}"))
    assert_same(*seen)
    assert re.search(r"Max open files +1234 ", seen[0].stdout)
    assert re.search(r"Max stack size +4194304 ", seen[0].stdout)
    assert "\n0027\n" in seen[0].stdout


@pytest.mark.short
def test_step_that_needs_too_much_memory_is_reported_as_such(job: Allocation) -> None:
    done = both(job, "--mem=60", "python3", "-c", "bytearray(300 << 20)")
    assert done.returncode != 0
    assert "task 0: Out Of Memory" in done.stderr
    assert "oom-kill event" in done.stderr


@pytest.mark.short
def test_pmi2_server_of_slurm_answers(job: Allocation) -> None:
    talk = """
import os
server = os.fdopen(int(os.environ['PMI_FD']), 'r+b', buffering=0)
server.write(b'cmd=init pmi_version=2 pmi_subversion=0\\n')
print(server.readline().decode().strip())
def exactly(size):
    got = b''
    while len(got) < size:
        got += server.read(size - len(got))
    return got
def ask(text):
    server.write(b'%6d' % len(text) + text)
    return exactly(int(exactly(6))).decode().split(';')
answer = ask(b'cmd=fullinit;pmijobid=x;pmirank=%s;threaded=FALSE;' % os.environ['PMI_RANK'].encode())
print(sorted(word for word in answer if word.startswith(('cmd', 'rc', 'rank', 'size'))))
ask(b'cmd=finalize;')
"""
    done = both(job, "--mpi=pmi2", "--ntasks=2", "--label", "python3", "-c", talk)
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        assert f"{rank}: ['cmd=fullinit-response', 'rank={rank}', 'rc=0', 'size=2']\n" in done.stdout


def test_task_prolog_and_epilog_of_the_user_run(job: Allocation, scratch: Path) -> None:
    for name, text in (
        ("prolog", "echo export FROM_PROLOG=yes; echo print prolog"),
        ("epilog", f"id -u > {scratch}/epilog-ran"),
    ):
        (scratch / name).write_text(f"#!/bin/sh\n{text}\n")
        (scratch / name).chmod(0o755)
    options = (f"--task-prolog={scratch}/prolog", f"--task-epilog={scratch}/epilog")
    for image in BOTH:
        done = job.srun("--ntasks=1", *options, "sh", "-c", "echo $FROM_PROLOG", image=image, cwd=str(scratch))
        assert (done.returncode, done.stdout) == (0, "prolog\nyes\n"), done.stderr
        until((scratch / "epilog-ran").exists, seconds=5)
        (scratch / "epilog-ran").unlink()


@pytest.mark.short
def test_cancelled_step_ends_as_a_plain_one(job: Allocation) -> None:
    ended = []
    for step, name in started(job, f"trap 'echo term; sleep 1; exit 9' TERM; READY; {LOOP}"):
        cancelled = job.cluster.run("scancel", name)
        assert cancelled.returncode == 0, cancelled.stderr
        ended.append(finished(step))
    inside, plain = ended
    assert (inside.returncode, inside.stdout) == (plain.returncode, plain.stdout)
    assert inside.returncode != 0
    # which of its lines srun still prints when a step goes away is a matter of time, without a container, too
    usual = (
        "CANCELLED AT",
        "Job step aborted",
        "task 0: Killed",
        "task 0: Terminated",
        "task 0: Exited with exit code",
    )
    for result in ended:
        assert any("CANCELLED AT" in line or "task 0:" in line for line in result.stderr.splitlines()), result.stderr
        assert all(any(words in line for words in usual) for line in result.stderr.splitlines()), result.stderr


def test_signal_that_is_sent_to_a_step_reaches_its_shell(job: Allocation) -> None:
    ended = []
    for step, name in started(job, f"trap 'echo usr1; exit 5' USR1; READY; {LOOP}"):
        sent = job.cluster.run("scancel", "--signal=USR1", name)
        assert sent.returncode == 0, sent.stderr
        ended.append(finished(step))
    assert_same(*ended)
    assert (ended[0].returncode, ended[0].stdout) == (5, "usr1\n")


def test_signal_that_srun_gets_is_passed_on(job: Allocation) -> None:
    for step, _ in started(job, f"trap 'echo usr2; exit 6' USR2; READY; {LOOP}"):
        step.send_signal(signal.SIGUSR2)
        done = finished(step)
        assert (done.returncode, done.stdout) == (6, "usr2\n"), done.stderr
    for step, _ in started(job, f"READY; {LOOP}"):
        assert step.stderr
        step.send_signal(signal.SIGINT)
        assert "one more within 1 sec to abort" in step.stderr.readline()
        assert "task 0: running" in step.stderr.readline()
        step.send_signal(signal.SIGINT)
        # srun sends SIGINT and soon SIGKILL
        assert finished(step).returncode in {128 + signal.SIGINT, 128 + signal.SIGKILL}


def interactive(job: Allocation, image: str | None, script: str, keys: list[tuple[str, str]]) -> tuple[str, int]:
    """Runs a shell with --pty on a terminal of 33 rows and 101 columns; keys are (what is expected, what is typed)."""
    container = [f"--container={image}"] if image else []
    argv = job.cluster.argv(["srun", f"--jobid={job.id}", *container, "--pty", "sh", "-c", script])
    with terminal(argv, rows=33, columns=101) as screen:
        for expected, typed in keys:
            screen.expect(expected)
            _press(screen, typed)
        code = screen.wait()
        return screen.output, code


def _press(screen: Terminal, typed: str) -> None:
    if typed == "RESIZE":
        screen.resize(41, 132)
    else:
        screen.type(typed)


@pytest.mark.short
def test_terminal_has_a_name_a_size_and_an_owner(job: Allocation) -> None:
    script = """
        name=$(tty) && test -c "$name" && echo "tty $name"
        stat -c '%u %F' "$name"
        echo "ps $(ps -o tty= -p $$)"
        echo 'to tty' > /dev/tty
        read line < /dev/tty; echo "read $line"
        stty size
        trap 'stty size; exit 4' WINCH
        echo ready
        while :; do sleep 0.05; done
    """
    seen = [interactive(job, image, script, [(r"to tty\r\n", "typed\n"), (r"ready\r\n", "RESIZE")]) for image in BOTH]
    for output, code in seen:
        assert code == 4
        names = re.search(r"tty (/dev/(pts/\d+))\r\n20001 character special file\r\nps (pts/\d+)\r\n", output)
        assert names, output
        assert names[2] == names[3]
        assert "to tty\r\ntyped\r\nread typed\r\n33 101\r\nready\r\n41 132\r\n" in output
    assert re.sub(r"pts/\d+", "pts/N", seen[0][0]) == re.sub(r"pts/\d+", "pts/N", seen[1][0])


def test_control_c_on_a_terminal_reaches_the_foreground_and_job_control_works(job: Allocation) -> None:
    script = f"trap 'echo interrupted; exec bash --norc -i' INT; echo ready; {LOOP}"
    # what is typed is echoed, so the words to wait for are in two parts; they come once it is in the foreground
    loop = f"sh -c \"trap 'echo conti''nued' CONT; echo sta''rted; {LOOP}\"\n"
    keys = [
        (r"ready\r\n", "\x03"),
        (r"interrupted\r\n.*\$ ", loop),
        (r"started\r\n", "\x1a"),
        (r"Stopped .*\$ ", "fg\n"),
        (r"continued\r\n", "\x03"),
        (r"\$ ", "exit 8\n"),
    ]
    for image in BOTH:
        output, code = interactive(job, image, script, keys)
        assert code == 8, output
        assert "no job control" not in output


def test_terminals_can_be_made_in_a_step(job: Allocation) -> None:
    made = "a, b = os.openpty(); os.write(b, b'x\\n'); print(os.ttyname(b)[:9], os.read(a, 9), os.stat(b).st_uid)"
    done = both(job, "python3", "-c", f"import os; {made}")
    assert done.stdout == "/dev/pts/ b'x\\r\\n' 20001\n", done.stderr


@pytest.mark.short
def test_suspended_job_stops_and_goes_on(job: Allocation, scratch: Path) -> None:
    def written() -> list[int]:
        return [path.stat().st_size for path in sorted(scratch.iterdir())]

    cluster = job.cluster
    steps = started(job, "READY; while :; do echo >> $SLURM_STEP_ID; sleep 0.02; done", cwd=str(scratch))
    until(lambda: len(written()) == 2 and min(written()) > 3)
    assert cluster.run("scontrol", "suspend", str(job.id), user="").returncode == 0
    try:
        until(lambda: cluster.job_field(job.id, "JobState") == "SUSPENDED")
        stopped = written()
        time.sleep(0.3)
        assert written() == stopped
    finally:
        cluster.run("scontrol", "resume", str(job.id), user="")
    until(lambda: all(new > old + 3 for new, old in zip(written(), stopped, strict=True)))
    for step, name in steps:
        cluster.run("scancel", name)
        finished(step)


def test_job_that_needs_too_much_memory_is_out_of_memory(job: Allocation) -> None:
    script = "#!/bin/sh\npython3 -c 'bytearray(300 << 20)'\n"
    inside, plain = (job.cluster.sbatch(script, "--mem=60", *option) for option in ([f"--container={IMAGE}"], []))
    assert (inside.state, inside.exit) == (plain.state, plain.exit)
    assert inside.state == "OUT_OF_MEMORY"
    assert "oom-kill event" in inside.output


def test_time_limit_signals_warns_and_kills_as_in_a_plain_step(
    whole_cluster: Cluster,
    overdue: list[tuple[int, subprocess.Popen[str]]],
) -> None:
    ended = [finished(step, seconds=60) for _, step in overdue]
    assert_same(*ended)
    assert ended[0].stdout == "usr1\nterm\n"
    assert "DUE TO TIME LIMIT" in ended[0].stderr
    until(lambda: all(whole_cluster.job_field(number, "JobState") == "TIMEOUT" for number, _ in overdue))
    assert len({whole_cluster.job_field(number, "ExitCode") for number, _ in overdue}) == 1
