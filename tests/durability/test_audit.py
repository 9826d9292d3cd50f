"""The audit trail against what really happened: the simulated clouds' journal and inventory."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from secrets import token_bytes

from domain.actor import CONTROL_PLANE
from domain.api_key import issue
from domain.audit import AuditEntry, AuditKind
from domain.deployment import FinalBackup
from domain.failure import Party
from domain.naming import TAG_DEPLOYMENT
from domain.operation import Choice, OperationKind, OperationProgress, StepDecision, StepState
from domain.state import ApiKeyChange, ApiKeyChangeKind, DeploymentPhase, DeploymentState, OperationRequest
from simulators.faults import Fault, FaultKind
from simulators.journal import Call
from starters.client import ControlPlane
from tests.durability.installation import ACTOR, Customer, Installation
from workflows.deployment import Deployment
from workflows.temporal import ids

AGENT = re.compile(r"operation/(?P<operation>\S+) step/(?P<step>\S+)")
SERVICES = {"elasticloadbalancing": "elbv2", "monitoring": "cloudwatch"}
"""How the journal names services, by their scope in a signature, and the SDK otherwise."""

BY_CONTROLLERS = {"instance", "network-interface", "volume", "auto-scaling-group", "load-balancer", "target-group"}
"""Made by EKS and by the cluster's controllers, not by a call of ours."""


async def trail(plane: ControlPlane, name: str) -> list[AuditEntry]:
    """Return the deployment's trail."""
    return [line async for line in plane.deployment_history(name)]


def of_ours(calls: list[Call]) -> list[Call]:
    """Return the calls that a step of an operation made and that succeeded, or whose reply was lost."""
    return [call for call in calls if call.mutating and not call.error and AGENT.search(call.agent)]


def named(call: Call) -> tuple[str, str, str, str]:
    """Return operation and step of a call, its service and what it did."""
    match = AGENT.search(call.agent)
    assert match is not None, "it was chosen for that"
    return match["operation"], match["step"], SERVICES.get(call.service, call.service), call.operation


def deeds(lines: list[AuditEntry], *, answered: bool) -> Counter[tuple[str, str, str, str]]:
    """Return the same of every call that the trail names, of those with a reply or of those without."""
    return Counter(
        (line.operation, line.step.partition("/")[0], call.service, call.operation)
        for line in lines
        for call in line.calls
        if call.answered is answered
    )


def assert_told(lines: list[AuditEntry], journal: list[Call]) -> None:
    """Every call that the clouds know is told, and every reply that is told was given by a cloud.

    What got no reply may never have arrived: a connection can end just when a call begins.
    """
    done, told, silent = Counter(map(named, journal)), deeds(lines, answered=True), deeds(lines, answered=False)
    assert told - done == Counter(), "told with a reply, and done by nobody"
    assert done - told - silent == Counter(), "done, and not told"


async def test_the_trail_tells_everything_that_was_done(installation: Installation, customer: Customer) -> None:
    """Waits, decisions, a key, an abort, a fresh run, a retirement: each call and each resource has its line."""
    position, name = installation.control.position(), customer.name
    plane = await installation.connected()
    for kind, operation, times in (
        (FaultKind.REVOKE, "CreateNatGateway", 2),
        (FaultKind.REVOKE, "PutMetricAlarm", None),
        (FaultKind.LOST_REPLY, "CreateSubnet", 1),
    ):
        installation.control.inject(Fault(kind=kind, operation=operation, account=customer.account, times=times))
    await installation.order(customer)
    await installation.until(customer, lambda state: waits_in(state, "create_alarms"))
    await plane.decide(name, StepDecision(choice=Choice.SKIP, step="create_alarms", reason="own alarms", actor=ACTOR))
    await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    handle = plane.client.get_workflow_handle(ids.deployment_id(name))
    await handle.execute_update(Deployment.continue_as_new_now, ACTOR)
    await installation.until(customer, lambda state: state.runs == 2)
    record = issue("reporting", ("read",), now=datetime.now(UTC), lifetime=timedelta(days=9), randomness=token_bytes)
    await plane.change_api_keys(
        name,
        ApiKeyChange(request_id="k", kind=ApiKeyChangeKind.CREATE, actor=ACTOR, record=record.record),
    )
    await installation.until(customer, lambda state: len(state.past) == 2)
    await plane.request(
        name, OperationRequest(request_id="again", kind=OperationKind.PROVISION, actor=ACTOR, reason="drift")
    )
    await installation.until(customer, lambda state: waits_in(state, "create_alarms"))
    await plane.decide(name, StepDecision(choice=Choice.ABORT, reason="not now", actor=ACTOR))
    await installation.until(customer, lambda state: len(state.past) == 3)
    installation.control.clear_faults()
    held = installation.control.inventory(customer.account)
    await plane.retire(name, reason="the end", final_backup=FinalBackup.NONE)
    await installation.until_phase(customer, DeploymentPhase.RETIRED)

    lines = await trail(plane, name)

    asked = [
        (line.kind, line.operation, line.summary)
        for line in lines
        if line.actor == ACTOR and line.kind is not AuditKind.WAITED
    ]
    assert [(kind, operation, summary.partition(" in aws ")[0]) for kind, operation, summary in asked] == [
        ("requested", "", "order v1-small"),
        ("started", "provision/1", "provision/1 begins: ordered"),
        ("decided", "provision/1", "skip create_alarms: own alarms"),
        ("requested", "", "continue as new now"),
        ("key-changed", "reconfigure/2", f"create API key {record.record.id}"),
        ("started", "reconfigure/2", f"reconfigure/2 begins: create API key {record.record.id}"),
        ("requested", "provision/3", "provision: drift"),
        ("started", "provision/3", "provision/3 begins: drift"),
        ("decided", "provision/3", "abort: not now"),
        ("requested", "retire/4", "retire, final backup: none: the end"),
        ("started", "retire/4", "retire/4 begins: the end"),
    ]
    assert [(line.operation, line.outcome) for line in lines if line.kind is AuditKind.ENDED] == [
        ("provision/1", "done"), ("reconfigure/2", "done"), ("provision/3", "aborted"), ("retire/4", "done"),
        ("", "retired"),
    ]  # fmt: skip
    waits = {(line.operation, line.step, line.outcome): line for line in lines if line.kind is AuditKind.WAITED}
    assert {key: (line.party, line.actor) for key, line in waits.items()} == {
        ("provision/1", "create_egress", "done"): (Party.CUSTOMER, CONTROL_PLANE),
        ("provision/1", "create_alarms", "skipped"): (Party.CUSTOMER, ACTOR),
        ("provision/3", "create_alarms", "aborted"): (Party.CUSTOMER, ACTOR),
    }
    assert "ec2:CreateNatGateway" in waits["provision/1", "create_egress", "done"].missing
    assert AuditKind.CONTINUED in {line.kind for line in lines}

    journal = of_ours(installation.control.journal(after=position, account=customer.account))
    assert_told(lines, journal)
    assert "CreateSubnet" in {call.operation for line in lines for call in line.calls if not call.answered}
    assert [(line.step, call) for line in lines for call in line.calls if call.answered and not call.resources] == []
    steps = [line for line in lines if line.kind is AuditKind.STEP]
    assert all(line.ended_at and line.at <= call.at <= line.ended_at for line in steps for call in line.calls)

    told = {resource.id for line in lines for resource in line.resources}
    ours = [each for each in held if each.tags.get(TAG_DEPLOYMENT) == name and each.type not in BY_CONTROLLERS]
    assert ours
    assert [(each.type, each.id, each.name) for each in ours if not told & {each.id, each.name}] == []
    assert len({line.id for line in lines}) == len(lines)
    for run in {line.run_id for line in lines}:
        events = [line.event_id for line in lines if line.run_id == run]
        assert events == sorted(events)


async def test_what_was_made_and_taken_back_is_told(installation: Installation, customer: Customer) -> None:
    """An aborted first provisioning leaves nothing in the account, and in the trail each call, made and undone."""
    position, name = installation.control.position(), customer.name
    plane = await installation.connected()
    installation.control.inject(Fault(kind=FaultKind.REVOKE, operation="CreateCluster", account=customer.account))
    await installation.order(customer)
    state = await installation.until(customer, lambda state: waits_in(state, "create_cluster"))
    assert state.running is not None
    while any(step.state is StepState.RUNNING for step in (await steps_of(plane, state)).steps):
        await asyncio.sleep(0.1)
    await plane.decide(name, StepDecision(choice=Choice.ABORT, reason="wrong region", actor=ACTOR))
    await installation.until_phase(customer, DeploymentPhase.ABORTED)

    lines = await trail(plane, name)

    journal = of_ours(installation.control.journal(after=position, account=customer.account))
    assert_told(lines, journal)
    by_step = {line.step: line for line in lines if line.kind is AuditKind.STEP}
    assert by_step["create_cluster"].outcome == "aborted"
    made = {resource.id for resource in by_step["create_network"].resources if resource.kind == "ec2:subnet"}
    gone = {resource.id for resource in by_step["delete_network"].resources if resource.kind == "ec2:subnet"}
    assert made
    assert made == gone
    assert lines[-1].outcome == "aborted"


async def steps_of(plane: ControlPlane, state: DeploymentState) -> OperationProgress:
    """Return how the running operation is going."""
    assert state.running is not None
    return await plane.progress(state.running.summary.workflow_id)


def waits_in(state: DeploymentState, step: str) -> bool:
    """Return whether the running operation waits in a step."""
    return state.report is not None and any(wait.step == step for wait in state.report.waiting_for)
