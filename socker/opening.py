# SPDX-License-Identifier: Apache-2.0
"""
The flow of opening: from a request to a running hold process. One direction; nothing after a Deny is reached.

Nothing here knows of bytes, sockets or files: what it needs from outside comes in as the protocols of `ports`.
"""

from __future__ import annotations

from socker.container import beside_hold, make_spec
from socker.errors import EngineTimeout, ImageExists, ImageMissing, PlanError, PullFailed, SlurmError, SockerError
from socker.grants import SECCOMP_DOCKER, SECCOMP_HPC
from socker.hardware import find_hardware
from socker.model import Started, User, step_name
from socker.options import read_options
from socker.plan import Plan, make_plan
from socker.policy import (
    NO_RULE,
    Allow,
    Case,
    Deny,
    Policy,
    Subject,
    decide,
    group_names,
    preview,
    requiring_group_names,
    requiring_rule,
    rule_named,
)
from socker.reference import Named, parse
from socker.text import quoted
from socker.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from socker.container import ContainerSpec
    from socker.model import Facts, Image, Request
    from socker.options import Options
    from socker.policy import Decision, Rule, Undecided
    from socker.ports import (
        Accounts,
        AuditSink,
        Catalogue,
        Clock,
        Engine,
        JobFacts,
        JobGpus,
        LoadCatalogue,
        LoadCdi,
        LoadModule,
        LoadPolicy,
        ReadProfile,
    )
    from socker.reference import Reference
    from socker.rules import Entry

HPC_PROFILE = "seccomp-hpc.json"  # installed beside the hold binary


class Outside(Value):
    """What opening a container needs from outside."""

    engine: Engine
    accounts: Accounts
    audit: AuditSink
    clock: Clock
    load_policy: LoadPolicy
    job_facts: JobFacts
    job_gpus: JobGpus
    load_cdi: LoadCdi
    load_catalogue: LoadCatalogue
    load_module: LoadModule
    read_profile: ReadProfile


class Opened(Value):
    """The container is there, its hold process runs, and this is what the opener does with it."""

    plan: Plan
    started: Started


class Plain(Value):
    """No container was asked for and none is required: the step runs on the host."""


class Refusal(Value):
    """There is no container; `message` says why, for the user. `silent`: Docker did not answer in time."""

    message: str
    silent: bool = False


class Lookups:
    """What is looked up at most once for a request, and only where a rule needs it."""

    def __init__(self, job: int, catalogue: str, outside: Outside) -> None:
        self._job = job
        self._path = catalogue
        self._outside = outside
        self._facts: Facts | SlurmError | None = None
        self._catalogue: Catalogue | None = None

    def facts(self) -> Facts:
        """Return what Slurm knows of the job. Raises SlurmError."""
        if self._facts is None:
            try:
                self._facts = self._outside.job_facts(self._job)
            except SlurmError as error:
                self._facts = error
        if isinstance(self._facts, SlurmError):
            raise self._facts
        return self._facts

    def known_account(self) -> str:
        """Return the job's account, "" unless some rule asked for the facts."""
        return "" if self._facts is None or isinstance(self._facts, SlurmError) else self._facts.account

    def find(self, reference: Reference) -> Entry | None:
        """Return the catalogue's entry of a reference. Raises CatalogueError."""
        if self._catalogue is None:
            self._catalogue = self._outside.load_catalogue(self._path)
        return self._catalogue.find(reference)


class Opening:
    """One request on its way."""

    def __init__(self, request: Request, outside: Outside) -> None:
        self._request = request
        self._outside = outside
        self._began = outside.clock.monotonic()
        self._looks: Lookups | None = None
        self._name = ""

    def answer(self) -> Opened | Plain | Refusal:
        """Open the container, or say that none is needed, or why there is none. Failures become refusals."""
        try:
            return self._answer()
        except ImageMissing:
            asked = quoted(self._request.reference)
            silent = False
            message = f"the image {asked} is not on node {self._request.node}; ask your administrator to pull it"
        except SockerError as error:
            message, silent = str(error), isinstance(error, EngineTimeout)
        self._record({"verdict": "error", "rule": NO_RULE, "reason": message})
        return Refusal(message=message, silent=silent)

    def _answer(self) -> Opened | Plain | Refusal:
        policy = self._outside.load_policy(self._request.policy)
        self._looks = Lookups(self._request.job, policy.catalogue, self._outside)
        if self._request.reference:
            return self._open(policy, self._looks, self._user())
        rule = self._requiring(policy, self._looks, self._user())
        if rule is None or rule.required is None:
            self._record({"verdict": "plain", "rule": NO_RULE, "reason": ""})
            return Plain()
        if not rule.required.image:
            reason = "this job must run in a container: submit it with --container=IMAGE"
            self._record({"verdict": "deny", "rule": rule.name, "reason": reason})
            return Refusal(message=f"denied by rule {quoted(rule.name)}: {reason}")
        self._request = self._request.but(reference=rule.required.image)
        return self._open(policy, self._looks, self._user())

    def _requiring(self, policy: Policy, looks: Lookups, user: User) -> Rule | None:
        needed = requiring_group_names(policy, user)
        subject = Subject(user=user, group_ids=self._group_ids(needed), facts=looks.facts)
        try:
            return requiring_rule(policy, subject)
        except SlurmError as error:
            raise SlurmError(f"it is not known whether this job must run in a container: {error}") from None

    def _open(self, policy: Policy, looks: Lookups, user: User) -> Opened | Refusal:
        reference, wish = parse(self._request.reference), read_options(self._request.options)
        ids = self._group_ids(group_names(policy, user, reference))
        case = Case(user=user, reference=reference, group_ids=ids, facts=looks.facts, find=looks.find)
        early = preview(policy, case)
        if isinstance(early, Deny) and not policy.may_allow:
            return self._denied(case, self._judged(policy, case, early))
        image = self._image(policy, case, early)
        case = case.but(image=image)
        decision = self._judged(policy, case, decide(policy, case))
        if isinstance(decision, Deny):
            return self._denied(case, decision)
        plan = self._plan(user, decision, image, wish)
        if plan.save:
            self._check_free(plan.save)
        spec = self._spec(plan, decision, image)
        self._audit(case, decision)
        return Opened(plan=plan, started=self._outside.engine.open(spec))

    def _plan(self, user: User, allow: Allow, image: Image, wish: Options) -> Plan:
        passwd, group = self._outside.accounts.lines(user)
        outside, request = self._outside, self._request
        hardware = find_hardware(allow, wish, outside.load_cdi, lambda: outside.job_gpus(request.job, request.node))
        plan = make_plan(user, allow, image, wish, self._request.cwd, hardware)
        return plan.but(passwd=passwd, group=group)

    def _check_free(self, name: str) -> None:
        """Raise ImageExists where the node has the image that the step's container is to be saved as."""
        try:
            self._outside.engine.resolve(parse(name))
        except ImageMissing:
            return
        node = self._request.node
        raise ImageExists(
            f"--container-save: there is an image {quoted(name)} on node {node} already; choose another tag"
        )

    def _user(self) -> User:
        request = self._request
        self._name, home = self._outside.accounts.lookup(request.uid)
        return User(uid=request.uid, gid=request.gid, groups=frozenset(request.groups), name=self._name, home=home)

    def _group_ids(self, names: Iterable[str]) -> dict[str, int]:
        return dict(self._outside.accounts.group_ids(names)) if names else {}

    def _judged(self, policy: Policy, case: Case, decision: Decision) -> Decision:
        """Let the site's own module have its word."""
        if not policy.module:
            return decision
        from socker.sitepolicy import judged  # noqa: PLC0415 - only where there is one

        after, error = judged(self._outside.load_module(policy.module), case, decision, may_allow=policy.may_allow)
        if error is not None:
            from traceback import format_exception  # noqa: PLC0415

            fields = {"module": policy.module, "traceback": "".join(format_exception(error))}
            self._outside.audit.record("module failed", fields)
        return after

    def _image(self, policy: Policy, case: Case, early: Allow | Deny | Undecided) -> Image:
        """Return the image, pulled where the rule that decides, or would with this image, lets it be."""
        engine, reference = self._outside.engine, case.reference
        if isinstance(early, Deny) or not isinstance(reference, Named):
            return engine.resolve(reference)
        rule = rule_named(policy, early.rule)
        given = rule.grants
        if given.open_seconds is not None:
            engine.shorten(self._began + given.open_seconds)
        known = reference.domain in given.registries
        if given.pull == "always" and known:
            return engine.resolve(engine.pull(reference))
        try:
            return engine.resolve(reference)
        except ImageMissing:
            if given.pull == "never":
                raise
        if known:
            return engine.resolve(engine.pull(reference))
        asked, node = quoted(self._request.reference), self._request.node
        where = f"rule {quoted(rule.name)} does not pull from {reference.domain}"
        raise PullFailed(f"the image {asked} is not on node {node}, and {where}; ask your administrator to pull it")

    def _spec(self, plan: Plan, allow: Allow, image: Image) -> ContainerSpec:
        given = allow.grants
        return make_spec(self._request, image, plan, given.devices, self._profile(given.seccomp))

    def _profile(self, name: str) -> str:
        """Return the text of a seccomp profile, "" for Docker's own. Raises PolicyFileError."""
        if name == SECCOMP_DOCKER:
            return ""
        return self._outside.read_profile(beside_hold(self._request.hold, HPC_PROFILE) if name == SECCOMP_HPC else name)

    def _denied(self, case: Case, decision: Decision) -> Refusal:
        if isinstance(decision, Allow):
            raise PlanError("what policy denies before it knows the image stays denied")
        self._audit(case, decision)
        by = f" by rule {quoted(decision.rule)}" if decision.rule != NO_RULE else ""
        return Refusal(message=f"the image {quoted(self._request.reference)} is denied{by}: {decision.reason}")

    def _audit(self, case: Case, decision: Decision) -> None:
        denied = isinstance(decision, Deny)
        self._record(
            {
                "digest": "" if case.image is None else case.image.id,
                "rule": decision.rule,
                "verdict": "deny" if denied else "allow",
                "reason": decision.reason if isinstance(decision, Deny) else "",
            }
        )

    def _record(self, fields: dict[str, object]) -> None:
        request, clock = self._request, self._outside.clock
        facts: dict[str, object] = {
            "time": round(clock.time(), 3),
            "node": request.node,
            "job": request.job,
            "step": step_name(request.step),
            "uid": request.uid,
            "user": self._name,
            "account": "" if self._looks is None else self._looks.known_account(),
            "reference": request.reference,
            "digest": "",
            "ms": round((clock.monotonic() - self._began) * 1000, 1),
        }
        self._outside.audit.record("open", facts | fields)
