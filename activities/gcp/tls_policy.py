"""Which versions of TLS the endpoint's load balancer speaks: an SSL policy in the region, which its Gateway names.

Without one, Google's load balancers still speak TLS 1.0 ("SSL policies overview").
"""

from __future__ import annotations

from google.cloud import compute_v1

from activities.gcp.compute import REGION_OPERATION, DeploymentCompute, if_exists
from activities.gcp.ownership import is_described_as_ours, owner_description, require_ours
from activities.kubernetes.manifests.gcp import tls_policy

PERMISSIONS_TO_ENSURE = (
    "compute.regionSslPolicies.create",
    "compute.regionSslPolicies.get",
    "compute.regionSslPolicies.update",
    REGION_OPERATION,
)
PERMISSIONS_TO_REMOVE = ("compute.regionSslPolicies.delete", "compute.regionSslPolicies.get", REGION_OPERATION)
_RESOURCE = "tls"
_OLDEST = "TLS_1_2"
_PROFILE = "MODERN"
"""Google's own list of ciphers, without those that only old clients need."""


def ensure_tls_policy(compute: DeploymentCompute) -> None:
    """Our policy exists, and lets nobody speak what is older than TLS 1.2."""
    policies, where = _policies(compute)
    name = tls_policy(compute.site)
    found = if_exists(lambda: policies.get(**where, ssl_policy=name))
    wanted = compute_v1.SslPolicy(min_tls_version=_OLDEST, profile=_PROFILE)
    if found is None:
        wanted.name, wanted.description = name, owner_description(compute.site, _RESOURCE)
        compute.settle(policies.insert_unary(**where, ssl_policy_resource=wanted), f"the SSL policy {name}")
        return
    require_ours(f"SSL policy {name}", compute.site, ours=is_described_as_ours(found.description, compute.site))
    if (found.min_tls_version, found.profile) != (_OLDEST, _PROFILE):
        # The fingerprint is that of the policy as it was looked at: one that was changed meanwhile is looked at again.
        wanted.fingerprint = found.fingerprint
        changed = policies.patch_unary(**where, ssl_policy=name, ssl_policy_resource=wanted)
        compute.settle(changed, f"the SSL policy {name}")


def remove_tls_policy(compute: DeploymentCompute) -> None:
    """No policy of ours is left."""
    policies, where = _policies(compute)
    name = tls_policy(compute.site)
    found = if_exists(lambda: policies.get(**where, ssl_policy=name))
    if found is not None and is_described_as_ours(found.description, compute.site):
        gone = policies.delete_unary(**where, ssl_policy=name)
        compute.settle(gone, f"the deletion of the SSL policy {name}")


def _policies(compute: DeploymentCompute) -> tuple[compute_v1.RegionSslPoliciesClient, dict[str, str]]:
    where = {"project": compute.project, "region": compute.region}
    return compute.client(compute_v1.RegionSslPoliciesClient), where
