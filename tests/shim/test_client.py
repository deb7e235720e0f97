# SPDX-License-Identifier: Apache-2.0
"""client.c: a submission whose wish for a container would be lost on its way is refused before it is made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from .driver import Child, ffi, lib, messages

REASON = (
    "error: socker: --container does not work together with --export-file, which sends no variable of Slurm's; "
    "use --export=NAME=VALUE,..."
)


class Client:
    """A client command, by its command line."""

    def __init__(self, trusted: Path) -> None:
        self.file = trusted / "cmdline"

    def check(self, arguments: list[str], *, context: str = "S_CTX_ALLOCATOR", container: str | None = "debian") -> Any:
        """Its exit status: the hook ends it where it refuses."""
        lib.fake_context(getattr(lib, context))
        self.file.write_bytes(b"".join(os.fsencode(word) + b"\0" for word in ["sbatch", *arguments]))

        def client() -> int:
            os.environ.pop("SLURM_CONTAINER", None)
            if container is not None:
                os.environ["SLURM_CONTAINER"] = container
            assert lib.shim_private_mounts() == 0
            assert lib.shim_mount(os.fsencode(self.file), b"/proc/self/cmdline", b"", 4096) == 0  # BIND
            return int(lib.slurm_spank_init_post_opt(lib.fake_handle(), 0, ffi.NULL))

        ending = Child(client).wait()
        assert ending.said == (0 if ending.status == 0 else None)
        return ending.status


@pytest.fixture
def client(trusted: Path) -> Client:
    return Client(trusted)


@pytest.mark.parametrize(
    "arguments",
    [["--export-file=x"], ["--export-file", "x"], ["--export-f=x"], ["--export-fil", "3"], ["-n", "1", "--export-file=x"]],
)  # fmt: skip
def test_client_with_a_container_and_an_export_file_fails(client: Client, arguments: list[str]) -> None:
    assert client.check(["--container=debian", *arguments, "job.sh"]) == 1
    assert messages() == [REASON]


@pytest.mark.parametrize(
    "arguments", [[], ["--export=ALL"], ["--export", "A=1"], ["--export-filed=x"], ["--export-x"], ["-export-file=x"]]
)
def test_client_with_a_container_alone_succeeds(client: Client, arguments: list[str]) -> None:
    assert client.check(["--container=debian", *arguments, "job.sh"]) == 0
    assert messages() == []


def test_client_with_an_export_file_alone_succeeds(client: Client) -> None:
    assert client.check(["--export-file=x"], container=None) == 0


@pytest.mark.parametrize("context", ["S_CTX_LOCAL", "S_CTX_REMOTE", "S_CTX_SLURMD", "S_CTX_JOB_SCRIPT"])
def test_client_check_is_for_sbatch_and_salloc_only(client: Client, context: str) -> None:
    assert client.check(["--export-file=x"], context=context) == 0
    assert messages() == []


COMPONENTS = (
    'error: socker: --container does not work together with ":", since Slurm would give every component the first '
    "one's image; start each component with an srun of its own, or use --multi-prog"
)


@pytest.mark.parametrize(
    ("arguments", "container"),
    [
        (["--container=debian", "a", ":", "b"], "debian"),
        (["a", ":", "--container=debian", "b"], None),
        (["a", ":", "--conta", "debian", "b"], None),
        (["a", ":", "--container-image=debian", "b"], None),
        (["a", ":", "b", ":", "c"], "by-default"),
    ],
)
def test_client_with_a_container_and_components_fails(
    client: Client, arguments: list[str], container: str | None
) -> None:
    assert client.check(arguments, context="S_CTX_LOCAL", container=container) == 1
    assert messages() == [COMPONENTS]


@pytest.mark.parametrize(
    ("arguments", "container"),
    [
        (["a", ":", "b"], None),
        (["--contiguous", "a", ":", "b"], None),
        (["--container=debian", "a", "::", "a:b", "b"], "debian"),
    ],
)
def test_client_with_components_or_a_container_alone_succeeds(
    client: Client, arguments: list[str], container: str | None
) -> None:
    assert client.check(arguments, context="S_CTX_LOCAL", container=container) == 0
    assert messages() == []
