"""One installation for all durability tests of a test process; each test has a customer of its own."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from domain.state import DeploymentPhase
from tests.durability.installation import Customer, Installation, installed

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """Simulated clouds that answer at once, Temporal on a database file, one worker."""
    async with installed(tmp_path_factory.mktemp("installation")) as running:
        yield running


@pytest.fixture
async def customer(installation: Installation) -> AsyncIterator[Customer]:
    """A connected account of its own, and no faults of earlier tests."""
    installation.control.clear_faults()
    yield await installation.customer(f"d{os.getpid() % 10_000}x{next(_numbers)}")
    installation.control.clear_faults()


@pytest.fixture(scope="session")
async def undisturbed(installation: Installation) -> Counter[str]:
    """What an account holds after a provisioning that nothing disturbed."""
    model = await installation.customer(f"d{os.getpid() % 10_000}x0")
    await installation.order(model)
    await installation.until_phase(model, DeploymentPhase.ACTIVE)
    return installation.inventory(model)
