"""One installation for all tests of permissions in a test process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.durability.installation import Installation, installed


@pytest.fixture(scope="session")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """Simulated clouds that answer at once and refuse what is not granted, Temporal, one worker."""
    async with installed(tmp_path_factory.mktemp("permissions")) as running:
        # Many lives go on side by side here, and nothing is measured.
        running.patience = 300.0
        yield running
