"""What takes the cloud minutes is looked at, and looked at again."""

from __future__ import annotations

from domain.failure import FailureClass
from tests.contract.cases import each_activity, each_cloud
from tests.contract.conftest import Lives
from tests.contract.under_test import CloudUnderTest

ALWAYS_SLOW = {
    "back_up", "create_canary_node", "create_certificate", "create_cluster", "create_node_pool", "delete_canary_nodes",
    "delete_cluster", "delete_node_pools", "install_component", "open_endpoint", "prove_restore",
    "upgrade_control_plane", "upgrade_node_pool",
}  # fmt: skip
"""What takes minutes in every cloud."""
LONGEST_LOOK = 1.0
"""Seconds that one look may sleep; the settings of these tests let it sleep for a twentieth of one at a time."""


@each_cloud()
def test_what_is_slow_everywhere_is_slow_here(cloud: CloudUnderTest) -> None:
    """Each cloud says which operation it is that takes so long."""
    assert {name.partition("/")[0] for name in cloud.waits} >= ALWAYS_SLOW


@each_activity(lambda cloud: cloud.waits)
def test_what_is_under_way_is_not_ready(lives: Lives, cloud: CloudUnderTest, activity: str) -> None:
    """While what it has started does not get ready, each look says so; the activity sleeps through none of it."""
    run = lives.undisturbed(cloud).runs[activity]

    assert run.waits
    assert {look.failure if look else None for look in run.waits} == {FailureClass.NOT_READY}, run.waits
    assert sum(run.naps) < LONGEST_LOOK * len(run.waits)
