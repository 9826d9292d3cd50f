"""`byoc rollout`: a release for the whole fleet, wave after wave."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.markup import escape

from domain.clouds import Cloud
from domain.rollout import RolloutLimits, RolloutOrder, RolloutPhase, RolloutPolicy, RolloutState, baked_at
from domain.upgrade import Override, UpgradeRequest
from domain.waves import Wave, WaveName, waves_of
from starters import rollouts
from starters.cli.asking import acting, ask
from starters.cli.cadence import app as cadence
from starters.cli.errors import BadInput
from starters.cli.forecast import forecast_command
from starters.cli.output import Format, FormatOption, ago, print_data, print_facts, print_rows, stdout
from starters.cli.rollout_options import (
    LIMITS,
    CloudOption,
    CustomerOption,
    InternalOption,
    KubernetesOption,
    Name,
    OnlyOption,
    PerCloudOption,
    PerCustomerOption,
    Reason,
    RegionOption,
    ReleaseOption,
    TotalOption,
    UrgentOption,
    members_of,
    upgrades,
)
from starters.client import ControlPlane
from starters.rollouts import Selection

app = typer.Typer(
    help="A release for the whole fleet: forecast, start, watch, pause, halt.",
    no_args_is_help=True,
    add_completion=False,
)

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,58}[a-z0-9])?")
_OVERRIDE_EXPIRES = timedelta(hours=24)


app.command("forecast")(forecast_command)
app.add_typer(cadence, name="cadence")


@app.command()
def start(
    name: Name,
    release: ReleaseOption = "",
    kubernetes: KubernetesOption = "",
    cloud: CloudOption = None,
    customer: CustomerOption = None,
    region: RegionOption = None,
    only: OnlyOption = None,
    internal: InternalOption = None,
    approve: Annotated[
        list[WaveName] | None,
        typer.Option("--approve", help="a wave that begins only when it is approved (repeatable)"),
    ] = None,
    total: TotalOption = LIMITS.total,
    per_cloud: PerCloudOption = LIMITS.per_cloud,
    per_customer: PerCustomerOption = LIMITS.per_customer,
    urgent: UrgentOption = False,
    reason: Reason = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the waves and start nothing")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Roll a release out: every deployment that is active and behind is asked, in its own maintenance window.

    A repeat with the same name changes nothing.

    Example: byoc rollout start spring --release 4.12.1 --internal vendor --approve rest
    """
    problems = []
    if not _NAME.fullmatch(name):
        problems.append(f'NAME: "{name}" is no name. Allowed: up to 60 lower-case letters, digits, dots and hyphens')
    if urgent and not reason:
        problems.append("--reason: an urgent rollout passes over windows, so it says why")
    if problems:
        raise BadInput(problems)
    override = Override(reason=reason, expires_at=datetime.now(UTC) + _OVERRIDE_EXPIRES) if urgent else None
    selection = Selection(
        clouds=tuple(cloud or ()), customers=tuple(customer or ()), regions=tuple(region or ()), names=tuple(only or ())
    )
    policy = RolloutPolicy(
        limits=RolloutLimits(total=total, per_cloud=per_cloud, per_customer=per_customer), approve=tuple(approve or ())
    )

    async def begin(plane: ControlPlane) -> RolloutState | tuple[Wave, ...]:
        asked = await upgrades(plane, release, kubernetes, override)
        waves = await _waves(plane, selection, asked, internal=internal or [], urgent=urgent)
        if dry_run:
            return waves
        order = RolloutOrder(
            name=name,
            target=_target(release, kubernetes),
            version=release,
            requests=rollouts.requests_of(plane, name, asked, reason),
            waves=waves,
            policy=policy,
            urgent=urgent,
            actor=acting(),
            reason=reason,
        )
        return await rollouts.start(plane, order)

    found = ask(begin)
    if isinstance(found, tuple):
        _print_waves(found, output)
        return
    _print(found, output)
    if output is Format.TABLE:
        if found.order.urgent and found.phase is RolloutPhase.APPROVING:
            stdout.print(f"Two others have to approve it: `byoc rollout approve-override {escape(name)}`.")
        stdout.print(f"It goes on by itself. `byoc rollout status {escape(name)}` shows how.")


@app.command()
def status(name: Name, output: FormatOption = Format.TABLE) -> None:
    """Show a rollout: waves, who is on the way, what failed, and what happened.

    Example: byoc rollout status spring -o json
    """
    _print(ask(lambda plane: rollouts.state(plane, name)), output)


@app.command("list")
def list_rollouts(
    every: Annotated[bool, typer.Option("--all", help="those that are over as well")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """List rollouts, the newest first.

    Example: byoc rollout list --all
    """
    rows = ask(lambda plane: rollouts.listed(plane, include_closed=every))
    if output is not Format.TABLE:
        print_data(rows, output)
        return
    print_rows(
        ("NAME", "TARGET", "PHASE", "WAITING FOR", "AGE"),
        [(row.name, row.release, row.phase, row.waiting_for, ago(row.started_at)) for row in rows],
        empty="No rollout is under way. `byoc rollout start --help` says how to begin one.",
    )


@app.command()
def pause(name: Name, reason: Reason = "", output: FormatOption = Format.TABLE) -> None:
    """Stop for now: nobody is asked and nobody starts; those under way come to their end.

    Example: byoc rollout pause spring --reason "change freeze"
    """
    _print(ask(lambda plane: rollouts.pause(plane, name, reason)), output)


@app.command()
def resume(name: Name, reason: Reason = "", output: FormatOption = Format.TABLE) -> None:
    """Go on after a pause or a halt. The failures so far have been looked at and no longer count.

    Example: byoc rollout resume spring --reason "both had a broken webhook of the customer's"
    """
    _print(ask(lambda plane: rollouts.resume(plane, name, reason)), output)


@app.command()
def halt(name: Name, reason: Reason = "", output: FormatOption = Format.TABLE) -> None:
    """Halt: nobody starts, and those under way stop at their next checkpoint, until it is resumed.

    Example: byoc rollout halt spring --reason "latency in eu-west-1"
    """
    _print(ask(lambda plane: rollouts.halt(plane, name, reason)), output)


@app.command()
def end(name: Name, reason: Reason = "", output: FormatOption = Format.TABLE) -> None:
    """End a rollout for good: what has not started is taken back, what runs comes to its end.

    Example: byoc rollout end spring --reason "4.12.2 replaces it"
    """
    _print(ask(lambda plane: rollouts.end(plane, name, reason)), output)


@app.command()
def approve(
    name: Name,
    wave: Annotated[WaveName, typer.Argument(help="the wave that may begin")],
    reason: Reason = "",
    output: FormatOption = Format.TABLE,
) -> None:
    """Let a wave begin that was to be approved; also before its turn.

    Example: byoc rollout approve spring rest --reason "30 % look well"
    """
    _print(ask(lambda plane: rollouts.approve_wave(plane, name, wave, reason)), output)


@app.command("approve-override")
def approve_override(name: Name, reason: Reason = "", output: FormatOption = Format.TABLE) -> None:
    """Approve that an urgent rollout passes over windows and notice; it begins with the second person's approval.

    Example: byoc rollout approve-override cve-2026-1234 --reason "seen in the logs"
    """
    _print(ask(lambda plane: rollouts.approve_override(plane, name, reason)), output)


async def _waves(
    plane: ControlPlane,
    selection: Selection,
    asked: dict[Cloud, UpgradeRequest],
    *,
    internal: Sequence[str],
    urgent: bool,
) -> tuple[Wave, ...]:
    upgrade = next(iter(asked.values()))
    seed = upgrade.release.version if upgrade.release else upgrade.kubernetes
    return waves_of(await members_of(plane, selection, asked), release=seed, internal=internal, urgent=urgent)


def _target(release: str, kubernetes: str) -> str:
    parts = [f"release {release}" if release else "", f"Kubernetes {kubernetes}" if kubernetes else ""]
    return " and ".join(part for part in parts if part)


def _print(state: RolloutState, output: Format) -> None:
    if output is not Format.TABLE:
        print_data(state, output)
        return
    order = state.order
    baked = baked_at(state)
    print_facts(
        (
            ("Rollout", f"{order.name}: {order.target}"),
            ("Phase", state.phase),
            ("Because", state.stopped_because if state.phase in (RolloutPhase.PAUSED, RolloutPhase.HALTED) else ""),
            ("Baked at", f"{baked:%Y-%m-%d %H:%M} UTC" if baked and state.phase is RolloutPhase.BAKING else ""),
        )
    )
    rows = []
    for wave, tally in zip(order.waves, state.tallies, strict=True):
        numbers = (tally.size, tally.asked, tally.done, tally.failed, tally.refused)
        began = f"{tally.began_at:%Y-%m-%d %H:%M}" if tally.began_at else ""
        rows.append((wave.name, *map(str, numbers), began))
    print_rows(("WAVE", "DEPLOYMENTS", "ASKED", "DONE", "FAILED", "REFUSED", "BEGAN (UTC)"), rows, empty="")
    under_way = [(name, each) for name, each in state.active.items() if each.cleared]
    if under_way:
        print_rows(
            ("UNDER WAY", "STATE", "SINCE", "DETAIL"),
            [(name, str(each.state or "asked"), ago(each.heard_at), each.detail) for name, each in under_way],
            empty="",
        )
    if state.failures:
        print_rows(
            ("FAILED", "SIGNATURE", "WHAT WAS SEEN"),
            [(failure.deployment, failure.signature, failure.detail) for failure in state.failures],
            empty="",
        )


def _print_waves(waves: Sequence[Wave], output: Format) -> None:
    if output is not Format.TABLE:
        print_data(list(waves), output)
        return
    print_rows(
        ("WAVE", "DEPLOYMENTS", "BAKE", "WHO"),
        [
            (
                wave.name,
                str(len(wave.members)),
                f"{wave.bake / timedelta(hours=1):g} h",
                ", ".join(member.deployment for member in wave.members[:5]) + (" …" if len(wave.members) > 5 else ""),
            )
            for wave in waves
        ],
        empty="No active deployment is selected that has anything to gain.",
    )
