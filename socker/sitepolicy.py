# SPDX-License-Identifier: Apache-2.0
"""
An administrator's own Python, which has the last word on a decision:

    def decide(case: Case, decision: Decision) -> Decision: ...

It may turn Allow into Deny and give a Deny another reason. Only where the policy file says `may_allow` it may answer
Allow to a Deny, or change what is given. Whatever else comes of it denies: an exception, an answer that is none.
"""

from __future__ import annotations

import sys
from types import ModuleType

from socker.errors import PolicyFileError
from socker.policy import Allow, Deny
from socker.text import one_line
from socker.trustedfile import ROOT, read_trusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from socker.policy import Case, Decision

    Decide = Callable[[Case, Decision], object]

MODULE_RULE = "(module)"  # stands where the module decided: no rule can have this name
MAX_REASON = 300  # bytes
_NAME = "site_policy"


def load_module(path: str, *, owner: int = ROOT, anchor: str = "/") -> Decide:
    """
    Return the module's `decide`. What runs is the bytes that were checked, not the file once more.

    Raises PolicyFileError, also for what the module raises while it is loaded. Tests give `owner` and `anchor`, see
    `read_trusted`.
    """
    where = f"the policy module {path}"
    try:
        data = read_trusted(path, owner=owner, anchor=anchor)
    except PolicyFileError as error:
        raise PolicyFileError(f"the policy module {error}; tell your administrator") from None
    if data is None:
        raise PolicyFileError(f"{where}: there is no such file; tell your administrator")
    module = ModuleType(_NAME)
    module.__file__ = path
    sys.modules[_NAME] = module
    try:
        exec(compile(data, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - root's own code
        decide: Decide = module.decide
    except BaseException as error:
        why = one_line(f"{type(error).__name__}: {error}", MAX_REASON)
        raise PolicyFileError(f"{where}: {why}; tell your administrator") from error
    return decide


def judged(decide: Decide, case: Case, decision: Decision, *, may_allow: bool) -> tuple[Decision, BaseException | None]:
    """Return the decision that is left after the module's word, and what the module raised."""
    try:
        answer = decide(case, decision)
        return _accepted(answer, decision, may_allow=may_allow), None
    except BaseException as error:  # noqa: BLE001 - also what would end the process denies
        kind = type(error).__name__
        return Deny(rule=MODULE_RULE, reason=f"the policy module failed ({kind}); tell your administrator"), error


def _accepted(answer: object, decision: Decision, *, may_allow: bool) -> Decision:
    if answer == decision:
        return decision
    if isinstance(answer, Deny):
        rule = decision.rule if isinstance(decision, Deny) else MODULE_RULE
        return Deny(rule=rule, reason=one_line(answer.reason.strip(), MAX_REASON) or "the policy module gave no reason")
    if isinstance(answer, Allow):
        if may_allow:
            return Allow(rule=MODULE_RULE, grants=answer.grants.but())
        return Deny(rule=MODULE_RULE, reason="the policy module allows more than it may; tell your administrator")
    return Deny(rule=MODULE_RULE, reason="the policy module gave no decision; tell your administrator")
