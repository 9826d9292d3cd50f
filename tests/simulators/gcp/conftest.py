"""A simulated Google Cloud for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulators.gcp.customers import Customer, customer


@pytest.fixture
def account() -> Iterator[Customer]:
    """A customer's empty project in a world where everything is finished at once."""
    with customer() as made:
        yield made


@pytest.fixture
def slow_account() -> Iterator[Customer]:
    """A customer's empty project in a world where time hardly passes, unless the test lets it pass."""
    with customer(speed=0.01) as made:
        yield made
