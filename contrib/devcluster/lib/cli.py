# SPDX-License-Identifier: Apache-2.0
"""The command line."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from lib import environment, health, images, lifecycle, users
from lib.cluster import Options, demand, load, locked
from lib.daemons import daemons, select
from lib.errors import DevclusterError
from lib.layout import Layout, layout

_LOG_LINES = 20

Command = Callable[[Layout, argparse.Namespace], int]


def main(argv: Sequence[str]) -> int:
    """Run one command; the exit status."""
    os.umask(0o022)
    arguments = _parser().parse_args(argv)
    command: Command = arguments.command
    if os.geteuid() != 0:
        sys.stderr.write("devcluster: only root can do this\n")
        return 1
    try:
        return command(layout(arguments.name), arguments)
    except DevclusterError as error:
        sys.stderr.write(f"devcluster: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="devcluster", description="A private Slurm cluster on one machine")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, about: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=about, description=about)
        sub.add_argument("--name", default="dev", help="the cluster (default: dev)")
        sub.set_defaults(command=command)
        return sub

    _add_up_options(add("up", _up, "start the cluster, or what is missing of it"))
    sub = add("down", _down, "end the cluster; images and logs stay")
    sub.add_argument("--purge", action="store_true", help="remove its directory, too")
    add("status", _status, "a line for each daemon; exit 0 if all are up")
    add("env", _env, "print export lines for the shell")
    sub = add("exec", _exec, "run a command with the environment of `env`")
    sub.add_argument("--user", help="run it as this user, with a clean environment")
    sub.add_argument("--cwd", help="where to run it (default with --user: the home)")
    sub.add_argument("argv", nargs="+", metavar="-- COMMAND", help="the command")
    sub = add("logs", _logs, "print the last lines of the logs")
    sub.add_argument("daemon", nargs="?", help="of this daemon only")
    sub.add_argument("--lines", type=int, default=_LOG_LINES)
    sub = add("images", _images, "build and load images")
    sub.add_argument("images", nargs="*", help="only these", metavar="NAME")
    add("install", _install, "install this repository's socker for the cluster again")
    add("users", _users, "create the users and groups that tests need")
    for name, about in (
        ("start", "start a daemon"),
        ("stop", "end a daemon with SIGTERM"),
        ("kill", "end a daemon with SIGKILL"),
        ("restart", "end and start a daemon"),
    ):
        sub = add(name, _daemon, about)
        sub.set_defaults(verb=name)
        sub.add_argument("daemon", help="munged, slurmctld, slurmd, dockerd or a node")
    return parser


def _add_up_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--nodes", type=int, help=f"how many slurmd (default: {Options().nodes})")
    sub.add_argument("--no-socker", action="store_true", help="do without socker")
    sub.add_argument("--accounting", action="store_true", help="with slurmdbd, a database, accounts and QOS")
    sub.add_argument("--prefix", type=os.path.abspath, help="use the socker installed there")

    def repeatable(option: str, metavar: str, about: str) -> None:
        sub.add_argument(option, action="append", default=[], metavar=metavar, help=about)

    repeatable("--socker-arg", "KEY=VALUE", "an argument of the plugin in plugstack.conf")
    repeatable("--plugstack", "LINE", "a line of plugstack.conf")
    repeatable("--conf", "KEY=VALUE", "replace or add a line of slurm.conf")
    repeatable("--cgroup-conf", "KEY=VALUE", "replace or add a line of cgroup.conf")
    sub.add_argument("--etc", action="append", default=[], type=os.path.abspath, metavar="FILE", help="a file for etc/")
    repeatable("--docker-arg", "ARG", "an argument of dockerd (--docker-arg=--debug)")


def _up(paths: Layout, arguments: argparse.Namespace) -> int:
    given = {
        "nodes": arguments.nodes,
        "socker": False if arguments.no_socker else None,
        "prefix": arguments.prefix,
        "accounting": arguments.accounting or None,
        "etc": tuple(arguments.etc),
        "socker_args": tuple(arguments.socker_arg),
        "plugstack": tuple(arguments.plugstack),
        "conf": tuple(arguments.conf),
        "cgroup_conf": tuple(arguments.cgroup_conf),
        "docker_args": tuple(arguments.docker_arg),
    }
    chosen = {key: value for key, value in given.items() if value not in (None, ())}
    with locked(paths):
        lifecycle.up(paths, Options(**chosen) if chosen else None)
    return 0


def _down(paths: Layout, arguments: argparse.Namespace) -> int:
    with locked(paths):
        lifecycle.down(paths, purge=arguments.purge)
    return 0


def _status(paths: Layout, _: argparse.Namespace) -> int:
    cluster = load(paths)
    if cluster is None:
        print(f"{paths.name} is down")
        return 1
    report = health.check(cluster)
    print(*report, sep="\n")
    return 0 if all(part.up for part in report) else 1


def _env(paths: Layout, _: argparse.Namespace) -> int:
    print(environment.exports(demand(paths)), end="")
    return 0


def _exec(paths: Layout, arguments: argparse.Namespace) -> int:
    environment.execute(demand(paths), arguments.argv, user=arguments.user, cwd=arguments.cwd)


def _logs(paths: Layout, arguments: argparse.Namespace) -> int:
    cluster = demand(paths)
    chosen = select(cluster, arguments.daemon) if arguments.daemon else daemons(cluster)
    for daemon in chosen:
        print(health.log_tail(paths, daemon.name, arguments.lines))
    return 0


def _images(paths: Layout, arguments: argparse.Namespace) -> int:
    with locked(paths):
        print(*images.load(demand(paths).layout, arguments.images), sep="\n")
    return 0


def _install(paths: Layout, _: argparse.Namespace) -> int:
    with locked(paths):
        lifecycle.install(demand(paths))
    return 0


def _users(paths: Layout, _: argparse.Namespace) -> int:
    with locked(paths):
        users.ensure()
    return 0


def _daemon(paths: Layout, arguments: argparse.Namespace) -> int:
    actions = {
        "start": lifecycle.start_named,
        "stop": lifecycle.stop_named,
        "kill": lifecycle.kill_named,
        "restart": lifecycle.restart_named,
    }
    with locked(paths):
        actions[arguments.verb](demand(paths), arguments.daemon)
    return 0
