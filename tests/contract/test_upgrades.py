"""A cluster is moved one Kubernetes version on, with everything that belongs to it."""

from __future__ import annotations

from domain.upgrade import Check
from tests.contract.cases import each_cloud
from tests.contract.conftest import Lives
from tests.contract.under_test import CloudUnderTest

CHECKS = ["provider-insights", "surge-quota", "free-addresses", "certificate", "cluster-settled"]
"""What each cloud looks at, in this order."""


@each_cloud()
def test_nothing_stands_in_the_way_of_a_settled_deployment(lives: Lives, cloud: CloudUnderTest) -> None:
    """Each check is there once, has passed, and says what was seen; in a life full of trouble likewise."""
    for life in (lives.undisturbed(cloud), lives.troubled(cloud)):
        found: tuple[Check, ...] = life.runs["check_upgrade"].answer

        assert [check.name for check in found] == CHECKS
        assert [check for check in found if not check.passed] == []
        assert all(check.evidence for check in found)


@each_cloud()
def test_the_control_plane_has_the_next_version(lives: Lives, cloud: CloudUnderTest) -> None:
    """It is the same cluster: whoever has its address and its certificate still reaches it."""
    for life in (lives.undisturbed(cloud), lives.troubled(cloud)):
        before, after = life.runs["create_cluster"].answer, life.runs["upgrade_control_plane"].answer

        assert before.version != after.version
        assert after == before.model_copy(update={"version": after.version})


@each_cloud()
def test_a_canary_is_a_machine_like_those_of_its_pool(lives: Lives, cloud: CloudUnderTest) -> None:
    """It has a name of its own, and the pool keeps its own through the upgrade."""
    runs = lives.undisturbed(cloud).runs
    pool, canary = runs["create_node_pool/services"].answer, runs["create_canary_node/services"].answer

    assert runs["upgrade_node_pool/services"].answer == pool
    assert canary.name != pool.name
    assert (canary.pool, canary.instance_type) == (pool.pool, pool.instance_type)
