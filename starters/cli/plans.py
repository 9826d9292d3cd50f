"""`byoc deployments plan`: what an operation will do, before anybody asks for it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from activities.contracts import PlanQuestion
from domain.clouds import Purpose
from domain.deployment import FinalBackup
from domain.operation import OperationKind
from domain.plan import Plan, PlannedStep
from domain.state import DeploymentState
from domain.upgrade import UpgradeWork
from starters.cli.app import CHOSEN, Options
from starters.cli.asking import ask
from starters.cli.errors import BadInput, Exit, fail, stderr
from starters.cli.files import read_text
from starters.cli.output import Format, FormatOption, duration, print_data, print_rows, stdout
from starters.client import ControlPlane
from starters.ordering import read_orders
from starters.planning import plan_of_deployment, plan_of_manifest
from starters.releases import current_catalogue
from starters.rollout_requests import RequestInvalid
from starters.upgrading import request_for, work_for

_QUIET_SECONDS = 1.0
"""After which it is said what takes so long."""


class Doing(StrEnum):
    """What is planned for a deployment that exists."""

    CONVERGE = "converge"
    RECONFIGURE = "reconfigure"
    RETIRE = "retire"
    UPGRADE = "upgrade"


_KINDS = {
    Doing.CONVERGE: OperationKind.PROVISION,
    Doing.RECONFIGURE: OperationKind.RECONFIGURE,
    Doing.RETIRE: OperationKind.RETIRE,
    Doing.UPGRADE: OperationKind.UPGRADE,
}


def plan(
    name: Annotated[
        str | None, typer.Argument(help="name of a deployment that exists; or give a file", metavar="[NAME]")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="YAML of kind Deployment: its order, or its changed specification"),
    ] = None,
    doing: Annotated[Doing, typer.Option("--for", help="what is to be done to the deployment")] = Doing.CONVERGE,
    final_backup: Annotated[
        FinalBackup, typer.Option(help="with --for retire: whether a last backup stays in the customer's account")
    ] = FinalBackup.KEEP,
    release: Annotated[
        str, typer.Option(help="with --for upgrade: the release to reach; default: the newest", metavar="VERSION")
    ] = "",
    kubernetes: Annotated[
        str, typer.Option(help="with --for upgrade: the Kubernetes minor version to reach", metavar="VERSION")
    ] = "",
    diff: Annotated[
        bool, typer.Option("--diff", help="compare with what exists: which steps would change something")
    ] = False,
    permissions: Annotated[bool, typer.Option("--permissions", help="list every permission with its steps")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show what an operation will do: steps, permissions, quotas, approvals, duration, cost. Nothing is touched.

    The very workflow is rehearsed, so that a plan cannot differ from what runs. With --diff each step looks at the
    real cloud, with every call barred that would change something.

    Example: byoc deployments plan -f docs/examples/deployment-small.yaml

    Example: byoc deployments plan acme-prod --for retire --diff

    Example: byoc deployments plan acme-prod --for upgrade --release 4.12.1 --kubernetes 1.35
    """
    text = read_text(file) if file else ""
    _refuse_what_does_not_fit(name, file, doing, release or kubernetes)

    async def questions(plane: ControlPlane) -> list[PlanQuestion]:
        if not file:
            state = await plane.deployment(name or "")
            policy = await plane.policy_for(state.order.site.deployment)
            work = await _upgrade(plane, state, release, kubernetes) if doing is Doing.UPGRADE else None
            kind = _KINDS[doing]
            return [plan_of_deployment(state, kind, policy=policy, final_backup=final_backup, upgrade=work)]
        manifests = [each for each in await read_orders(plane, text) if name in (None, each.metadata.name)]
        if not manifests:
            named = f" named {name}" if name else ""
            raise BadInput([f"--file: {file} holds no Deployment{named}"])
        return [await plan_of_manifest(plane, manifest) for manifest in manifests]

    # It takes about a second until the worker's program can be asked: as long as the control plane is asked here.
    first = _begin(diff=diff)
    try:
        asked = ask(questions)
    except BaseException:
        with first:
            first.kill()
        raise
    plans = [_made(first if question is asked[0] else _begin(diff=diff), question) for question in asked]
    if output is not Format.TABLE:
        print_data(plans[0] if len(plans) == 1 else plans, output)
        return
    for number, each in enumerate(plans):
        if number:
            stdout.print()
        _print(each, every_permission=permissions)


def _refuse_what_does_not_fit(name: str | None, file: Path | None, doing: Doing, target: str) -> None:
    if not file and name is None:
        raise BadInput(["NAME: is missing. Name a deployment that exists, or give the file of an order (-f)"])
    if file and doing is not Doing.CONVERGE:
        raise BadInput([f"--for: {doing} takes no file. Allowed with -f: {Doing.CONVERGE}"])
    if target and doing is not Doing.UPGRADE:
        raise BadInput(
            [f"--for: {doing} goes to no other version. Allowed with --release, --kubernetes: {Doing.UPGRADE}"]
        )


async def _upgrade(plane: ControlPlane, state: DeploymentState, release: str, kubernetes: str) -> UpgradeWork:
    """Return what an upgrade would have to do, checked as when it is asked for."""
    try:
        asked = request_for(await current_catalogue(plane), state, release=release, kubernetes=kubernetes)
    except RequestInvalid as error:
        raise BadInput(error.problems) from error
    return work_for(state, asked)


def _begin(*, diff: bool) -> subprocess.Popen[str]:
    """Start a worker's process, which has the rehearsal's server and the cloud's permissions; it makes one plan."""
    arguments = [sys.executable, "-m", "workers", "plan"]
    if diff:
        profile = CHOSEN.get(Options()).profile
        arguments += ["--diff", *(["--profile", profile] if profile else [])]
    return subprocess.Popen(  # noqa: S603 - our own program
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _made(process: subprocess.Popen[str], question: PlanQuestion) -> Plan:
    """Return the plan that the process makes."""
    with process:
        try:
            made, said = _answer(process, question)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        known = process.returncode in (Exit.BAD_INPUT, Exit.UNREACHABLE)
        fail(said.strip() or "the plan cannot be made", Exit(process.returncode) if known else Exit.FAILED)
    return Plan.model_validate_json(made)


def _answer(process: subprocess.Popen[str], question: PlanQuestion) -> tuple[str, str]:
    """Return what the process prints on both outputs; say on standard error what it does if it takes its time."""
    try:
        return process.communicate(question.model_dump_json(), timeout=_QUIET_SECONDS)
    except subprocess.TimeoutExpired:
        stderr.print(f"Rehearsing {question.kind} of {question.order.site.deployment} …", style="dim")
        return process.communicate()


def _print(made: Plan, *, every_permission: bool) -> None:
    count = f"{len(made.steps)} {'step' if len(made.steps) == 1 else 'steps'}"
    stdout.print(
        f"[bold]{made.kind} {escape(made.deployment)}[/bold]  {made.risk}, {count}, about {duration(made.takes)}"
    )
    stdout.print()
    _print_steps(made.steps)
    _print_changes(made.steps)
    _print_permissions(made.steps, every_one=every_permission)
    if made.quotas:
        _section("Quotas that the account needs room in")
        print_rows(
            ("NEEDS", "QUOTA", "CODE"),
            [(str(quota.needed), quota.name, f"{quota.service} {quota.code}") for quota in made.quotas],
            empty="",
        )
    if made.irreversible:
        _section("Cannot be taken back")
        for deed in made.irreversible:
            stdout.print(f"  {escape(deed)}")
    _print_costs(made)
    stdout.print()
    stdout.print(f"Approvals: {' and '.join(made.approvals) or 'nobody has to approve it'}.")
    stdout.print(f"Plan {made.hash[:16]}: the same order gives the same plan.")


def _print_steps(steps: Sequence[PlannedStep]) -> None:
    numbers = {step.name: number for number, step in enumerate(steps, 1)}
    together = Counter(step.after for step in steps)
    compared = any(step.changes is not None for step in steps)
    columns = ["", "STEP", "AFTER", "", "STARTS", "TAKES", "PERMISSIONS", *(["WOULD CHANGE"] if compared else [])]
    print_rows(
        columns,
        [
            (
                str(numbers[step.name]),
                step.summary,
                ", ".join(str(each) for each in sorted(numbers[need] for need in step.after)),
                "∥" if together[step.after] > 1 else "",
                duration(step.starts_after),
                duration(step.takes),
                str(len(step.actions) or ""),
                *([_would_change(step)] if compared else []),
            )
            for step in steps
        ],
        empty="",
    )


def _would_change(step: PlannedStep) -> str:
    if not step.changes:
        return "" if step.changes is None else "nothing"
    return step.changes[0].call or "yes"


def _print_changes(steps: Sequence[PlannedStep]) -> None:
    compared = [step for step in steps if step.changes is not None]
    if not compared:
        return
    changing = [step for step in compared if step.changes]
    _section(f"{len(changing)} of {len(compared)} steps would change something")
    for step in changing:
        for change in step.changes or ():
            said = " ".join(part for part in (change.call, change.detail) if part)
            stdout.print(f"  {escape(step.summary)}: {escape(said)}", soft_wrap=True)


def _print_permissions(steps: Sequence[PlannedStep], *, every_one: bool) -> None:
    users: dict[tuple[Purpose, str], list[str]] = {}
    for step in steps:
        for action in step.actions:
            users.setdefault((action.purpose, action.action), []).append(step.name)
    if not users:
        return
    _section("Permissions in the customer's account")
    if every_one:
        print_rows(
            ("PURPOSE", "PERMISSION", "STEPS"),
            [(purpose, action, ", ".join(names)) for (purpose, action), names in sorted(users.items())],
            empty="",
        )
        return
    print_rows(("PURPOSE", "PERMISSIONS", "STEPS"), list(_by_purpose(users)), empty="")


def _by_purpose(users: dict[tuple[Purpose, str], list[str]]) -> Iterator[tuple[str, str, str]]:
    for purpose in Purpose:
        actions = [action for used_for, action in users if used_for is purpose]
        steps = {name for (used_for, _), names in users.items() if used_for is purpose for name in names}
        if actions:
            yield purpose, str(len(actions)), str(len(steps))


def _print_costs(made: Plan) -> None:
    if not made.costs:
        return
    _section("Estimated cost of a month, in USD by list price, without usage")
    total = sum(item.monthly_usd for item in made.costs)
    lines = [(f"{item.monthly_usd:,.2f}", item.what) for item in made.costs]
    print_rows(("USD", "WHAT"), [*lines, (f"{total:,.2f}", "together")], empty="")


def _section(title: str) -> None:
    stdout.print()
    stdout.print(f"[bold]{escape(title)}[/bold]")
