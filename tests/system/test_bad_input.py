# SPDX-License-Identifier: Apache-2.0
"""
Whatever stands behind --container= is an image that the node has, or one line says why not and nothing runs.

SLURM_CONTAINER, which carries it to the nodes, is the plugin's and Slurm's: no environment of a user takes the
container away from a command for which one was asked.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import IMAGE, Cluster, Result
from .faults import assert_job_refused, assert_step_refused, assert_works, marker, marker_script

ZEROS = "0" * 64
LONG = "--container: the image reference is longer than 511 bytes"
GRAMMAR = "it has letters and digits, and . _ __ - between them"
ABSENT = 'the image "{}" is not on node {{node}}; ask your administrator to pull it'


def wrong(shown: str, why: str) -> str:
    """What is said of something that is no image reference."""
    return f'image reference "{shown}": {why}'


def no_part(text: str) -> str:
    """What is said where a part of it is none."""
    return wrong(text, f'this is no part of a repository: "{text}"; {GRAMMAR} (character 1)')


def not_allowed(shown: str, character: str, at: int) -> str:
    """What is said of a character."""
    return wrong(shown, f'the character "{character}" is not allowed (character {at})')


# What is typed and what is said, {node} standing for the node.
BAD = {
    "empty": ("", "--container: empty; give an image reference such as debian:bookworm"),
    "512 bytes": ("x" * 512, LONG),
    "511 bytes": ("x" * 511, wrong("x" * 97 + "...", "the name is longer than 255 characters")),
    "2 KB of garbage": ("".join(chr(33 + 7 * n % 94) for n in range(2048)), LONG),
    "64 KB": ("debian:bookworm" + "m" * (1 << 16), LONG),
    "an escape sequence": ("a\x1b[31mb\x07", not_allowed("a\\x1b[31mb\\x07", "\\x1b", 2)),
    "a C1 control": ("a\x9b31mb", not_allowed("a\\x9b31mb", "\\x9b", 2)),
    "a newline": ("debian\nbookworm", not_allowed("debian\\x0abookworm", "\\x0a", 7)),
    "a request in a request": (
        "debian HTTP/1.1\r\nX: y",
        not_allowed("debian HTTP/1.1\\x0d\\x0aX: y", " ", 7),
    ),
    "a change of direction": ("\u202edebian", not_allowed("\\u202edebian", "\\u202e", 1)),
    "bytes that are no text": ("deb\udcffian", not_allowed("deb\\udcffian", "\\udcff", 4)),
    "a space behind it": ("debian:bookworm ", not_allowed("debian:bookworm ", " ", 16)),
    "a way up": ("../x", wrong("../x", 'this is no registry: ".." (character 1)')),
    "a path": (
        "/etc/passwd",
        wrong("/etc/passwd", "a path is no image; give its name, such as debian:bookworm (bundles are not run)"),
    ),
    "an option": ("-v", no_part("-v")),
    "a long option": ("--privileged", no_part("--privileged")),
    "a format": ("%n%s%99999d", no_part("%n%s%99999d")),
    "an escaped path": ("a%2f..", no_part("a%2f..")),
    "a query": ("x?fromSrc=-", no_part("x?fromSrc=-")),
    "a shell's": ("$(id)", no_part("$(id)")),
    "two tags": ("debian:no:tag", wrong("debian:no:tag", 'this is no tag: "no:tag" (character 8)')),
    "two images": ("debian,busybox", no_part("debian,busybox")),
    "upper case": (
        "Debian:bookworm",
        wrong("Debian:bookworm", 'the repository must be lower case: "Debian" (character 1)'),
    ),
    "the beginning of an id": (
        "sha256:00",
        wrong("sha256:00", 'this is no digest, sha256: and 64 hex digits: "sha256:00" (character 1)'),
    ),
    "an id without its kind": (ZEROS, wrong(ZEROS, "64 hex digits are an image id; write sha256: before them")),
    "an absent id": (f"sha256:{ZEROS}", ABSENT.format(f"sha256:{ZEROS}")),
    "an absent digest": (f"debian@sha256:{ZEROS}", ABSENT.format(f"debian@sha256:{ZEROS}")),
    "an absent tag": ("debian:nosuch", ABSENT.format("debian:nosuch")),
    "an absent registry": ("localhost:5000/debian:bookworm", ABSENT.format("localhost:5000/debian:bookworm")),
}

# One of each way through: refused by the plugin, by the policy engine before Docker, after it, with controls in it.
WAYS = ("empty", "64 KB", "an escape sequence", "an option", "an absent digest")


def assert_harmless(done: Result) -> None:
    """A terminal that shows this text does nothing but show it."""
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]", done.stderr), done


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_image_of_the_node_is_refused_in_one_line(cluster: Cluster, kind: str) -> None:
    image, reason = BAD[kind]
    with marker() as ran:
        done = cluster.srun("--ntasks=8", "/bin/touch", str(ran), image=image)
        assert_step_refused(done, reason)
        assert_harmless(done)


@pytest.mark.native
@pytest.mark.parametrize("kind", WAYS)
def test_a_refusal_is_one_line_on_each_node_and_in_a_batch_jobs_output(cluster: Cluster, kind: str) -> None:
    image, reason = BAD[kind]
    with marker() as ran:
        assert_step_refused(
            cluster.srun("--nodes=4", "--ntasks=8", "/bin/touch", str(ran), image=image), reason, nodes=4
        )
        assert_job_refused(cluster.sbatch(marker_script(ran), f"--container={image}"), reason)


@pytest.mark.parametrize("kind", ["an escape sequence", "a format"])
def test_a_refusal_is_as_harmless_in_the_nodes_log(cluster: Cluster, kind: str) -> None:
    image, reason = BAD[kind]
    log = cluster.base / f"log/{cluster.nodes[0]}.log"
    before = log.stat().st_size
    assert_step_refused(cluster.srun("true", image=image), reason)
    with log.open("rb") as file:
        file.seek(before)
        lines = file.read().decode().splitlines()
    assert sum(line.endswith(f"error: socker: {reason}") for line in lines) == 1, lines


@pytest.mark.parametrize(
    "spelling", ["debian:bookworm", "debian", "docker.io/library/debian:bookworm", "index.docker.io/debian"]
)
def test_other_spellings_of_an_image_are_the_image(cluster: Cluster, spelling: str) -> None:
    done = cluster.srun("cat", "/etc/socker-image", image=spelling)
    assert (done.returncode, done.stdout, done.stderr) == (0, "debian:bookworm\n", "")


HOST_OR_IMAGE = ("/bin/sh", "-c", "test -e /etc/socker-image && echo image || echo host")


def test_a_variable_of_the_environment_starts_no_container(cluster: Cluster) -> None:
    by_hand = {"SLURM_CONTAINER": IMAGE}
    done = cluster.srun(*HOST_OR_IMAGE, image=None, env=by_hand)
    assert (done.returncode, done.stdout, done.stderr) == (0, "host\n", "")
    # an image that is not there would be an error if it were looked at
    done = cluster.srun(*HOST_OR_IMAGE, env={"SLURM_CONTAINER": "nosuch"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "image\n", "")


@pytest.mark.parametrize(
    "export", ["NONE", "NIL", "PATH", "SLURM_CONTAINER=", "SLURM_CONTAINER=nosuch", "ALL,SLURM_CONTAINER=nosuch"]
)
def test_no_export_takes_the_container_from_a_step_or_job(cluster: Cluster, export: str) -> None:
    done = cluster.srun(f"--export={export}", *HOST_OR_IMAGE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "image\n", "")
    job = cluster.sbatch(f"#!/bin/sh\n{HOST_OR_IMAGE[-1]}\n", f"--container={IMAGE}", f"--export={export}")
    assert (job.state, job.output) == ("COMPLETED", "image\n")


def test_a_variable_that_is_exported_by_name_asks_for_a_container(cluster: Cluster) -> None:
    """What comes to a node as SLURM_CONTAINER is never ignored there, whoever set it."""
    done = cluster.srun(f"--export=ALL,SLURM_CONTAINER={IMAGE}", *HOST_OR_IMAGE, image=None)
    assert (done.returncode, done.stdout, done.stderr) == (0, "image\n", "")
    done = cluster.srun("--export=ALL,SLURM_CONTAINER=nosuch:1", *HOST_OR_IMAGE, image=None)
    assert_step_refused(done, ABSENT.format("nosuch:1"))


@pytest.fixture
def variables() -> Iterator[Path]:
    """A file for --export-file: with it sbatch sends its variables and none of Slurm's, also not SLURM_CONTAINER."""
    path = Path(f"/home/alice/variables-{time.monotonic_ns()}")
    path.write_bytes(b"PATH=/usr/bin:/bin\0")
    path.chmod(0o644)
    yield path
    path.unlink()


@pytest.mark.parametrize("option", ["--export-file={}", "--export-file {}", "--export-f={}"])
def test_a_file_of_variables_is_refused_beside_a_container(cluster: Cluster, variables: Path, option: str) -> None:
    words = (f"--container={IMAGE}", *option.format(variables).split(), "--wrap=true")
    sent = cluster.run("sbatch", *words)
    assert (sent.returncode, sent.stdout) == (1, ""), sent
    said = (
        "sbatch: error: socker: --container does not work together with --export-file, which sends no variable of "
        "Slurm's; use --export=NAME=VALUE,..."
    )
    assert sent.stderr.splitlines()[0] == said
    # without a container it is Slurm's own affair
    alone = cluster.sbatch("#!/bin/sh\necho plain\n", f"--export-file={variables}")
    assert (alone.state, alone.output) == ("COMPLETED", "plain\n")


def test_a_file_of_variables_in_a_script_takes_no_container_from_it(cluster: Cluster, variables: Path) -> None:
    script = f"#!/bin/sh\n#SBATCH --container={IMAGE}\n#SBATCH --export-file={variables}\n{HOST_OR_IMAGE[-1]}\n"
    try:
        job = cluster.sbatch(script)
    except AssertionError as refused:
        assert "--export-file" in str(refused)
        return
    assert "host" not in job.output, job


def test_words_for_the_script_are_no_options(cluster: Cluster, variables: Path) -> None:
    script = variables.with_suffix(".sh")
    script.write_text('#!/bin/sh\necho "$@"\n')
    out = variables.with_suffix(".out")
    words = ("--wait", f"--container={IMAGE}", f"--output={out}", str(script), "--export-file=mine")
    sent = cluster.run("sbatch", *words)
    script.unlink()
    assert sent.returncode == 0, sent
    assert out.read_text() == "--export-file=mine\n"
    out.unlink()


def test_a_command_in_the_container_cannot_unset_it(cluster: Cluster) -> None:
    """A script's own environment decides about its inner steps only, and those say themselves what they want."""
    script = (
        f"#!/bin/sh\nunset SLURM_CONTAINER\n{HOST_OR_IMAGE[-1]}\nenv -u SLURM_CONTAINER sh -c '{HOST_OR_IMAGE[-1]}'\n"
    )
    job = cluster.sbatch(script, f"--container={IMAGE}")
    assert (job.state, job.output) == ("COMPLETED", "image\nimage\n")


def test_after_bad_input_a_good_step_works_at_once(cluster: Cluster) -> None:
    with cluster.allocation() as job:
        for kind in WAYS:
            image, reason = BAD[kind]
            assert_step_refused(job.srun("true", image=image), reason)
            began = time.monotonic()
            done = job.srun("cat", "/etc/socker-image")
            assert (done.returncode, done.stdout, done.stderr) == (0, "debian:bookworm\n", "")
            assert time.monotonic() - began < 5
    assert_works(cluster)
