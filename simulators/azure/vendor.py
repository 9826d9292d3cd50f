"""The vendor's applications, with which the control plane enters the customers' tenants."""

from __future__ import annotations

from simulators.azure.documents import PURPOSES, AzureApplication, AzureVendor
from simulators.azure.identities import VENDOR_TENANT
from simulators.azure.simulator import Azure


def make_vendor(azure: Azure) -> AzureVendor:
    """Register one multi-tenant application for each purpose."""
    made = {purpose: azure.cloud.identities.add_application(f"byoc-{purpose}") for purpose in PURPOSES}
    return AzureVendor(
        tenant=VENDOR_TENANT,
        applications={
            purpose: AzureApplication(client_id=application.client_id, client_secret=application.secret)
            for purpose, application in made.items()
        },
    )
