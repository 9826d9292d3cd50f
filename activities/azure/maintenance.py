"""AKS's own maintenance: its automatic upgrades are switched off, what cannot be refused is bound to the windows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from azure.mgmt.containerservice import ContainerServiceClient
from temporalio import activity

from activities.azure.aks import CLUSTER, one_operation_at_a_time
from activities.azure.cluster_settings import NO_AUTOMATIC_UPGRADES, differing
from activities.azure.cluster_writing import AzureClusterWriting
from activities.azure.errors import failures_named
from activities.azure.existing import if_exists
from activities.azure.groups import group_name
from activities.azure.maintenance_windows import configurations
from activities.contracts import ClusterContract, MaintenanceRequest
from activities.needs import needs
from domain.clouds import Purpose
from domain.naming import base_name

CONFIGURATION = f"{CLUSTER}/maintenanceConfigurations"


class AzureMaintenance(AzureClusterWriting, ClusterContract):
    """Keeps the versions of a cluster ours to decide, and Azure's own work in the customer's windows."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        f"{CLUSTER}/read", f"{CLUSTER}/write", f"{CONFIGURATION}/read", f"{CONFIGURATION}/write",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def set_maintenance_policy(self, request: MaintenanceRequest) -> None:
        """AKS upgrades neither the cluster nor the images of its nodes by itself.

        Patches of what AKS runs for the cluster are Azure's and cannot be refused; they are bound to the first window
        of the policy, as far as AKS can express it. Without windows, what the customer has set stays.
        """
        site, name = request.site, request.cluster.name
        wanted = configurations(request.windows, request.exclusions, datetime.now(UTC))
        with failures_named(resource=name):
            aks = self._connections.client(ContainerServiceClient, site, Purpose.OPERATE)
            cluster = self._running(aks, site)
            self._put_back(aks, site, cluster, differing(cluster, [NO_AUTOMATIC_UPGRADES]))
            place, client = (group_name(site), base_name(site)), aks.maintenance_configurations
            for each, properties in wanted.items():
                found = if_exists(lambda each=each: client.get(*place, each))  # type: ignore[misc]
                if found is None or not _says(found.as_dict().get("properties") or {}, properties):
                    with one_operation_at_a_time(self._look_again):
                        client.create_or_update(*place, each, {"properties": properties})


def _says(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return whether a configuration says the same; what is empty may as well be absent."""
    return bool(_without_nothing(present) == _without_nothing(wanted))


def _without_nothing(value: Any) -> Any:  # noqa: ANN401 - any part of decoded JSON
    if isinstance(value, Mapping):
        kept = {key: _without_nothing(part) for key, part in value.items()}
        return {key: part for key, part in kept.items() if part not in (None, [], {})}
    return [_without_nothing(part) for part in value] if isinstance(value, list | tuple) else value
