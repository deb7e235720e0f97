# SPDX-License-Identifier: Apache-2.0
"""socker doctor's judgement: facts in, findings out. Each finding that is not ok says what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from socker.cli.facts import PARTS
from socker.cli.site import WORDS
from socker.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from socker.cli.facts import Facts

    Status = Literal["ok", "warn", "fail"]

OLDEST_SLURM = (21, 8)
OLDEST_DOCKER = (20, 10)
OLDEST_KERNEL = (5, 12)  # mount_setattr
OLDEST_PYTHON = (3, 11)

_SECONDS = ("[1-9][0-9]{0,2}|[12][0-9]{3}|3[0-5][0-9]{2}|3600", "1 to 3600 seconds")
_FORMS = {
    "deadline": _SECONDS,
    "save_deadline": _SECONDS,
    "plain": ("ask|host", "ask or host"),
    "option_prefix": ("[a-z][a-z-]{0,19}", "1 to 20 small letters and dashes"),
}
_PATH_WORDS = ("state", "token", "docker", "policy", "slurm_conf")


class Finding(Value):
    """One line of the doctor's: `what` was looked at, what it is `found` to be, and what `todo` about it."""

    status: Status
    what: str
    found: str
    todo: str = ""


def diagnose(facts: Facts) -> list[Finding]:
    """Return all findings, in the order in which they are best mended."""
    checks = (
        _plugstack,
        _words,
        _parts,
        _slurm,
        _oci_conf,
        _settings,
        _kernel,
        _docker,
        _accounts,
        _policy,
        _catalogue,
    )
    findings = [finding for check in checks for finding in check(facts)]
    if not facts.root:
        findings.insert(0, _warn("user", "not root", "run it as root: not everything can be seen otherwise"))
    return findings


def _ok(what: str, found: str) -> Finding:
    return Finding(status="ok", what=what, found=found)


def _warn(what: str, found: str, todo: str) -> Finding:
    return Finding(status="warn", what=what, found=found, todo=todo)


def _fail(what: str, found: str, todo: str) -> Finding:
    return Finding(status="fail", what=what, found=found, todo=todo)


def _plugstack(facts: Facts) -> Iterator[Finding]:
    what = "plugstack line"
    line = facts.site.line()
    if facts.site_error:
        yield _fail("Slurm's configuration", facts.site_error, "name it with --slurm-conf")
        return
    if line is None:
        todo = "add the line of socker.conf, or: include /etc/slurm/plugstack.conf.d/*"
        yield _fail(what, f"{facts.site.plugstack or 'plugstack.conf'} has none for socker.so", todo)
        return
    faults = False
    if line.flag != "required":
        faults = True
        yield _fail(
            what, f"{line.where} says {line.flag}", "write required: else Slurm turns a refusal into a run on the host"
        )
    if not line.plugin.startswith("/"):
        faults = True
        yield _fail(what, f"{line.where} has the path {line.plugin}", "write the absolute path of socker.so")
    if line != facts.site.lines[-1]:
        faults = True
        yield _warn(
            what, f"{line.where} is not the last", "put it behind all other plugins, so that theirs is done first"
        )
    if sum(other.plugin.endswith("/socker.so") for other in facts.site.lines) > 1:
        faults = True
        yield _fail(what, "socker.so is there twice", "remove one of the lines")
    if not faults:
        yield _ok(what, f"{line.where}: required, absolute, last")


def _words(facts: Facts) -> Iterator[Finding]:
    line = facts.site.line()
    for word in line.words if line else ():
        name, equals, value = word.partition("=")
        if not equals or name not in WORDS:
            yield _fail("plugstack line", f"{word} is not understood", f"write one of: {', '.join(WORDS)}")
        elif name in _PATH_WORDS and not value.startswith("/"):
            yield _fail("plugstack line", f"{word} is no absolute path", "write it from / on")
        elif name in _FORMS and not re.fullmatch(_FORMS[name][0], value):
            yield _fail("plugstack line", f"{word} is not understood", f"give {_FORMS[name][1]}")


def _parts(facts: Facts) -> Iterator[Finding]:
    broken = {name: fault for name, fault in facts.parts.items() if fault}
    for name, fault in broken.items():
        yield _fail("programs", f"{facts.site.libdir()}/{name}: {fault}", "install socker again: make install")
    if not broken:
        yield _ok("programs", f"{', '.join(PARTS)} in {facts.site.libdir()}")
    if facts.loads:
        yield _fail("plugin", facts.loads, "build it against the headers of this Slurm release, and install it again")


def _slurm(facts: Facts) -> Iterator[Finding]:
    version = facts.slurm_version.removeprefix("slurm ")
    if not version:
        yield _fail("Slurm", "scontrol does not say its version", "install Slurm's commands on this host")
    elif _numbers(version) < OLDEST_SLURM:
        yield _fail("Slurm", version, "use Slurm 21.08 or newer")
    else:
        yield _ok("Slurm", version)
    if facts.controller:
        yield _fail("slurmctld", facts.controller, "start it; until it answers a sweep removes nothing")
    else:
        yield _ok("slurmctld", "answers")


def _oci_conf(facts: Facts) -> Iterator[Finding]:
    if facts.oci_conf:
        yield _fail(
            "oci.conf",
            f"{facts.oci_conf} is there",
            "remove it: with it Slurm runs --container itself, as an OCI bundle",
        )
    else:
        yield _ok("oci.conf", "there is none")


def _settings(facts: Facts) -> Iterator[Finding]:
    slurm = facts.site.slurm
    if not slurm:
        return
    prolog = slurm.get("taskprolog", "")
    if prolog not in {"", "(null)"}:
        yield _warn("TaskProlog", prolog, "it runs in the image, after the join: nothing for security may depend on it")
    else:
        yield _ok("TaskProlog", "not set")
    tracking = slurm.get("proctracktype", "")
    if "cgroup" not in tracking:
        yield _fail("ProctrackType", tracking or "not set", "set proctrack/cgroup: containers live in the job's cgroup")
    private = slurm.get("privatedata", "").lower()
    if "jobs" in private.split(",") or private == "all":
        yield _warn("PrivateData", private, "it hides jobs from the policy engine's user, so a sweep removes nothing")
    launch = slurm.get("launchparameters", "").lower().split(",")
    if "test_exec" in launch:
        yield _warn(
            "LaunchParameters", "test_exec", "take it out: srun would look for the image's commands on the host"
        )
    if "use_interactive_step" not in launch:
        yield _warn("LaunchParameters", "no use_interactive_step", "add it: salloc takes --container only with it")
    if facts.cgroup_conf.get("constraindevices", "no").lower() != "yes":
        yield _warn("ConstrainDevices", "not yes in cgroup.conf", "set it: else a job reaches devices it was not given")


def _kernel(facts: Facts) -> Iterator[Finding]:
    if _numbers(facts.kernel) < OLDEST_KERNEL:
        yield _fail("kernel", facts.kernel, "use Linux 5.12 or newer")
    else:
        yield _ok("kernel", facts.kernel)
    if facts.cgroup:
        yield _ok("cgroup", facts.cgroup)
    else:
        yield _fail("cgroup", "none below /sys/fs/cgroup", "mount cgroup version 2 (or 1) there, as systemd does")
    if _numbers(facts.python) < OLDEST_PYTHON:
        yield _fail("Python", facts.python, "use Python 3.11 or newer")
    else:
        yield _ok("Python", facts.python)


def _docker(facts: Facts) -> Iterator[Finding]:
    if facts.docker_error:
        yield _fail("Docker", facts.docker_error, "start dockerd, or write docker= in the plugstack line")
        return
    version = str(facts.docker.get("ServerVersion", ""))
    driver = f"{facts.docker.get('CgroupDriver')} driver, cgroup v{facts.docker.get('CgroupVersion', '1')}"
    if _numbers(version) < OLDEST_DOCKER:
        yield _fail("Docker", version or "without a version", "use Docker 20.10 or newer")
    else:
        yield _ok("Docker", f"{version}, {driver}")
    if "runc" not in facts.docker.get("Runtimes", {}):
        yield _fail("Docker's runtimes", ", ".join(facts.docker.get("Runtimes", {})) or "none", "install runc")
    if not any("name=seccomp" in option for option in facts.docker.get("SecurityOptions") or ()):
        yield _fail("seccomp", "Docker sets no filter", "use a dockerd and a kernel with seccomp")
    if not facts.docker.get("LiveRestoreEnabled"):
        yield _warn(
            "live-restore", "off", 'set "live-restore": true in daemon.json: a restart of dockerd ends containers'
        )


def _accounts(facts: Facts) -> Iterator[Finding]:
    engine, hold = facts.site.word("user"), facts.site.word("hold_user")
    for name in (engine, hold):
        if name not in facts.accounts:
            yield _fail("system users", f"there is no {name}", "make users, or contrib/packaging/users")
    account = facts.accounts.get(engine)
    if account is not None and account.groups != ("docker",):
        found = f"{engine} is in {', '.join(account.groups)}"
        yield _fail("system users", found, f"make docker its only group: usermod -g docker -G '' {engine}")
    account = facts.accounts.get(hold)
    if account is not None and account.groups != (hold,):
        yield _fail(
            "system users",
            f"{hold} is in {', '.join(account.groups)}",
            f"leave it in its own group only: usermod -G '' {hold}",
        )
    if any(account.uid == 0 for account in facts.accounts.values()):
        yield _fail("system users", "one of them is uid 0", "give it a uid of its own: make users")
    others = [name for name in facts.docker_members if name != engine]
    if others:
        yield _warn("group docker", f"{', '.join(others)} in it", "take them out: a member of it is as good as root")
    elif len(facts.accounts) == len({engine, hold}):
        yield _ok("system users", f"{engine}, {hold}")


def _policy(facts: Facts) -> Iterator[Finding]:
    if facts.policy_error:
        yield _fail("policy", facts.policy_error, "mend it: until then every container is refused (socker check)")
    elif not facts.policy_index:
        found = f"{facts.policy}, no index of it as it is now"
        yield _warn("policy", found, "socker check --index: nodes read it faster then")
    else:
        yield _ok("policy", facts.policy)
    for path in facts.unreadable:
        user = facts.site.word("user")
        yield _fail("rights", f"{user} cannot read {path}", "chmod a+r it, and a+x its directories")


def _catalogue(facts: Facts) -> Iterator[Finding]:
    if facts.catalogue_error:
        yield _fail("catalogue", facts.catalogue_error, "mend it: rules that ask for it refuse (socker images)")
    elif facts.catalogue is None:
        yield _ok("catalogue", "none")
    elif not facts.catalogue_index:
        yield _warn(
            "catalogue", "changed since its index was made", "socker images index: first steps are slower until then"
        )
    else:
        yield _ok("catalogue", f"{facts.catalogue} images")


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"[^0-9]*([0-9]+)\.([0-9]+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
