"""From a file to an order: validated against the catalogue and the account before anything starts."""

from __future__ import annotations

from collections.abc import Mapping

from domain.account import AccountSpec
from domain.catalogue import Catalogue
from domain.deployment import Site, Workers
from domain.operation import Pace
from domain.sizing import shape_as_ordered
from domain.state import DeploymentOrder
from starters.client import ControlPlane, NotFound
from starters.manifest import DeploymentManifest, read_manifests
from starters.releases import current_catalogue


async def read_orders(plane: ControlPlane, text: str) -> tuple[DeploymentManifest, ...]:
    """Return the deployments of a file, valid in the accounts that they name.

    Raises:
        ManifestInvalid: With everything that is wrong. No workflow was started.
    """
    catalogue = await current_catalogue(plane)
    manifests = read_manifests(text, catalogue=catalogue)
    accounts: dict[str, AccountSpec] = {}
    for manifest in manifests:
        if isinstance(manifest, DeploymentManifest) and manifest.spec.account not in accounts:
            try:
                accounts[manifest.spec.account] = (await plane.account(manifest.spec.account)).spec
            except NotFound:
                continue
    return _deployments(text, accounts, catalogue)


async def place_order(
    plane: ControlPlane, manifest: DeploymentManifest, *, pace: Pace | None = None
) -> DeploymentOrder:
    """Return the complete order for a manifest: where it goes, its shape, its release, and who asks."""
    account = await plane.account(manifest.spec.account)
    catalogue = await current_catalogue(plane)
    spec = account.spec
    release = catalogue.release(manifest.spec.release)
    assert release is not None, "the door has checked that the catalogue has this release"
    return DeploymentOrder(
        site=Site(
            deployment=manifest.metadata.name,
            customer=spec.customer,
            account=spec.name,
            cloud=spec.cloud,
            cloud_account_id=spec.cloud_account_id,
            external_id=account.external_id,
            region=manifest.spec.region,
            generation=await plane.generation(manifest.metadata.name),
            workers_in=manifest.spec.region if manifest.spec.workers is Workers.IN_REGION else "",
        ),
        spec=manifest.spec,
        shape=shape_as_ordered(catalogue.shape(manifest.spec.shape), manifest.spec),
        release=release,
        actor=plane.actor,
        pace=pace or account.pace,
        approvals=spec.approvals,
    )


def _deployments(
    text: str, accounts: Mapping[str, AccountSpec], catalogue: Catalogue
) -> tuple[DeploymentManifest, ...]:
    manifests = read_manifests(text, catalogue=catalogue, accounts=accounts)
    return tuple(manifest for manifest in manifests if isinstance(manifest, DeploymentManifest))
