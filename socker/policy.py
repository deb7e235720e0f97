# SPDX-License-Identifier: Apache-2.0
"""
Policy: rules in, a decision out. The first rule that matches decides; where none does, the answer is Deny.

Every selector of a rule that is given must match; each is a list of which one entry has to. A deny rule takes more
for a match than an allow rule does, so that no spelling gets around it: where the image is asked for by digest or
id, a deny rule looks at every name the image has on the node, an allow rule at none.

Selectors on facts of the job (account, partition, QOS, reservation) and on the catalogue join `_selects` and `Case`;
what else a rule may set joins `Grants`.
"""

from __future__ import annotations

from socker.errors import assert_never
from socker.reference import ImageId, Reference
from socker.text import quoted
from socker.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from socker.model import Image, User
    from socker.pattern import Pattern

    Effect = Literal["allow", "deny"]
    Answer = Literal["yes", "no", "unknown"]

NO_RULE = "-"  # stands where a decision names its rule and there was none
BUILT_IN = "built-in"


class Grants(Value):
    """What a rule gives to the steps that it allows. A thing that is not named is not given."""

    home: bool = False
    submit_dir: bool = False


class Rule(Value):
    """One rule. A selector that is None selects everything; names and patterns are never both missing and meant."""

    name: str
    effect: Effect
    users: frozenset[str | int] | None = None
    groups: frozenset[str | int] | None = None
    images: tuple[Pattern, ...] | None = None
    reason: str = ""
    grants: Grants = Grants()


class Policy(Value):
    """Rules in the order in which they are asked, and where they come from."""

    rules: tuple[Rule, ...]
    source: str


class Allow(Value):
    """The step may open the image."""

    rule: str
    grants: Grants


class Deny(Value):
    """The step may not; `reason` says why, for the user."""

    rule: str
    reason: str


class Undecided(Value):
    """What the image is decides, by this rule; only `preview` answers so."""

    rule: str


Decision = Allow | Deny


class Case(Value):
    """
    What is asked: who, for which reference.

    `group_ids` gives the ids of the group names in `group_names`; a name the node does not know is not in it.
    `image` is what the reference was resolved to, None before that.
    """

    user: User
    reference: Reference
    group_ids: Mapping[str, int]
    image: Image | None = None


def default_policy() -> Policy:
    """Return the policy of a node without a policy file: what is on the node is allowed, nothing is pulled."""
    everyone = Rule(name=BUILT_IN, effect="allow", grants=Grants(home=True, submit_dir=True))
    return Policy(rules=(everyone,), source=BUILT_IN)


def group_names(policy: Policy, user: User, reference: Reference) -> frozenset[str]:
    """Return the group names that must be looked up before this user's wish can be decided."""
    case = Case(user=user, reference=reference, group_ids={})
    return frozenset(
        group
        for rule in policy.rules
        if rule.groups is not None and _user_matches(rule, case) and _image_matches(rule, case) != "no"
        for group in rule.groups
        if isinstance(group, str)
    )


def preview(policy: Policy, case: Case) -> Allow | Deny | Undecided:
    """
    Say what is certain before the image is looked up.

    A Deny holds whatever the reference leads to, so a user learns nothing about images that are not for them.
    """
    certain = True
    for rule in policy.rules:
        answer = _selects(rule, case)
        match answer:
            case "yes":
                decision = _apply(rule, case)
                return Undecided(rule=rule.name) if isinstance(decision, Allow) and not certain else decision
            case "unknown":
                if rule.effect == "allow":
                    return Undecided(rule=rule.name)
                certain = False
            case "no":
                pass
            case _:
                assert_never(answer)
    return _no_rule(case)


def decide(policy: Policy, case: Case) -> Decision:
    """Return the decision of the first rule that matches. The case must hold the image."""
    if case.image is None:
        raise ValueError("a decision needs the image")
    for rule in policy.rules:
        if _selects(rule, case) == "yes":
            return _apply(rule, case)
    return _no_rule(case)


def _no_rule(case: Case) -> Deny:
    return Deny(rule=NO_RULE, reason=f"no rule allows {case.user.name} the image {quoted(str(case.reference), 200)}")


def _apply(rule: Rule, case: Case) -> Decision:
    if rule.effect == "allow":
        return Allow(rule=rule.name, grants=rule.grants)
    if _group_matches(rule, case) == "unknown":
        return Deny(
            rule=rule.name, reason="the rule names a group that this node does not know; tell your administrator"
        )
    return Deny(rule=rule.name, reason=rule.reason)


def _selects(rule: Rule, case: Case) -> Answer:
    if not _user_matches(rule, case):
        return "no"
    group = _group_matches(rule, case)
    if group == "no" or (group == "unknown" and rule.effect == "allow"):
        return "no"
    return _image_matches(rule, case)


def _user_matches(rule: Rule, case: Case) -> bool:
    return rule.users is None or case.user.uid in rule.users or case.user.name in rule.users


def _group_matches(rule: Rule, case: Case) -> Answer:
    """Compare ids. A name the node does not know makes the answer unknown, which allows nothing and denies."""
    if rule.groups is None:
        return "yes"
    answer: Answer = "no"
    for group in rule.groups:
        number = case.group_ids.get(group) if isinstance(group, str) else group
        if number is None:
            answer = "unknown"
        elif number == case.user.gid or number in case.user.groups:
            return "yes"
    return answer


def _image_matches(rule: Rule, case: Case) -> Answer:
    if rule.images is None:
        return "yes"
    answers = {_pattern_matches(pattern, rule, case) for pattern in rule.images}
    if "yes" in answers:
        return "yes"
    return "unknown" if "unknown" in answers else "no"


def _pattern_matches(pattern: Pattern, rule: Rule, case: Case) -> Answer:
    reference, image = case.reference, case.image
    covered = pattern.covers(reference)
    if not covered and rule.effect == "deny" and (isinstance(reference, ImageId) or reference.tag is None):
        if image is None:
            return "unknown"
        covered = any(map(pattern.covers, image.names))
    if not covered:
        return "no"
    if pattern.digest is None or pattern.digest == reference.digest:
        return "yes"
    if image is None:
        return "unknown"
    return "yes" if pattern.digest in image.digests() else "no"
