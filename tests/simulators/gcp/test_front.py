"""Every fault in Google's shapes, and the journal, by gRPC and by HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import requests
from google.api_core.exceptions import (
    Conflict,
    Forbidden,
    GoogleAPICallError,
    PermissionDenied,
    ResourceExhausted,
    ServiceUnavailable,
    TooManyRequests,
)
from google.cloud import compute_v1, kms_v1

from simulators.faults import FaultKind
from tests.simulators.gcp.customers import AGENT, LOCATION, PROJECT, Customer, refused

RING = {"parent": LOCATION, "key_ring_id": "byoc", "key_ring": {}}


def kms(account: Customer) -> kms_v1.KeyManagementServiceClient:
    """Return a client of KMS, which is called by gRPC."""
    client: kms_v1.KeyManagementServiceClient = account.rpc(kms_v1.KeyManagementServiceClient)
    return client


def networks(account: Customer) -> compute_v1.NetworksClient:
    """Return a client of networks, which are called by HTTP."""
    client: compute_v1.NetworksClient = account.rest(compute_v1.NetworksClient)
    return client


def network(name: str = "byoc") -> compute_v1.Network:
    """Return a network to be made."""
    return compute_v1.Network(name=name, auto_create_subnetworks=False)


class TestFaultsBeforeTheDeed:
    """Calls that are refused and change nothing."""

    def test_throttling_is_a_rate_limit(self, account: Customer) -> None:
        """Compute Engine answers 403 with its own reason, everything else RESOURCE_EXHAUSTED or 429."""
        account.inject(kind=FaultKind.THROTTLE, times=3)

        with refused(ResourceExhausted, "Quota exceeded for quota metric", reason="RATE_LIMIT_EXCEEDED"):
            kms(account).create_key_ring(**RING, retry=None)
        with pytest.raises(Forbidden) as caught:
            networks(account).get(project=PROJECT, network="byoc", retry=None)
        with pytest.raises(TooManyRequests):
            account.storage().get_bucket("byoc", retry=None)

        assert caught.value.errors[0]["reason"] == "rateLimitExceeded"
        assert account.google.inventory(PROJECT) == []

    def test_errors_are_unavailable(self, account: Customer) -> None:
        """UNAVAILABLE by gRPC, 503 by HTTP."""
        account.inject(kind=FaultKind.ERROR, times=2)

        with refused(ServiceUnavailable):
            kms(account).create_key_ring(**RING, retry=None)
        with refused(ServiceUnavailable):
            networks(account).insert_unary(project=PROJECT, network_resource=network(), retry=None)

        assert account.google.inventory(PROJECT) == []

    def test_a_revoked_permission_is_named(self, account: Customer) -> None:
        """As if the caller's roles lacked the permission that the call needs."""
        account.inject(kind=FaultKind.REVOKE, times=2)

        with refused(PermissionDenied, "'cloudkms.keyRings.create' denied", reason="IAM_PERMISSION_DENIED"):
            kms(account).create_key_ring(**RING)
        with refused(Forbidden, "'compute.networks.create'", reason="IAM_PERMISSION_DENIED"):
            networks(account).insert_unary(project=PROJECT, network_resource=network())

    def test_an_exhausted_quota_shows_where_google_shows_it(self, account: Customer) -> None:
        """At once by gRPC; in Compute Engine the operation fails, and the network is not there."""
        account.inject(kind=FaultKind.QUOTA, times=2)

        with refused(ResourceExhausted, reason="QUOTA_EXCEEDED"):
            kms(account).create_key_ring(**RING, retry=None)
        operation = account.done(networks(account).insert_unary(project=PROJECT, network_resource=network()))

        assert operation.error.errors[0].code == "QUOTA_EXCEEDED"
        assert operation.http_error_status_code == 403
        assert account.google.inventory(PROJECT) == []

    def test_a_slow_call_takes_its_time(self, account: Customer) -> None:
        """Real time passes before the deed, which is done then."""
        account.inject(kind=FaultKind.SLOW, seconds=0.2, times=1)
        began = time.monotonic()

        kms(account).create_key_ring(**RING)

        assert time.monotonic() - began >= 0.2


class TestLostReplies:
    """The deed is done, and the caller does not learn it."""

    def test_by_grpc(self, account: Customer) -> None:
        """The caller sees a broken connection; its next call finds the key ring."""
        account.inject(kind=FaultKind.LOST_REPLY, operation="CreateKeyRing", times=1)

        with refused(ServiceUnavailable, "Connection reset"):
            kms(account).create_key_ring(**RING, retry=None)
        with refused(Conflict):
            kms(account).create_key_ring(**RING)

        (lost, repeated) = account.world.journal.calls(operation="CreateKeyRing")
        assert (lost.status, lost.changed) == (0, True)
        assert (repeated.status, repeated.changed, repeated.error) == (409, False, "ALREADY_EXISTS")

    def test_by_http(self, account: Customer) -> None:
        """The connection closes; with the same request id the same operation comes back."""
        account.inject(kind=FaultKind.LOST_REPLY, operation="networks.insert", times=1)
        request = compute_v1.InsertNetworkRequest(
            project=PROJECT, network_resource=network(), request_id="5b2a9f34-5f1c-4f0e-9d62-0d3f2c1b7a10"
        )

        with pytest.raises((requests.ConnectionError, GoogleAPICallError)):
            networks(account).insert_unary(request, retry=None)
        operation = networks(account).insert_unary(request)

        assert operation.client_operation_id == request.request_id
        assert account.names("compute", changed=True) == ["networks.insert"]


class TestHolds:
    """Calls that wait, for tests that kill the caller."""

    def test_hold_the_reply(self, account: Customer) -> None:
        """The deed is done while the caller waits; after the release it gets its reply."""
        account.inject(kind=FaultKind.HOLD, operation="CreateKeyRing", times=1)
        made: list[str] = []
        caller = threading.Thread(target=lambda: made.append(kms(account).create_key_ring(**RING).name))
        caller.start()
        held = until_held(account)

        existing = kms(account).get_key_ring(name=f"{LOCATION}/keyRings/byoc").name
        account.world.release(held)
        account.pass_time(0)  # a call, which wakes the server: the release came from another thread than its own
        caller.join(10)

        assert made == [existing]

    def test_hold_before_the_deed(self, account: Customer) -> None:
        """If the caller hangs up before the release, nothing is ever done."""
        account.inject(kind=FaultKind.HOLD_BEFORE, operation="CreateKeyRing", times=1)

        with pytest.raises(GoogleAPICallError):
            kms(account).create_key_ring(**RING, retry=None, timeout=0.5)

        until(lambda: not account.world.held())
        assert list(kms(account).list_key_rings(parent=LOCATION)) == []


def until_held(account: Customer) -> str:
    """Return the id of the call that is held, once one is."""
    until(lambda: bool(account.world.held()))
    return account.world.held()[0].id


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, at most ten seconds."""
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it does not come to hold")


class TestJournal:
    """What is written down of every call."""

    def test_says_who_what_where_and_how_it_ended(self, account: Customer) -> None:
        """With project and region, and with the caller's own words in the User-Agent, by gRPC and by HTTP."""
        kms(account).create_key_ring(**RING)
        networks(account).insert_unary(project=PROJECT, network_resource=network())

        ring, made = account.world.journal.calls(changed=True)

        assert (ring.service, ring.operation, ring.account, ring.region) == (
            "kms",
            "CreateKeyRing",
            PROJECT,
            "europe-west4",
        )
        assert (made.service, made.operation, made.account, made.resource) == (
            "compute",
            "networks.insert",
            PROJECT,
            "byoc",
        )
        assert ring.principal == made.principal == f"user:owner@{PROJECT}.example.com"
        assert AGENT in ring.agent
        assert AGENT in made.agent

    def test_lets_a_fault_strike_one_step_alone(self, account: Customer) -> None:
        """A rule that names a step in the User-Agent does not hit calls of another one."""
        account.inject(kind=FaultKind.ERROR, agent="step/create_cluster")

        assert kms(account).create_key_ring(**RING).name == f"{LOCATION}/keyRings/byoc"

    def test_remembers_every_permission_that_was_needed(self, account: Customer) -> None:
        """With the answer, for comparison with what a template grants."""
        credentials = account.member("byoc-observe", "cloudkms.keyRings.list")
        client = account.rpc(kms_v1.KeyManagementServiceClient, credentials)
        list(client.list_key_rings(parent=LOCATION))
        with refused(PermissionDenied):
            client.create_key_ring(**RING)

        checked = {permission.action: allowed for permission, allowed in account.google.cloud.policies.checked()}

        assert checked == {"cloudkms.keyRings.list": True, "cloudkms.keyRings.create": False}
