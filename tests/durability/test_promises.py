"""What every customer is promised in every cloud: data stay in the region, and are encrypted wherever they are."""

from __future__ import annotations

import pytest

from domain.clouds import Cloud
from tests.durability.clouds import CLOUDS
from tests.durability.conftest import Undisturbed
from tests.durability.installation import Installation

everywhere = pytest.mark.parametrize("cloud", list(CLOUDS))


@everywhere
async def test_no_call_leaves_the_region(installation: Installation, undisturbed: Undisturbed, cloud: Cloud) -> None:
    """Every call for a deployment, backups included, is made in its region, or to a service that has none."""
    customer = await undisturbed.customer(cloud)
    calls = installation.control.journal(account=customer.account, agent=f"deployment/{customer.name}")

    inside = {call.service for call in calls if call.region == CLOUDS[cloud].region}
    elsewhere = {(call.service, call.region) for call in calls if call.region not in {"", CLOUDS[cloud].region}}

    assert {service for service, _ in elsewhere} <= CLOUDS[cloud].without_regions, elsewhere
    assert "kubernetes" in inside


@everywhere
async def test_nothing_lies_outside_the_region(
    installation: Installation, undisturbed: Undisturbed, cloud: Cloud
) -> None:
    """Whatever the account holds is in the region: disks, keys, buckets and logs, whoever made them."""
    customer = await undisturbed.customer(cloud)
    resources = installation.control.inventory(customer.account)

    places = {(resource.service, resource.type): resource.region for resource in resources}

    elsewhere = {kind: region for kind, region in places.items() if region not in {"", CLOUDS[cloud].region}}
    assert elsewhere == {}
    assert {kind for kind, region in places.items() if not region} <= CLOUDS[cloud].placeless
    assert CLOUDS[cloud].at_rest <= {type_ for _, type_ in places}


@everywhere
async def test_everything_is_encrypted_at_rest(
    installation: Installation, undisturbed: Undisturbed, cloud: Cloud
) -> None:
    """Disks of nodes and volumes, buckets, logs, and the cluster's secrets are encrypted with the deployment's key."""
    customer = await undisturbed.customer(cloud)
    resources = installation.control.inventory(customer.account)

    bare = [(resource.type, resource.id) for resource in resources if resource.encrypted is False]

    assert bare == []
    assert CLOUDS[cloud].at_rest <= {resource.type for resource in resources if resource.encrypted}


@everywhere
async def test_every_endpoint_speaks_tls(installation: Installation, undisturbed: Undisturbed, cloud: Cloud) -> None:
    """Whatever accepts connections from outside speaks TLS 1.2 or newer, and nothing else."""
    customer = await undisturbed.customer(cloud)
    resources = installation.control.inventory(customer.account)

    oldest = [(resource.type, version) for resource in resources for version in resource.details.get("tls", ())]

    assert oldest
    assert {version for _, version in oldest} <= {"1.2", "1.3"}, oldest
