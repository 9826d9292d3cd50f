"""Bearer tokens for the Kubernetes API of an EKS cluster: a presigned STS request that says who we are.

The cluster's authenticator sends the request to STS, which answers with the caller's ARN, and looks that up among the
cluster's access entries (aws-iam-authenticator, "API authorization from outside a cluster"). A token is good for 15
minutes and is made where it is used; it is never stored.
"""

from __future__ import annotations

import base64

from botocore.model import ServiceId
from botocore.signers import RequestSigner

from activities.aws.connection import AwsConnections
from activities.aws.errors import failures_named
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Cluster

PREFIX = "k8s-aws-v1."

_SIGNED_FOR_SECONDS = 60
"""The lifetime in the signature. The authenticator accepts a token for 15 minutes all the same, and a longer one in the
signature is not accepted by older versions."""


class AwsClusterTokens:
    """Fulfils `activities.kubernetes.access.ClusterCredentials`."""

    def __init__(self, connections: AwsConnections) -> None:
        self._connections = connections

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
