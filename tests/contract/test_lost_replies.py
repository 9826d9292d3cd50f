"""Killed between a deed and its reply, an activity is run again, and nothing exists twice."""

from __future__ import annotations

from collections import Counter

from tests.contract.cases import each_activity, each_cloud
from tests.contract.conftest import Lives
from tests.contract.under_test import CloudUnderTest


@each_activity()
def test_every_deed_lost_its_reply_once(lives: Lives, cloud: CloudUnderTest, activity: str) -> None:
    """Whatever an activity changes in a life without disturbances was changed without being acknowledged, too."""
    troubled = lives.troubled(cloud).runs
    for name, run in lives.undisturbed(cloud).of(activity).items():
        # What was held up was asked for at each look.
        once = Counter(dict.fromkeys(run.deeds, 1)) if run.waits else run.deeds
        assert once - troubled[name].lost == {}, name


@each_cloud()
def test_nothing_is_made_twice_nor_forgotten(lives: Lives, cloud: CloudUnderTest) -> None:
    """The account holds what it holds after a life without disturbances, neither more nor less."""
    undisturbed, troubled = lives.undisturbed(cloud).inventory, lives.troubled(cloud).inventory

    assert (troubled - undisturbed, undisturbed - troubled) == ({}, {})
