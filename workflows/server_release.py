"""Installing one release of the server: component after component, each by a canary, and all the way back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.contracts import ComponentRequest, SmokeTestRequest
    from activities.upgrade_contracts import MeasurementRequest, MigrationRequest
    from domain.facts import ComponentStatus
    from domain.failure import FailureClass, FailureDetail
    from domain.release import Release
    from domain.shape import Component
    from domain.sizing import component_sizes
    from domain.upgrade import Judgement, Measurement, MigrationPhase, Verdict
    from domain.verification import is_broken, judge, without_gap

from workflows import steps
from workflows.step_runner import StepFailed
from workflows.steps import Patience

if TYPE_CHECKING:
    from workflows.upgrade import Upgrade

TIERS = (
    (Component.STORE,),
    (Component.AUTHENTICATION,),
    (Component.SUBSCRIPTION, Component.API),
    (Component.CDC,),
)
"""In the order in which they are upgraded; those of one tier side by side."""


class BadRelease(Exception):  # noqa: N818 - it names what was found
    """A canary was judged bad, or did not become ready.

    Attributes:
        signature: The same on every deployment that fails in the same way, `server/canary/api`.
    """

    def __init__(self, release: Release, component: Component, what: str, why: str) -> None:
        self.signature = f"server/{what}/{component}"
        super().__init__(f"{component} of release {release.version}: {why}")


class ServerRelease:
    """One release on its way into a running server."""

    def __init__(self, upgrade: Upgrade, release: Release) -> None:
        self._upgrade = upgrade
        self._steps = upgrade.steps
        self._release = release
        self._touched: list[Component] = []
        self._bad: BadRelease | None = None
        """What was found first, while another component of the same tier is still observed."""

    async def install(self) -> None:
        """Expand the schema, bring every component to the release, use the server, and activate the new formats.

        Raises:
            BadRelease: A canary was judged bad, or did not become ready in time.
            Aborted: The operation was aborted.
        """
        await self._migrate(MigrationPhase.EXPAND)
        for tier in TIERS:
            statuses = await self._steps.together(*(self._bring(component) for component in tier))
            self._learn(statuses)
        await self._use()
        await self._migrate(MigrationPhase.ACTIVATE)

    async def put_back(self) -> None:
        """Put the release before back, in the reverse order, wherever a pod of the new one may run."""
        touched = [each for tier in TIERS for each in tier] if self._upgrade.work.unsettled else self._touched
        for component in reversed(touched):
            status = await self._steps.run(
                steps.ROLL_BACK_COMPONENT,
                self._request(component, self._upgrade.release),
                about=self._about(component),
            )
            self._learn([status])

    async def _bring(self, component: Component) -> ComponentStatus:
        """Let one pod run the release, compare it with the others, and promote it."""
        self._touched.append(component)
        request, about = self._request(component, self._release), self._about(component)
        if self._runs_already(component):
            return await self._promote(component, request)
        patience = Patience(steps.STAGE_CANARY.patience.attempt, self._upgrade.work.verification.ready_within)
        try:
            await self._steps.run_or_fail(
                replace(steps.STAGE_CANARY, patience=patience), request, fatal=_is_the_release, about=about
            )
        except StepFailed as failed:
            raise self._found_bad(component, "ready", failed.detail.message) from failed
        verdict = await self._observe(component)
        self._upgrade.note(verdicts=(*self._upgrade.report.verdicts, verdict))
        if verdict.judgement is Judgement.ROLL_BACK:
            raise self._found_bad(component, "canary", verdict.evidence)
        if self._bad is not None and verdict.judgement is Judgement.INCONCLUSIVE:
            raise self._bad
        return await self._promote(component, request)

    def _runs_already(self, component: Component) -> bool:
        """Whether the component was promoted before, in a stage that is repeated: nothing is left to compare with."""
        image = self._release.components.get(component)
        return any(known.component is component and known.image == image for known in self._upgrade.facts.components)

    async def _promote(self, component: Component, request: ComponentRequest) -> ComponentStatus:
        about = self._about(component)
        try:
            return await self._steps.run_or_fail(steps.PROMOTE_COMPONENT, request, fatal=_is_the_release, about=about)
        except StepFailed as failed:
            raise self._found_bad(component, "promotion", failed.detail.message) from failed

    def _found_bad(self, component: Component, what: str, why: str) -> BadRelease:
        """Return what was found; a canary beside it that cannot be judged keeps the release no longer."""
        bad = BadRelease(self._release, component, what, why)
        self._bad = self._bad or bad
        for other in self._touched:
            self._steps.probe_now(f"{steps.MEASURE.name}/{self._about(other)}")
        return bad

    async def _observe(self, component: Component) -> Verdict:
        """Compare the canary with the others, round after round; what cannot be told waits for somebody."""
        verification, alone = self._upgrade.work.verification, self._is_alone(component)
        request, about = self._measurement(component), self._about(component)
        seen: list[Measurement] = [await self._steps.run(steps.MEASURE, request, about=about)]
        for _ in range(verification.rounds - 1):
            await self._steps.pause(verification.interval, summary=f"Observe the {component} canary")
            seen.append(await self._steps.run(steps.MEASURE, request, about=about))
            if is_broken(seen):
                return judge(component, seen, alone=alone)
        await self._steps.pause(verification.interval, summary=f"Observe the {component} canary")
        found: list[Verdict] = []

        def tell(measured: Measurement) -> FailureDetail | None:
            """Judge with one measurement more; another probe adds another one, and what could not be told is left."""
            if found:
                seen[:] = without_gap(seen, alone=alone)
            seen.append(measured)
            found.append(judge(component, seen, alone=alone))
            if found[-1].judgement is not Judgement.INCONCLUSIVE or self._bad is not None:
                return None
            return FailureDetail(
                failure=FailureClass.CONFIG, message=f"it cannot be told how the canary does: {found[-1].evidence}"
            )

        await self._steps.run_until(steps.MEASURE, request, accept=tell, about=about)
        return found[-1]

    def _about(self, what: Component | MigrationPhase) -> str:
        """Return what a step is about: two releases that follow each other have steps of their own."""
        return f"{what} {self._release.version}"

    def _is_alone(self, component: Component) -> bool:
        """Whether the canary is the only pod: the store of one replica, which is updated as a whole.

        A shape may let the store grow and it has not: what counts is what was seen of it last.
        """
        if component is not Component.STORE:
            return False
        seen = [status.desired for status in self._upgrade.facts.components if status.component is component]
        order = self._upgrade.order
        sizes = component_sizes(
            order.shape, high_availability=order.spec.high_availability, overrides=order.spec.scaling
        )
        return seen == [1] or sizes[component].scale.maximum == 1

    async def _migrate(self, phase: MigrationPhase) -> None:
        facts = self._upgrade.facts
        assert facts.cluster is not None, "the upgrade has looked for it"
        await self._steps.run(
            steps.MIGRATE,
            MigrationRequest(site=self._upgrade.order.site, cluster=facts.cluster, release=self._release, phase=phase),
            about=self._about(phase),
        )

    async def _use(self) -> None:
        facts = self._upgrade.facts
        assert facts.cluster is not None, "the upgrade has looked for it"
        assert facts.domain is not None, "a deployment that was active has a domain"
        await self._steps.run(
            steps.VERIFY_SERVER,
            SmokeTestRequest(
                site=self._upgrade.order.site,
                cluster=facts.cluster,
                domain=facts.domain,
                release=self._release,
                read_only=True,
            ),
            about=f"release {self._release.version}",
        )

    def _request(self, component: Component, release: Release) -> ComponentRequest:
        order, facts = self._upgrade.order, self._upgrade.facts
        assert facts.cluster is not None, "the upgrade has looked for it"
        assert facts.bucket is not None, "a deployment that was active has a bucket"
        return ComponentRequest(
            site=order.site,
            cluster=facts.cluster,
            component=component,
            release=release,
            shape=order.shape,
            spec=order.spec,
            bucket=facts.bucket,
        )

    def _measurement(self, component: Component) -> MeasurementRequest:
        order, facts = self._upgrade.order, self._upgrade.facts
        assert facts.cluster is not None, "the upgrade has looked for it"
        assert facts.domain is not None, "a deployment that was active has a domain"
        return MeasurementRequest(
            site=order.site,
            cluster=facts.cluster,
            component=component,
            release=self._release,
            domain=facts.domain,
            exercise=self._upgrade.work.verification.exercise,
        )

    def _learn(self, statuses: list[ComponentStatus]) -> None:
        changed = {status.component for status in statuses}
        kept = [known for known in self._upgrade.facts.components if known.component not in changed]
        self._upgrade.learn(components=(*kept, *statuses))


def _is_the_release(detail: FailureDetail) -> bool:
    """Whether a failure speaks against the release: nobody's permission, quota or machine is missing.

    What is still not ready when the step's time is up is the release's fault, too; a cluster that is silent is not.
    """
    return detail.failure in (FailureClass.NOT_READY, FailureClass.CONFIG, FailureClass.UNKNOWN)
