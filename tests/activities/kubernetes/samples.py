"""One deployment, its release and the three shapes, as the tests of this folder use them."""

from __future__ import annotations

from domain.deployment import AuthWebhook, DeploymentSpec, Endpoint, Site
from domain.facts import Bucket, Certificate, Cluster, Domain, Key, Network
from domain.release import Release
from domain.shape import Component, ComponentSize, PoolName, PoolSize, Scale, Shape, ShapeName

SITE = Site(
    deployment="acme-prod",
    customer="acme",
    account="acme-main",
    cloud="aws",
    cloud_account_id="111122223333",
    external_id="byoc-acme-4711",
    region="eu-central-1",
    operation="acme-prod/provision/1",
)
KEY = Key(key_id="arn:aws:kms:eu-central-1:111122223333:key/5f0f2b9e-6c1e-4bb8-93a4-1d1b60d4f2aa")
NETWORK = Network(
    network_id="vpc-0a1",
    private_subnet_ids=("subnet-0a1", "subnet-0b1", "subnet-0c1"),
    public_subnet_ids=("subnet-0a2", "subnet-0b2", "subnet-0c2"),
)
CERTIFICATE = Certificate(certificate_id="arn:aws:acm:eu-central-1:111122223333:certificate/8a7d")
DOMAIN = Domain(zone_id="Z0123", name="acme-prod.db.acme.example", name_servers=("ns-1.example.net",))
BUCKET = Bucket(name="byoc-acme-prod-backups-0123abcd")
CLUSTER = Cluster(name="byoc-acme-prod", endpoint="", certificate_authority="", version="1.33")
WEBHOOK = AuthWebhook(url="https://login.acme.example/byoc", timeout_seconds=3)
RELEASE = Release(
    version="5.2.0",
    components={
        component: f"registry.byoc.example/server/{component}@sha256:{number * 64}"
        for component, number in zip(Component, "abcde", strict=True)
    },
    min_from="5.0.0",
    kubernetes_minimum="1.31",
    kubernetes_maximum="1.35",
    schema_epoch=7,
)


def _size(cpu_millis: int, memory_mib: int, minimum: int, maximum: int, volume_gib: int = 0) -> ComponentSize:
    scale = Scale(minimum=minimum, maximum=maximum)
    return ComponentSize(cpu_millis=cpu_millis, memory_mib=memory_mib, scale=scale, volume_gib=volume_gib)


SMALL = Shape(
    name=ShapeName.V1_SMALL,
    description="Development, testing and small production deployments",
    high_availability_offered=False,
    components={
        Component.STORE: _size(1500, 4096, 1, 1, 100),
        Component.AUTHENTICATION: _size(250, 512, 1, 2),
        Component.API: _size(250, 512, 1, 3),
        Component.SUBSCRIPTION: _size(250, 512, 1, 3),
        Component.CDC: _size(250, 512, 1, 1),
    },
    highly_available_replicas={},
    pools={
        PoolName.STORE: PoolSize(cpu=2, memory_gib=8, minimum=1, maximum=2),
        PoolName.SERVICES: PoolSize(cpu=2, memory_gib=8, minimum=2, maximum=4),
    },
)
MEDIUM = Shape(
    name=ShapeName.V1_MEDIUM,
    description="Growing applications with moderate traffic",
    high_availability_offered=True,
    components={
        Component.STORE: _size(3000, 12288, 1, 1, 500),
        Component.AUTHENTICATION: _size(500, 1024, 1, 4),
        Component.API: _size(500, 1024, 2, 6),
        Component.SUBSCRIPTION: _size(500, 1024, 2, 6),
        Component.CDC: _size(500, 1024, 1, 2),
    },
    highly_available_replicas={
        Component.STORE: Scale(minimum=3, maximum=3),
        Component.AUTHENTICATION: Scale(minimum=3, maximum=6),
        Component.API: Scale(minimum=3, maximum=9),
        Component.SUBSCRIPTION: Scale(minimum=3, maximum=9),
        Component.CDC: Scale(minimum=2, maximum=3),
    },
    pools={
        PoolName.STORE: PoolSize(cpu=4, memory_gib=16, minimum=1, maximum=2),
        PoolName.SERVICES: PoolSize(cpu=4, memory_gib=16, minimum=2, maximum=6),
    },
    highly_available_pools={
        PoolName.STORE: PoolSize(cpu=4, memory_gib=16, minimum=3, maximum=6),
        PoolName.SERVICES: PoolSize(cpu=4, memory_gib=16, minimum=3, maximum=9),
    },
)
SHAPES = (SMALL, MEDIUM)


def spec_of(shape: Shape, *, high_availability: bool = False, webhook: bool = True) -> DeploymentSpec:
    """Return the order of a deployment of that shape."""
    return DeploymentSpec(
        account=SITE.account,
        region=SITE.region,
        shape=shape.name,
        high_availability=high_availability,
        release=RELEASE.version,
        kubernetes="1.33",
        endpoint=Endpoint(domain=DOMAIN.name),
        auth_webhook=WEBHOOK if webhook else None,
    )
