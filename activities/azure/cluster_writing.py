"""Writing a cluster back: as a whole, unless somebody else has changed it since it was read."""

from __future__ import annotations

from collections.abc import Iterable

from azure.core import MatchConditions
from azure.mgmt.containerservice import ContainerServiceClient

from activities.azure.aks import Document, find_cluster, is_settled, one_operation_at_a_time
from activities.azure.cluster_settings import Setting
from activities.azure.groups import group_name
from activities.azure.part import AzurePart
from activities.azure.versions import has_half_upgraded
from domain.deployment import Site
from domain.naming import base_name

_GIVEN_BY_AKS = ("id", "name", "type", "systemData", "eTag", "kind")


class AzureClusterWriting(AzurePart):
    """Changes settings of a cluster that exists."""

    def _running(self, aks: ContainerServiceClient, site: Site) -> Document:
        """Return the cluster once nothing is under way at it.

        Raises:
            ApplicationError: NOT_READY.
        """
        cluster = find_cluster(aks, site)
        if cluster is None or not is_settled(cluster):
            raise self._look_again(f"AKS cluster {base_name(site)} is not running")
        return cluster

    def _put_back(
        self, aks: ContainerServiceClient, site: Site, cluster: Document, settings: Iterable[Setting]
    ) -> None:
        """Put back settings that differ, all at once; not in a cluster in which an upgrade has failed.

        Written, it would be upgraded further. What differs there is put back once the upgrade is through.

        Raises:
            ApplicationError: NOT_READY, if there were any: AKS is at work.
        """
        changed = list(settings)
        if not changed or has_half_upgraded(cluster):
            return
        for setting in changed:
            setting.put(cluster)
        with one_operation_at_a_time(self._look_again):
            self._write(aks, site, cluster)
        places = ", ".join(setting.place.removeprefix("properties.") for setting in changed)
        raise self._look_again(f"AKS is changing {places} of {base_name(site)}")

    @staticmethod
    def _write(aks: ContainerServiceClient, site: Site, cluster: Document) -> None:
        wanted = {field: value for field, value in cluster.items() if field not in _GIVEN_BY_AKS}
        aks.managed_clusters.begin_create_or_update(
            group_name(site),
            base_name(site),
            wanted,
            etag=cluster["eTag"],
            match_condition=MatchConditions.IfNotModified,
            polling=False,
        )
