"""What a call to Google's APIs is taken for: its name in audit logs, its resource, and whether it changes something."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from google.cloud import container_v1, kms_v1
from google.cloud.logging_v2 import types as logging_types

from activities.deeds import Ledger, collected
from activities.gcp.calls import http_call, rpc_call
from activities.gcp.transport import Interceptor

_COMPUTE = "https://compute.googleapis.com/compute/v1/projects/acme"
_CLUSTERS = "/google.container.v1.ClusterManager"
_PLACE = "projects/acme/locations/europe-west1"


@pytest.mark.parametrize(
    ("method", "path", "body", "operation", "about", "changes"),
    [
        ("POST", "/global/networks", {"name": "net"}, "networks.insert", "net", True),
        ("DELETE", "/regions/europe-west1/addresses/nat", None, "addresses.delete", "nat", True),
        ("GET", "/global/networks/net", None, "networks.get", "net", False),
        ("POST", "/global/firewalls/rule/custom", None, "firewalls.custom", "rule", True),
    ],
)
def test_a_request_of_compute_is_named_as_in_audit_logs(
    method: str, path: str, body: object, operation: str, about: str, changes: bool
) -> None:
    call = http_call(method, _COMPUTE + path, body)
    assert (call.service, call.operation, call.about, call.changes) == ("compute", operation, about, changes)


def test_a_request_that_nobody_knows_counts_as_a_change() -> None:
    assert http_call("POST", "https://unheard.googleapis.com/v9/things").changes


def test_a_cluster_that_is_made_is_named_below_its_place() -> None:
    request = container_v1.CreateClusterRequest(parent=_PLACE, cluster=container_v1.Cluster(name="byoc"))
    call = rpc_call(f"{_CLUSTERS}/CreateCluster", request)
    assert (call.service, call.operation, call.changes) == ("container", "CreateCluster", True)
    assert call.about == f"{_PLACE}/clusters/byoc"


def test_a_look_over_grpc_changes_nothing() -> None:
    request = kms_v1.GetCryptoKeyRequest(name=f"{_PLACE}/keyRings/ring/cryptoKeys/key")
    call = rpc_call("/google.cloud.kms.v1.KeyManagementService/GetCryptoKey", request)
    assert (call.service, call.operation, call.changes) == ("kms", "GetCryptoKey", False)


@pytest.mark.parametrize(
    ("operation", "request_", "kind"),
    [
        ("CreateSink", {"parent": "projects/acme", "sink": {"name": "byoc"}}, "sinks"),
        ("UpdateSink", {"sink_name": "projects/acme/sinks/byoc", "sink": {"name": "byoc"}}, "sinks"),
        ("DeleteSink", {"sink_name": "projects/acme/sinks/byoc"}, "sinks"),
        ("CreateExclusion", {"parent": "projects/acme", "exclusion": {"name": "byoc"}}, "exclusions"),
        ("UpdateExclusion", {"name": "projects/acme/exclusions/byoc", "exclusion": {"disabled": True}}, "exclusions"),
        ("CreateBucket", {"parent": "projects/acme/locations/x", "bucket_id": "byoc", "bucket": {}}, "buckets"),
    ],
)
def test_the_routing_of_logs_is_named_in_full(operation: str, request_: dict[str, object], kind: str) -> None:
    request = getattr(logging_types, f"{operation}Request")(request_)
    call = rpc_call(f"/google.logging.v2.ConfigServiceV2/{operation}", request)
    place = "projects/acme/locations/x" if kind == "buckets" else "projects/acme"
    assert (call.service, call.operation, call.changes) == ("logging", operation, True)
    assert call.about == f"{place}/{kind}/byoc"


class ClientCallDetails(NamedTuple):
    """What grpc hands to an interceptor of a call, as far as ours reads it."""

    method: str
    metadata: tuple[tuple[str, str], ...]


def test_a_call_that_broke_without_an_answer_of_grpc_counts_as_unanswered() -> None:
    """Its own error comes through, and the trail says that the call may have had its effect."""

    class Broken:
        def exception(self) -> Exception:
            return OSError("torn")

    noted = Ledger()
    details = ClientCallDetails(f"{_CLUSTERS}/CreateCluster", ())
    with collected(noted):
        outcome = Interceptor().intercept_unary_unary(
            lambda *_: Broken(), details, container_v1.CreateClusterRequest(parent=_PLACE)
        )

    assert str(outcome.exception()) == "torn"
    assert [deed.answered for deed in noted.told()] == [False]
