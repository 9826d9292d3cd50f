"""What is AWS's own in the manifests: EBS volumes, network load balancers, EKS Pod Identity."""

from __future__ import annotations

from activities.kubernetes.manifests.topology import METRICS_PORT, PUBLIC_PORTS
from activities.kubernetes.objects import Object
from domain.deployment import Site
from domain.facts import Certificate, Key, Network
from domain.naming import owner_tags

_PREFIX = "service.beta.kubernetes.io/aws-load-balancer-"
_TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
"""TLS 1.3, and 1.2 for older devices."""


class AwsManifests:
    """Fulfils `CloudManifests`: the EBS CSI driver and the AWS Load Balancer Controller."""

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

    def load_balancer_class(self) -> str:
        """Return the class of network load balancers that lead straight to pods."""
        return "service.k8s.aws/nlb"

    def load_balancer_annotations(self, site: Site, network: Network, certificate: Certificate) -> dict[str, str]:
        """Return an internet-facing network load balancer that ends TLS on every port, over all zones."""
        tags = owner_tags(site, "load-balancer")
        annotations = {
            "type": "external",
            "scheme": "internet-facing",
            "nlb-target-type": "ip",
            "subnets": ",".join(network.public_subnet_ids),
            "ssl-cert": certificate.certificate_id,
            "ssl-ports": ",".join(str(port) for port in PUBLIC_PORTS.values()),
            "ssl-negotiation-policy": _TLS_POLICY,
            "backend-protocol": "tcp",
            "healthcheck-protocol": "http",
            "healthcheck-port": str(METRICS_PORT),
            "healthcheck-path": "/readyz",
            "attributes": "load_balancing.cross_zone.enabled=true",
            "target-group-attributes": "deregistration_delay.timeout_seconds=30",
            "additional-resource-tags": ",".join(f"{tag}={value}" for tag, value in tags.items()),
        }
        return {_PREFIX + name: value for name, value in annotations.items() if value}

    def namespace_labels(self) -> dict[str, str]:
        """Return the label that keeps a rollout waiting until new pods are healthy targets of the load balancer."""
        return {"elbv2.k8s.aws/pod-readiness-gate-inject": "enabled"}

    def identity_endpoints(self) -> tuple[tuple[str, int], ...]:
        """Return the address of the EKS Pod Identity agent on each node."""
        return (("169.254.170.23/32", 80),)
