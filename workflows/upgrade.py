"""Upgrading: another release of the server, another version of Kubernetes, stage after stage inside the windows."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.contracts import AddOn, BackupRequest, RestoreRequest, SmokeTestRequest
    from activities.upgrade_contracts import (
        ControlPlaneUpgrade,
        NodePoolUpgrade,
        NodeValidation,
        ServerCheckRequest,
        UpgradeCheckRequest,
    )
    from domain.facts import Cluster
    from domain.failure import FailureClass, FailureDetail
    from domain.operation import OperationKind, OperationPhase
    from domain.shape import PoolName
    from domain.state import OperationOrder, OperationOutcome, Reached
    from domain.upgrade import Check, Stage, StageKind, UpgradeReport, UpgradeWork
    from domain.upgrade_path import rolls_back

from workflows import steps
from workflows.operation import Operation
from workflows.server_release import BadRelease, ServerRelease
from workflows.step_runner import Aborted

PROOF_IS_GOOD_FOR = timedelta(days=7)
"""How long a backup that was restored speaks for the next ones."""

_CUSTOMERS = frozenset({"surge-quota", "free-addresses"})
"""Checks whose remedy is the customer's: a larger quota, a larger network."""


@workflow.defn
class Upgrade(Operation):
    """Bring one deployment to another release or another Kubernetes version, or back to where it was.

    1. Check that the cloud allows it, that the server can be upgraded, and that nothing is missing
    2. Take a backup, and prove that it restores
    3. Upgrade the Kubernetes control plane, one minor version at a time, and let it bake
    4. Upgrade the add-ons
    5. Replace the machines, one pool at a time, the first new one alone until it is validated
    6. Upgrade the server, component after component, each by a canary that is compared with the others

    Between two of its stages it parks when the window ends or when something urgent comes; what is left goes on in a
    later window. A canary that is judged bad takes its release back by itself, once; then a person has to look. What
    cannot be told pauses. Preflight, backup and canary cannot be skipped.
    """

    kind = OperationKind.UPGRADE

    @workflow.init
    def __init__(self, order: OperationOrder) -> None:
        super().__init__(order)
        self.work: UpgradeWork = order.upgrade or UpgradeWork(stages=())
        self.report = UpgradeReport(done=self.work.done, unsettled=self.work.unsettled)
        self.release = order.release
        self._stop_because = ""

    @workflow.run
    async def run(self, order: OperationOrder) -> OperationOutcome:
        """Upgrade, and say how it ended."""
        reporter = self.start_reporting()
        if order.facts.cluster is None:
            return await self.finish(OperationPhase.ABORTED, reporter, summary="there is no cluster")
        phase, summary = OperationPhase.DONE, "everything that was asked for is reached"
        try:
            left = [stage for stage in self.work.stages if stage.name not in self.work.done]
            if left:
                await self._look_before(left)
            for stage in left:
                if await self._must_park(stage):
                    phase, summary = OperationPhase.PARKED, self.report.parked
                    break
                await self._do(stage)
        except BadRelease as bad:
            phase, summary = OperationPhase.ROLLED_BACK, str(bad)
            await self.steps.take_back()
        except Aborted:
            phase, summary = OperationPhase.ABORTED, "aborted"
            await self.steps.take_back()
        return await self.finish(phase, reporter, summary=summary, upgrade=self.report)

    @workflow.signal(description="Stop before the next stage: something urgent comes first, or the rollout was halted")
    def stop_at_checkpoint(self, reason: str) -> None:
        """Park before the next stage."""
        self._stop_because = reason or "it was asked to stop"

    @workflow.query(name="report", description="Stages that are done, checks, verdicts of canaries, why it parked")
    def current_report(self) -> UpgradeReport:
        """Return what is recorded of the upgrade so far."""
        return self.report

    @workflow.query(description="What is recorded, and the facts: how far the upgrade has come")
    def reached(self) -> Reached:
        """Return how far the upgrade has come."""
        return Reached(facts=self.facts, report=self.report)

    # Before anything is changed

    async def _look_before(self, left: list[Stage]) -> None:
        """Nothing is changed before every check has passed and a fresh backup is known to restore."""
        cluster, placement, network = self._cluster, self.facts.placement, self.facts.network
        assert placement is not None, "a deployment that was active has a placement"
        assert network is not None, "a deployment that was active has a network"
        cloud = UpgradeCheckRequest(
            site=self.order.site,
            cluster=cluster,
            kubernetes=next((stage.kubernetes for stage in left if stage.kind is StageKind.CONTROL_PLANE), ""),
            replaces_nodes=any(stage.kind is StageKind.NODES for stage in left),
            placement=placement,
            network=network,
        )
        server = ServerCheckRequest(
            site=self.order.site,
            cluster=cluster,
            high_availability=self.order.spec.high_availability,
            release=self.release,
        )
        await self.steps.together(
            self.steps.run(steps.CHECK_PERMISSIONS, self.order.site),
            self.steps.run_until(steps.CHECK_UPGRADE, cloud, accept=self._accept),
            self.steps.run_until(steps.CHECK_SERVER, server, accept=self._accept),
        )
        await self._prove_backup(cluster)

    async def _prove_backup(self, cluster: Cluster) -> None:
        bucket, proof = self.facts.bucket, self.facts.restore_proof
        assert bucket is not None, "a deployment that was active has a bucket"
        backup = await self.steps.run(
            steps.BACK_UP_BEFORE,
            BackupRequest(
                site=self.order.site,
                cluster=cluster,
                bucket=bucket,
                release=self.release,
                name=f"{self.order.operation_id}/{len(self.work.done)}".replace("/", "-"),
            ),
        )
        if proof is not None and workflow.now() - proof.proven_at < PROOF_IS_GOOD_FOR:
            return
        proof = await self.steps.run(
            steps.PROVE_BEFORE,
            RestoreRequest(
                site=self.order.site, cluster=cluster, backup=backup, release=self.release, roles=self.facts.roles
            ),
        )
        self.learn(restore_proof=proof)

    def _accept(self, checks: tuple[Check, ...]) -> FailureDetail | None:
        """Record checks, and return what the first one that has not passed makes the operation wait for."""
        kept = [known for known in self.report.checks if known.name not in {check.name for check in checks}]
        self.note(checks=(*kept, *checks))
        failed = next((check for check in checks if not check.passed), None)
        if failed is None:
            return None
        failure = FailureClass.QUOTA if failed.name in _CUSTOMERS else FailureClass.CONFIG
        return FailureDetail(failure=failure, message=f"{failed.name}: {failed.evidence}", code=failed.name)

    # Stages

    async def _must_park(self, stage: Stage) -> bool:
        """Wait until what was done before has baked; return whether the stage has to be left for a later window."""
        now = workflow.now()
        begins = max(now, self.report.not_before or now)
        ends, margin = self.work.window_ends, self.work.margin
        reason = self._stop_because
        if not reason and ends is not None and begins + stage.need > ends - margin:
            reason = f"{stage.name} may take until after the window, which ends at {ends:%Y-%m-%d %H:%M} UTC"
        if not reason and begins > now:
            await self.steps.pause(
                begins - now, summary=f"Let it bake before {stage.name}", unless=lambda: bool(self._stop_because)
            )
            reason = self._stop_because
        if reason:
            self.note(parked=reason, next_stage=stage.name)
        return bool(reason)

    async def _do(self, stage: Stage) -> None:
        match stage.kind:
            case StageKind.CONTROL_PLANE:
                await self._upgrade_control_plane(stage)
            case StageKind.ADD_ONS:
                await self._upgrade_add_ons(stage)
            case StageKind.NODES:
                await self._replace_machines(stage)
            case StageKind.SERVER:
                await self._upgrade_server(stage)
        baked = workflow.now() + stage.bake if stage.bake else None
        self.note(done=(*self.report.done, stage.name), not_before=baked)

    async def _upgrade_control_plane(self, stage: Stage) -> None:
        cluster = await self.steps.run(
            steps.UPGRADE_CONTROL_PLANE,
            ControlPlaneUpgrade(site=self.order.site, cluster=self._cluster, kubernetes=stage.kubernetes),
            about=stage.kubernetes,
        )
        self.learn(cluster=cluster)
        self.note(kubernetes=stage.kubernetes)
        await self._verify(f"the control plane {stage.kubernetes}")

    async def _upgrade_add_ons(self, stage: Stage) -> None:
        cluster, roles = self._cluster, self.facts.roles
        assert roles is not None, "a deployment that was active has roles"
        await self.steps.together(
            *(
                self.steps.run(
                    steps.UPGRADE_ADD_ON,
                    AddOn(site=self.order.site, cluster=cluster, roles=roles, name=name),
                    about=f"{name} {stage.kubernetes}",
                )
                for name in (*steps.ADD_ONS_BEFORE_NODES, *steps.ADD_ONS_ON_NODES)
            )
        )
        await self._verify(f"the add-ons {stage.kubernetes}")

    async def _replace_machines(self, stage: Stage) -> None:
        """Replace the machines of one pool; one more comes first, on which nothing runs but its own validation."""
        pool = stage.pool
        assert pool is not None, "a stage of nodes names its pool"
        request, about = self._node_pool(pool, stage.kubernetes), f"{pool} {stage.kubernetes}"
        await self.steps.run(steps.CREATE_CANARY_NODE, request, about=about)
        await self.steps.run_until(
            steps.VALIDATE_NODE,
            NodeValidation(site=self.order.site, cluster=self._cluster, pool=pool, kubernetes=stage.kubernetes),
            accept=lambda check: self._accept((check,)),
            about=about,
        )
        await self.steps.run(steps.DELETE_CANARY, self.order.site, about=about)
        made = await self.steps.run(steps.UPGRADE_POOL, request, about=about)
        others = tuple(known for known in self.facts.pools if known.pool is not pool)
        self.learn(pools=(*others, made.model_copy(update={"kubernetes": stage.kubernetes})))
        await self._verify(f"the {pool} machines {stage.kubernetes}")

    async def _upgrade_server(self, stage: Stage) -> None:
        """Install one release; what is judged bad is put back, unless the store could not be read any more then."""
        release = stage.release
        assert release is not None, "a stage of the server names its release"
        # It stays in the record however the upgrade ends, unless the release is complete or put back.
        self.note(unsettled=f"{self.order.operation_id} began {stage.name} and did not end it")
        while True:
            server = ServerRelease(self, release)
            try:
                await server.install()
            except BadRelease as bad:
                self.note(rolled_back=str(bad), signature=bad.signature)
                if rolls_back(release, self.release):
                    await self.steps.begin_to_take_back()
                    await server.put_back()
                    self.note(unsettled="")
                    await self._verify(f"going back to {self.release.version}")
                    raise
                await self.steps.ask_operator(
                    f"mend/{stage.name}",
                    f"Mend release {release.version} forward",
                    f"{bad}. {self.release.version} could not read the store any more: it is not put back",
                )
                self.note(rolled_back="", signature="")
            except Aborted:
                if rolls_back(release, self.release):
                    await self.steps.begin_to_take_back()
                    await server.put_back()
                    self.note(unsettled="")
                raise
            else:
                break
        self.release = release
        self.note(release=release, unsettled="")

    async def _verify(self, after: str) -> None:
        """Use the server as a client would; it only reads, for customers are using it."""
        domain = self.facts.domain
        assert domain is not None, "a deployment that was active has a domain"
        await self.steps.run(
            steps.VERIFY_SERVER,
            SmokeTestRequest(
                site=self.order.site, cluster=self._cluster, domain=domain, release=self.release, read_only=True
            ),
            about=after,
        )

    def _node_pool(self, pool: PoolName, kubernetes: str) -> NodePoolUpgrade:
        facts = self.facts
        assert facts.network is not None, "a deployment that was active has a network"
        assert facts.firewall is not None, "a deployment that was active has a firewall"
        assert facts.roles is not None, "a deployment that was active has roles"
        assert facts.key is not None, "a deployment that was active has a key"
        assert facts.placement is not None, "a deployment that was active has a placement"
        return NodePoolUpgrade(
            site=self.order.site,
            cluster=self._cluster,
            network=facts.network,
            firewall=facts.firewall,
            roles=facts.roles,
            key=facts.key,
            placement=facts.placement,
            pool=pool,
            kubernetes=kubernetes,
        )

    @property
    def _cluster(self) -> Cluster:
        assert self.facts.cluster is not None, "`run` has looked for it"
        return self.facts.cluster

    def learn(self, **facts: object) -> None:
        """Keep what was made."""
        self.facts = self.facts.model_copy(update=facts)

    def note(self, **entries: object) -> None:
        """Keep something in the report."""
        self.report = self.report.model_copy(update=entries)
