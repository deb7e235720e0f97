# SPDX-License-Identifier: Apache-2.0
"""
Whatever is broken on a node: a command that asked for a container never runs outside of it, and its user is told why.

The states of WHOLE are tried with srun on two nodes and with sbatch, beside a step without a container, which has to
work; the others with srun alone. Afterwards no node is drained, the same slurmd run, and the next step finds its
container.
"""

from __future__ import annotations

import json
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .between import between
from .cluster import IMAGE, Cluster
from .faults import (
    assert_refused,
    assert_soon,
    assert_srun_refused,
    assert_step_refused,
    assert_works,
    daemon,
    frozen,
    marker,
    stopped,
    sweep,
    wait_for_no_jobs,
    words,
)

Breaking = Callable[[Path], object]

WHOLE = {
    "policy missing",
    "policy not executable",
    "policy silent",
    "hold missing",
    "directory writable by its group",
    "package missing",
    "environment missing",
    "bridge unparsable",
    "bridge unimportable",
    "wrong=word",
    "user=nosuchuser",
    "hold_user=nosuchuser",
    "writable by its group",
    "of a user",
    "a link",
    "without seccomp",
}

ADMIN = "tell your administrator"
FAILED = "the policy engine failed on this node"
UNKNOWN = "the node's log has the details"
DEADLINE = 2


@pytest.fixture(autouse=True)
def _as_before(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test the same slurmd run, what an epilog had no policy engine for is closed, and containers work."""
    daemons = {node: daemon(cluster, node) for node in cluster.nodes}
    yield
    assert {node: daemon(cluster, node) for node in cluster.nodes} == daemons
    assert_works(cluster)
    wait_for_no_jobs(cluster)
    short = "[" in request.node.name and not any(f"[{state}]" in request.node.name for state in WHOLE)
    if short and not cluster.containers():
        # a sweep takes a second; that it does this is shown by the tests of WHOLE
        for record in cluster.records():
            shutil.rmtree(record)
    elif cluster.records() or cluster.containers():
        done = sweep(cluster)
        assert (done.returncode, done.stderr) == (0, "")


def assert_state_refuses(cluster: Cluster, state: str, reason: str) -> None:
    """The cluster, being in a state, refuses for this reason."""
    (assert_refused if state in WHOLE else assert_srun_refused)(cluster, reason)


def packages(installation: Path) -> Path:
    """Where an installation has its Python packages."""
    return next(installation.glob("venv/lib/python3*/site-packages"))


def bridge(*lines: str) -> Breaking:
    """The entry point for opening a container does this."""

    def change(installation: Path) -> None:
        text = "".join(f"    {line}\n" for line in lines)
        entries = "def close_job(ffi, value): return 0\nsweep_node = close_job\n"
        (packages(installation) / "socker/bridge.py").write_text(f"def open_step(ffi, request, plan):\n{text}{entries}")

    return change


def module(name: str, text: str) -> Breaking:
    """A module of the package has this text."""
    return lambda installation: (packages(installation) / f"socker/{name}.py").write_text(text)


def becomes(name: str, source: str) -> Breaking:
    """A file of the installation is a copy of another program."""
    return lambda installation: shutil.copy(source, installation / name)


def text_file(name: str) -> Breaking:
    """A file of the installation is an executable text."""
    return lambda installation: (installation / name).write_text("not a program\n")


def missing(name: str) -> Breaking:
    """A file of the installation is not there."""
    return lambda installation: (installation / name).unlink()


def mode(name: str, bits: int) -> Breaking:
    """A file of the installation, or all of it, has this mode."""
    return lambda installation: (installation / name).chmod(bits)


def belongs(name: str, user: str) -> Breaking:
    """A file of the installation, or all of it, belongs to a user."""
    return lambda installation: shutil.chown(installation / name, user)


def link(name: str) -> Breaking:
    """A file of the installation is a link to where it is now."""

    def change(installation: Path) -> None:
        (installation / name).rename(installation / f"{name}.real")
        (installation / name).symlink_to(f"{name}.real")

    return change


def no_package(name: str) -> Breaking:
    """A Python package is not there."""
    return lambda installation: shutil.rmtree(packages(installation) / name)


PROGRAMS = {
    "policy missing": (missing("socker-policy"), "{lib}/socker-policy: No such file or directory"),
    "policy not executable": (mode("socker-policy", 0o644), f"{FAILED} (exit 126); {ADMIN}"),
    "policy a text": (text_file("socker-policy"), f"{FAILED} (exit 126); {ADMIN}"),
    "policy silent": (becomes("socker-policy", "/bin/true"), f"the policy engine gave no whole answer; {ADMIN}"),
    "policy a link": (link("socker-policy"), "{lib}/socker-policy: is a symlink"),
    "policy writable": (mode("socker-policy", 0o775), "{lib}/socker-policy: others than root can write it"),
    "opener missing": (missing("socker-opener"), "{lib}/socker-opener cannot be started: No such file or directory"),
    "opener not executable": (mode("socker-opener", 0o644), "{lib}/socker-opener cannot be started: Permission denied"),
    "opener silent": (becomes("socker-opener", "/bin/true"), "opening the container was interrupted"),
    "hold missing": (missing("hold"), "{lib}/hold: No such file or directory"),
    "hold of a user": (belongs("hold", "alice"), "{lib}/hold: belongs to uid 20001, not to root"),
    "directory writable by its group": (mode(".", 0o775), "{lib}/hold: others than root can write it"),
    "packages writable by their group": (mode("venv/lib", 0o775), "{lib}/venv/lib: others than root can write it"),
    "environment missing": (
        lambda installation: shutil.rmtree(installation / "venv"),
        "{lib}/venv/lib: No such file or directory",
    ),
    "directory of a user": (belongs(".", "alice"), "{lib}/hold: belongs to uid 20001, not to root"),
}

PYTHON = {
    "package missing": (
        no_package("socker"),
        f"{FAILED} (exit 3: ModuleNotFoundError: No module named 'socker'); {ADMIN}",
    ),
    "cffi missing": (
        lambda installation: next(packages(installation).glob("_cffi_backend*.so")).unlink(),
        f"{FAILED} (exit 3: ModuleNotFoundError: No module named '_cffi_backend'); {ADMIN}",
    ),
    "bridge unparsable": (
        module("bridge", "def open_step(:\n"),
        f"{FAILED} (exit 3: SyntaxError: invalid syntax); {ADMIN}",
    ),
    "bridge unimportable": (
        module("bridge", "import nosuchmodule\n"),
        f"{FAILED} (exit 3: ModuleNotFoundError: No module named 'nosuchmodule'); {ADMIN}",
    ),
    "bridge without an entry": (
        module("bridge", ""),
        f"{FAILED} (exit 4: AttributeError: module 'socker.bridge' has no attribute 'open_step'); {ADMIN}",
    ),
    "flow unparsable": (module("lifecycle", "def open_step(:\n"), f"{FAILED} (exit 4); {ADMIN}"),
    "edge unimportable": (
        module("engine_http", "import nosuchmodule\n"),
        f"internal error in the policy engine (ModuleNotFoundError); {UNKNOWN}",
    ),
}

NOT_WHOLE = f"the policy engine gave no whole answer; {ADMIN}"
ANSWERS = {
    "nothing": (bridge("return None"), f"{FAILED} (exit 4: TypeError: an integer is required); {ADMIN}"),
    "zero": (bridge("return 0"), f"{FAILED} (exit 4); {ADMIN}"),
    "an exception": (bridge("raise ValueError('a\x1b[31mb')"), f"{FAILED} (exit 4: ValueError: a\\x1b[31mb); {ADMIN}"),
    "done without a plan": (bridge("return 0x534F434B"), "the policy engine gave no answer to this request"),
    "an exit in good order": (bridge("raise SystemExit(0)"), f"{FAILED} (exit 4: SystemExit: 0); {ADMIN}"),
    "an exit at once": (bridge("import os", "os._exit(0)"), NOT_WHOLE),
    "a crash": (bridge("import os", "os.abort()"), f"{FAILED} (signal 6); {ADMIN}"),
    "somebody else's process": (
        bridge(
            "from socker import wire",
            "wire._echo(ffi, request, plan)",
            "plan.verdict, plan.hold_pid, plan.text_size, plan.text[0] = wire.GRANT, 1, 2, b'/'",
            "wire._put(ffi, plan.digest, b'sha256:' + 64 * b'0')",
            "wire._put(ffi, plan.id, 64 * b'0')",
            "return wire.POLICY_DONE",
        ),
        "the plan has no hold process",
    ),
}

SOCKET = "{base}/run/docker.sock"
WORDS = {
    "wrong=word": "plugstack line: unknown word 'wrong=word'",
    "deadline=0": "plugstack line: deadline=0: give 1 to 3600 seconds",
    "docker=run/docker.sock": "plugstack line: docker=run/docker.sock: give an absolute path",
    "user=nosuchuser": f"the user nosuchuser does not exist on this node; {ADMIN}",
    "hold_user=nosuchuser": f"the system user nosuchuser does not exist on this node; {ADMIN}",
    "user=root": "the user root is root; the policy engine does not run as root",
    # alice may not talk to Docker, and neither may a policy engine that runs as she
    "user=alice": f"Docker does not answer on this node ({SOCKET}: permission denied); {ADMIN}",
    "docker={base}/run/nosuch.sock": (
        f"Docker does not answer on this node ({{base}}/run/nosuch.sock: no such file or directory); {ADMIN}"
    ),
}


def state_mode(bits: int) -> Breaking:
    """The directory for records has this mode."""

    def change(state: Path) -> None:
        state.mkdir()
        state.chmod(bits)

    return change


def state_of_alice(state: Path) -> None:
    """The directory for records belongs to a user."""
    state.mkdir(mode=0o700)
    shutil.chown(state, "alice")


def state_link(state: Path) -> None:
    """The directory for records is a link to one that would do."""
    real = state.with_name("real")
    real.mkdir(mode=0o700)
    state.symlink_to(real)


def state_in_the_open(state: Path) -> None:
    """The directory for records is as it should be, but the one around it is everybody's."""
    state.mkdir(mode=0o700)
    state.parent.chmod(0o1777)


STATES = {
    "writable by its group": (state_mode(0o770), "others than root can write it"),
    "of a user": (state_of_alice, "belongs to uid 20001, not to root"),
    "a link": (state_link, "is a symlink"),
    "a file": (lambda state: state.write_text(""), "Not a directory"),
    "in a directory of all": (state_in_the_open, "others than root can write it"),
}


def in_answer(text: str) -> Callable[[str], bytes]:
    """Docker answers everything like that."""
    return lambda _line: text.encode()


LOOK = "Docker cannot look up the image docker.io/library/debian:bookworm"
LIES = {
    "that is no HTTP": (in_answer("220 mail.example.org\r\n"), f"{LOOK}: Docker's answer is not HTTP"),
    "that breaks off": (
        in_answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
        f"{LOOK}: Docker's answer broke off",
    ),
    "that is no JSON": (in_answer("HTTP/1.1 200 OK\r\n\r\n{"), f"{LOOK}: Docker's answer is not JSON"),
    "that says nothing": (in_answer("HTTP/1.1 200 OK\r\n\r\n{}"), "Docker's answer has no Config"),
    "that is an error": (
        in_answer('HTTP/1.1 500 X\r\n\r\n{"message": "the disk\\nis full \\u001b[1m"}'),
        f"{LOOK}: the disk\\x0ais full \\x1b[1m",
    ),
}


def created_with(**settings: object) -> Callable[[str, bytes], bytes]:
    """The request that creates a container has other settings of its host when it comes to Docker."""

    def change(line: str, body: bytes) -> bytes:
        if "/containers/create" not in line:
            return body
        request = json.loads(body)
        request["HostConfig"] |= settings
        return json.dumps(request).encode()

    return change


NEW_PRIVILEGES = ["no-new-privileges:true"]
OTHER_CONTAINERS = {
    "without seccomp": (
        created_with(SecurityOpt=[*NEW_PRIVILEGES, "seccomp=unconfined"]),
        "Docker runs containers without a seccomp filter on this node",
    ),
    "with new privileges": (created_with(SecurityOpt=[]), "hold process: no_new_privs is not set"),
    "with a capability": (created_with(CapDrop=[], CapAdd=["SYS_ADMIN"]), "hold process: CapBnd: is not empty"),
    "with pids of its own": (created_with(PidMode=""), "hold process: not in the host's pid namespace"),
}


def assert_installation_refuses(cluster: Cluster, state: str, breaking: Breaking, reason: str) -> None:
    """An installation that was broken refuses for this reason, where {lib} stands for its directory."""
    with cluster.installation(breaking) as installation:
        assert_state_refuses(cluster, state, reason.replace("{lib}", str(installation)))


@pytest.mark.parametrize("state", PROGRAMS)
def test_a_broken_program_refuses(cluster: Cluster, state: str) -> None:
    assert_installation_refuses(cluster, state, *PROGRAMS[state])


@pytest.mark.parametrize("state", PYTHON)
def test_a_broken_python_package_refuses(cluster: Cluster, state: str) -> None:
    assert_installation_refuses(cluster, state, *PYTHON[state])


@pytest.mark.parametrize("state", ANSWERS)
def test_a_policy_engine_that_gives_no_plan_refuses(cluster: Cluster, state: str) -> None:
    assert_installation_refuses(cluster, state, *ANSWERS[state])


@pytest.mark.parametrize("word", WORDS)
def test_a_plugstack_line_with_a_wrong_word_refuses(cluster: Cluster, word: str) -> None:
    base = str(cluster.base)
    with cluster.plugstack(lambda line: f"{line.rstrip()} {word.replace('{base}', base)}\n"):
        assert_state_refuses(cluster, word, WORDS[word].replace("{base}", base))


@pytest.mark.parametrize("kind", STATES)
def test_a_directory_for_records_that_others_control_refuses(cluster: Cluster, kind: str) -> None:
    around = cluster.base / "run/around"
    around.mkdir(mode=0o755)
    change, reason = STATES[kind]
    change(around / "state")
    real = f"state={cluster.base}/run/socker"
    try:
        with cluster.plugstack(lambda line: line.replace(real, f"state={around}/state")):
            assert_state_refuses(cluster, kind, f"{around}/state: {reason}")
        assert not any(path.is_dir() and any(path.iterdir()) for path in around.iterdir())
    finally:
        shutil.rmtree(around)


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        pytest.param("0" * 32, 0o644, "{}: not a file of root's that only root can read", id="readable"),
        pytest.param("not hexadecimal", 0o600, "{} is damaged; remove it when no job runs on this node", id="damaged"),
    ],
)
def test_a_token_that_is_none_refuses(cluster: Cluster, text: str, mode: int, reason: str) -> None:
    token = cluster.base / "state/token-of-a-test"
    token.write_text(text)
    token.chmod(mode)
    real = next(word for word in words(cluster) if word.startswith("token="))
    try:
        with cluster.plugstack(lambda line: line.replace(real, f"token={token}")):
            assert_srun_refused(cluster, reason.format(token))
    finally:
        token.unlink()


@pytest.mark.short
@pytest.mark.parametrize(("how", "why"), [("stop", "no such file or directory"), ("kill", "connection refused")])
def test_without_dockerd_refuses_by_name_of_the_socket(cluster: Cluster, how: str, why: str) -> None:
    with stopped(cluster, "dockerd", how=how):
        assert_refused(cluster, f"Docker does not answer on this node ({cluster.base}/run/docker.sock: {why}); {ADMIN}")


def test_a_dockerd_that_hangs_refuses_within_the_deadline(cluster: Cluster) -> None:
    reason = f"Docker does not answer in time on this node ({cluster.base}/run/docker.sock); try again, or {ADMIN}"
    with cluster.plugstack(lambda line: f"{line.rstrip()} deadline={DEADLINE}\n"), frozen(daemon(cluster, "dockerd")):
        assert_refused(cluster, reason, seconds=DEADLINE + 2)


def test_a_dockerd_that_hangs_three_times_is_left_alone_for_half_a_minute(cluster: Cluster) -> None:
    """SECURITY R42."""
    node = cluster.nodes[0]
    silence = cluster.base / f"run/socker/{node}/silence"
    hanging = f"Docker does not answer in time on this node ({cluster.base}/run/docker.sock); try again, or {ADMIN}"
    with cluster.plugstack(lambda line: f"{line.rstrip()} deadline={DEADLINE}\n"), frozen(daemon(cluster, "dockerd")):
        for _ in range(3):
            assert_step_refused(cluster.srun(f"--nodelist={node}", "true"), hanging)
        began = time.monotonic()
        refused = cluster.srun(f"--nodelist={node}", "true")
        assert_soon(began, DEADLINE)
    assert f"Docker on node {node} did not answer the last 3 times; it is asked again in " in refused.stderr
    count, last = struct.unpack("=I4xq", silence.read_bytes())
    assert count == 3
    still = cluster.srun(f"--nodelist={node}", "true")
    assert (still.returncode, "try then or on another node" in still.stderr) == (1, True)
    # half a minute later
    silence.write_bytes(struct.pack("=I4xq", count, last - 30))
    assert cluster.srun(f"--nodelist={node}", "true").returncode == 0
    assert not silence.exists()


@pytest.mark.parametrize("call", ["POST .*/create", "POST .*/start"])
def test_a_docker_call_that_hangs_refuses_within_the_deadline(cluster: Cluster, call: str) -> None:
    with between(cluster, waits_at=call, words=f"deadline={DEADLINE}") as docker, marker() as ran:
        began = time.monotonic()
        done = cluster.srun("/bin/touch", str(ran))
        assert_soon(began, DEADLINE + 2)
        assert docker.waiting.is_set(), docker.seen
        why = f"Docker does not answer in time on this node ({docker.path}); try again, or {ADMIN}"
        assert_step_refused(done, why)


def test_a_policy_engine_that_hangs_is_killed_at_the_deadline(cluster: Cluster) -> None:
    reason = f"Docker took longer than {DEADLINE} s on this node and was given up; try again later, or {ADMIN}"
    deadline = cluster.plugstack(lambda line: f"{line.rstrip()} deadline={DEADLINE}\n")
    with deadline, cluster.installation(bridge("import time", "time.sleep(60)")):
        began = time.monotonic()
        assert_srun_refused(cluster, reason)
        assert_soon(began, DEADLINE + 2)


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_of_docker_that_means_nothing_refuses(cluster: Cluster, lie: str) -> None:
    answer, reason = LIES[lie]
    with between(cluster, answer=answer):
        assert_state_refuses(cluster, lie, reason)


@pytest.mark.parametrize("kind", OTHER_CONTAINERS)
def test_a_container_that_docker_made_otherwise_refuses(cluster: Cluster, kind: str) -> None:
    change, reason = OTHER_CONTAINERS[kind]
    with between(cluster, change=change):
        assert_state_refuses(cluster, kind, reason)


@pytest.mark.short
def test_clients_without_the_plugin_submit_nothing(cluster: Cluster) -> None:
    """Slurm's own answer to a required plugin that is not there: its clients give up before they ask for a job."""
    gone = f"{cluster.prefix}/lib/socker/gone.so"
    with cluster.plugstack(lambda line: line.replace("/socker.so", "/gone.so")), marker() as ran:
        for command in (("srun",), ("srun", f"--container={IMAGE}"), ("sbatch", f"--container={IMAGE}", "--wrap")):
            done = cluster.run(*command, f"/bin/touch {ran}")
            assert f"{gone}: cannot open shared object file: No such file or directory" in done.stderr
            assert (done.returncode, done.stdout) == (1, "")
        wait_for_no_jobs(cluster)


@pytest.mark.short
def test_a_node_without_the_plugin_runs_nothing_and_drains_itself(cluster: Cluster) -> None:
    """
    Slurm's own answer again, on a node: the step is not launched, the epilog fails, and no other job gets the node.

    srun of 22.05 exits with 0 there. None of socker's code runs, so socker cannot do better.
    """
    etc, (node, *_) = cluster.base / "etc", cluster.nodes
    client, stack = etc / "client.conf", etc / "client.plugstack"
    stack.write_text((etc / "plugstack.conf").read_text())
    client.write_text((etc / "slurm.conf").read_text().replace(f"{etc}/plugstack.conf", str(stack)))
    try:
        with cluster.plugstack(lambda line: line.replace("/socker.so", "/gone.so")), marker() as ran:
            done = cluster.srun("/bin/touch", str(ran), env={"SLURM_CONF": str(client)})
            assert done.stderr == "srun: error: task 0 launch failed: Plugin initialization failed\n"
            wait_for_no_jobs(cluster)
        assert cluster.node_states()[node] == "drained"
        assert "Epilog error" in cluster.run("sinfo", "--noheader", "--list-reasons", user="").stdout
    finally:
        cluster.run("scontrol", "update", f"nodename={node}", "state=resume", user="")
        client.unlink()
        stack.unlink()
