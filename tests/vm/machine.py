# SPDX-License-Identifier: Apache-2.0
"""A running virtual machine: started by qemu, used over ssh, with no network but that."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BOOT_SECONDS = 900.0
MEGABYTES = 4096
CPUS = 2


class MachineError(Exception):
    """The machine did not start or did not answer; the text says where its console's log is."""


@dataclass(frozen=True, kw_only=True)
class Disk:
    """What a machine boots: a root file system without a boot loader, and the key that lets one in."""

    directory: Path
    kernel_words: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        """The disk, raw."""
        return self.directory / "root.img"

    @property
    def key(self) -> Path:
        """The private key of ssh."""
        return self.directory / "key"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine that answers."""

    port: int
    key: Path
    control: Path

    def ssh(self, command: str) -> list[str]:
        """The words that run a shell's command line as root in the machine."""
        options = (
            *("LogLevel=ERROR", "BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"),
            *("ConnectTimeout=20", "ControlMaster=auto", f"ControlPath={self.control}", "ControlPersist=60"),
            "Ciphers=aes128-gcm@openssh.com,chacha20-poly1305@openssh.com",
        )
        words = [word for option in options for word in ("-o", option)]
        return ["ssh", "-F", "none", "-i", str(self.key), "-p", str(self.port), *words, "root@127.0.0.1", command]

    def run(self, command: str, *, timeout: float = 600, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Runs a command line to its end; both its streams are in stdout."""
        return subprocess.run(
            self.ssh(command),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )

    def follow(self, command: str, log: Path, *, timeout: float) -> int:
        """Runs a command line, its output going to this terminal and the log as it comes; its exit code."""
        words = ["timeout", "--kill-after=10", str(timeout), *self.ssh(command)]
        with (
            log.open("ab") as file,
            subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as process,
        ):
            assert process.stdout
            while piece := os.read(process.stdout.fileno(), 65536):
                for sink in (file, sys.stdout.buffer):
                    sink.write(piece)
                    sink.flush()
        return process.returncode

    def send(self, archive: Path, directory: str) -> None:
        """The files of a tar archive are below a directory of the machine."""
        with archive.open("rb") as file:
            words = self.ssh(f"mkdir -p {directory} && tar -xf - -C {directory}")
            subprocess.run(words, stdin=file, check=True, timeout=600)

    def fetch(self, directory: str, target: Path) -> None:
        """A copy of a directory of the machine is below the target."""
        target.mkdir(parents=True, exist_ok=True)
        with subprocess.Popen(self.ssh(f"tar -cf - -C {directory} ."), stdout=subprocess.PIPE) as sender:
            subprocess.run(["tar", "-xf", "-", "-C", str(target)], stdin=sender.stdout, check=True, timeout=300)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _qemu(disk: Disk, port: int, console: Path, *, keep_changes: bool) -> list[str]:
    append = ("root=/dev/vda", "rw", "console=ttyS0", "net.ifnames=0", "mitigations=off", *disk.kernel_words)
    snapshot = "off" if keep_changes else "on"
    return [
        *("nice", "-n", "10", "qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-reboot"),
        # software emulation, which needs nothing of the machine
        *("-accel", "tcg,thread=multi", "-cpu", "max"),
        *("-m", str(MEGABYTES), "-smp", str(CPUS), "-serial", f"file:{console}"),
        *("-drive", f"file={disk.root},if=virtio,format=raw,cache=unsafe,snapshot={snapshot}"),
        *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
        *("-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"),
        *("-kernel", str(disk.directory / "vmlinuz"), "-initrd", str(disk.directory / "initrd")),
        *("-append", " ".join(append)),
    ]


def _wait(machine: Machine, qemu: subprocess.Popen[bytes], console: Path) -> None:
    end = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < end:
        if qemu.poll() is not None:
            raise MachineError(f"qemu ended with {qemu.returncode}; the console is in {console}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            if machine.run("true", timeout=30).returncode == 0:
                return
        time.sleep(1)
    raise MachineError(f"the machine does not answer after {BOOT_SECONDS:.0f} s; the console is in {console}")


@contextlib.contextmanager
def running(disk: Disk, console: Path, *, keep_changes: bool = False) -> Iterator[Machine]:
    """A machine that has booted the disk and is shut down afterwards; its changes are kept only if asked for."""
    console.parent.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="socker-vm-") as place:
        machine = Machine(port=port, key=disk.key, control=Path(place) / "ssh")
        environment = {**os.environ, "TMPDIR": str(disk.directory)}
        words = _qemu(disk, port, console, keep_changes=keep_changes)
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, env=environment) as qemu:
            try:
                _wait(machine, qemu, console)
                yield machine
            finally:
                _shut_down(machine, qemu, orderly=keep_changes)


def _shut_down(machine: Machine, qemu: subprocess.Popen[bytes], *, orderly: bool) -> None:
    if orderly:
        with contextlib.suppress(subprocess.TimeoutExpired):
            machine.run("sync; systemctl poweroff", timeout=30)
            qemu.wait(90)
    if qemu.poll() is None:
        qemu.kill()
        qemu.wait()
