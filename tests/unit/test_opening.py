# SPDX-License-Identifier: Apache-2.0
"""The flow of opening beyond allow and deny: pulls, facts, required containers, the catalogue, a site's own module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from socker.errors import PolicyFileError, PullFailed
from socker.grants import Grants, SiteMount
from socker.lifecycle import Opened, Plain
from socker.policy import Allow, Deny, Policy
from socker.rules import Required
from socker.sitepolicy import load_module

from .fakes import (
    IMAGE_ID,
    OTHER_ID,
    FakeEngine,
    FakeEntry,
    FakeFacts,
    FakePolicy,
    make_facts,
    make_image,
    make_rule,
)
from .test_lifecycle import World

if TYPE_CHECKING:
    from pathlib import Path

    from socker.model import Image
    from socker.policy import Case, Decision
    from socker.rules import Rule

DEBIAN = "docker.io/library/debian:12"
PULLS = Grants(pull="missing", registries=("docker.io",))
MAIN = frozenset({"main"})


def ruled(*rules: Rule, engine: FakeEngine | None = None, remote: Image | None = None, **policy: Any) -> World:
    world = World(*rules, engine=engine)
    world.policy = FakePolicy(Policy(rules=rules, source="test", **policy))
    if remote is not None:
        world.engine.remote[DEBIAN] = remote
    return world


def opened(world: World, **changes: Any) -> Opened:
    answer = world.open(**changes)
    assert isinstance(answer, Opened), answer
    return answer


# -- pulls


def test_an_image_that_is_missing_is_pulled_where_the_rule_says_so_and_pinned_by_its_digest() -> None:
    world = ruled(make_rule("allow", grants=PULLS), engine=FakeEngine(), remote=make_image(id=OTHER_ID))
    assert opened(world).plan.digest == OTHER_ID
    assert world.engine.pulled == [DEBIAN]
    assert world.engine.resolved == [DEBIAN, f"docker.io/library/debian@{OTHER_ID}"]


def test_an_image_that_is_there_is_pulled_only_where_the_rule_says_always() -> None:
    for pull, expected in (("never", IMAGE_ID), ("missing", IMAGE_ID), ("always", OTHER_ID)):
        world = ruled(make_rule("allow", grants=PULLS.but(pull=pull)), remote=make_image(id=OTHER_ID))
        assert opened(world).plan.digest == expected
        assert world.engine.pulled == ([DEBIAN] if pull == "always" else [])


def test_nothing_is_pulled_from_a_registry_that_the_rule_does_not_name() -> None:
    rule = make_rule("allow", grants=PULLS.but(registries=("ghcr.io", "docker.io:443")), name="r1")
    world = ruled(rule, engine=FakeEngine(), remote=make_image())
    assert world.refusal() == (
        'the image "debian:12" is not on node n1, and rule "r1" does not pull from docker.io; '
        "ask your administrator to pull it"
    )
    always = ruled(make_rule("allow", grants=rule.grants.but(pull="always")), remote=make_image())
    assert opened(always).plan.digest == IMAGE_ID
    assert world.engine.pulled == always.engine.pulled == []


def test_what_is_denied_is_never_pulled() -> None:
    for rules in ((make_rule("deny"), make_rule("allow", grants=PULLS)), (make_rule("allow", "fedora", grants=PULLS),)):
        world = ruled(*rules, engine=FakeEngine(), remote=make_image())
        world.refusal()
        assert (world.engine.pulled, world.engine.resolved) == ([], [])


def test_an_id_is_not_pulled() -> None:
    world = ruled(make_rule("allow", grants=PULLS), engine=FakeEngine())
    assert "is not on node n1; ask your administrator" in world.refusal(reference=IMAGE_ID)


def test_a_pull_that_fails_is_a_refusal() -> None:
    world = ruled(make_rule("allow", grants=PULLS), engine=FakeEngine())
    world.engine.failures["pull"] = PullFailed("the image x could not be pulled from docker.io: it does not answer")
    assert world.refusal() == "the image x could not be pulled from docker.io: it does not answer"


def test_a_pulled_image_is_judged_like_any_other() -> None:
    rules = (make_rule("deny", OTHER_ID, name="bad"), make_rule("allow", grants=PULLS))
    world = ruled(*rules, engine=FakeEngine(), remote=make_image(id=OTHER_ID))
    assert world.refusal() == 'the image "debian:12" is denied by rule "bad": not here'


def test_a_pulled_image_must_be_the_catalogues() -> None:
    rule = make_rule("allow", catalogue=True, grants=PULLS)
    for recorded in (OTHER_ID, IMAGE_ID):
        world = ruled(rule, engine=FakeEngine(), remote=make_image(id=OTHER_ID))
        world.catalogue.entries[DEBIAN] = FakeEntry(digest=recorded)
        assert isinstance(world.open(), Opened) is (recorded == OTHER_ID)
        assert world.engine.pulled == [DEBIAN]


def test_opening_has_the_rules_own_limit() -> None:
    world = ruled(make_rule("allow", grants=Grants(open_seconds=7)))
    opened(world)
    assert world.engine.until == 1007.0


# -- facts and the catalogue


def test_facts_are_asked_once_and_the_account_is_recorded() -> None:
    rules = (make_rule("deny", partitions=frozenset({"gpu"})), make_rule("allow", IMAGE_ID, partitions=MAIN))
    world = ruled(*rules)
    opened(world)
    assert world.facts.asked == 1
    assert world.audit.events[0][1]["account"] == "physics"


def test_without_a_rule_on_them_neither_facts_nor_the_catalogue_are_asked() -> None:
    world = World()
    world.open()
    assert (world.facts.asked, world.catalogue.loaded) == (0, 0)
    assert world.audit.events[0][1]["account"] == ""


def test_facts_that_cannot_be_had_are_a_denial_by_that_rule() -> None:
    world = ruled(make_rule("allow", name="main", partitions=MAIN))
    world.facts = FakeFacts(None)
    assert world.refusal() == (
        'the image "debian:12" is denied by rule "main": Slurm does not say what the rule must know of the job: '
        "squeue does not answer in time"
    )
    assert world.facts.asked == 1
    assert world.audit.events[0][1]["verdict"] == "deny"


def test_the_catalogue_is_loaded_once() -> None:
    world = ruled(make_rule("allow", catalogue=True), make_rule("allow", catalogue=True, name="r2"))
    world.catalogue.entries[DEBIAN] = FakeEntry(digest=IMAGE_ID)
    opened(world)
    assert world.catalogue.loaded == 1


# -- required containers


def test_a_step_without_a_container_is_plain_where_no_rule_requires_one() -> None:
    for rules in ((), (make_rule("deny"),), (make_rule("allow"),)):
        world = ruled(*rules)
        assert world.open(reference="") == Plain()
        assert world.engine.resolved == []
        fields = world.audit.events[0][1]
        assert (fields["verdict"], fields["user"], fields["reference"], fields["digest"]) == ("plain", "alice", "", "")


def test_a_step_without_a_container_gets_the_required_image() -> None:
    rule = make_rule("allow", name="gpu", partitions=MAIN, required=Required(image="debian:12"))
    world = ruled(rule)
    assert opened(world, reference="").plan.digest == IMAGE_ID
    assert world.audit.events[0][1]["reference"] == "debian:12"
    world = ruled(rule.but(partitions=frozenset({"gpu"})))
    assert world.open(reference="") == Plain()


def test_the_required_image_is_decided_like_any_other() -> None:
    rules = (make_rule("deny", "debian", name="no"), make_rule("allow", required=Required(image="debian:12")))
    assert ruled(*rules).refusal(reference="") == 'the image "debian:12" is denied by rule "no": not here'


def test_required_without_an_image_asks_for_one() -> None:
    world = ruled(make_rule("allow", name="gpu", partitions=MAIN, required=Required()))
    said = 'denied by rule "gpu": this job must run in a container: submit it with --container=IMAGE'
    assert world.refusal(reference="") == said
    assert isinstance(world.open(), Opened)


def test_required_that_cannot_be_known_is_a_refusal_never_plain() -> None:
    world = ruled(make_rule("allow", partitions=MAIN, required=Required(image="debian:12")))
    world.facts = FakeFacts(None)
    said = "it is not known whether this job must run in a container: squeue does not answer in time"
    assert world.refusal(reference="") == said


# -- what is given


def test_what_a_rule_gives_is_in_plan_and_container() -> None:
    site = SiteMount(name="s", source="/gpfs/s", target="/s", read_only=True)
    given = Grants(
        home=True,
        site_mounts=(site, site.but(name="t", target="/t", default=False)),
        read_only=True,
        devices=("/dev/kfd",),
        env_set=(("SITE", "x"),),
        seccomp="/etc/p.json",
    )
    world = ruled(make_rule("allow", grants=given))
    plan = opened(world).plan
    mounts = [(mount.target, mount.kind, mount.read_only) for mount in plan.mounts]
    scratch = [("/tmp", "tmpfs", False), ("/var/tmp", "tmpfs", False)]
    assert mounts == [*scratch, ("/home/alice", "bind", False), ("/s", "bind", True)]
    assert "SITE=x" in plan.env
    spec = world.engine.opened[0]
    assert (plan.read_only, spec.devices, spec.seccomp) == (True, ("/dev/kfd",), '{"of": "/etc/p.json"}')
    assert spec.covers == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hpc", '{"of": "/usr/lib/socker/seccomp-hpc.json"}'),
        ("docker", ""),
        ("/etc/p.json", '{"of": "/etc/p.json"}'),
    ],
)
def test_the_profile_of_the_filter_is_ours_dockers_or_the_sites(name: str, text: str) -> None:
    world = ruled(make_rule("allow", grants=Grants(seccomp=name)))
    opened(world)
    assert world.engine.opened[0].seccomp == text


# -- a site's own module


def moduled(decide: Any, *rules: Rule, may_allow: bool = False) -> World:
    world = ruled(*(rules or (make_rule("allow"),)), module="/etc/socker/site.py", may_allow=may_allow)
    world.module = decide
    return world


def test_the_module_sees_case_and_decision_and_may_leave_it() -> None:
    seen: list[tuple[Case, Decision]] = []

    def decide(case: Case, decision: Decision) -> Decision:
        seen.append((case, decision))
        return decision

    opened(moduled(decide))
    case, decision = seen[0]
    assert (case.user.name, str(case.reference), decision.rule) == ("alice", DEBIAN, "r")
    assert case.image is not None
    assert case.facts() == make_facts()


def test_the_module_may_deny_and_explain() -> None:
    world = moduled(lambda _case, _decision: Deny(rule="x", reason="not on\n Mondays"))
    assert world.refusal() == 'the image "debian:12" is denied by rule "(module)": not on\\x0a Mondays'
    world = moduled(lambda _case, _decision: Deny(rule="x", reason="ask"), make_rule("deny", name="no"))
    assert world.refusal() == 'the image "debian:12" is denied by rule "no": ask'
    assert world.engine.resolved == []


def test_the_module_allows_only_where_it_may() -> None:
    def allow(_case: Case, _decision: Decision) -> Decision:
        return Allow(rule="x", grants=Grants(submit_dir=True))

    said = 'is denied by rule "(module)": the policy module allows more than it may; tell your administrator'
    for rules in ((make_rule("deny"),), (make_rule("allow"),)):
        assert said in moduled(allow, *rules).refusal()
        world = moduled(allow, *rules, may_allow=True)
        assert opened(world).plan.submit_dir
        assert world.audit.events[0][1]["rule"] == "(module)"


@pytest.mark.parametrize("answer", [None, True, "allow", 0, Allow, object()])
def test_an_answer_that_is_none_denies(answer: Any) -> None:
    world = moduled(lambda _case, _decision: answer, may_allow=True)
    assert "the policy module gave no decision" in world.refusal()


@pytest.mark.parametrize("error", [ValueError("secret"), SystemExit(0), KeyboardInterrupt(), RecursionError()])
def test_an_exception_in_the_module_denies_and_is_in_the_log_only(error: BaseException) -> None:
    def fail(_case: Case, _decision: Decision) -> Decision:
        raise error

    world = moduled(fail, may_allow=True)
    said = f"the policy module failed ({type(error).__name__}); tell your administrator"
    assert world.refusal() == f'the image "debian:12" is denied by rule "(module)": {said}'
    assert world.audit.events[0][0] == "module failed"
    assert "test_opening" in str(world.audit.events[0][1]["traceback"])


def test_an_allow_with_something_else_for_grants_denies() -> None:
    world = moduled(lambda _case, _decision: Allow(rule="x", grants=None), may_allow=True)  # type: ignore[arg-type]
    assert "the policy module failed (AttributeError)" in world.refusal()


EXAMPLE = """
from dataclasses import dataclass
from socker.policy import Deny

@dataclass
class Busy:
    reason: str = "busy"

def decide(case, decision):
    if case.user.name == "alice":
        return Deny(rule="", reason=Busy().reason)
    return decision
"""


def trusted(directory: Path, text: str, mode: int = 0o644) -> dict[str, Any]:
    directory.chmod(0o755)
    (directory / "site.py").write_text(text)
    (directory / "site.py").chmod(mode)
    return {"owner": directory.stat().st_uid, "anchor": str(directory)}


def test_a_module_is_loaded_from_a_trusted_file(tmp_path: Path) -> None:
    decide = load_module("/site.py", **trusted(tmp_path, EXAMPLE))
    assert moduled(decide).refusal() == 'the image "debian:12" is denied by rule "(module)": busy'


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        (EXAMPLE, 0o666, "/site.py: others than root can write it (mode 0666)"),
        ("def decide(:", 0o644, "/site.py: SyntaxError: "),
        ("raise ValueError('x')", 0o644, "/site.py: ValueError: x"),
        ("import sys; sys.exit(0)", 0o644, "/site.py: SystemExit: 0"),
        ("decision = 1", 0o644, "/site.py: AttributeError: module 'site_policy' has no attribute 'decide'"),
        ("import nosuch", 0o644, "/site.py: ModuleNotFoundError: No module named 'nosuch'"),
    ],
)
def test_a_module_that_cannot_be_used_is_said_in_one_line(tmp_path: Path, text: str, mode: int, why: str) -> None:
    with pytest.raises(PolicyFileError) as caught:
        load_module("/site.py", **trusted(tmp_path, text, mode))
    assert str(caught.value).startswith(f"the policy module {why}")
    assert str(caught.value).endswith("; tell your administrator")
    with pytest.raises(PolicyFileError, match="the policy module /none.py: there is no such file; tell your"):
        load_module("/none.py", **trusted(tmp_path, text))
