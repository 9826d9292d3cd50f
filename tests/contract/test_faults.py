"""What the cloud refuses becomes the class that says what follows, with what is missing named."""

from __future__ import annotations

import pytest

from domain.failure import FailureClass
from tests.contract.cases import ANEW, each_activity
from tests.contract.clouds import CLOUDS
from tests.contract.conftest import Lives
from tests.contract.life import ACTIVITIES, CREATION, UPGRADE
from tests.contract.record import Met
from tests.contract.under_test import CloudUnderTest

ALWAYS = {FailureClass.THROTTLE, FailureClass.TRANSIENT}
"""What may happen to any call."""


def met(lives: Lives, cloud: CloudUnderTest, activity: str) -> list[Met]:
    """Return every trouble that an activity met: at looks, and at what it changes."""
    return [
        each
        for life in (lives.undisturbed(cloud), lives.troubled(cloud))
        for run in life.of(activity).values()
        for each in run.met
    ]


@each_activity()
def test_every_trouble_is_classed_and_named(lives: Lives, cloud: CloudUnderTest, activity: str) -> None:
    """Throttling, outages, refusals, quotas, missing machines: each says who has to do what."""
    troubles = met(lives, cloud, activity)
    classed = {
        f"{each.trouble} at {each.operation}": each.failure and each.failure.failure
        for each in troubles
        if each.failure is None or each.failure.failure is not each.trouble.becomes
    }
    failures = [each.failure for each in troubles if each.failure]

    assert classed == {}
    for failure in failures:
        assert failure.message
        assert failure.action or failure.failure is not FailureClass.PERMISSION, failure
        assert failure.quota or failure.failure is not FailureClass.QUOTA, failure


@each_activity()
def test_every_activity_met_what_may_happen_to_any_call(lives: Lives, cloud: CloudUnderTest, activity: str) -> None:
    """But for one that calls nobody; where the customer is asked for permissions, one was taken away, too."""
    calls = [call for run in lives.undisturbed(cloud).of(activity).values() for call in run.calls]
    became = {each.trouble.becomes for each in met(lives, cloud, activity)}
    grants = activity in {need.activity for need in cloud.implementation().needs()}
    reports = activity in {"check_permissions", "verify_access"}

    if calls and activity != "prove_revoked":
        assert became >= ALWAYS | ({FailureClass.PERMISSION} if grants and not reports else set())


@each_activity(lambda _: sorted(set(ACTIVITIES) - ANEW))
def test_every_activity_met_it_at_what_it_changes(lives: Lives, cloud: CloudUnderTest, activity: str) -> None:
    """Before a deed as well as before a look; what makes something met an exhausted quota, too."""
    deeds = {deed for run in lives.undisturbed(cloud).of(activity).values() for deed in run.deeds}
    became = {
        each.trouble.becomes
        for run in lives.troubled(cloud).of(activity).values()
        for each in run.met
        if each.operation in deeds
    }
    making = {scene.activity for scene in (*CREATION, *UPGRADE) if not scene.deletes}
    makes = {FailureClass.QUOTA} if activity in making else set()

    assert not deeds or became >= ALWAYS | {FailureClass.PERMISSION} | makes


@each_activity(lambda cloud: cloud.machines)
def test_missing_machines_are_told_from_missing_quota(lives: Lives, cloud: CloudUnderTest, activity: str) -> None:
    """What the cloud cannot deliver is the cloud's to cure, and what was begun in vain is made again."""
    (lacking,) = (each for each in met(lives, cloud, activity) if each.trouble.becomes is FailureClass.CAPACITY)

    assert lacking.failure is not None
    assert lacking.failure.failure is FailureClass.CAPACITY


@pytest.mark.parametrize(
    ("cloud", "code"),
    [pytest.param(cloud, code, id=f"{cloud.cloud}-{code}") for cloud in CLOUDS for code in cloud.codes],
)
def test_the_code_decides(cloud: CloudUnderTest, code: str) -> None:
    """Each of the cloud's own codes has its class."""
    assert cloud.classify(code) is cloud.codes[code]


@pytest.mark.parametrize("cloud", CLOUDS, ids=lambda cloud: cloud.cloud)
def test_every_class_has_a_code(cloud: CloudUnderTest) -> None:
    """Those of our own making excepted."""
    ours = {FailureClass.NOT_OURS, FailureClass.HELD, FailureClass.NOT_READY}

    assert set(FailureClass) - ours <= set(cloud.codes.values())
