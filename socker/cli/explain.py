# SPDX-License-Identifier: Apache-2.0
"""socker explain: a decision rule by rule, and the plan, from the policy alone. Docker is not asked."""

from __future__ import annotations

import grp
import os
import pwd
from typing import TYPE_CHECKING, Any, cast

import click

from socker.catalogue import DEFAULT_PATH
from socker.catalogue import load as load_catalogue
from socker.cli.app import FAILED, NO, CannotTell, leave, tell
from socker.cli.check import load_draft
from socker.cli.explainplan import plan_of
from socker.cli.images import name_of
from socker.cli.show import json_option, print_json, print_table
from socker.cli.site import find_site, slurm_conf_option
from socker.errors import SlurmError, SockerError
from socker.identity import NodeAccounts
from socker.model import User
from socker.policy import (
    Allow,
    Case,
    Deny,
    Policy,
    Subject,
    Undecided,
    answers,
    group_names,
    preview,
    requiring_group_names,
    requiring_rule,
    rule_named,
)
from socker.policyfile import load
from socker.reference import Reference, parse
from socker.text import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from socker.catalogue import Catalogue
    from socker.entry import Entry
    from socker.model import Facts
    from socker.policy import Rule

_HEAD = ("RULE", "EFFECT", "ANSWER", "WHY")
_ONE = {"accounts": "account", "partitions": "partition", "qos": "qos", "reservations": "reservation"}


def _known(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """Complete an image from the catalogue; without one there is nothing to complete."""
    try:
        entries = load_catalogue(DEFAULT_PATH).entries()
    except SockerError:
        return []
    return [name for name in map(name_of, entries) if name.startswith(typed)]


@click.command()
@click.option(
    "--image",
    metavar="REF",
    shell_complete=_known,
    help="The image, as behind --container; without it: is one required?",
)
@click.option("--user", metavar="USER", help="Whose step it would be, a name or an id; without it, yours.")
@click.option("--account", metavar="NAME", help="The job's account.")
@click.option("--partition", metavar="NAME", help="The job's partition.")
@click.option("--qos", metavar="NAME", help="The job's QOS.")
@click.option("--reservation", metavar="NAME", help="The job's reservation; none if not given.")
@click.option(
    "--mount", "mounts", metavar="SRC[:DST[:FLAGS]]", multiple=True, help="A mount, as of --container-mounts."
)
@click.option(
    "--policy", "draft", type=click.Path(exists=True, dir_okay=False), help="Another policy file than the node's."
)
@slurm_conf_option
@json_option
def explain(
    *,
    image: str | None,
    user: str | None,
    mounts: Sequence[str],
    draft: str | None,
    slurm_conf: str | None,
    as_json: bool,
    **facts: str | None,
) -> None:
    """
    Tell whether a user may run an image, rule by rule, and what the container would have.

    Docker is not asked, so what only the image can decide is said to depend on it. A rule that asks for what was not
    given (--account, --partition, --qos) cannot be answered.

    Exit codes: 0 allowed, also where that depends on the image; 1 denied; 3 it cannot be told.

    Example: socker explain --user alice --image debian:12 --partition gpu
    """
    path = draft or find_site(slurm_conf).word("policy")
    policy = load_draft(path) if draft else load(path)
    tell(f"{policy.source}: {len(policy.rules)} rules")
    asking = _user(user)
    facts["reservation"] = facts["reservation"] or ""
    known = cast("Facts", _Given(facts))
    required = "" if image is not None else _required(policy, asking, known)
    if image is None and not required:
        _say({"verdict": "plain", "reason": "no rule requires a container: the step would run on the host"}, as_json)
        return
    explained = _Explained(policy, _case(policy, asking, known, parse(required if image is None else image)))
    found = explained.as_data() | explained.plan(mounts)
    _say({"image": required if image is None else image, "user": asking.name, "policy": policy.source} | found, as_json)
    if found["verdict"] not in {"allow", "depends"}:
        leave(FAILED if found["verdict"] == "unknown" else NO)


class _Given:
    """What Slurm would know of the job, as far as the command line says it."""

    def __init__(self, given: Mapping[str, str | None]) -> None:
        self._given = given

    def __getattr__(self, name: str) -> str:
        """Return a fact. Raises SlurmError where it is not known."""
        value = self._given.get(name)
        if value is None:
            raise SlurmError(f"the {name} is not given: add --{name}")
        return value


class _Finder:
    """The catalogue, read when a rule asks for it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._catalogue: Catalogue | None = None

    def find(self, reference: Reference) -> Entry | None:
        """Return an entry. Raises CatalogueError."""
        if self._catalogue is None:
            self._catalogue = load_catalogue(self._path)
        return self._catalogue.find(reference)


def _user(name: str | None) -> User:
    try:
        asked = name if name is not None else str(os.getuid())
        entry = pwd.getpwuid(int(asked)) if asked.isascii() and asked.isdigit() else pwd.getpwnam(asked)
    except (KeyError, OverflowError, ValueError):
        raise CannotTell(f"there is no user {name}") from None
    if entry.pw_uid == 0:
        raise CannotTell("root runs no containers; name a user with --user")
    groups = frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return User(uid=entry.pw_uid, gid=entry.pw_gid, groups=groups, name=entry.pw_name, home=entry.pw_dir)


def _required(policy: Policy, user: User, facts: Facts) -> str:
    """Return the image that a job without one gets, empty where it needs none."""
    ids = NodeAccounts().group_ids(requiring_group_names(policy, user))
    rule = requiring_rule(policy, Subject(user=user, group_ids=ids, facts=lambda: facts))
    if rule is None or rule.required is None:
        return ""
    if not rule.required.image:
        raise CannotTell(f"rule {rule.name} requires a container and has no image for those who name none: add --image")
    tell(f"rule {rule.name} requires a container: {rule.required.image}")
    return rule.required.image


def _case(policy: Policy, user: User, facts: Facts, reference: Reference) -> Case:
    ids = NodeAccounts().group_ids(group_names(policy, user, reference))
    find = _Finder(policy.catalogue).find
    return Case(user=user, reference=reference, group_ids=ids, facts=lambda: facts, find=find)


class _Explained:
    """A case, and what each rule says to it."""

    def __init__(self, policy: Policy, case: Case) -> None:
        self._policy = policy
        self._case = case
        self._decision = preview(policy, case)
        self._rules = [self._rule(rule) for rule in self._reached(self._decision.rule)]

    def _rule(self, rule: Rule) -> dict[str, Any]:
        """Return what a rule answers: yes, no, "depends" on the image, "unknown" where a fact is missing."""
        selectors: dict[str, str] = {}
        answer, why = "yes", "every selector matches" if _selects_something(rule) else "it selects everything"
        try:
            for selector, said in answers(rule, self._case):
                selectors[selector] = said
                if said == "no":
                    answer, why = "no", f"{selector}: not {self._asked(selector)}"
                    break
                if said == "unknown":
                    answer, why = "depends", f"{selector}: the image on the node decides"
        except SlurmError as error:
            answer, why = "unknown", str(error)
        return {"name": rule.name, "effect": rule.effect, "answer": answer, "why": why, "selectors": selectors}

    def _asked(self, selector: str) -> str:
        case = self._case
        if selector in _ONE:
            return getattr(case.facts(), _ONE[selector]) or "a job without one"
        if selector == "groups":
            return ", ".join(sorted(map(_group, {case.user.gid, *case.user.groups})))
        return case.user.name if selector == "users" else str(case.reference)

    def as_data(self) -> dict[str, Any]:
        """Return the verdict, its rule and reason, and every rule up to the one that decides."""
        decision = self._decision
        verdict, reason = "allow", ""
        if isinstance(decision, Undecided):
            verdict, reason = "depends", "the image on the node decides"
        elif isinstance(decision, Deny):
            missing = {rule["name"]: rule["why"] for rule in self._rules if rule["answer"] == "unknown"}
            unknown = decision.rule in missing
            verdict, reason = ("unknown", missing[decision.rule]) if unknown else ("deny", decision.reason)
        return {
            "reference": str(self._case.reference),
            "verdict": verdict,
            "rule": decision.rule,
            "reason": reason,
            "rules": self._rules,
            "module": self._policy.module,
        }

    def _reached(self, last: str) -> Sequence[Rule]:
        """Return the rules up to the one that decides, all where none does; the others are not asked."""
        names = [rule.name for rule in self._policy.rules]
        return self._policy.rules[: names.index(last) + 1] if last in names else self._policy.rules

    def plan(self, mounts: Sequence[str]) -> dict[str, Any]:
        """Return the plan of what is allowed; a mount that is not makes it denied."""
        decision = self._decision
        if isinstance(decision, Deny):
            return {}
        grants = decision.grants if isinstance(decision, Allow) else rule_named(self._policy, decision.rule).grants
        return plan_of(self._case.user, decision.rule, grants, mounts)


def _selects_something(rule: Rule) -> bool:
    fields = ("users", "groups", "accounts", "partitions", "qos", "reservations", "images")
    return rule.catalogue or any(getattr(rule, field) is not None for field in fields)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _say(found: Mapping[str, Any], as_json: bool) -> None:  # noqa: FBT001 - it says which of the two
    if as_json:
        print_json(found)
        return
    if "rules" in found:
        shown = [(rule["name"], rule["effect"], rule["answer"], rule["why"]) for rule in found["rules"]]
        print_table(_HEAD, shown)
        click.echo()
    by = f" by rule {found['rule']}" if found.get("rule", "-") != "-" else ""
    reason = f": {found['reason']}" if found["reason"] else ""
    words = {"allow": "allowed", "deny": "denied", "depends": "allowed or not", "unknown": "cannot be told"}
    who = f"{found['user']}, {found['reference']}: " if "user" in found else ""
    click.echo(escape(f"{who}{words.get(found['verdict'], 'no container')}{by}{reason}"))
    if found.get("module"):
        click.echo(escape(f"the module {found['module']} has the last word; it is not run here"))
    for name, values in found.get("plan", {}).items():
        click.echo(f"  {name + ':':18} {escape(', '.join(values))}")
