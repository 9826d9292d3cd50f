"""A whole installation for comparing plans with what exists, and orders to plan."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator

import pytest

from domain.clouds import Cloud
from tests.durability.clouds import CLOUDS
from tests.durability.installation import Customer, Installation, installed

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """Simulated clouds that answer at once, Temporal, one worker."""
    async with installed(tmp_path_factory.mktemp("installation"), clouds=tuple(CLOUDS)) as running:
        running.patience = 180.0
        yield running


@pytest.fixture
def cloud() -> Cloud:
    """In which cloud the test's customer is, where the test does not say it."""
    return Cloud.AWS


@pytest.fixture
async def customer(installation: Installation, cloud: Cloud) -> Customer:
    """A connected account of its own."""
    return await installation.customer(f"p{os.getpid() % 10_000}x{next(_numbers)}", cloud)
