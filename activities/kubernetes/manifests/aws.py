"""What is AWS's own in the manifests: EBS volumes, network load balancers, EKS Pod Identity.

Sources: the storage class parameters of the EBS CSI driver; the annotations that the cloud controller manager of AWS
reads (cloud-provider-aws, `docs/service_controller.md`), which EKS runs for every cluster.
"""

from __future__ import annotations

from activities.kubernetes.manifests.clouds import CloudManifests
from activities.kubernetes.manifests.endpoint import public_service
from activities.kubernetes.manifests.topology import PUBLIC_PORTS
from activities.kubernetes.objects import SERVICE, Kind, Object
from domain.deployment import Site
from domain.facts import Certificate, Key, Network
from domain.naming import owner_tags

_PREFIX = "service.beta.kubernetes.io/aws-load-balancer-"
_TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
"""TLS 1.3, and 1.2 for older devices."""
_KUBE_PROXY_HEALTH_PORT = 10256
"""Where the kube-proxy of every node says whether the node leads on to the pods; no longer once the node is leaving."""
_HEALTH_CHECKS = {
    "healthcheck-protocol": "http",
    "healthcheck-port": str(_KUBE_PROXY_HEALTH_PORT),
    "healthcheck-path": "/healthz",
    "healthcheck-interval": "10",
    "healthcheck-healthy-threshold": "2",
    "healthcheck-unhealthy-threshold": "2",
}
"""A node that dies is out of service after 20 s. Which pods are fit for traffic their readiness probes say."""


class AwsManifests(CloudManifests):
    """The EBS CSI driver, and the service controller that EKS itself runs.

    Its load balancer asks the nodes for their health, and EKS knows a service account by its namespace and name.
    """

    def storage(self, site: Site, key: Key) -> Object:
        """Return gp3 volumes encrypted with the deployment's own key; the driver copies the owner tags to each."""
        tags = enumerate(owner_tags(site, "volume").items(), 1)
        return {
            "provisioner": "ebs.csi.aws.com",
            "parameters": {
                "type": "gp3",
                "encrypted": "true",
                "kmsKeyId": key.key_id,
                "csi.storage.k8s.io/fstype": "ext4",
                **{f"tagSpecification_{number}": f"{tag}={value}" for number, (tag, value) in tags},
            },
        }

    def entrance(self) -> Kind:
        """Return the kind for which the service controller makes a network load balancer."""
        return SERVICE

    def endpoint(self, site: Site, network: Network, certificate: Certificate) -> tuple[Object, ...]:
        """Return the Service of an internet-facing network load balancer that ends TLS on every port, over all zones.

        It leads to every node, at the ports that Kubernetes chose. That it is internet-facing is the default.
        """
        tags = owner_tags(site, "load-balancer")
        annotations = {
            "type": "nlb",
            "subnets": ",".join(network.public_subnet_ids),
            "ssl-cert": certificate.certificate_id,
            "ssl-ports": ",".join(str(port) for port in PUBLIC_PORTS.values()),
            "ssl-negotiation-policy": _TLS_POLICY,
            "backend-protocol": "tcp",
            **_HEALTH_CHECKS,
            "cross-zone-load-balancing-enabled": "true",
            "additional-resource-tags": ",".join(f"{tag}={value}" for tag, value in tags.items()),
        }
        return (public_service(site, {_PREFIX + name: value for name, value in annotations.items() if value}),)

    def identity_endpoints(self) -> tuple[tuple[str, int], ...]:
        """Return the address of the EKS Pod Identity agent on each node."""
        return (("169.254.170.23/32", 80),)
