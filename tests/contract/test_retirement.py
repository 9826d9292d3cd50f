"""A whole life leaves nothing in the customer's account but what says why it stays."""

from __future__ import annotations

from tests.contract.cases import each_cloud
from tests.contract.conftest import Lives
from tests.contract.under_test import CloudUnderTest


@each_cloud()
def test_a_life_without_disturbances_leaves_nothing(lives: Lives, cloud: CloudUnderTest) -> None:
    """What is left has a reason, which names a day, and goes by itself."""
    life = lives.undisturbed(cloud)

    assert {left.kind for left in life.leftovers} <= set(cloud.kept)
    assert all(left.kept_because for left in life.leftovers)
    assert life.left.total() == sum(left.kind not in cloud.restorable for left in life.leftovers), life.left


@each_cloud()
def test_neither_does_one_in_which_every_reply_was_lost(lives: Lives, cloud: CloudUnderTest) -> None:
    """Deletions find by tag and name what nobody was told of."""
    life = lives.troubled(cloud)

    assert {left.kind for left in life.leftovers} <= set(cloud.kept)
    assert life.left.total() == sum(left.kind not in cloud.restorable for left in life.leftovers), life.left
