# SPDX-License-Identifier: Apache-2.0
"""The configuration files of a cluster: text from its definition, then files."""

import json
import secrets
import shutil
import socket
from collections.abc import Iterable

from lib import cgroups
from lib.cluster import Cluster
from lib.layout import Layout
from lib.tools import run

# Keys of slurm.conf that may stand on several lines; the first word tells them apart.
_REPEATED = frozenset({"nodename", "partitionname", "nodeset", "downnodes"})

# Docker 23 and newer has no trust key any more and would refuse the setting.
_FIRST_DOCKER_WITHOUT_KEY = 23


def write(cluster: Cluster) -> None:
    """All configuration files are there; a key that is there already is kept."""
    paths = cluster.layout
    files = {
        paths.slurm_conf: slurm_conf(cluster, socket.gethostname().partition(".")[0]),
        paths.etc / "cgroup.conf": cgroup_conf(cluster, version=cgroups.version(), swap=cgroups.limits_swap()),
        paths.plugstack: plugstack_conf(cluster),
        paths.etc / "daemon.json": daemon_json(paths, _docker_release()),
    }
    for path, text in files.items():
        path.write_text(text)
    for name in cluster.options.etc:
        shutil.copy(name, paths.etc)
    if cluster.options.accounting:
        paths.slurmdbd_conf.touch(mode=0o600)
        paths.slurmdbd_conf.write_text(slurmdbd_conf(cluster, socket.gethostname().partition(".")[0]))
    if not paths.munge_key.exists():
        paths.munge_key.touch(mode=0o600)
        paths.munge_key.write_bytes(secrets.token_bytes(1024))


def slurm_conf(cluster: Cluster, hostname: str) -> str:
    """slurm.conf, with the words of `up --conf` in it."""
    # What is added stands before our nodes and partition, so NodeName=DEFAULT works.
    before, after = _general(cluster, hostname), _nodes(cluster)
    lines, added = _override([*before, *after], cluster.options.conf)
    lines[len(before) : len(before)] = added
    return _text(lines)


def _general(cluster: Cluster, hostname: str) -> list[str]:
    paths = cluster.layout
    return [
        f"ClusterName={paths.name}",
        f"SlurmctldHost={hostname}(127.0.0.1)",
        f"SlurmctldPort={cluster.controller_port}",
        "SlurmUser=root",
        "AuthType=auth/munge",
        f"AuthInfo=socket={paths.munge_socket}",
        f"StateSaveLocation={paths.state}",
        f"SlurmdSpoolDir={paths.spool}/%n",
        f"TmpFS={paths.scratch}/%n",
        f"SlurmctldPidFile={paths.slurmctld_pid}",
        f"SlurmdPidFile={paths.slurmd_pid('%n')}",
        f"SlurmctldLogFile={paths.log}/slurmctld.log",
        f"SlurmdLogFile={paths.log}/%n.log",
        "SlurmctldDebug=info",
        "SlurmdDebug=verbose",
        f"PlugStackConfig={paths.plugstack}",
        "MailProg=/bin/true",
        "MpiDefault=none",
        "ProctrackType=proctrack/cgroup",
        "TaskPlugin=task/affinity,task/cgroup",
        "JobAcctGatherType=jobacct_gather/cgroup",
        *_accounting(cluster),
        "LaunchParameters=use_interactive_step",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core_Memory",
        "SchedulerParameters=batch_sched_delay=0,sched_interval=5,sched_min_interval=0",
        "DefMemPerCPU=200",
        "KillWait=5",
        "OverTimeLimit=0",
        "InactiveLimit=0",
        "MinJobAge=300",
        "ReturnToService=2",
        "SlurmctldTimeout=300",
        "SlurmdTimeout=300",
        # Nodes have the CPUs and the memory that they announce, not the machine's.
        "SlurmdParameters=config_overrides",
    ]


def _accounting(cluster: Cluster) -> list[str]:
    if not cluster.options.accounting:
        return ["AccountingStorageType=accounting_storage/none"]
    return [
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStorageHost=127.0.0.1",
        f"AccountingStoragePort={cluster.database_port}",
        # so is the munged named by which slurmdbd is spoken to
        f"AccountingStoragePass={cluster.layout.munge_socket}",
        "AccountingStorageEnforce=associations,qos",
    ]


def slurmdbd_conf(cluster: Cluster, hostname: str) -> str:
    """slurmdbd.conf; root of the machine is root of the database."""
    paths = cluster.layout
    return _text(
        [
            "AuthType=auth/munge",
            f"AuthInfo=socket={paths.munge_socket}",
            f"DbdHost={hostname}",
            "DbdAddr=127.0.0.1",
            f"DbdPort={cluster.database_port}",
            "SlurmUser=root",
            f"LogFile={paths.log}/slurmdbd.log",
            f"PidFile={paths.slurmdbd_pid}",
            "StorageType=accounting_storage/mysql",
            "StorageHost=localhost",
            "StorageUser=root",
            "StorageLoc=slurm",
        ]
    )


def _nodes(cluster: Cluster) -> list[str]:
    # CpuBind=none: task/affinity would refuse by itself to bind eight tasks to the
    # machine's two CPUs. Who asks for --cpu-bind is bound.
    attributes = "NodeAddr=127.0.0.1 CPUs=8 RealMemory=2000 CpuBind=none"
    names = ",".join(node.name for node in cluster.nodes)
    return [
        *(f"NodeName={node.name} Port={node.port} {attributes}" for node in cluster.nodes),
        f"PartitionName=main Nodes={names} Default=YES MaxTime=1-00:00:00 State=UP",
    ]


def cgroup_conf(cluster: Cluster, *, version: int, swap: bool) -> str:
    """cgroup.conf, with the words of `up --cgroup-conf` in it."""
    lines = [
        f"CgroupPlugin=cgroup/v{version}",
        "CgroupMountpoint=/sys/fs/cgroup",
        "ConstrainCores=yes",
        "ConstrainDevices=yes",
        "ConstrainRAMSpace=yes",
    ]
    if version != 1:
        lines.append("IgnoreSystemd=yes")
    if swap:
        lines += ["ConstrainSwapSpace=yes", "AllowedSwapSpace=0"]
    lines, added = _override(lines, cluster.options.cgroup_conf)
    return _text([*lines, *added])


def plugstack_conf(cluster: Cluster) -> str:
    """plugstack.conf: socker's line, then those of `up --plugstack`."""
    lines = list(cluster.options.plugstack)
    if cluster.options.socker:
        arguments = {
            "state": str(cluster.layout.run / "socker"),
            "token": str(cluster.layout.state / "socker/token"),
            "docker": str(cluster.layout.docker_socket),
            "policy": str(cluster.layout.etc / "policy.yaml"),
            "slurm_conf": str(cluster.layout.slurm_conf),
        }
        for word in cluster.options.socker_args:
            key, _, value = word.partition("=")
            arguments[key] = value
        words = (f"{key}={value}" for key, value in arguments.items())
        plugin = cluster.prefix / "lib/socker/socker.so"
        lines.insert(0, " ".join(["required", str(plugin), *words]))
    return _text(lines)


def daemon_json(paths: Layout, docker_release: int) -> str:
    """The configuration file of dockerd: what no option of it can set."""
    settings = {}
    if docker_release < _FIRST_DOCKER_WITHOUT_KEY:
        settings["deprecated-key-path"] = str(paths.etc / "docker-key.json")
    return json.dumps(settings, indent=2) + "\n"


def _docker_release() -> int:
    # "Docker version 20.10.24+dfsg1, build 5d6db84"
    return int(run("dockerd", "--version").stdout.split()[2].partition(".")[0])


def _override(lines: list[str], words: Iterable[str]) -> tuple[list[str], list[str]]:
    """The lines with those of the same key replaced, and the words that had none."""
    kept, added = list(lines), []
    for word in words:
        keys = [_key(line) for line in kept]
        if _key(word) in keys:
            kept[keys.index(_key(word))] = word
        else:
            added.append(word)
    return kept, added


def _key(line: str) -> str:
    first = line.lower().split(maxsplit=1)[0]
    key, _, _ = first.partition("=")
    return first if key in _REPEATED else key


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
