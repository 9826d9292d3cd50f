"""Parameters of the contract's tests: each cloud, and each cloud with each activity."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from _pytest.mark.structures import MarkDecorator

from tests.contract.clouds import CLOUDS
from tests.contract.life import ACTIVITIES
from tests.contract.under_test import CloudUnderTest

ANEW = frozenset({"measure", "smoke_test", "validate_node"})
"""Activities that do everything again each time."""
INSTANTS = frozenset({"check_permissions", "prove_revoked", "smoke_test", "verify_access"})
"""Activities whose answer says when it was given."""


def each_cloud() -> MarkDecorator:
    """Run a test once for each cloud."""
    return pytest.mark.parametrize("cloud", [pytest.param(cloud, id=cloud.cloud) for cloud in CLOUDS])


def each_activity(
    choose: Callable[[CloudUnderTest], Iterable[str]] = lambda _: ACTIVITIES,
) -> MarkDecorator:
    """Run a test once for each activity of each cloud, or for those that are chosen."""
    cases = [
        pytest.param(cloud, activity, id=f"{cloud.cloud}-{activity}")
        for cloud in CLOUDS
        for activity in dict.fromkeys(choose(cloud))
    ]
    return pytest.mark.parametrize(("cloud", "activity"), cases)
