# SPDX-License-Identifier: Apache-2.0
"""
The flow: a container's life from a request to its removal. One direction; nothing after a Deny is reached.

Nothing here knows of bytes, sockets or files: what it needs from outside comes in as the protocols of `ports`.
"""

from __future__ import annotations

from socker.container import make_spec
from socker.errors import EngineTimeout, EngineUnreachable, ImageMissing, SockerError
from socker.model import Mark, Started, User, step_name
from socker.plan import Plan, make_plan
from socker.policy import NO_RULE, Case, Deny, Policy, decide, group_names, preview
from socker.reference import parse
from socker.text import quoted
from socker.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from socker.model import Found, Request
    from socker.policy import Decision
    from socker.ports import Accounts, AuditSink, Clock, Engine, Jobs, LoadPolicy


class Outside(Value):
    """What opening a container needs from outside."""

    engine: Engine
    accounts: Accounts
    audit: AuditSink
    clock: Clock
    load_policy: LoadPolicy


class Opened(Value):
    """The container is there, its hold process runs, and this is what the opener does with it."""

    plan: Plan
    started: Started


class Refusal(Value):
    """There is no container; `message` says why, for the user."""

    message: str


class Item(Value):
    """A container that root has a record of. Without `id` only the intent was recorded, without `name` nothing."""

    job: int
    name: str
    id: str


class Closing(Value):
    """Containers of one node to close or, in a sweep, to judge."""

    node: str
    token: str
    items: tuple[Item, ...]


class Closed(Value):
    """For each item whether it must be kept on record, and what could not be done (empty: nothing)."""

    kept: tuple[bool, ...]
    message: str


def open_step(request: Request, outside: Outside) -> Opened | Refusal:
    """Open a container for a step: from policy and image to a running hold process. Failures become refusals."""
    began = outside.clock.monotonic()
    try:
        return _open(request, outside, began)
    except ImageMissing:
        asked = quoted(request.reference)
        message = f"the image {asked} is not on node {request.node}; ask your administrator to pull it"
    except SockerError as error:
        message = str(error)
    fields = {"verdict": "error", "rule": NO_RULE, "reason": message}
    outside.audit.record("open", _facts(request, outside, began) | fields)
    return Refusal(message=message)


def _open(request: Request, outside: Outside, began: float) -> Opened | Refusal:
    policy = outside.load_policy(request.policy)
    case = _case(request, policy, outside.accounts)
    early = preview(policy, case)
    if isinstance(early, Deny):
        return _denied(request, outside, case, early, began)
    image = outside.engine.resolve(case.reference)
    case = Case(user=case.user, reference=case.reference, group_ids=case.group_ids, image=image)
    decision = decide(policy, case)
    if isinstance(decision, Deny):
        return _denied(request, outside, case, decision, began)
    plan = make_plan(case.user, decision, image)
    spec = make_spec(request, image)
    _audit(request, outside, case, decision, began)
    return Opened(plan=plan, started=outside.engine.open(spec))


def _case(request: Request, policy: Policy, accounts: Accounts) -> Case:
    reference = parse(request.reference)
    name, home = accounts.lookup(request.uid)
    user = User(uid=request.uid, gid=request.gid, groups=frozenset(request.groups), name=name, home=home)
    needed = group_names(policy, user, reference)
    return Case(user=user, reference=reference, group_ids=accounts.group_ids(needed) if needed else {})


def _denied(request: Request, outside: Outside, case: Case, deny: Deny, began: float) -> Refusal:
    _audit(request, outside, case, deny, began)
    by = f" by rule {quoted(deny.rule)}" if deny.rule != NO_RULE else ""
    return Refusal(message=f"the image {quoted(request.reference)} is denied{by}: {deny.reason}")


def _audit(request: Request, outside: Outside, case: Case, decision: Decision, began: float) -> None:
    fields = {
        "user": case.user.name,
        "digest": "" if case.image is None else case.image.id,
        "rule": decision.rule,
        "verdict": "deny" if isinstance(decision, Deny) else "allow",
        "reason": decision.reason if isinstance(decision, Deny) else "",
    }
    outside.audit.record("open", _facts(request, outside, began) | fields)


def _facts(request: Request, outside: Outside, began: float) -> dict[str, object]:
    return {
        "time": round(outside.clock.time(), 3),
        "node": request.node,
        "job": request.job,
        "step": step_name(request.step),
        "uid": request.uid,
        "reference": request.reference,
        "ms": round((outside.clock.monotonic() - began) * 1000, 1),
    }


def close_items(closing: Closing, engine: Engine) -> Closed:
    """Remove the containers of the items. One that could not be removed is kept, and all once Docker is silent."""
    kept: list[bool] = []
    problems: list[str] = []
    silent = False
    for item in closing.items:
        kept.append(True)
        if silent:
            continue
        try:
            mark = Mark(token=closing.token, node=closing.node, job=item.job, uid=None, name=item.name)
            engine.remove(item.id or item.name, mark)
            kept[-1] = False
        except SockerError as error:
            silent = isinstance(error, EngineTimeout | EngineUnreachable)
            problems.append(str(error))
    return Closed(kept=tuple(kept), message="; ".join(problems))


def judge_items(closing: Closing, jobs: Jobs) -> Closed:
    """Tell which items' jobs live; nothing is removed. Without an answer from Slurm all of them do."""
    try:
        live = jobs.live(closing.node)
    except SockerError as error:
        return _nothing_known(closing, error)
    return Closed(kept=tuple(item.job in live for item in closing.items), message="")


def sweep(closing: Closing, engine: Engine, jobs: Jobs, audit: AuditSink) -> Closed:
    """
    Remove our containers of dead jobs, of whatever node, that have no item. All items are kept.

    The containers are listed before Slurm is asked: a job that began later has none among them.
    """
    recorded = {item.name for item in closing.items}
    problems: list[str] = []
    try:
        found = [one for one in engine.list_ours(closing.token) if one.name not in recorded]
        live = {node: jobs.live(node) for node in sorted({container.node for container in found})}
    except SockerError as error:
        return _nothing_known(closing, error)
    for container in found:
        if container.job in live[container.node]:
            continue
        problem = ""
        try:
            mark = Mark(token=closing.token, node=container.node, job=container.job, uid=None, name=container.name)
            engine.remove(container.id, mark)
        except SockerError as error:
            problem = str(error)
            problems.append(problem)
        audit.record("sweep", _swept(container, problem))
    return Closed(kept=(True,) * len(closing.items), message="; ".join(problems))


def _swept(container: Found, problem: str) -> Mapping[str, object]:
    facts = {"node": container.node, "job": container.job, "container": container.id}
    return {**facts, "removed": not problem, "reason": problem}


def _nothing_known(closing: Closing, error: SockerError) -> Closed:
    return Closed(kept=(True,) * len(closing.items), message=f"nothing is removed: {error}")
