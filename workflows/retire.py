"""Retirement: take the server out of the customer's account, prove that nothing is left, and write the receipt."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.contracts import BackupLock, BackupRequest, Retention
    from domain.deployment import FinalBackup
    from domain.facts import Backup, DeploymentFacts, Leftover
    from domain.failure import FailureClass, FailureDetail
    from domain.operation import OperationKind, OperationPhase
    from domain.receipt import OffboardingReceipt
    from domain.state import OperationOrder, OperationOutcome

from workflows import steps
from workflows.operation import Operation
from workflows.step_runner import Aborted

FINAL_BACKUP_DAYS = 35
"""How long the last backup is locked: the time-to-live of a weekly one."""


@workflow.defn
class Retire(Operation):
    """Take one deployment out of the customer's account, and prove that nothing of it is left.

    1. Take a backup
    2. Lock the final backup
    3. Delete the server from the cluster
    4. Delete the alarms
    5. Delete the node pools
    6. Delete load balancers and volumes that the cluster left
    7. Delete the Kubernetes control plane
    8. Delete the certificate
    9. Delete the DNS zone
    10. Delete the private endpoints
    11. Delete the NAT gateways
    12. Delete the firewall
    13. Delete the network
    14. Delete the roles
    15. Delete the backup bucket
    16. Delete the encryption key
    17. Prove that nothing is left

    The order is that of provisioning, reversed: what the cluster's controllers made goes before the cluster, and all of
    it before the network. Until the first deletion an operator may abort. A final backup stays, locked, with the key
    that reads it, if the customer wants that.
    """

    kind = OperationKind.RETIRE

    @workflow.init
    def __init__(self, order: OperationOrder) -> None:
        super().__init__(order)

    @workflow.run
    async def run(self, order: OperationOrder) -> OperationOutcome:  # noqa: ARG002 - taken by __init__
        """Retire, and return the receipt."""
        reporter = self.start_reporting()
        try:
            backup = await self._back_up_finally()
            await self._delete_server()
        except Aborted:
            return await self.finish(OperationPhase.ABORTED, reporter, summary="aborted before anything was deleted")
        keep = backup is not None
        await self._delete_cluster()
        await self._delete_network()
        await self._delete_foundation(keep_backups=keep)
        leftovers = await self._prove_nothing_is_left(keep_backups=keep)
        self.facts = DeploymentFacts()
        receipt = self._receipt(backup, leftovers)
        return await self.finish(
            OperationPhase.DONE, reporter, receipt=receipt, final_backup=backup, summary="nothing of it is left"
        )

    async def _back_up_finally(self) -> Backup | None:
        """Return the locked last backup; None if the customer wants none or an operator skipped it."""
        cluster, bucket = self.facts.cluster, self.facts.bucket
        if self.order.final_backup is FinalBackup.NONE or cluster is None or bucket is None:
            return None
        backup = await self.steps.run_or_skip(
            steps.BACK_UP,
            BackupRequest(
                site=self.order.site,
                cluster=cluster,
                bucket=bucket,
                release=self.order.release,
                name=f"final-{self.order.site.generation}",
            ),
        )
        if backup is None:
            return None
        return await self.steps.run_or_skip(
            steps.LOCK_BACKUP, BackupLock(site=self.order.site, backup=backup, retain_days=FINAL_BACKUP_DAYS)
        )

    async def _delete_server(self) -> None:
        await self.steps.undo(steps.DELETE_WORKLOADS)

    async def _delete_cluster(self) -> None:
        await self.steps.together(self.steps.undo(steps.DELETE_ALARMS), self.steps.undo(steps.DELETE_POOLS))
        await self.steps.undo(steps.DELETE_LEAKS)
        await self.steps.undo(steps.DELETE_CLUSTER)

    async def _delete_network(self) -> None:
        await self.steps.together(
            self._delete_name(),
            self.steps.undo(steps.DELETE_PRIVATE_ENDPOINTS),
            self.steps.undo(steps.DELETE_EGRESS),
        )
        await self.steps.undo(steps.DELETE_FIREWALL)
        await self.steps.undo(steps.DELETE_NETWORK)

    async def _delete_name(self) -> None:
        await self.steps.undo(steps.DELETE_CERTIFICATE)
        await self.steps.undo(steps.DELETE_DOMAIN)

    async def _delete_foundation(self, *, keep_backups: bool) -> None:
        await self.steps.undo(steps.DELETE_ROLES)
        await self.steps.undo(steps.DELETE_BUCKET, keep_backups=keep_backups)
        await self.steps.undo(steps.DELETE_KEY, keep_backups=keep_backups)

    async def _prove_nothing_is_left(self, *, keep_backups: bool) -> tuple[Leftover, ...] | None:
        """Return what stays on purpose. What stays without one is waited for; None if an operator skipped the proof."""
        question = Retention(site=self.order.site, keep_backups=keep_backups)
        return await self.steps.run_until(steps.FIND_LEFTOVERS, question, accept=_orphans_named)

    def _receipt(self, backup: Backup | None, leftovers: tuple[Leftover, ...] | None) -> OffboardingReceipt:
        return OffboardingReceipt.write(
            site=self.order.site,
            actor=self.order.actor,
            operation_id=self.order.operation_id,
            steps=self.steps.records,
            final_backup=backup,
            kept=leftovers,
            started_at=self.started_at,
            ended_at=workflow.now(),
            approved=self.order.approved.record() if self.order.approved else None,
        )


def _orphans_named(leftovers: tuple[Leftover, ...]) -> FailureDetail | None:
    orphans = [leftover for leftover in leftovers if not leftover.kept_because]
    if not orphans:
        return None
    named = ", ".join(f"{orphan.kind} {orphan.resource_id}" for orphan in orphans[:10])
    return FailureDetail(
        failure=FailureClass.CONFIG,
        message=f"{len(orphans)} resources with this deployment's tag are left: {named}",
        resource=orphans[0].resource_id,
    )
