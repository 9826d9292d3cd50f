"""One installation for all durability tests of a test process; each test has a customer of its own."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from domain.clouds import Cloud
from domain.state import DeploymentPhase
from tests.durability.clouds import CLOUDS
from tests.durability.installation import Customer, Installation, installed

_numbers = itertools.count(1)


@dataclass
class Undisturbed:
    """In each cloud, a customer whose deployment was provisioned with nothing to disturb it, once it is asked for."""

    installation: Installation
    _lives: dict[Cloud, asyncio.Task[Customer]] = field(default_factory=dict)

    async def customer(self, cloud: Cloud) -> Customer:
        """Return the customer; the deployment is active. A life that has failed is not lived again."""
        if cloud not in self._lives:
            self._lives[cloud] = asyncio.create_task(self._live(cloud))
        return await self._lives[cloud]

    async def inventory(self, cloud: Cloud) -> Counter[str]:
        """Return what the account then holds."""
        return self.installation.inventory(await self.customer(cloud))

    async def _live(self, cloud: Cloud) -> Customer:
        number = f"0{list(CLOUDS).index(cloud)}"
        customer = await self.installation.customer(f"d{os.getpid() % 10_000}x{number}", cloud)
        await self.installation.order(customer)
        await self.installation.until_phase(customer, DeploymentPhase.ACTIVE)
        return customer


@pytest.fixture(scope="session")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """Simulated clouds that answer at once, Temporal on a database file, one worker."""
    async with installed(tmp_path_factory.mktemp("installation"), clouds=tuple(CLOUDS)) as running:
        yield running


@pytest.fixture
def cloud() -> Cloud:
    """Where a test is: in the first cloud, unless it names others."""
    return Cloud.AWS


@pytest.fixture
async def customer(installation: Installation, cloud: Cloud) -> AsyncIterator[Customer]:
    """A connected account of its own, and no faults of earlier tests."""
    installation.control.clear_faults()
    yield await installation.customer(f"d{os.getpid() % 10_000}x{next(_numbers)}", cloud)
    installation.control.clear_faults()


@pytest.fixture(scope="session")
async def undisturbed(installation: Installation) -> Undisturbed:
    """What the other tests' deployments are held against."""
    return Undisturbed(installation)
