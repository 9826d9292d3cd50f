"""Reaching the Kubernetes API of an EKS cluster: where it is, and a bearer token that says who we are.

The token is a presigned STS request. The cluster's authenticator sends it to STS, which answers with the caller's ARN,
and looks that up among the cluster's access entries (aws-iam-authenticator, "API authorization from outside a
cluster"). A token is good for 15 minutes and is made where it is used; it is never stored.
"""

from __future__ import annotations

import base64

from botocore.model import ServiceId
from botocore.signers import RequestSigner

from activities.aws.cluster import as_facts, find_cluster
from activities.aws.connection import AwsConnections
from activities.aws.errors import failures_named
from activities.aws.ownership import require_ours
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Cluster
from domain.naming import base_name

PREFIX = "k8s-aws-v1."

_ANSWERING = frozenset({"ACTIVE", "UPDATING"})
"""States of a cluster in which its API can be called. What is being deleted has no workloads any more."""

_SIGNED_FOR_SECONDS = 60
"""The lifetime in the signature. The authenticator accepts a token for 15 minutes all the same, and a longer one in the
signature is not accepted by older versions."""


class AwsClusterTokens:
    """Fulfils `ClusterCredentials` and `ClusterFinder` of `activities.kubernetes.credentials`."""

    def __init__(self, connections: AwsConnections) -> None:
        self._connections = connections

    @needs("eks:DescribeCluster", purpose=Purpose.OPERATE, why="Find the cluster from which the server is deleted")
    def find(self, site: Site) -> Cluster | None:
        """Return the deployment's cluster, None if there is none, or none (any more) whose API could answer."""
        name = base_name(site)
        with failures_named(resource=name):
            cluster = find_cluster(self._connections.client("eks", site, Purpose.OPERATE), name)
        if cluster is None or cluster["status"] not in _ANSWERING:
            return None
        require_ours(site, cluster.get("tags", {}), f"EKS cluster {name}")
        return as_facts(cluster)

    def token(self, site: Site, cluster: Cluster) -> str:
        """Return a token of the role that operates `cluster`, valid for that cluster alone."""
        with failures_named(resource=cluster.name):
            session, region = self._connections.credentials(site, Purpose.OPERATE)
            signer = RequestSigner(ServiceId("STS"), region, "sts", "v4", session.get_credentials(), session.events)
            url: str = signer.generate_presigned_url(
                {
                    "method": "GET",
                    # The real host, whatever endpoint the clients use: it is part of what is signed.
                    "url": f"https://sts.{region}.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15",
                    "body": {},
                    "headers": {"x-k8s-aws-id": cluster.name},
                    "context": {},
                },
                region_name=region,
                expires_in=_SIGNED_FOR_SECONDS,
                operation_name="",
            )
        return PREFIX + base64.urlsafe_b64encode(url.encode()).rstrip(b"=").decode()
