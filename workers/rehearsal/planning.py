"""From a rehearsal to a plan: permissions, quotas, approvals, durations and costs are put to the steps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

from pydantic import BaseModel, TypeAdapter
from temporalio import activity

import catalog
from activities.contracts import Comparison, ComparisonQuestion, PlanningContract, PlanQuestion
from activities.failures import refused
from activities.needs import Need
from domain.approval import risk_of
from domain.catalogue import QuotaUnit
from domain.clouds import Cloud
from domain.cost import PriceList, monthly_costs
from domain.durations import CloudDurations
from domain.failure import FailureClass
from domain.operation import OperationKind
from domain.plan import CostItem, Plan, PlannedAction, PlannedChange, PlannedQuota, PlannedStep, basis_of, hash_of
from domain.sizing import QuotaNeed, quota_needs
from domain.upgrade import Check, UpgradeWork
from workers.clouds import NotServed
from workers.rehearsal.answers import ACTIVITIES, Answers, is_planned, is_search
from workers.rehearsal.server import CannotRehearse, rehearsal_server
from workers.rehearsal.stage import Interpose, Rehearsed, Stage
from workers.settings import WorkerSettings
from workflows import steps as known_steps

Compare = Callable[[ComparisonQuestion], Awaitable[Comparison]]
"""Asks whoever can see the cloud."""
DeclaredNeeds = Callable[[WorkerSettings, Cloud], tuple[Need, ...]]

_LASTING = ("delete_", "lock_")
"""The names of the steps whose deed nobody can take back begin so."""
_PASSING = known_steps.DELETE_CANARY.name
"""A deletion of what the operation itself has made for a while."""

_OF_CANARIES = frozenset({known_steps.MEASURE.name, known_steps.VALIDATE_NODE.name, known_steps.DELETE_CANARY.name})
"""Activities about what an upgrade has made just before."""

_MAY_SKIP = {step.name for step in known_steps.ALL if step.may_skip} | {undo.name for undo in known_steps.UNDOS}
"""Activities of steps that an operator may skip."""


class Planner:
    """Makes plans."""

    def __init__(self, settings: WorkerSettings, declared_needs: DeclaredNeeds) -> None:
        """Take what says which permissions the activities of a cloud need; only its worker has that cloud's SDK."""
        self._settings = settings
        self._declared_needs = declared_needs

    async def plan(self, question: PlanQuestion, *, compare: Compare | None = None) -> Plan:
        """Rehearse the operation and return what it will do.

        Args:
            question: What is planned.
            compare: If given, each step is compared with what exists.

        Raises:
            CannotRehearse: The operation does not come to its end.
            NotServed: This version does not act in the cloud, or its SDK is not installed.
            catalog.CatalogueInvalid: The table of durations cannot be used.
        """
        order, cloud = question.order, Cloud(question.order.site.cloud)
        # The SDK whose import this takes is large; the rehearsal does not need it.
        declaring = asyncio.create_task(asyncio.to_thread(self._declared_needs, self._settings, cloud))
        durations = catalog.durations(self._settings.durations_file).clouds.get(cloud)
        prices = catalog.prices().clouds.get(cloud)
        answers = Answers(order.facts, catalog.load(), prices)
        comparing = _Comparing(question, answers, compare) if compare else None
        try:
            async with rehearsal_server() as client:
                stage = Stage(client, question.kind, order, answers)
                rehearsed = await stage.rehearse(interpose=comparing.interpose if comparing else None)
        except TimeoutError as error:
            raise CannotRehearse("the rehearsal's server does not answer") from error
        finally:
            needs = await declaring
        steps = _timed(
            [_step(each, needs, comparing.changes[each.key] if comparing else None) for each in rehearsed],
            durations,
            makes=order.first or question.changes_specification or question.kind is not OperationKind.PROVISION,
            pauses=_pauses(order.upgrade),
        )
        basis = basis_of(question.kind, order)
        risk = risk_of(question.kind, changes_specification=order.first or question.changes_specification)
        return Plan(
            deployment=order.site.deployment,
            kind=question.kind,
            risk=risk,
            basis=basis,
            hash=hash_of(basis, steps),
            made_at=datetime.now(UTC),
            steps=steps,
            quotas=_quotas(question),
            approvals=question.policy.sides(risk),
            takes=max((step.starts_after + step.takes for step in steps), default=timedelta(0)),
            costs=_costs(question, answers, prices),
            irreversible=_irreversible(question, steps),
        )


class Planning(PlanningContract):
    """Makes plans for workflows, one at a time: a rehearsal takes a whole processor for its seconds."""

    def __init__(self, settings: WorkerSettings, declared_needs: DeclaredNeeds) -> None:
        self._planner = Planner(settings, declared_needs)
        self._free = asyncio.Lock()

    @activity.defn
    async def make_plan(self, question: PlanQuestion) -> Plan:
        """Rehearse the operation and return what it will do; nothing is touched.

        Raises:
            ApplicationError: CONFIG, if the operation does not come to its end in the rehearsal, or if this worker
                has not what it needs for the cloud.
        """
        async with self._free:
            try:
                return await self._planner.plan(question)
            except (CannotRehearse, NotServed, catalog.CatalogueInvalid) as error:
                raise refused(FailureClass.CONFIG, str(error)) from error


class _Comparing:
    """Compares each step of a rehearsal with what exists, as far as what it is about exists."""

    def __init__(self, question: PlanQuestion, answers: Answers, compare: Compare) -> None:
        self._site = question.order.site
        self._answers = answers
        self._compare = compare
        self.changes: dict[str, tuple[PlannedChange, ...]] = {}
        """Keyed by the step's key in the rehearsal."""
        self._backup_is_to_come = False
        """Whether the operation takes a backup that is kept."""

    @property
    def interpose(self) -> Interpose:
        """Return what answers the rehearsal's steps."""
        return self._answer

    async def _answer(self, key: str, name: str, question: BaseModel) -> Any:  # noqa: ANN401 - as the activity's types
        asked: dict[str, Any] = question.model_dump(mode="json")
        self._backup_is_to_come |= name == known_steps.LOCK_BACKUP.name
        if reason := self._why_not_to_ask(name, asked):
            self.changes[key] = (PlannedChange(call="", detail=reason),)
            return self._answers.answer(name, question)
        seen = await self._compare(
            ComparisonQuestion(site=self._site, step=_step_named(name, asked), activity=name, question=asked)
        )
        self.changes[key] = seen.changes
        if not seen.changes and not is_search(name):
            answer = TypeAdapter(ACTIVITIES[name].returns).validate_json(json.dumps(seen.answer))
            self.changes[key] = _would_wait(answer)
            if not self.changes[key]:
                return answer
        # What a search finds today is no answer to what it will find after the steps before it.
        return self._answers.answer(name, question)

    def _why_not_to_ask(self, name: str, asked: Mapping[str, Any]) -> str:
        """Return why what exists says nothing about a step that would change something; empty if it does."""
        if is_planned(asked):
            return f"needs what does not exist yet: {_missing(asked)}"
        if name in _OF_CANARIES:
            return "needs what does not exist yet: the canary"
        if self._backup_is_to_come and asked.get("keep_backups") and not is_search(name):
            return "would delete what the final backup, which does not exist yet, leaves"
        return ""


def _would_wait(answer: object) -> tuple[PlannedChange, ...]:
    """Return what an upgrade would wait for: the checks that have not passed, each with its evidence."""
    checks = answer if isinstance(answer, tuple) else (answer,)
    return tuple(
        PlannedChange(call="", detail=f"would wait until it passes: {check.name}: {check.evidence}")
        for check in checks
        if isinstance(check, Check) and not check.passed
    )


def _step_named(activity: str, asked: Mapping[str, Any]) -> str:
    """Return what the step is called, with what it is about where one step runs for several things."""
    about = next((asked[each] for each in ("component", "pool", "name") if isinstance(asked.get(each), str)), "")
    return f"{activity}/{about}" if about else activity


def _missing(asked: Mapping[str, Any]) -> str:
    """Return the names of the parts of a question that hold something which is only planned."""
    return ", ".join(name for name, value in asked.items() if is_planned(value))


def _step(seen: Rehearsed, needs: Iterable[Need], changes: tuple[PlannedChange, ...] | None) -> PlannedStep:
    actions = sorted({(need.action, need.purpose) for need in needs if need.activity == seen.activity})
    return PlannedStep(
        name=seen.name,
        summary=seen.summary,
        after=seen.after,
        may_skip=seen.activity in _MAY_SKIP,
        actions=tuple(PlannedAction(action=action, purpose=purpose) for action, purpose in actions),
        changes=changes,
    )


def _pauses(upgrade: UpgradeWork | None) -> Mapping[str, timedelta]:
    """Return how long nothing else begins after some steps, keyed by how their names begin: canaries are observed, and
    a control plane bakes once the server was used on it.
    """
    if upgrade is None:
        return {}
    observed = upgrade.verification.interval * upgrade.verification.rounds
    used = f"{known_steps.VERIFY_SERVER.name}/the control plane"
    bakes = {f"{used} {stage.kubernetes}": stage.bake for stage in upgrade.stages if stage.bake}
    return {f"{known_steps.MEASURE.name}/": observed, **bakes}


def _timed(
    steps: Sequence[PlannedStep], durations: CloudDurations | None, *, makes: bool, pauses: Mapping[str, timedelta]
) -> tuple[PlannedStep, ...]:
    """Return the steps with their expected instants, in which each comes after those that it needs."""
    if durations is None:
        return tuple(steps)
    ends: dict[str, timedelta] = {}
    timed = []
    for step in steps:
        changes = makes if step.changes is None else bool(step.changes)
        starts = max((ends[need] for need in step.after), default=timedelta(0))
        takes = durations.expected(step.name, changes=changes)
        rests = (span for begin, span in pauses.items() if step.name.startswith(begin))
        ends[step.name] = starts + takes + sum(rests, timedelta(0))
        timed.append(step.model_copy(update={"starts_after": starts, "takes": takes}))
    return tuple(timed)


def _irreversible(question: PlanQuestion, steps: Sequence[PlannedStep]) -> tuple[str, ...]:
    """Return what cannot be taken back: steps that delete what lasts, and stages of an upgrade that say so."""
    stages = question.order.upgrade.stages if question.order.upgrade else ()
    return (
        *(step.summary for step in steps if step.name.startswith(_LASTING) and not step.name.startswith(_PASSING)),
        *(stage.irreversible for stage in stages if stage.irreversible),
    )


def _quotas(question: PlanQuestion) -> tuple[PlannedQuota, ...]:
    if question.kind is not OperationKind.PROVISION:
        return ()
    order = question.order
    zones = order.facts.placement.zones if order.facts.placement else None
    needed = quota_needs(
        catalog.load().clouds[Cloud(order.site.cloud)].quotas,
        order.shape,
        high_availability=order.spec.high_availability,
        our_network=order.spec.network.existing is None,
        **({"zones": len(zones)} if zones else {}),
    )
    return tuple(
        PlannedQuota(
            service=each.quota.service, code=each.quota.code, name=each.quota.name, needed=_in_the_quotas_unit(each)
        )
        for each in needed
    )


def _in_the_quotas_unit(need: QuotaNeed) -> int:
    """Return what is needed as the cloud counts it: storage in TiB, of which a part counts as a whole one."""
    return ceil(need.needed / 1024) if need.quota.unit is QuotaUnit.VOLUME_GIB else need.needed


def _costs(question: PlanQuestion, answers: Answers, prices: PriceList | None) -> tuple[CostItem, ...]:
    if prices is None:
        return ()
    return monthly_costs(prices, question.kind, question.order, answers.placement_of(question.order))
