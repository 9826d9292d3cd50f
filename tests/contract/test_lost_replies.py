"""Killed between a deed and its reply, an activity is run again, and nothing exists twice."""

from __future__ import annotations

from tests.contract.cases import each_activity, each_cloud
from tests.contract.conftest import Lives
from tests.contract.under_test import CloudUnderTest


@each_activity()
def test_every_deed_lost_its_reply(lives: Lives, cloud: CloudUnderTest, activity: str) -> None:
    """Whatever an activity changes in a life without disturbances was changed without being acknowledged, too."""
    deeds = {deed for run in lives.undisturbed(cloud).of(activity).values() for deed in run.deeds}
    lost = {deed for run in lives.troubled(cloud).of(activity).values() for deed in run.lost}

    assert deeds - lost == set()


@each_cloud()
def test_nothing_is_made_twice_nor_forgotten(lives: Lives, cloud: CloudUnderTest) -> None:
    """The account holds what it holds after a life without disturbances, neither more nor less."""
    undisturbed, troubled = lives.undisturbed(cloud).inventory, lives.troubled(cloud).inventory

    assert (troubled - undisturbed, undisturbed - troubled) == ({}, {})
