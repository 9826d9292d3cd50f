"""The demo's months after the beginning: a release in waves, one that is bad, and a patch that cannot wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from rich.markup import escape

from catalog import load
from domain.maintenance import MaintenancePolicy
from domain.maintenance_text import broken_windows, policy_of, upgrades_waiting, window_in_words
from domain.operation import OperationKind, OperationPhase
from domain.release import Release, Severity
from domain.rollout import RolloutOrder, RolloutState
from domain.shape import Component
from domain.state import DeploymentState, OperationSummary
from domain.text import instant
from domain.upgrade import Judgement, UpgradeReport, UpgradeRequest, Verification
from domain.waves import Member, WaveName, WavePolicy, waves_of
from starters import releases, rollouts
from starters.client import ControlPlane
from starters.playground.cast import (
    FIRST_OVERRIDER,
    FIRST_RELEASE,
    SECOND_OVERRIDER,
    Cast,
    Customer,
    closed_window,
)
from starters.playground.narrator import LOOK, Narrator, StoryBroke
from starters.playground.world import World
from starters.rollout_requests import upgrades_to
from workflows.upgrade import Upgrade

MONTHLY, BAD, PATCH = "4.12.1", "4.13.0", "4.13.1"
"""What comes after the first release."""
_ROLLOUT = "november"
_BRIEF = Verification(
    rounds=2, interval=timedelta(seconds=0.5), ready_within=timedelta(minutes=2), bake=timedelta(), exercise=60
)
"""Canaries are observed for a second, where real ones are for five minutes."""
_WAVES = WavePolicy(bakes=dict.fromkeys(WaveName, timedelta(seconds=1)))
"""A wave proves itself for a second, where real ones do for a day."""
_US = "vendor"


class Upkeep:
    """Upgrades the deployments of the story, and tells of it."""

    def __init__(self, plane: ControlPlane, world: World, cast: Cast, narrator: Narrator) -> None:
        self._plane = plane
        self._world = world
        self._cast = cast
        self._narrator = narrator
        self._patched = (*cast.others, cast.stays)[0]
        """Who meets the bad release, and gets the patch."""

    # A release for everybody

    async def roll_out(self) -> None:
        """Roll this month's release out over all clouds, in two waves, each deployment in its own window."""
        plane, narrator = self._plane, self._narrator
        upgrades = upgrades_to(await releases.current_catalogue(plane), release=MONTHLY, kubernetes="")
        upgrades = {cloud: upgrade.model_copy(update={"verification": _BRIEF}) for cloud, upgrade in upgrades.items()}
        fleet = await self._fleet(next(iter(upgrades.values())))
        first = [customer.name for customer in self._cast.others]
        waves = waves_of(fleet, release=MONTHLY, internal=first, policy=_WAVES)
        order = RolloutOrder(
            name=_ROLLOUT,
            target=f"release {MONTHLY}",
            version=MONTHLY,
            requests=rollouts.requests_of(plane, _ROLLOUT, upgrades, "this month's release"),
            waves=waves,
            actor=plane.actor,
        )
        await rollouts.start(plane, order)
        planned = ", then ".join(" and ".join(member.deployment for member in wave.members) for wave in waves)
        narrator.line(_US, f"rolls release [bold]{MONTHLY}[/bold] out, wave after wave: {planned}")
        await asyncio.gather(*(self._upgraded(customer) for customer in self._cast.everybody))
        done = await self._rollout_over()
        narrator.line(
            _US,
            f"the rollout is [green]{done.phase}[/green]: {sum(tally.done for tally in done.tallies)} of {len(fleet)} "
            f"deployments run {MONTHLY} ([bold]byoc rollout status {_ROLLOUT}[/bold])",
        )

    async def _fleet(self, upgrade: UpgradeRequest) -> list[Member]:
        """Return whom the rollout is for, as soon as the list shows everybody."""
        return await self._narrator.until(
            lambda: rollouts.fleet(self._plane, rollouts.Selection(), upgrade),
            lambda found: len(found) == len(self._cast.everybody),
            "every deployment is in the list",
        )

    async def _upgraded(self, customer: Customer) -> None:
        ended = await self._watch(customer, lambda _: True)
        if ended.phase is not OperationPhase.DONE:
            raise StoryBroke(f"{ended.operation_id} of {customer.deployment} ended {ended.phase}: {ended.signature}")
        self._narrator.line(
            customer.name, f"[green]runs {MONTHLY}[/green], up from {FIRST_RELEASE}, and answers as before"
        )

    async def _rollout_over(self) -> RolloutState:
        return await self._narrator.until(
            lambda: rollouts.state(self._plane, _ROLLOUT),
            lambda found: found.phase.is_over or bool(found.stopped_because),
            f"rollout {_ROLLOUT} is done",
        )

    # A bad one

    async def roll_back(self) -> None:
        """Publish a release whose API fails, and let its canary be judged."""
        plane, narrator, customer = self._plane, self._narrator, self._patched
        bad = _release(BAD, notes="Answers faster.")
        await asyncio.to_thread(self._world.fail_image, bad.components[Component.API])
        await releases.publish(plane, bad, reason="faster answers")
        narrator.line(_US, f"publishes release [bold]{BAD}[/bold]. Nobody knows yet that its API answers with errors")
        accepted = await plane.upgrade(
            customer.deployment, UpgradeRequest(release=bad, verification=_BRIEF), reason="faster answers"
        )
        ended = await self._watch(customer, lambda each: each.operation_id == accepted.operation_id)
        if ended.phase is not OperationPhase.ROLLED_BACK:
            raise StoryBroke(f"{ended.operation_id} of {customer.deployment} ended {ended.phase}, not rolled back")
        state = await plane.deployment(customer.deployment)
        narrator.line(
            customer.name,
            f"[yellow]is rolled back[/yellow] to {state.order.release.version}, by itself; a person has to look "
            f"(what went wrong, the same on every deployment: {ended.signature})",
        )
        await releases.withdraw(plane, BAD, "its API answers with errors")
        narrator.line(_US, f"withdraws {BAD}: nobody can order it or upgrade to it any more")

    # One that cannot wait

    async def patch(self) -> None:
        """Upgrade outside of the windows, because two persons say so, and show the receipt."""
        plane, narrator, customer = self._plane, self._narrator, self._patched
        policy = MaintenancePolicy(windows=(closed_window(datetime.now(UTC)),))
        moved = await plane.set_maintenance(customer.deployment, policy, reason="weekly is enough")
        await self._over(customer, lambda each: each.operation_id == moved.operation_id)
        narrator.line(customer.name, "moves its maintenance window: once a week, at night, and not today")
        urgent = _release(PATCH, notes="Closes a hole that is being exploited.", severity=Severity.CRITICAL)
        await releases.publish(plane, urgent, reason="a hole that is being exploited")
        narrator.line(_US, f"publishes release [bold]{PATCH}[/bold], of severity critical")
        accepted = await plane.upgrade(
            customer.deployment, UpgradeRequest(release=urgent, verification=_BRIEF), reason="a hole in 4.12"
        )
        state = await self._booked(customer)
        (_, booked), *_ = upgrades_waiting(state)
        narrator.line(
            customer.name,
            f"[yellow]⏸ {accepted.operation_id} waits[/yellow]: {window_in_words(booked, policy_of(state))}",
        )
        await self._override(customer, accepted.operation_id)
        ended = await self._watch(customer, lambda each: each.operation_id == accepted.operation_id)
        if ended.phase is not OperationPhase.DONE:
            raise StoryBroke(f"{ended.operation_id} of {customer.deployment} ended {ended.phase}: {ended.signature}")
        narrator.line(customer.name, f"[green]runs {PATCH}[/green] and gets the receipt of its broken window:\n")
        _, receipts = broken_windows((await plane.deployment(customer.deployment)).broken_windows)
        for line in receipts.splitlines():
            narrator.console.print(f"    {line}", markup=False, soft_wrap=True)

    async def _override(self, customer: Customer, operation: str) -> None:
        """Let two persons, neither of whom asked for the patch, decide that it does not wait."""
        for actor, reason in (
            (FIRST_OVERRIDER, "the hole is being exploited"),
            (SECOND_OVERRIDER, "I have seen the logs"),
        ):
            approving = ControlPlane(self._plane.client, actor, self._plane.patience)
            standing = await approving.approve_override(customer.deployment, operation, reason=reason)
            left = f"{standing.missing} more has to" if standing.missing else "it does not wait any more"
            self._narrator.line(_US, f'{actor.name} approves to break the window, "{reason}": {left}')

    async def _booked(self, customer: Customer) -> DeploymentState:
        """Return the state once the window of what waits is known."""
        return await self._narrator.until(
            lambda: self._plane.deployment(customer.deployment),
            lambda found: any(booked.opening is not None for _, booked in upgrades_waiting(found)),
            f"the window of {customer.deployment}'s patch is known",
        )

    # Watching

    async def _watch(self, customer: Customer, is_it: Callable[[OperationSummary], bool]) -> OperationSummary:
        """Tell of an upgrade until it is over: its window, its canaries with their evidence."""
        state = await self._narrator.until(
            lambda: self._plane.deployment(customer.deployment),
            lambda found: _started(found, is_it) is not None,
            f"an upgrade of {customer.deployment} starts",
        )
        begun = _started(state, is_it)
        assert begun is not None, "it was waited for"
        ends = state.running.appointment.window_ends if state.running and state.running.appointment else None
        until = f"in its window, until {instant(ends)}" if ends else "outside of its windows"
        self._narrator.line(
            customer.name, f"{begun.operation_id} starts {until}: checks, a backup, then one component after the other"
        )
        upgrade, told = self._plane.client.get_workflow_handle(begun.workflow_id), 0
        waits: set[str] = set()
        await self._plane.progress(begun.workflow_id)  # A deployment names an operation an instant before it starts.
        while True:
            report: UpgradeReport = await upgrade.query(Upgrade.current_report, rpc_timeout=self._plane.patience)
            self._tell_verdicts(customer, report, told)
            told = len(report.verdicts)
            for wait in (await self._plane.progress(begun.workflow_id)).waiting_for:
                if wait.missing not in waits:
                    waits.add(wait.missing)
                    self._narrator.line(
                        customer.name, f"[yellow]⏸ waits for the {wait.party}[/yellow]: {escape(wait.missing)}"
                    )
            self._narrator.check()
            state = await self._plane.deployment(customer.deployment)
            if ended := next((past for past in state.past if past.operation_id == begun.operation_id), None):
                report = await upgrade.query(Upgrade.current_report, rpc_timeout=self._plane.patience)
                self._tell_verdicts(customer, report, told)
                return ended
            await asyncio.sleep(LOOK)

    def _tell_verdicts(self, customer: Customer, report: UpgradeReport, told: int) -> None:
        for verdict in report.verdicts[told:]:
            good = verdict.judgement is Judgement.PROMOTE
            mark = "[green]✔[/green]" if good else "[red]✘[/red]"
            follows = "it takes over" if good else "everything goes back"
            self._narrator.line(customer.name, f"{mark} {verdict.about} canary: {escape(verdict.evidence)}; {follows}")

    async def _over(self, customer: Customer, is_it: Callable[[OperationSummary], bool]) -> None:
        await self._narrator.until(
            lambda: self._plane.deployment(customer.deployment),
            lambda found: any(is_it(past) for past in found.past),
            f"an operation of {customer.deployment} is over",
        )


def _started(state: DeploymentState, is_it: Callable[[OperationSummary], bool]) -> OperationSummary | None:
    """Return the newest upgrade that is meant and has started."""
    running = (state.running.summary,) if state.running else ()
    known = (*state.past, *running)
    return next((each for each in reversed(known) if each.kind is OperationKind.UPGRADE and is_it(each)), None)


def _release(version: str, *, notes: str, severity: Severity = Severity.ROUTINE) -> Release:
    """Return a release that follows the monthly one, with images of its own."""
    before = load().release(MONTHLY)
    assert before is not None, "the packaged catalogue has it"
    images = {
        component: f"{image.partition('@')[0]}@sha256:{sha256(f'{component} {version}'.encode()).hexdigest()}"
        for component, image in before.components.items()
    }
    return before.model_copy(
        update={
            "version": version,
            "components": images,
            "min_from": MONTHLY,
            "rollback_to": (MONTHLY,),
            "severity": severity,
            "notes": notes,
            "released_on": datetime.now(UTC).date(),
        }
    )
