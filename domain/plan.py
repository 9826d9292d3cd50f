"""A plan: what an operation will do, found by rehearsing the very workflow that would do it.

Two fingerprints tell what a plan is good for. Its `basis` covers what was planned from (the order, the facts): an
operation whose basis has changed since is planned again. Its `hash` covers what will be done, and is what people
approve. Neither covers estimates (durations, costs), which may be learned anew without changing what is done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime, timedelta

from domain.approval import PlanSummary, RiskClass, Side, SummarizedStep
from domain.clouds import Purpose
from domain.model import Model
from domain.operation import OperationKind
from domain.state import OperationOrder


class PlannedAction(Model):
    """One permission that a step uses."""

    action: str
    """In the cloud's own spelling, `ec2:CreateVpc`."""
    purpose: Purpose


class PlannedChange(Model):
    """What a comparison with the real cloud found: a step that would change something, or not come to its end."""

    call: str
    """The call that would change something first, in the cloud's own spelling (`ec2:CreateVpc`), or verb and path of a
    Kubernetes object. Empty where no call is known: `detail` then says why."""
    detail: str = ""
    """What the call is about; or what the step would need, or wait for."""


class PlannedStep(Model):
    """One step as the rehearsal ran it."""

    name: str
    """The activity's name, `create_network`, with `/store` behind it where one step runs for several things."""
    summary: str
    """In plain words, as the Temporal UI will show it."""
    after: tuple[str, ...] = ()
    """Names of the steps that have to end before this one starts; steps with the same ones run side by side."""
    may_skip: bool = False
    actions: tuple[PlannedAction, ...] = ()
    starts_after: timedelta = timedelta(0)
    """Expected, from the start of the operation."""
    takes: timedelta = timedelta(0)
    """Expected, from recorded durations of this step."""
    changes: tuple[PlannedChange, ...] | None = None
    """With a comparison: what it would change, empty if nothing. None: not compared."""


class PlannedQuota(Model):
    """What the operation takes from one quota of the account."""

    service: str
    code: str
    name: str
    needed: int


class CostItem(Model):
    """One line of the estimate by list price."""

    what: str
    """`3 m7i.xlarge`"""
    monthly_usd: float


class Plan(Model):
    """What one operation on one deployment will do."""

    deployment: str
    kind: OperationKind
    risk: RiskClass
    basis: str
    hash: str
    made_at: datetime
    steps: tuple[PlannedStep, ...]
    """Each after those that it needs: by the length of the longest chain before it, then by name. Expected durations
    have no part in the order, so that learning them anew makes no other plan."""
    quotas: tuple[PlannedQuota, ...] = ()
    approvals: tuple[Side, ...] = ()
    """Who will be asked to approve it."""
    takes: timedelta = timedelta(0)
    """Expected, along the longest chain of steps."""
    costs: tuple[CostItem, ...] = ()
    """Of what exists afterwards, for a month, by list price; usage (traffic, requests) is not in it."""
    irreversible: tuple[str, ...] = ()
    """What cannot be taken back once it is done, in words."""


def basis_of(kind: OperationKind, order: OperationOrder) -> str:
    """Return the fingerprint of what an operation starts from: 64 hexadecimal digits.

    Who asks, why, and the operation's number are left out: the same change asked for twice is the same change. So are
    values that are a field's default, because workflows compute this when they replay: a field that a later version
    adds must not change the fingerprint of an old order. An upgrade starts from its stages and whatever they are done
    to; the windows, and what the stages are thought to need, say when, not what.
    """
    content = order.model_dump(
        mode="json",
        include={"spec", "shape", "release", "facts", "final_backup", "api_keys", "first"},
        exclude={"spec": {"windows", "exclusions"}} if order.upgrade else None,
        exclude_defaults=True,
    )
    if order.upgrade is not None:
        content["upgrade"] = order.upgrade.model_dump(
            mode="json", include={"stages", "done"}, exclude={"stages": {"__all__": {"need"}}}, exclude_defaults=True
        )
    site = order.site.model_dump(mode="json", exclude={"operation"}, exclude_defaults=True)
    return _digest({"kind": kind, "site": site, **content})


def hash_of(basis: str, steps: Iterable[PlannedStep]) -> str:
    """Return the fingerprint of what will be done: the basis, and the steps in their order."""
    return _digest({"basis": basis, "steps": [[step.name, step.summary, *sorted(step.after)] for step in steps]})


def summary_of(plan: Plan) -> PlanSummary:
    """Return what a deployment keeps of a plan while it is to be approved: without what only an expert reads."""
    return PlanSummary(
        hash=plan.hash,
        basis=plan.basis,
        made_at=plan.made_at,
        steps=tuple(SummarizedStep(name=step.name, summary=step.summary) for step in plan.steps),
        permissions=len({action.action for step in plan.steps for action in step.actions}),
        takes=plan.takes,
        monthly_usd=sum(item.monthly_usd for item in plan.costs) if plan.costs else None,
        irreversible=plan.irreversible,
    )


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
