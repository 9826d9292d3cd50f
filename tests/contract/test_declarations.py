"""What a cloud registers, and what it asks the customer for."""

from __future__ import annotations

import pytest
from temporalio import activity as temporal

from tests.contract.cases import each_activity
from tests.contract.clouds import CLOUDS
from tests.contract.conftest import Lives
from tests.contract.life import ACTIVITIES, IN_CLUSTER
from tests.contract.record import Use
from tests.contract.under_test import CloudUnderTest

OF_THE_CLOUD = sorted(set(ACTIVITIES) - IN_CLUSTER)
ASKS_NOTHING = {"prove_revoked"}
"""Proving a revocation is being refused."""


@pytest.mark.parametrize("cloud", CLOUDS, ids=lambda cloud: cloud.cloud)
def test_every_activity_is_registered_under_its_contracts_name(cloud: CloudUnderTest) -> None:
    """Each once; an implementation that forgets `@activity.defn` would be refused by the worker."""
    registered = cloud.implementation().activities()

    names = [temporal._Definition.must_from_callable(method).name for method in registered]
    assert sorted(names, key=str) == OF_THE_CLOUD
    assert all(not getattr(method, "__isabstractmethod__", False) for method in registered)


@each_activity(lambda _: [name for name in OF_THE_CLOUD if name not in ASKS_NOTHING])
def test_every_activity_declares_what_it_needs(lives: Lives, cloud: CloudUnderTest, activity: str) -> None:
    """One whose calls need permissions says which, for which purpose and why."""
    needs = [need for need in cloud.implementation().needs() if need.activity == activity]
    used = [use for use in lives.undisturbed(cloud).uses if use.activity == activity]

    assert needs or not used
    assert all(need.why for need in needs)


@each_activity()
def test_nothing_is_used_that_is_not_declared(lives: Lives, cloud: CloudUnderTest, activity: str) -> None:
    """Each permission that a call needed is among those for which the customer is asked, for that purpose."""
    granted = {Use(need.activity, need.purpose, need.action) for need in cloud.granted(cloud.implementation().needs())}
    used = lives.undisturbed(cloud).uses | lives.troubled(cloud).uses

    assert {use for use in used if use.activity == activity} - granted == set()
