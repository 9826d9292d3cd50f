"""What has our name without our tags is refused, and neither used, changed nor deleted."""

from __future__ import annotations

from domain.failure import FailureClass
from tests.contract.cases import each_activity, each_cloud
from tests.contract.conftest import Lives
from tests.contract.life import CREATION, IN_CLUSTER, RETIREMENT, UPGRADE, Scene
from tests.contract.under_test import CloudUnderTest

LOOKS_OR_TESTS = {
    "check_permissions", "check_quotas", "check_upgrade", "choose_placement", "lock_backup", "plan_addresses",
    "verify_access",
}  # fmt: skip
"""What makes nothing that has a name; the lock is a property of the object that it is about."""
OF_CONTROLLERS = {"delete_load_balancers_and_volumes", "delete_workloads", "delete_private_endpoints", "find_leftovers"}
"""What finds things by other marks than our names; each cloud's own tests have strangers for it."""


@each_cloud()
def test_every_activity_that_makes_something_meets_a_stranger(cloud: CloudUnderTest) -> None:
    """Or its cloud says why nobody could be mistaken; in clusters it is the same program, and tested, for all."""
    makes = _activities(CREATION + UPGRADE, deleting=False) - IN_CLUSTER - LOOKS_OR_TESTS
    met = {stranger.activity for stranger in cloud.strangers}

    assert met | set(cloud.nameless) == makes
    assert all(cloud.nameless.values())


@each_cloud()
def test_every_deletion_meets_a_stranger(cloud: CloudUnderTest) -> None:
    """Of those that go by name or tag, where what is made has a name."""
    spared = {stranger.deletion for stranger in cloud.strangers}
    nameless = {f"delete_{activity.partition('_')[2]}{plural}" for activity in cloud.nameless for plural in ("", "s")}

    assert _activities(UPGRADE + RETIREMENT, deleting=True) - OF_CONTROLLERS - nameless <= spared


@each_activity(lambda cloud: [stranger.activity for stranger in cloud.strangers])
def test_a_stranger_is_refused(lives: Lives, cloud: CloudUnderTest, activity: str) -> None:
    """Making ours is refused, with the stranger named; deleting ours passes it by, or is refused as well."""
    (met,) = (each for each in lives.undisturbed(cloud).encounters if each.activity == activity)

    assert met.creating is not None
    assert met.creating.failure is FailureClass.NOT_OURS, met.creating
    assert met.creating.resource
    assert met.deleting is None or met.deleting.failure is FailureClass.NOT_OURS


@each_cloud()
def test_meeting_strangers_changes_nothing_of_theirs(lives: Lives, cloud: CloudUnderTest) -> None:
    """Each resource of the account is afterwards as it was before: same tags, same state."""
    assert lives.undisturbed(cloud).harmed == ()


@each_cloud()
def test_strangers_outlive_the_deployment(lives: Lives, cloud: CloudUnderTest) -> None:
    """After the whole retirement those that nobody took away are still there."""
    staying = [stranger for stranger in cloud.strangers if stranger.leave is None]

    assert lives.undisturbed(cloud).strangers >= len(staying)


def _activities(scenes: tuple[Scene, ...], *, deleting: bool) -> set[str]:
    return {scene.activity for scene in scenes if scene.deletes is deleting}
