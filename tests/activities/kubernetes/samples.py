"""One deployment, with shapes and release from the catalogue, as the tests of this folder use it."""

from __future__ import annotations

from datetime import UTC, datetime

import catalog
from domain.deployment import AuthWebhook, DeploymentSpec, Endpoint, Site
from domain.facts import Backup, Bucket, Certificate, Cluster, Domain, Key, Network, Roles
from domain.shape import Shape

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
GCP_SITE = SITE.model_copy(update={"cloud": "gcp", "cloud_account_id": "acme-project-1", "region": "europe-west4"})
GCP_KEY = Key(key_id="projects/acme-project-1/locations/europe-west4/keyRings/byoc-acme-prod/cryptoKeys/data")
GCP_NETWORK = Network(
    network_id="byoc-acme-prod",
    private_subnet_ids=("byoc-acme-prod-nodes",),
    public_subnet_ids=("byoc-acme-prod-proxies",),
    pod_range="pods",
    service_range="services",
)
GCP_CERTIFICATE = Certificate(
    certificate_id="projects/acme-project-1/locations/europe-west4/certificates/byoc-acme-prod"
)
AZURE_SITE = SITE.model_copy(
    update={
        "cloud": "azure",
        "cloud_account_id": "8d1c9a52-4b7f-4c3e-9f57-2b6a1e0c7d34",
        "region": "germanywestcentral",
    }
)
_AZURE_GROUP = f"/subscriptions/{AZURE_SITE.cloud_account_id}/resourceGroups/byoc-acme-prod"
AZURE_KEY = Key(key_id="https://byockeys1acme0123456789.vault.azure.net/keys/data")
AZURE_NETWORK = Network(
    network_id=f"{_AZURE_GROUP}/providers/Microsoft.Network/virtualNetworks/byoc-acme-prod",
    private_subnet_ids=(f"{_AZURE_GROUP}/providers/Microsoft.Network/virtualNetworks/byoc-acme-prod/subnets/nodes",),
    public_subnet_ids=(f"{_AZURE_GROUP}/providers/Microsoft.Network/virtualNetworks/byoc-acme-prod/subnets/api",),
)
AZURE_CERTIFICATE = Certificate(certificate_id="https://byoccertsacme0123456789.vault.azure.net/secrets/endpoint")
AZURE_BUCKET = Bucket(name="byocbackupacmep0123456789/backups")
AZURE_ROLES = Roles(
    control_plane="0a63d5d2-6a55-4c0e-8d9f-5d0a8f1b1c01",
    nodes="0a63d5d2-6a55-4c0e-8d9f-5d0a8f1b1c02",
    storage_driver="0a63d5d2-6a55-4c0e-8d9f-5d0a8f1b1c01",
    store="0a63d5d2-6a55-4c0e-8d9f-5d0a8f1b1c03",
    restore="0a63d5d2-6a55-4c0e-8d9f-5d0a8f1b1c04",
    endpoint="0a63d5d2-6a55-4c0e-8d9f-5d0a8f1b1c05",
)
"""Client ids."""
DOMAIN = Domain(zone_id="Z0123", name="acme-prod.db.acme.example", name_servers=("ns-1.example.net",))
BUCKET = Bucket(name="byoc-acme-prod-backups-0123abcd")
CLUSTER = Cluster(name="byoc-acme-prod", endpoint="", certificate_authority="", version="1.33")
WEBHOOK = AuthWebhook(url="https://login.acme.example/byoc", timeout_seconds=3)
RELEASE = next(release for release in reversed(catalog.load().releases) if not release.withdrawn)
"""The newest that can be ordered."""
BACKUP = Backup(
    bucket=BUCKET.name,
    key="backups/first",
    size_bytes=3 * 2**30,
    sha256="0" * 64,
    records=12,
    taken_at=datetime(2026, 11, 23, 22, 0, tzinfo=UTC),
)

SMALL, MEDIUM, LARGE = catalog.load().shapes
ORDERS = tuple(
    (shape, highly_available)
    for shape in (SMALL, MEDIUM, LARGE)
    for highly_available in (False, True)
    if shape.high_availability_offered or not highly_available
)
"""Every shape, without and (where it is offered) with high availability."""


def spec_of(shape: Shape, *, high_availability: bool = False, webhook: bool = True) -> DeploymentSpec:
    """Return the order of a deployment of that shape."""
    return DeploymentSpec(
        account=SITE.account,
        region=SITE.region,
        shape=shape.name,
        high_availability=high_availability,
        release=RELEASE.version,
        kubernetes=RELEASE.kubernetes_maximum,
        endpoint=Endpoint(domain=DOMAIN.name),
        auth_webhook=WEBHOOK if webhook else None,
    )
