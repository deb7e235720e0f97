# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from socker.cdi import CdiDevice
from socker.errors import (
    EngineRefused,
    EngineTimeout,
    EngineUnreachable,
    ForeignContainer,
    PolicyFileError,
    SlurmError,
)
from socker.lifecycle import (
    Closed,
    Closing,
    Item,
    Opened,
    Outside,
    Plain,
    Refusal,
    close_items,
    judge_items,
    open_step,
    sweep,
)
from socker.model import Found
from socker.policy import Policy

from .fakes import (
    CONTAINER_ID,
    IMAGE_ID,
    OTHER_ID,
    TOKEN,
    FakeAccounts,
    FakeAudit,
    FakeCatalogue,
    FakeClock,
    FakeEngine,
    FakeFacts,
    FakeJobs,
    FakePolicy,
    make_facts,
    make_image,
    make_mark,
    make_request,
    make_rule,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from socker.errors import EngineError
    from socker.rules import Rule
    from socker.sitepolicy import Decide


class World:
    """Everything outside, as fakes."""

    def __init__(self, *rules: Rule, engine: FakeEngine | None = None, groups: Mapping[str, int] | None = None) -> None:
        self.engine = engine or FakeEngine(make_image())
        self.accounts = FakeAccounts(groups)
        self.audit = FakeAudit()
        self.policy = FakePolicy(Policy(rules=rules, source="test") if rules else None)
        self.facts = FakeFacts(make_facts())
        self.gpus: tuple[str, ...] | None = ()
        self.cdi: dict[str, CdiDevice] | None = None
        self.catalogue = FakeCatalogue()
        self.module: Decide | None = None

    def load_cdi(self) -> dict[str, CdiDevice]:
        assert self.cdi is not None, "nobody wants it"
        return self.cdi

    def job_gpus(self, job: int, node: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        assert (job, node) == (4711, "n1")
        if self.gpus is None:
            raise SlurmError("slurmd does not answer in time")
        return self.gpus, ("/dev/gpu9",)

    def load_module(self, path: str) -> Decide:
        assert path == "/etc/socker/site.py"
        assert self.module is not None
        return self.module

    def open(self, **changes: Any) -> Opened | Plain | Refusal:
        return open_step(
            make_request(**changes),
            Outside(
                engine=self.engine,
                accounts=self.accounts,
                audit=self.audit,
                clock=FakeClock(),
                load_policy=self.policy,
                job_facts=self.facts,
                job_gpus=self.job_gpus,
                load_cdi=self.load_cdi,
                load_catalogue=self.catalogue,
                load_module=self.load_module,
                read_profile=lambda path: f'{{"of": "{path}"}}',
            ),
        )

    def refusal(self, **changes: Any) -> str:
        answer = self.open(**changes)
        assert isinstance(answer, Refusal)
        assert self.engine.opened == []
        return answer.message


def test_open_leads_from_the_request_to_a_running_container() -> None:
    world = World()
    answer = world.open()
    assert isinstance(answer, Opened)
    assert (answer.started.id, answer.started.pid) == (CONTAINER_ID, 4242)
    assert answer.plan.digest == IMAGE_ID
    assert [mount.source for mount in answer.plan.mounts] == ["/home/alice"]
    assert answer.plan.submit_dir
    assert world.engine.opened[0].image == IMAGE_ID
    assert world.engine.opened[0].mark == make_mark()


def test_open_records_the_decision_once() -> None:
    world = World()
    world.open(step=3)
    expected = {
        "time": 1700001000.0,
        "node": "n1",
        "job": 4711,
        "step": 3,
        "user": "alice",
        "uid": 1000,
        "account": "",
        "reference": "debian:12",
        "digest": IMAGE_ID,
        "rule": "built-in",
        "verdict": "allow",
        "reason": "",
        "ms": 0.0,
    }
    assert world.audit.events == [("open", expected)]


def test_denied_reference_is_never_looked_up() -> None:
    world = World(make_rule("deny", "debian", name="no-debian"), make_rule("allow"))
    assert world.refusal() == 'the image "debian:12" is denied by rule "no-debian": not here'
    assert world.engine.resolved == []
    assert world.audit.events[0][1]["verdict"] == "deny"
    assert world.audit.events[0][1]["rule"] == "no-debian"
    assert world.audit.events[0][1]["reason"] == "not here"


def test_denial_of_a_missing_image_is_the_same_as_of_one_that_is_there() -> None:
    rules = make_rule("deny", "**", name="none")
    assert World(rules).refusal() == World(rules, engine=FakeEngine()).refusal()


def test_image_without_a_rule_is_denied() -> None:
    world = World(make_rule("allow", "fedora"))
    said = 'the image "debian:12" is denied: no rule allows alice the image "docker.io/library/debian:12"'
    assert world.refusal() == said
    assert world.engine.resolved == []


def test_image_that_its_digest_denies_is_looked_up_and_denied() -> None:
    world = World(make_rule("deny", IMAGE_ID, name="bad"), make_rule("allow"))
    assert world.refusal() == 'the image "debian:12" is denied by rule "bad": not here'
    assert world.engine.resolved == ["docker.io/library/debian:12"]
    assert world.audit.events[0][1]["digest"] == IMAGE_ID


def test_image_that_its_digest_allows_is_opened() -> None:
    assert isinstance(World(make_rule("allow", IMAGE_ID)).open(), Opened)
    assert isinstance(World(make_rule("allow", OTHER_ID)).open(), Refusal)


def test_group_names_are_looked_up_only_for_rules_that_need_them() -> None:
    world = World(make_rule("allow", groups=["staff"]), groups={"staff": 2000})
    assert isinstance(world.open(), Opened)
    assert world.accounts.asked == ["staff"]
    assert isinstance(World(make_rule("allow", groups=["staff"]), groups={"staff": 2001}).open(), Refusal)
    plain = World()
    plain.open()
    assert plain.accounts.asked == []


def test_image_that_the_node_does_not_have_is_refused_by_name() -> None:
    world = World(engine=FakeEngine())
    said = 'the image "nosuch:1" is not on node n1; ask your administrator to pull it'
    assert world.refusal(reference="nosuch:1") == said
    assert world.audit.events[0][1]["verdict"] == "error"


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("../x", 'image reference "../x": this is no registry: ".." (character 1)'),
        ("a\nb", 'image reference "a\\x0ab": the character "\\x0a" is not allowed (character 2)'),
    ],
)
def test_bad_reference_is_refused_before_anything_is_asked(reference: str, said: str) -> None:
    world = World()
    assert world.refusal(reference=reference) == said
    assert world.engine.resolved == []


def test_user_without_an_account_is_refused() -> None:
    assert World().refusal(uid=1001) == "the user id 1001 has no account on this node"


def test_policy_that_cannot_be_read_is_refused() -> None:
    world = World()
    world.policy = FakePolicy(error=PolicyFileError("the policy file /p: no"))
    assert world.refusal() == "the policy file /p: no"
    assert world.engine.resolved == []


def test_image_that_asks_for_too_much_is_refused_before_anything_is_created() -> None:
    world = World(engine=FakeEngine(make_image(volumes=("/",))))
    assert world.refusal() == 'the image declares a volume at "/", where none can be'
    world = World(engine=FakeEngine(make_image(env=tuple(f"V{number}=" for number in range(600)))))
    assert world.refusal() == "601 environment variables are set by image and policy; at most 512 can be used"


@pytest.mark.parametrize("verb", ["resolve", "open"])
@pytest.mark.parametrize("error", [EngineUnreachable("gone"), EngineTimeout("slow"), EngineRefused("broken", 500)])
def test_docker_that_fails_is_a_refusal(verb: str, error: EngineError) -> None:
    world = World()
    world.engine.failures[verb] = error
    assert world.refusal() == str(error)
    assert world.audit.events[-1][1]["verdict"] == "error"
    assert world.audit.events[-1][1]["reason"] == str(error)


def test_a_bug_is_no_refusal_here_but_the_bridges_matter() -> None:
    world = World()
    world.policy = FakePolicy(error=ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        world.open()


def closing(*items: tuple[int, str, str]) -> Closing:
    made = tuple(Item(job=job, name=name, id=container) for job, name, container in items)
    return Closing(node="n1", token=TOKEN, items=made)


def test_close_removes_by_id_where_there_is_one_else_by_name() -> None:
    engine = FakeEngine()
    closed = close_items(closing((7, "socker-7-a", CONTAINER_ID), (7, "socker-7-b", "")), engine)
    assert closed == Closed(kept=(False, False), message="")
    assert engine.removed == [
        (CONTAINER_ID, make_mark(job=7, uid=None, name="socker-7-a")),
        ("socker-7-b", make_mark(job=7, uid=None, name="socker-7-b")),
    ]


def test_close_keeps_what_it_could_not_remove_and_goes_on() -> None:
    engine = FakeEngine()
    engine.failures["remove socker-a"] = ForeignContainer("not ours")
    engine.failures["remove socker-b"] = EngineRefused("busy", 500)
    closed = close_items(closing((7, "socker-a", ""), (7, "socker-b", ""), (7, "socker-c", "")), engine)
    assert closed == Closed(kept=(True, True, False), message="not ours; busy")


@pytest.mark.parametrize("error", [EngineUnreachable("gone"), EngineTimeout("slow")])
def test_close_with_a_silent_docker_keeps_all_and_does_not_wait_again(error: EngineError) -> None:
    engine = FakeEngine()
    engine.failures["remove socker-a"] = error
    closed = close_items(closing((7, "socker-a", ""), (7, "socker-b", "")), engine)
    assert closed == Closed(kept=(True, True), message=str(error))
    assert engine.removed == []


def test_close_of_an_item_without_a_name_keeps_it() -> None:
    closed = close_items(closing((7, "", "")), FakeEngine())
    assert closed.kept == (True,)
    assert 'the name ""' in closed.message


def test_judge_says_whose_jobs_live_and_removes_nothing() -> None:
    items = closing((7, "socker-7", ""), (8, "", ""), (9, "socker-9", CONTAINER_ID))
    assert judge_items(items, FakeJobs(8)) == Closed(kept=(False, True, False), message="")


def test_judge_without_slurm_says_that_all_live() -> None:
    closed = judge_items(closing((7, "socker-7", "")), FakeJobs(silent=True))
    assert closed == Closed(kept=(True,), message="nothing is removed: squeue does not answer in time")


FOUND = (
    Found(id="a" * 64, name="socker-7", node="n1", job=7),
    Found(id="b" * 64, name="socker-8", node="n1", job=8),
    Found(id="d" * 64, name="socker-9", node="n1", job=9),
)


def test_sweep_removes_what_has_no_record_and_no_live_job() -> None:
    engine, audit = FakeEngine(found=FOUND), FakeAudit()
    closed = sweep(closing((9, "socker-9", "")), engine, FakeJobs(8), audit)
    assert closed == Closed(kept=(True,), message="")
    assert engine.removed == [("a" * 64, make_mark(job=7, uid=None, name="socker-7"))]
    expected = {"node": "n1", "job": 7, "container": "a" * 64, "removed": True, "reason": ""}
    assert audit.events == [("sweep", expected)]


def test_sweep_without_slurm_or_docker_removes_nothing() -> None:
    engine = FakeEngine(found=FOUND)
    closed = sweep(closing((9, "socker-9", "")), engine, FakeJobs(silent=True), FakeAudit())
    assert closed == Closed(kept=(True,), message="nothing of node n1 is removed: squeue does not answer in time")
    engine.failures["list"] = EngineUnreachable("gone")
    closed = sweep(closing((9, "socker-9", "")), engine, FakeJobs(), FakeAudit())
    assert closed == Closed(kept=(True,), message="nothing is removed: gone")
    assert engine.removed == []


def test_sweep_of_a_node_that_slurm_does_not_know_leaves_it_and_goes_on() -> None:
    class Jobs(FakeJobs):
        def live(self, node: str) -> frozenset[int]:
            if node == "gone":
                raise SlurmError("Invalid node name specified")
            return super().live(node)

    other = Found(id="e" * 64, name="socker-e", node="gone", job=1)
    engine = FakeEngine(found=(*FOUND, other))
    closed = sweep(closing(), engine, Jobs(), FakeAudit())
    assert closed == Closed(kept=(), message="nothing of node gone is removed: Invalid node name specified")
    assert [target for target, _ in engine.removed] == ["a" * 64, "b" * 64, "d" * 64]


def test_sweep_goes_on_after_one_that_cannot_be_removed() -> None:
    engine, audit = FakeEngine(found=FOUND), FakeAudit()
    engine.failures[f"remove {'a' * 64}"] = EngineRefused("busy", 500)
    closed = sweep(closing(), engine, FakeJobs(), audit)
    assert closed == Closed(kept=(), message="busy")
    assert [target for target, _ in engine.removed] == ["b" * 64, "d" * 64]
    assert [fields["removed"] for _, fields in audit.events] == [False, True, True]


def test_sweep_lists_before_it_asks_slurm() -> None:
    order: list[str] = []

    class Engine(FakeEngine):
        def list_ours(self, token: str) -> tuple[Found, ...]:
            order.append("list")
            return super().list_ours(token)

    class Jobs(FakeJobs):
        def live(self, node: str) -> frozenset[int]:
            order.append("ask")
            return super().live(node)

    sweep(closing(), Engine(found=FOUND), Jobs(), FakeAudit())
    assert order == ["list", "ask"]
