"""What was made: the facts that later steps, operators and the retirement need. Ids and addresses, never secrets."""

from __future__ import annotations

from datetime import datetime

from domain.model import Model
from domain.shape import Component, PoolName


class Machine(Model):
    """The machine type chosen for one pool."""

    pool: PoolName
    instance_type: str
    minimum: int
    maximum: int


class Placement(Model):
    """Zones and machine types in which this deployment will run, checked to exist and to be offered together."""

    zones: tuple[str, ...]
    machines: tuple[Machine, ...]


class AddressPlan(Model):
    """The address ranges of the network.

    Where subnets are zonal there is one private and one public one for each zone, in the order of the zones; where they
    span a region there is one private one, and a public one if the load balancer needs one of its own.
    """

    cidr: str
    private_cidrs: tuple[str, ...]
    public_cidrs: tuple[str, ...]
    pod_cidr: str = ""
    """Of the pods, where they do not take their addresses from the private subnets."""
    service_cidr: str = ""
    """Of the Kubernetes services, where the network has to know it."""


class Network(Model):
    """The network and its subnets, as in its `AddressPlan`."""

    network_id: str
    private_subnet_ids: tuple[str, ...]
    public_subnet_ids: tuple[str, ...]
    ours: bool = True
    """False for a network of the customer's own, which we never change."""
    pod_range: str = ""
    """Name of the secondary range of the pods, where the cloud has such ranges. Azure: the range itself."""
    service_range: str = ""
    """Name of the secondary range of the services. Azure: the range itself."""


class Firewall(Model):
    """Security groups (or their like) of the cluster."""

    control_plane_group_id: str
    node_group_id: str


class Roles(Model):
    """Identities that the cloud lends to the cluster, its nodes and its workloads.

    AWS: ARNs. GCP: e-mail addresses of service accounts. Azure: client ids of managed identities.
    """

    control_plane: str
    nodes: str
    storage_driver: str
    store: str
    restore: str = ""
    """Of the proof that a backup can be restored: it reads backups and writes nothing. Empty in facts that are older
    than this role."""
    endpoint: str = ""
    """Of what ends TLS in the cluster, where the cloud's load balancer does not: it reads the certificate."""


class Key(Model):
    """The encryption key of this deployment."""

    key_id: str


class Bucket(Model):
    """Where backups go."""

    name: str


class Domain(Model):
    """The DNS zone of the endpoint and the name servers to which the customer delegates."""

    zone_id: str
    name: str
    name_servers: tuple[str, ...]


class Certificate(Model):
    """The certificate of the endpoint."""

    certificate_id: str


class Cluster(Model):
    """A managed Kubernetes cluster and how to reach it; credentials are made where they are used."""

    name: str
    endpoint: str
    certificate_authority: str
    """PEM bundle, base64."""
    version: str
    oidc_issuer: str = ""


class NodePool(Model):
    """One node pool."""

    pool: PoolName
    name: str
    instance_type: str
    kubernetes: str = ""
    """Minor version of its machines; empty if it was not upgraded since it was made."""


class ComponentStatus(Model):
    """One component as rolled out."""

    component: Component
    image: str
    ready: int
    desired: int


class LoadBalancer(Model):
    """The public address of the endpoint."""

    hostname: str


class SmokeTest(Model):
    """What the smoke test saw through the public endpoint."""

    url: str
    release: str
    components: dict[Component, str]
    """Status that the server itself reports for each component."""
    round_trip_ms: float


class Backup(Model):
    """One backup object."""

    bucket: str
    key: str
    size_bytes: int
    sha256: str
    records: int
    taken_at: datetime
    retain_until: datetime | None = None


class RestoreProof(Model):
    """Evidence that a backup can be restored."""

    key: str
    records: int
    sha256: str
    seconds: float
    proven_at: datetime


class Leftover(Model):
    """One resource in the customer's account that carries our tag."""

    resource_id: str
    kind: str
    kept_because: str = ""
    """Empty: an orphan. Else why it stays, in words for the customer."""


class ApiKeyRecord(Model):
    """An HTTP API key as the control plane knows it: its hash, never the key."""

    id: str
    name: str
    sha256: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None


class DeploymentFacts(Model):
    """Everything that provisioning made."""

    placement: Placement | None = None
    network: Network | None = None
    firewall: Firewall | None = None
    roles: Roles | None = None
    key: Key | None = None
    bucket: Bucket | None = None
    domain: Domain | None = None
    certificate: Certificate | None = None
    cluster: Cluster | None = None
    pools: tuple[NodePool, ...] = ()
    components: tuple[ComponentStatus, ...] = ()
    load_balancer: LoadBalancer | None = None
    smoke_test: SmokeTest | None = None
    restore_proof: RestoreProof | None = None
