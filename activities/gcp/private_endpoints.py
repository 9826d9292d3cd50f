"""The way to Google's own services without leaving Google's network: private access of the nodes' subnetwork.

With it, nodes that have internal addresses alone reach all of Google's APIs, and the packets stay in Google's network
(VPC, "Private Google Access"). It is a setting of the subnetwork, so there is nothing to pay for and nothing to delete.
"""

from __future__ import annotations

from google.cloud import compute_v1
from temporalio import activity

from activities.contracts import InNetwork, NetworkContract
from activities.failures import refused
from activities.gcp.compute import DeploymentCompute
from activities.gcp.errors import failures_named
from activities.gcp.part import GcpPart
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.failure import FailureClass


class GcpPrivateEndpoints(GcpPart, NetworkContract):
    """Sees to it that nodes reach Google's services privately."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs("compute.subnetworks.get", purpose=Purpose.OPERATE)
    def create_private_endpoints(self, request: InNetwork) -> None:
        """Private access is on in the nodes' subnetwork. Making the network switches it on; here it is proven.

        Raises:
            ApplicationError: POLICY if somebody has switched it off since.
        """
        name = request.network.private_subnet_ids[0]
        with failures_named():
            compute = DeploymentCompute(self._settings, self._connections, request.site, Purpose.OPERATE)
            subnetworks = compute.client(compute_v1.SubnetworksClient)
            found = subnetworks.get(project=compute.project, region=compute.region, subnetwork=name)
        if not found.private_ip_google_access:
            message = f"Private access to Google's services has been switched off in the subnetwork {name}"
            raise refused(FailureClass.POLICY, message, resource=name)

    @activity.defn(no_thread_cancel_exception=True)
    def delete_private_endpoints(self, site: Site) -> None:
        """Nothing is left: the setting goes with its subnetwork."""
