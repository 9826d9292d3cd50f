"""What a simulated cluster asks of the cloud that it runs in."""
# ruff: noqa: ARG002 - a stand-in has the whole signature and needs little of it

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.objects import Object, name_of, namespace_of

ADMINISTRATORS = "system:masters"
OPERATORS = "byoc:operators"

May: TypeAlias = Callable[[str, Kind, str], bool]
"""Tells whether a verb is allowed on a kind and a subresource (empty for the object itself)."""


def _nothing(_verb: str, _kind: Kind, _subresource: str) -> bool:
    return False


@dataclass(frozen=True)
class User:
    """Whom a bearer token stands for, in Kubernetes' terms."""

    name: str
    groups: tuple[str, ...]
    may: May = _nothing
    """What the cloud's own permissions allow beyond the groups, where a cloud has permissions for Kubernetes."""


class HinderedError(Exception):
    """The cloud cannot make what is asked for; the text says what is the matter."""

    def __init__(
        self, message: str, *, reason: str = "", address: str = "", listeners: Collection[str] | None = None
    ) -> None:
        """Of a Gateway: `address` is that of a load balancer that is there all the same, where only some of the
        `listeners` (None: all of them) serve nothing; `reason` is that of the event.
        """
        super().__init__(message)
        self.reason = reason
        self.address = address
        self.listeners = listeners


@dataclass(frozen=True)
class Attachment:
    """One route that a listener of a Gateway takes, and the Service that it leads to."""

    listener: str
    service: Object
    port: int
    """Of the Service."""


@dataclass(frozen=True)
class Entrance:
    """A Gateway with everything that is attached to it."""

    gateway: Object
    attachments: tuple[Attachment, ...] = ()
    policies: tuple[Object, ...] = ()
    """Policies of the provider's own kinds whose target is the Gateway or one of the Services."""


class Destination(NamedTuple):
    """Where a public name and a port lead."""

    cluster_id: str
    namespace: str
    service: str
    """Name of the Service."""
    port: int
    """Of the Service."""


class CloudProvider(Protocol):
    """The cloud's side of a cluster: identities, load balancers, volumes and object storage.

    All methods are called on the event loop's thread, answer at once, and may be called again and again: whoever
    asks for something that takes time asks until it is there.
    """

    def authenticate(self, cluster_id: str, token: str) -> User | None:
        """Return whom `token` stands for at this cluster, or None if it is not valid here."""

    def ensure_load_balancer(self, cluster_id: str, service: Object) -> str | None:
        """Make sure that a load balancer leads to `service`; return its hostname or address once it is active."""

    def delete_load_balancer(self, cluster_id: str, service: Object) -> bool:
        """Take the load balancer of `service` away; return whether it is gone."""

    def custom_kinds(self, cluster_id: str) -> Collection[Kind]:
        """Return the custom kinds that the cluster serves."""

    def ensure_gateway(self, cluster_id: str, entrance: Entrance) -> str | None:
        """Make sure that a load balancer serves a Gateway as it is now; return its address once it is active.

        Raises:
            HinderedError: Something is the matter that time alone does not cure.
        """

    def delete_gateway(self, cluster_id: str, gateway: Object) -> bool:
        """Take the load balancer of a Gateway away; return whether it is gone."""

    def ensure_volume(self, cluster_id: str, claim: Object, storage_class: Object, zone: str) -> str | None:
        """Make sure that a volume for `claim` exists in `zone`; return its id once it exists."""

    def delete_volume(self, cluster_id: str, volume_id: str) -> bool:
        """Take a volume away; return whether it is gone."""

    def put_object(self, cluster_id: str, service_account: str, bucket: str, key: str, body: bytes) -> str | None:
        """Write to object storage as a pod's workload identity; return an error message, or None on success."""

    def get_object(self, cluster_id: str, service_account: str, bucket: str, key: str) -> bytes | str:
        """Read from object storage as a pod's workload identity; return the bytes, or an error message."""


class StandaloneProvider:
    """A cloud that gives everything at once and keeps objects in memory, for clusters outside any simulated cloud."""

    def __init__(self, token: str = "standalone", user: User | None = None) -> None:  # noqa: S107 - a loopback stand-in
        self.tokens: dict[str, User] = {token: user or User("standalone-admin", (ADMINISTRATORS,))}
        self.load_balancers: dict[tuple[str, str, str], str] = {}
        """Hostnames, keyed by (cluster id, namespace, service name)."""
        self.volumes: dict[str, str] = {}
        """Zones, keyed by volume id."""
        self.objects: dict[tuple[str, str], bytes] = {}
        """Bodies, keyed by (bucket, key)."""

    def authenticate(self, cluster_id: str, token: str) -> User | None:
        """Return the user of `tokens`."""
        return self.tokens.get(token)

    def ensure_load_balancer(self, cluster_id: str, service: Object) -> str | None:
        """Return a hostname that is the same for the same service."""
        key = (cluster_id, namespace_of(service), name_of(service))
        return self.load_balancers.setdefault(key, f"{'-'.join(reversed(key))}.elb.example.com")

    def delete_load_balancer(self, cluster_id: str, service: Object) -> bool:
        """Forget the load balancer at once."""
        self.load_balancers.pop((cluster_id, namespace_of(service), name_of(service)), None)
        return True

    def custom_kinds(self, cluster_id: str) -> Collection[Kind]:
        """Return none."""
        return ()

    def ensure_gateway(self, cluster_id: str, entrance: Entrance) -> str | None:
        """Make nothing: there are no Gateways."""
        return None

    def delete_gateway(self, cluster_id: str, gateway: Object) -> bool:
        """Find nothing to take away."""
        return True

    def ensure_volume(self, cluster_id: str, claim: Object, storage_class: Object, zone: str) -> str | None:
        """Return a volume id that is the same for the same claim."""
        uid: str = claim["metadata"]["uid"]
        volume_id = "vol-" + uid.replace("-", "")[:17]
        self.volumes.setdefault(volume_id, zone)
        return volume_id

    def delete_volume(self, cluster_id: str, volume_id: str) -> bool:
        """Forget the volume at once."""
        self.volumes.pop(volume_id, None)
        return True

    def put_object(self, cluster_id: str, service_account: str, bucket: str, key: str, body: bytes) -> str | None:
        """Keep the body in memory."""
        self.objects[bucket, key] = body
        return None

    def get_object(self, cluster_id: str, service_account: str, bucket: str, key: str) -> bytes | str:
        """Return what was put there."""
        return self.objects.get((bucket, key), f"NoSuchKey: {bucket}/{key}")
