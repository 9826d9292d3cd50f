"""Faults on request: rules that make a simulated cloud throttle, refuse, fail, dawdle or lose its reply."""

from __future__ import annotations

import fnmatch
import random
import threading
from collections.abc import Collection
from enum import StrEnum
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from simulators.journal import Call


class FaultKind(StrEnum):
    """What a rule does to the calls that it matches."""

    THROTTLE = "throttle"
    QUOTA = "quota"
    CAPACITY = "capacity"
    REVOKE = "revoke"
    """The caller is denied this operation, as if its policy lacked the action."""
    ERROR = "error"
    """A 5xx before the deed."""
    LOST_REPLY = "lost_reply"
    """The deed happens; the connection closes without a reply."""
    SLOW = "slow"
    """`seconds` of real time pass before the deed."""
    STUCK = "stuck"
    """What the call starts (a cluster, a node group, a rollout …) never finishes until the rule is removed."""
    HOLD = "hold"
    """The deed happens; the reply is withheld until the hold is released or the caller hangs up (for crash tests)."""
    HOLD_BEFORE = "hold_before"
    """The call is held before the deed; if the caller hangs up before the release, the deed never happens."""
    CRASH = "crash"
    """What the call starts ends as failed (a cluster FAILED, a node group CREATE_FAILED, a pod in a crash loop)."""


class Fault(BaseModel):
    """One rule. Patterns are shell patterns; an empty substring matches everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(default_factory=lambda: uuid4().hex[:8])
    kind: FaultKind
    service: str = "*"
    operation: str = "*"
    account: str = "*"
    region: str = "*"
    resource: str = ""
    """Substring of the call's resource, or a shell pattern for all of it."""
    agent: str = ""
    """Substring of the call's User-Agent."""
    mutating: bool | None = None
    skip: int = 0
    """How many matching calls pass before the rule takes hold."""
    times: int | None = None
    """How many calls it then affects; None until it is removed."""
    chance: float = 1.0
    """Probability for each matching call, drawn from `seed`."""
    seed: int = 0
    seconds: float = 0.0
    """Real seconds, for `slow`."""
    code: str = ""
    """Overrides the error code that the kind would answer with; `OOMKilled` makes a `crash` of containers one for lack
    of memory."""
    message: str = ""


class Faults:
    """Holds the rules of one simulated world and decides which one a call meets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: dict[str, Fault] = {}
        self._seen: dict[str, int] = {}
        self._hit: dict[str, int] = {}
        self._random: dict[str, random.Random] = {}

    def add(self, fault: Fault) -> Fault:
        """Put `fault` in force; a rule of the same id is replaced."""
        with self._lock:
            self._rules[fault.id] = fault
            self._seen[fault.id] = self._hit[fault.id] = 0
            self._random[fault.id] = random.Random(fault.seed)
        return fault

    def remove(self, fault_id: str) -> bool:
        """Take a rule out of force; return whether it was there."""
        with self._lock:
            return self._rules.pop(fault_id, None) is not None

    def clear(self) -> None:
        """Take every rule out of force."""
        with self._lock:
            self._rules.clear()

    def active(self, fault_id: str) -> bool:
        """Return whether the rule is still in force (what is stuck asks this)."""
        with self._lock:
            return fault_id in self._rules

    def listed(self) -> list[tuple[Fault, int]]:
        """Return each rule with the number of calls that it has affected."""
        with self._lock:
            return [(rule, self._hit[rule.id]) for rule in self._rules.values()]

    def meet(self, call: Call, among: Collection[FaultKind] = tuple(FaultKind)) -> Fault | None:
        """Return the first rule that takes hold of `call`, counting it, or None.

        Rules of a kind that is not `among` those which the caller can act on are neither met nor counted.
        """
        with self._lock:
            for rule in self._rules.values():
                if rule.kind not in among or not _matches(rule, call):
                    continue
                self._seen[rule.id] += 1
                if self._seen[rule.id] <= rule.skip:
                    continue
                if rule.times is not None and self._hit[rule.id] >= rule.times:
                    continue
                if rule.chance < 1.0 and self._random[rule.id].random() >= rule.chance:
                    continue
                self._hit[rule.id] += 1
                return rule
        return None


def _matches(rule: Fault, call: Call) -> bool:
    return (
        fnmatch.fnmatchcase(call.service, rule.service)
        and fnmatch.fnmatchcase(call.operation, rule.operation)
        and fnmatch.fnmatchcase(call.account, rule.account)
        and fnmatch.fnmatchcase(call.region, rule.region)
        and (rule.resource in call.resource or fnmatch.fnmatchcase(call.resource, rule.resource))
        and rule.agent in call.agent
        and (rule.mutating is None or rule.mutating == call.mutating)
    )
