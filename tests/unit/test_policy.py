# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socker.policy import (
    NO_RULE,
    Allow,
    Case,
    Deny,
    Grants,
    Policy,
    Rule,
    Undecided,
    decide,
    default_policy,
    group_names,
    preview,
)
from socker.reference import parse

from .fakes import HEX, IMAGE_ID, OTHER_ID, make_image, make_rule, make_user

if TYPE_CHECKING:
    from socker.policy import Decision
    from socker.rules import Effect

THIRD_ID = f"sha256:{'e' * 64}"


def policy(*rules: Rule) -> Policy:
    return Policy(rules=rules, source="test")


def case(reference: str = "debian:12", **changes: Any) -> Case:
    values: dict[str, Any] = {
        "user": make_user(),
        "reference": parse(reference),
        "group_ids": {"staff": 2000, "other": 3000},
        "image": make_image("debian:12", "debian:stable", f"debian@{OTHER_ID}"),
    }
    return Case(**values | changes)


def verdict(decision: Decision | Undecided) -> str:
    return type(decision).__name__


def test_default_policy_allows_and_mounts_home_and_submit_directory() -> None:
    decision = decide(default_policy(), case())
    assert decision == Allow(rule="built-in", grants=Grants(home=True, submit_dir=True, mount_sources=None, gpus=True))
    assert preview(default_policy(), case(image=None)) == decision


def test_decide_without_matching_rule_denies() -> None:
    expected = Deny(rule=NO_RULE, reason='no rule allows alice the image "docker.io/library/debian:12"')
    for rules in ((), (make_rule("allow", "fedora"),), (make_rule("allow", users=["bob"]),)):
        assert decide(policy(*rules), case()) == expected
        assert preview(policy(*rules), case(image=None)) == expected


def test_first_matching_rule_decides_and_is_named() -> None:
    allow, deny = make_rule("allow", name="yes", home=True), make_rule("deny", name="no")
    assert decide(policy(allow, deny), case()) == Allow(rule="yes", grants=Grants(home=True))
    assert decide(policy(deny, allow), case()) == Deny(rule="no", reason="not here")


def test_decide_wants_the_image() -> None:
    with pytest.raises(ValueError, match="needs the image"):
        decide(default_policy(), case(image=None))


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        (make_rule("allow", users=["alice"]), True),
        (make_rule("allow", users=[1000]), True),
        (make_rule("allow", users=["bob", "alice"]), True),
        (make_rule("allow", users=["bob", 1001]), False),
        (make_rule("allow", users=["ali"]), False),
        (make_rule("allow", groups=["staff"]), True),
        (make_rule("allow", groups=[2000]), True),
        (make_rule("allow", groups=[1000]), True),
        (make_rule("allow", groups=["other"]), False),
        (make_rule("allow", groups=["unknown"]), False),
        (make_rule("allow", groups=["unknown", "staff"]), True),
        (make_rule("allow", users=["alice"], groups=["staff"]), True),
        (make_rule("allow", users=["alice"], groups=["other"]), False),
        (make_rule("allow", users=["bob"], groups=["staff"]), False),
        (make_rule("allow", "debian"), True),
        (make_rule("allow", "fedora", "debian:12"), True),
        (make_rule("allow", "fedora"), False),
        (make_rule("allow", "debian", users=["bob"]), False),
        (make_rule("allow", "debian", groups=["other"]), False),
        (make_rule("allow", IMAGE_ID), True),
        (make_rule("allow", OTHER_ID), True),
        (make_rule("allow", THIRD_ID), False),
        (make_rule("allow", f"debian@{IMAGE_ID}"), True),
        (make_rule("allow", f"fedora@{IMAGE_ID}"), False),
        (make_rule("allow", f"debian@{THIRD_ID}"), False),
    ],
)
def test_each_selector_allows_and_denies(rule: Rule, *, allowed: bool) -> None:
    assert verdict(decide(policy(rule), case())) == ("Allow" if allowed else "Deny")
    denying = Rule(name="d", effect="deny", users=rule.users, groups=rule.groups, images=rule.images, reason="no")
    denied = decide(policy(denying, make_rule("allow")), case())
    if rule.groups is not None and "unknown" in rule.groups:
        assert isinstance(denied, Deny)
    else:
        assert verdict(denied) == ("Deny" if allowed else "Allow")


def test_deny_rule_with_a_group_the_node_does_not_know_denies_and_says_so() -> None:
    decision = decide(policy(make_rule("deny", groups=["gone"]), make_rule("allow")), case())
    assert isinstance(decision, Deny)
    assert decision.reason == "the rule names a group that this node does not know; tell your administrator"


@pytest.mark.parametrize("reference", [IMAGE_ID, f"debian@{OTHER_ID}"])
def test_image_asked_for_by_digest_matches_no_tag_for_an_allow_rule(reference: str) -> None:
    for pattern in ("debian:12", "**:12", "debian:*"):
        assert verdict(decide(policy(make_rule("allow", pattern)), case(reference))) == "Deny"


def test_image_asked_for_by_id_needs_a_rule_for_everything_or_its_digest() -> None:
    assert verdict(decide(policy(make_rule("allow", "debian")), case(IMAGE_ID))) == "Deny"
    assert verdict(decide(policy(make_rule("allow", "docker.io/**")), case(IMAGE_ID))) == "Deny"
    for pattern in ("**", IMAGE_ID, OTHER_ID):
        assert verdict(decide(policy(make_rule("allow", pattern)), case(IMAGE_ID))) == "Allow"


@pytest.mark.parametrize("reference", [IMAGE_ID, f"debian@{OTHER_ID}", f"team/debian@{OTHER_ID}"])
@pytest.mark.parametrize("pattern", ["debian", "debian:12", "**:stable", "docker.io/library/*", IMAGE_ID, OTHER_ID])
def test_image_asked_for_by_digest_does_not_get_around_a_deny_rule(reference: str, pattern: str) -> None:
    rules = policy(make_rule("deny", pattern), make_rule("allow"))
    assert verdict(decide(rules, case(reference))) == "Deny"


def test_image_asked_for_by_tag_is_judged_by_that_tag() -> None:
    rules = policy(make_rule("deny", "debian:stable"), make_rule("allow"))
    assert verdict(decide(rules, case("debian:12"))) == "Allow"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([make_rule("allow", "debian")], "Allow"),
        ([make_rule("deny", "debian")], "Deny"),
        ([make_rule("allow", IMAGE_ID)], "Undecided"),
        ([make_rule("deny", IMAGE_ID)], "Deny"),
        ([make_rule("deny", IMAGE_ID), make_rule("allow")], "Undecided"),
        ([make_rule("deny", IMAGE_ID), make_rule("deny"), make_rule("allow")], "Deny"),
        ([make_rule("allow", "fedora", IMAGE_ID)], "Undecided"),
        ([make_rule("allow", "debian", IMAGE_ID)], "Allow"),
    ],
)
def test_preview_says_what_is_certain_without_the_image(rules: list[Rule], expected: str) -> None:
    assert verdict(preview(policy(*rules), case(image=None))) == expected


def test_group_names_are_those_of_rules_that_may_match() -> None:
    rules = policy(
        make_rule("allow", groups=["staff", 5]),
        make_rule("allow", groups=["unseen"], users=["bob"]),
        make_rule("allow", "fedora", groups=["unseen"]),
        make_rule("deny", IMAGE_ID, groups=["digested"]),
    )
    assert group_names(rules, make_user(), parse("debian")) == {"staff", "digested"}
    assert group_names(default_policy(), make_user(), parse("debian")) == frozenset()


PATTERNS = st.sampled_from(
    ["**", "debian", "debian:12", "**:stable", "fedora", "docker.io/**", IMAGE_ID, OTHER_ID, f"debian@{IMAGE_ID}"]
)
RULES = st.builds(
    lambda effect, images, users, groups: make_rule(effect, *images, users=users, groups=groups),
    st.sampled_from(["allow", "deny"]),
    st.lists(PATTERNS, max_size=2),
    st.one_of(st.none(), st.lists(st.sampled_from(["alice", "bob", 1000]), min_size=1, max_size=2)),
    st.one_of(st.none(), st.lists(st.sampled_from(["staff", "gone", "other", 1000]), min_size=1, max_size=2)),
)
REFERENCES = st.sampled_from(["debian:12", "debian", "fedora", IMAGE_ID, f"debian@{OTHER_ID}", f"debian@sha256:{HEX}"])


@given(st.lists(RULES, max_size=5), RULES, st.integers(0, 5), REFERENCES)
def test_adding_a_deny_rule_never_allows_more(rules: list[Rule], extra: Rule, place: int, reference: str) -> None:
    deny = Rule(name="d", effect="deny", users=extra.users, groups=extra.groups, images=extra.images, reason="no")
    more = [*rules[:place], deny, *rules[place:]]
    if verdict(decide(policy(*rules), case(reference))) == "Deny":
        assert verdict(decide(policy(*more), case(reference))) == "Deny"


@given(st.lists(RULES, max_size=5), REFERENCES)
def test_preview_never_contradicts_the_decision(rules: list[Rule], reference: str) -> None:
    early = preview(policy(*rules), case(reference, image=None))
    if not isinstance(early, Undecided):
        assert verdict(decide(policy(*rules), case(reference))) == verdict(early)


@given(st.lists(RULES, max_size=5), REFERENCES)
def test_every_decision_names_a_rule_and_every_denial_a_reason(rules: list[Rule], reference: str) -> None:
    decision = decide(policy(*rules), case(reference))
    assert decision.rule in {"r", NO_RULE}
    match decision:
        case Deny(reason=reason):
            assert reason
        case Allow():
            pass


@pytest.mark.parametrize("effect", ["allow", "deny"])
def test_thousand_rules_are_decided(effect: Effect) -> None:
    rules = [make_rule("allow", f"team{number}/**", name=f"r{number}") for number in range(1000)]
    last = make_rule(effect, "debian", name="last")
    assert decide(policy(*rules, last), case()).rule == "last"
