"""Every kind of fault, as the SDK sees it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ServiceResponseError
from azure.mgmt.compute import ComputeManagementClient

from simulators.faults import Fault, FaultKind
from tests.simulators.azure.conftest import NETWORK, SUBSCRIPTION, Account
from tests.simulators.azure.test_authorization import CONTRIBUTOR, READER, built_in, grant
from tests.simulators.azure.test_compute import DISK
from tests.simulators.azure.test_resources import ADDRESS

WRITE = "virtualNetworks/write"


def inject(account: Account, kind: FaultKind, operation: str = WRITE, **further: Any) -> Fault:
    """Put a rule in force."""
    return account.azure.cloud.world.faults.add(Fault(kind=kind, operation=operation, **further))


def write(account: Account, credential: Any = None) -> Any:
    """Write the network."""
    return account.network(credential).virtual_networks.begin_create_or_update("byoc", "main", NETWORK)


def types(account: Account) -> set[str]:
    """Return the types of what the subscription holds."""
    return {resource.type for resource in account.azure.inventory(SUBSCRIPTION)}


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (FaultKind.THROTTLE, 429, "TooManyRequests"),
        (FaultKind.ERROR, 500, "InternalServerError"),
        (FaultKind.CAPACITY, 409, "SkuNotAvailable"),
        (FaultKind.REVOKE, 403, "AuthorizationFailed"),
    ],
)
def test_a_refusal_has_azures_shape_and_changes_nothing(
    account: Account, kind: FaultKind, status: int, code: str
) -> None:
    """Status and code are those of Azure; the journal has the call with the rule."""
    _, credential = grant(account, built_in(CONTRIBUTOR))
    fault = inject(account, kind)

    with pytest.raises(HttpResponseError) as caught:
        write(account, credential)

    assert caught.value.status_code == status
    assert caught.value.error is not None
    assert caught.value.error.code == code
    assert types(account) == {"resource-group", "role-assignment"}
    last = account.azure.cloud.world.journal.calls()[-1]
    assert (last.fault, last.status, last.error, last.changed) == (fault.id, status, code, False)


def test_throttling_says_when_to_come_again(account: Account) -> None:
    """The reply has a time to wait."""
    inject(account, FaultKind.THROTTLE)

    with pytest.raises(HttpResponseError) as caught:
        write(account)

    assert caught.value.response is not None
    assert caught.value.response.headers["Retry-After"] == "1"


def test_quotas_have_codes_of_their_service(account: Account) -> None:
    """Public addresses and disks are refused differently; a rule can name its own code."""
    inject(account, FaultKind.QUOTA, "publicIPAddresses/write")
    inject(account, FaultKind.QUOTA, "disks/write")
    inject(account, FaultKind.QUOTA, WRITE, code="VirtualNetworkCountLimitReached")

    with pytest.raises(HttpResponseError, match="PublicIPCountLimitReached"):
        account.network().public_ip_addresses.begin_create_or_update("byoc", "nat", ADDRESS)
    with pytest.raises(HttpResponseError, match="OperationNotAllowed"):
        account.client(ComputeManagementClient).disks.begin_create_or_update("byoc", "data", DISK)
    with pytest.raises(HttpResponseError, match="VirtualNetworkCountLimitReached"):
        write(account)


def test_missing_capacity_shows_in_what_a_call_starts(account: Account) -> None:
    """A disk is accepted, and its operation fails."""
    inject(account, FaultKind.CAPACITY, "disks/write", times=1)
    disks = account.client(ComputeManagementClient).disks
    poller = disks.begin_create_or_update("byoc", "data", DISK)

    with pytest.raises(HttpResponseError, match="ZonalAllocationFailed"):
        poller.result()
    assert disks.get("byoc", "data").provisioning_state == "Failed"
    assert disks.begin_create_or_update("byoc", "data", DISK).result().provisioning_state == "Succeeded"


def test_a_crash_fails_what_the_call_has_started(account: Account) -> None:
    """The network is there as `Failed`, and can be mended by a further write."""
    inject(account, FaultKind.CRASH, times=1)
    poller = write(account)

    with pytest.raises(HttpResponseError, match="InternalExecutionError"):
        poller.result()
    assert account.network().virtual_networks.get("byoc", "main").provisioning_state == "Failed"
    assert write(account).result().provisioning_state == "Succeeded"


def test_what_is_stuck_goes_on_when_the_rule_is_gone(account: Account) -> None:
    """Until then it is `Updating`."""
    fault = inject(account, FaultKind.STUCK)
    networks = account.network().virtual_networks
    networks.begin_create_or_update("byoc", "main", NETWORK, polling=False)

    assert networks.get("byoc", "main").provisioning_state == "Updating"
    account.azure.cloud.world.faults.remove(fault.id)
    assert networks.get("byoc", "main").provisioning_state == "Succeeded"


def test_a_lost_reply_is_a_deed_without_an_answer(account: Account) -> None:
    """The connection ends, and the network is there."""
    inject(account, FaultKind.LOST_REPLY)

    with pytest.raises(ServiceResponseError):
        write(account)

    assert "virtual-network" in types(account)


def test_a_slow_call_takes_real_time(account: Account) -> None:
    """The deed happens afterwards."""
    inject(account, FaultKind.SLOW, seconds=0.2)
    started = time.monotonic()

    write(account).result()

    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize(("kind", "done"), [(FaultKind.HOLD, True), (FaultKind.HOLD_BEFORE, False)])
def test_a_held_call_waits_for_its_release(account: Account, kind: FaultKind, *, done: bool) -> None:
    """After the deed or before it."""
    inject(account, kind, times=1)
    world = account.azure.cloud.world
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(lambda: write(account).result())
        deadline = time.monotonic() + 30
        while not world.held() and time.monotonic() < deadline:
            threading.Event().wait(0.02)
        [held] = world.held()
        assert ("virtual-network" in types(account)) is done
        world.release(held.id)
        assert call.result(30).provisioning_state == "Succeeded"


def test_a_refusal_is_held_like_any_reply(account: Account) -> None:
    """Whoever waits for it can die meanwhile; afterwards it is the refusal that it was."""
    inject(account, FaultKind.HOLD, times=1)
    world = account.azure.cloud.world
    _, nobody = grant(account, built_in(READER))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(lambda: write(account, nobody))
        deadline = time.monotonic() + 30
        while not world.held() and time.monotonic() < deadline:
            threading.Event().wait(0.02)
        [held] = world.held()
        assert not held.deed_done
        world.release(held.id)
        with pytest.raises(HttpResponseError) as caught:
            call.result(30)
    assert caught.value.status_code == 403
