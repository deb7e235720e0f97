# SPDX-License-Identifier: Apache-2.0
"""The releases that the rig knows, and what each machine has installed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path("/usr/share/debootstrap/scripts")

SYSTEM = (
    *("systemd", "systemd-sysv", "dbus", "udev", "kmod", "iproute2", "procps", "ca-certificates", "less"),
    *("initramfs-tools", "linux-image-cloud-amd64", "openssh-server"),
)
SERVICES = ("munge", "slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins", "docker.io", "docker-registry")
HELPERS = ("apparmor", "iptables", "busybox-static", "libcap2-bin", "strace")
BUILD = ("gcc", "libc6-dev", "make", "python3", "python3-dev", "python3-venv", "libslurm-dev")
PACKAGING = ("dpkg-dev", "debhelper", "fakeroot")


@dataclass(frozen=True, kw_only=True)
class Suite:
    """
    A Debian release; the command line of its kernel says which cgroup version systemd sets up.

    One whose Python is too old has another built from the source package of a later release, `python_of`, in /opt.
    """

    name: str
    added: tuple[str, ...] = ()
    kernel: tuple[str, ...] = ()
    python_of: str = ""

    @property
    def packages(self) -> tuple[str, ...]:
        """What is installed beside debootstrap's smallest variant."""
        return (*SYSTEM, *SERVICES, *HELPERS, *BUILD, *PACKAGING, *self.added)

    @property
    def python(self) -> str:
        """The interpreter that socker is built for."""
        return "/opt/python3/bin/python3" if self.python_of else "/usr/bin/python3"

    @property
    def script(self) -> str:
        """The debootstrap script: a release newer than this machine's debootstrap is made as sid is."""
        return self.name if (SCRIPTS / self.name).exists() else "sid"


SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            name="bullseye",
            kernel=("systemd.unified_cgroup_hierarchy=0",),
            added=("zlib1g-dev", "libssl-dev", "libffi-dev", "xz-utils"),
            python_of="bookworm",
        ),
        Suite(name="bookworm"),
        Suite(name="trixie", added=("docker-cli",)),
        Suite(name="forky", added=("docker-cli",)),
    )
}
