"""Run again, an activity finds everything as it should be."""

from __future__ import annotations

from tests.contract.cases import ANEW, INSTANTS, each_activity, each_cloud
from tests.contract.conftest import Lives
from tests.contract.life import ACTIVITIES, CREATION, RETIREMENT, REVOCATION, UPGRADE
from tests.contract.under_test import CloudUnderTest


def test_every_activity_of_the_contracts_has_a_scene() -> None:
    """Whoever adds an activity to a contract adds to `life.py` how it is asked, and all tests here are about it."""
    assert {scene.activity for scene in (*CREATION, *UPGRADE, *RETIREMENT, REVOCATION)} == set(ACTIVITIES)


@each_activity(lambda _: sorted(set(ACTIVITIES) - ANEW))
def test_a_second_run_changes_nothing(lives: Lives, cloud: CloudUnderTest, activity: str) -> None:
    """Another worker, which remembers nothing, finds what there is, and makes no call that could change it."""
    for name, run in lives.undisturbed(cloud).of(activity).items():
        assert [call.operation for call in run.calls_again if call.mutating] == [], name
        assert activity in INSTANTS or run.again == run.answer, name


@each_activity(lambda _: sorted(set(ACTIVITIES) - ANEW))
def test_what_was_made_without_a_reply_is_adopted(lives: Lives, cloud: CloudUnderTest, activity: str) -> None:
    """After every reply was lost the facts are those of what there is: a second run returns them, changing nothing."""
    for name, run in lives.troubled(cloud).of(activity).items():
        assert [call.operation for call in run.calls_again if call.mutating] == [], name
        assert activity in INSTANTS or not run.deeds or run.again == run.answer, name


@each_cloud()
def test_converging_an_upgraded_cluster_changes_nothing(lives: Lives, cloud: CloudUnderTest) -> None:
    """With the control plane ahead of order and nodes, and with all of it ahead, versions move neither way."""
    converged = lives.undisturbed(cloud).converged

    assert converged
    assert {name: called for name, called in converged.items() if called} == {}
