# SPDX-License-Identifier: Apache-2.0
"""Rules on what Slurm knows of a job, on the catalogue, and on who must run in a container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socker.errors import SlurmError
from socker.policy import (
    Allow,
    Case,
    Decision,
    Deny,
    Policy,
    Rule,
    Subject,
    Undecided,
    answers,
    decide,
    preview,
    requiring_group_names,
    requiring_rule,
)
from socker.reference import parse
from socker.rules import Required

from .fakes import IMAGE_ID, OTHER_ID, FakeCatalogue, FakeEntry, FakeFacts, make_facts, make_image, make_rule, make_user

if TYPE_CHECKING:
    from socker.model import Facts

DEBIAN = "docker.io/library/debian:12"
REQUIRED = Required(image="debian:12")


def policy(*rules: Rule) -> Policy:
    return Policy(rules=rules, source="test")


class World:
    """A case with facts and a catalogue that count how often they are asked."""

    def __init__(self, facts: Facts | None = None, **entries: FakeEntry) -> None:
        self.facts = FakeFacts(facts)
        self.catalogue = FakeCatalogue()
        self.catalogue.entries = {DEBIAN if name == "debian" else name: entry for name, entry in entries.items()}

    def case(self, reference: str = "debian:12", **changes: Any) -> Case:
        values: dict[str, Any] = {
            "user": make_user(),
            "reference": parse(reference),
            "group_ids": {"staff": 2000},
            "facts": lambda: self.facts(4711),
            "find": self.catalogue.find,
            "image": make_image("debian:12", f"debian@{OTHER_ID}"),
        }
        return Case(**values | changes)

    def decide(self, *rules: Rule, **changes: Any) -> Decision:
        return decide(policy(*rules), self.case(**changes))


@pytest.mark.parametrize(
    ("selector", "matching", "other"),
    [
        ("accounts", "physics", "chemistry"),
        ("partitions", "main", "gpu"),
        ("qos", "normal", "high"),
        ("reservations", "course", "other"),
    ],
)
def test_each_fact_allows_and_denies(selector: str, matching: str, other: str) -> None:
    world = World(make_facts(reservation="course"))
    for names, fits in (([matching], True), ([other, matching], True), ([other], False)):
        chosen: dict[str, Any] = {selector: frozenset(names)}
        assert isinstance(world.decide(make_rule("allow", **chosen)), Allow) is fits
        denied = world.decide(make_rule("deny", name="d", **chosen), make_rule("allow"))
        assert denied == (
            Deny(rule="d", reason="not here") if fits else Allow(rule="r", grants=make_rule("allow").grants)
        )


def test_accounts_and_qos_are_compared_in_lower_case_and_partitions_are_not() -> None:
    world = World(make_facts(account="Physics", qos="Normal", partition="Main"))
    rule = make_rule("allow", accounts=frozenset({"physics"}), qos=frozenset({"normal"}))
    assert isinstance(world.decide(rule), Allow)
    assert isinstance(world.decide(make_rule("allow", partitions=frozenset({"main"}))), Deny)


def test_a_job_without_a_reservation_is_in_none() -> None:
    world = World(make_facts())
    assert isinstance(world.decide(make_rule("allow", reservations=frozenset({"course"}))), Deny)


@pytest.mark.parametrize("effect", ["allow", "deny"])
def test_facts_that_cannot_be_had_deny_and_the_reason_says_so(effect: Any) -> None:
    rules = (make_rule(effect, name="r1", partitions=frozenset({"main"})), make_rule("allow", name="r2"))
    expected = Deny(
        rule="r1",
        reason="Slurm does not say what the rule must know of the job: squeue does not answer in time",
    )
    assert World().decide(*rules) == expected
    assert preview(policy(*rules), World().case(image=None)) == expected


def test_facts_are_asked_only_where_a_rule_needs_them() -> None:
    world = World(make_facts())
    gpu = frozenset({"gpu"})
    world.decide(
        make_rule("deny", users=["bob"], partitions=gpu),
        make_rule("deny", groups=["staff"], users=["bob"], partitions=gpu),
        make_rule("deny", "fedora", partitions=gpu),
        make_rule("allow"),
        make_rule("deny", partitions=gpu),
    )
    assert world.facts.asked == 0
    world.decide(make_rule("deny", "debian", partitions=gpu), make_rule("allow"))
    assert world.facts.asked == 1


CATALOGUED = make_rule("allow", name="cat", catalogue=True)


@pytest.mark.parametrize("entry", [FakeEntry(digest=OTHER_ID), FakeEntry(digest=IMAGE_ID), FakeEntry("", IMAGE_ID)])
def test_an_image_as_the_catalogue_has_it_is_allowed(entry: FakeEntry) -> None:
    world = World(debian=entry)
    assert isinstance(world.decide(CATALOGUED), Allow)
    assert preview(policy(CATALOGUED), world.case(image=None)) == Undecided(rule="cat")


def test_an_id_as_the_docker_command_prints_it_is_enough_and_a_shorter_one_is_not() -> None:
    assert isinstance(World(debian=FakeEntry("", IMAGE_ID[7:19])).decide(CATALOGUED), Allow)
    assert isinstance(World(debian=FakeEntry("", IMAGE_ID[7:18])).decide(CATALOGUED), Deny)


@pytest.mark.parametrize(
    ("entry", "recorded"),
    [
        (FakeEntry(digest=f"sha256:{'e' * 64}", image_id=IMAGE_ID), f"sha256:{'e' * 64}"),
        (FakeEntry(image_id="e" * 12), "e" * 12),
        (FakeEntry(), "no digest of it"),
    ],
)
def test_a_retagged_image_is_denied_and_no_later_rule_allows_it(entry: FakeEntry, recorded: str) -> None:
    decision = World(debian=entry).decide(CATALOGUED, make_rule("allow"))
    assert decision == Deny(
        rule="cat",
        reason="its name leads to another image than the catalogue recorded "
        f"(this node has {IMAGE_ID}, the catalogue {recorded}); tell your administrator",
    )


def test_an_image_that_is_not_in_the_catalogue_matches_no_rule_of_it() -> None:
    assert isinstance(World().decide(CATALOGUED), Deny)
    assert isinstance(preview(policy(CATALOGUED), World().case(image=None)), Deny)
    assert World().decide(CATALOGUED, make_rule("allow", name="later")).rule == "later"


@pytest.mark.parametrize("reference", ["debian:12", IMAGE_ID, f"debian@{OTHER_ID}"])
def test_a_deny_rule_on_the_catalogue_looks_at_every_name_of_the_image(reference: str) -> None:
    rules = (make_rule("deny", name="d", catalogue=True), make_rule("allow"))
    assert World(debian=FakeEntry()).decide(*rules, reference=reference).rule == "d"
    assert World().decide(*rules, reference=reference).rule == "r"
    by_digest = preview(policy(*rules), World(debian=FakeEntry()).case(reference, image=None))
    assert by_digest == (Deny(rule="d", reason="not here") if reference == "debian:12" else Undecided(rule="r"))


def test_the_catalogue_is_asked_last() -> None:
    world = World(debian=FakeEntry(digest=OTHER_ID))
    world.catalogue.find = lambda _: pytest.fail("asked")  # type: ignore[assignment,method-assign]
    assert world.decide(make_rule("allow", catalogue=True, users=["bob"]), make_rule("allow", name="l")).rule == "l"


def test_answers_tell_each_selector() -> None:
    rule = make_rule("deny", "debian", users=["alice"], groups=["gone"], partitions=frozenset({"gpu"}))
    told = list(answers(rule, World(make_facts()).case()))
    assert told == [("users", "yes"), ("groups", "yes"), ("images", "yes"), ("partitions", "no")]


def test_the_first_rule_that_requires_and_matches_decides() -> None:
    world = World(make_facts(partition="gpu"))
    subject = Subject(user=make_user(), group_ids={"staff": 2000}, facts=lambda: world.facts(4711))
    gpu = make_rule("allow", "fedora", name="gpu", partitions=frozenset({"gpu"}), required=REQUIRED)
    bob = make_rule("allow", name="bob", users=["bob"], required=REQUIRED)
    staff = make_rule("allow", name="staff", groups=["staff"], required=REQUIRED)
    assert requiring_rule(policy(make_rule("allow"), bob, gpu, staff), subject) == gpu
    assert requiring_rule(policy(staff, gpu), subject) == staff
    assert requiring_rule(policy(bob, make_rule("allow"), make_rule("deny")), subject) is None
    assert requiring_group_names(policy(staff, bob, make_rule("allow", groups=["x"])), make_user()) == {"staff"}


def test_required_without_facts_is_no_answer() -> None:
    subject = Subject(user=make_user(), group_ids={})
    with pytest.raises(SlurmError):
        requiring_rule(policy(make_rule("allow", partitions=frozenset({"gpu"}), required=REQUIRED)), subject)


NAMES = st.one_of(st.none(), st.frozensets(st.sampled_from(["main", "gpu", "physics"]), min_size=1, max_size=2))
RULES = st.builds(
    lambda effect, images, partitions, accounts, catalogue: make_rule(
        effect, *images, partitions=partitions, accounts=accounts, catalogue=catalogue
    ),
    st.sampled_from(["allow", "deny"]),
    st.lists(st.sampled_from(["**", "debian", "fedora", IMAGE_ID]), max_size=1),
    NAMES,
    NAMES,
    st.booleans(),
)
FACTS = st.sampled_from([None, make_facts(), make_facts(partition="gpu")])
ENTRIES = st.sampled_from([None, FakeEntry(digest=OTHER_ID), FakeEntry(digest=f"sha256:{'e' * 64}")])
REFERENCES = st.sampled_from(["debian:12", "fedora", IMAGE_ID, f"debian@{OTHER_ID}"])


def world_of(facts: Facts | None, entry: FakeEntry | None) -> World:
    return World(facts) if entry is None else World(facts, debian=entry)


WORLDS = st.tuples(FACTS, ENTRIES)


@given(st.lists(RULES, max_size=4), RULES, st.integers(0, 4), REFERENCES, WORLDS)
def test_adding_a_deny_rule_never_allows_more(
    rules: list[Rule], extra: Rule, place: int, reference: str, around: tuple[Facts | None, FakeEntry | None]
) -> None:
    deny = extra.but(name="d", effect="deny", reason="no")
    world = world_of(*around)
    if isinstance(world.decide(*rules, reference=reference), Deny):
        assert isinstance(world.decide(*rules[:place], deny, *rules[place:], reference=reference), Deny)


@given(st.lists(RULES, max_size=4), REFERENCES, FACTS, ENTRIES)
def test_preview_never_contradicts_the_decision(
    rules: list[Rule], reference: str, facts: Facts | None, entry: FakeEntry | None
) -> None:
    world = world_of(facts, entry)
    early = preview(policy(*rules), world.case(reference, image=None))
    if not isinstance(early, Undecided):
        assert type(world.decide(*rules, reference=reference)) is type(early)


@pytest.mark.parametrize(
    "asked",
    [
        "allowed.example.com.evil.org/tool:1",
        "allowed.example.com:443/tool:1",
        "allowed.example.com:5000/tool:1",
        "evil.org/allowed.example.com/tool:1",
        "allowed-example.com/tool:1",
        "xallowed.example.com/tool:1",
        "docker.io/allowed.example.com/tool:1",
    ],
)
def test_a_name_that_only_resembles_the_allowed_one_is_denied(asked: str) -> None:
    rule = make_rule("allow", "allowed.example.com/**")
    assert isinstance(World().decide(rule, reference="allowed.example.com/tool:1"), Allow)
    assert isinstance(World().decide(rule, reference=asked), Deny)
