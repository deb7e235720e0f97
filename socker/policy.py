# SPDX-License-Identifier: Apache-2.0
"""
Policy: rules in, a decision out. The first rule that matches decides; where none does, the answer is Deny.

Every selector of a rule that is given must match; each is a list of which one entry has to. A deny rule takes more
for a match than an allow rule does, so that no spelling gets around it: where the image is asked for by digest or
id, a deny rule looks at every name the image has on the node, an allow rule at none.

What costs something (the facts of a job, the catalogue) comes in as a function, asked only where all else of a rule
matches. Where Slurm does not say what a rule must know, the answer is Deny, whatever that rule's effect.
"""

from __future__ import annotations

from socker.errors import SlurmError, assert_never
from socker.grants import Grants, SiteMount
from socker.reference import ImageId, Reference
from socker.rules import Case, Policy, Required, Rule, Subject
from socker.text import quoted
from socker.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from socker.model import User
    from socker.pattern import Pattern

    Answer = Literal["yes", "no", "unknown"]

# the words of the policy engine, wherever they are defined
__all__ = ["BUILT_IN", "NO_RULE", "Allow", "Case", "Decision", "Deny", "Grants", "Policy", "Required", "Rule"]
__all__ += ["SiteMount", "Subject", "Undecided", "answers", "decide", "default_policy", "group_names", "preview"]
__all__ += ["requiring_group_names", "requiring_rule", "rule_named"]

NO_RULE = "-"  # stands where a decision names its rule and there was none
BUILT_IN = "built-in"
MIN_ID = 12  # hex digits by which a catalogue names an image: what the docker command prints


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


def default_policy() -> Policy:
    """Return the policy of a node without a policy file: what is on the node is allowed, nothing is pulled."""
    given = Grants(home=True, submit_dir=True, mount_sources=None, gpus=True)
    everyone = Rule(name=BUILT_IN, effect="allow", grants=given)
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


def requiring_group_names(policy: Policy, user: User) -> frozenset[str]:
    """Return the group names that must be looked up before it is known whether this user needs a container."""
    subject = Subject(user=user, group_ids={})
    return frozenset(
        group
        for rule in policy.rules
        if rule.required is not None and rule.groups is not None and _user_matches(rule, subject)
        for group in rule.groups
        if isinstance(group, str)
    )


def requiring_rule(policy: Policy, subject: Subject) -> Rule | None:
    """Return the first rule by which a step that asked for no container must have one. Raises SlurmError."""
    for rule in policy.rules:
        if rule.required is not None and "no" not in (answer for _, answer in _subject_answers(rule, subject)):
            return rule
    return None


def rule_named(policy: Policy, name: str) -> Rule:
    """Return a rule of the policy by its name."""
    return next(rule for rule in policy.rules if rule.name == name)


def preview(policy: Policy, case: Case) -> Allow | Deny | Undecided:
    """
    Say what is certain before the image is looked up.

    A Deny holds whatever the reference leads to, so a user learns nothing about images that are not for them.
    """
    certain = True
    for rule in policy.rules:
        try:
            answer = _selects(rule, case)
        except SlurmError as error:
            return _unsaid(rule, error)
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
        try:
            answer = _selects(rule, case)
        except SlurmError as error:
            return _unsaid(rule, error)
        if answer == "yes":
            return _apply(rule, case)
    return _no_rule(case)


def _unsaid(rule: Rule, error: SlurmError) -> Deny:
    return Deny(rule=rule.name, reason=f"Slurm does not say what the rule must know of the job: {error}")


def _no_rule(case: Case) -> Deny:
    return Deny(rule=NO_RULE, reason=f"no rule allows {case.user.name} the image {quoted(str(case.reference), 200)}")


def _apply(rule: Rule, case: Case) -> Decision:
    if rule.effect == "allow":
        other = _differs(case) if rule.catalogue else ""
        return Deny(rule=rule.name, reason=other) if other else Allow(rule=rule.name, grants=rule.grants)
    if _group_matches(rule, case) == "unknown":
        return Deny(
            rule=rule.name, reason="the rule names a group that this node does not know; tell your administrator"
        )
    return Deny(rule=rule.name, reason=rule.reason)


def _differs(case: Case) -> str:
    """Tell how the image on the node is not the one in the catalogue, "" where it is."""
    entry, image = case.find(case.reference), case.image
    if entry is None or image is None:
        return "the image is not in the catalogue"
    if entry.digest:
        recorded, same = entry.digest, entry.digest in image.digests()
    else:
        digits = entry.id.removeprefix("sha256:")
        recorded, same = entry.id, len(digits) >= MIN_ID and image.id.removeprefix("sha256:").startswith(digits)
    if same:
        return ""
    found = f"this node has {image.id}, the catalogue {recorded or 'no digest of it'}"
    return f"its name leads to another image than the catalogue recorded ({found}); tell your administrator"


def answers(rule: Rule, case: Case) -> Iterator[tuple[str, Answer]]:
    """Yield the name of each selector that the rule has, and its answer; what costs most comes last."""
    yield from _known_answers(rule, case)
    if rule.images is not None:
        yield "images", _image_matches(rule, case)
    yield from _fact_answers(rule, case)
    if rule.catalogue:
        yield "images", _catalogue_matches(rule, case)


def _subject_answers(rule: Rule, subject: Subject) -> Iterator[tuple[str, Answer]]:
    yield from _known_answers(rule, subject)
    yield from _fact_answers(rule, subject)


def _known_answers(rule: Rule, subject: Subject) -> Iterator[tuple[str, Answer]]:
    if rule.users is not None:
        yield "users", "yes" if _user_matches(rule, subject) else "no"
    if rule.groups is not None:
        group = _group_matches(rule, subject)
        if group == "unknown":
            group = "no" if rule.effect == "allow" else "yes"
        yield "groups", group


def _fact_answers(rule: Rule, subject: Subject) -> Iterator[tuple[str, Answer]]:
    if rule.accounts is not None:
        yield "accounts", "yes" if subject.facts().account.lower() in rule.accounts else "no"
    if rule.partitions is not None:
        yield "partitions", "yes" if subject.facts().partition in rule.partitions else "no"
    if rule.qos is not None:
        yield "qos", "yes" if subject.facts().qos.lower() in rule.qos else "no"
    if rule.reservations is not None:
        yield "reservations", "yes" if subject.facts().reservation in rule.reservations else "no"


def _selects(rule: Rule, case: Case) -> Answer:
    whole: Answer = "yes"
    for _, answer in answers(rule, case):
        if answer == "no":
            return "no"
        if answer == "unknown":
            whole = "unknown"
    return whole


def _user_matches(rule: Rule, subject: Subject) -> bool:
    return rule.users is None or subject.user.uid in rule.users or subject.user.name in rule.users


def _group_matches(rule: Rule, subject: Subject) -> Answer:
    """Compare ids. A name the node does not know makes the answer unknown, which allows nothing and denies."""
    if rule.groups is None:
        return "yes"
    answer: Answer = "no"
    for group in rule.groups:
        number = subject.group_ids.get(group) if isinstance(group, str) else group
        if number is None:
            answer = "unknown"
        elif number == subject.user.gid or number in subject.user.groups:
            return "yes"
    return answer


def _image_matches(rule: Rule, case: Case) -> Answer:
    if rule.images is None:
        return "yes"
    found = {_pattern_matches(pattern, rule, case) for pattern in rule.images}
    if "yes" in found:
        return "yes"
    return "unknown" if "unknown" in found else "no"


def _pattern_matches(pattern: Pattern, rule: Rule, case: Case) -> Answer:
    reference, image = case.reference, case.image
    covered = pattern.covers(reference)
    if not covered and rule.effect == "deny" and _is_by_digest(reference):
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


def _catalogue_matches(rule: Rule, case: Case) -> Answer:
    """Tell whether the name is in the catalogue. An allow rule waits for the image, which must be the recorded one."""
    image = case.image
    if case.find(case.reference) is not None:
        return "unknown" if image is None and rule.effect == "allow" else "yes"
    if rule.effect == "allow" or not _is_by_digest(case.reference):
        return "no"
    if image is None:
        return "unknown"
    return "yes" if any(case.find(name) is not None for name in image.names) else "no"


def _is_by_digest(reference: Reference) -> bool:
    return isinstance(reference, ImageId) or reference.tag is None
