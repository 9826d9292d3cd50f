"""One installation for all tests of permissions in a test process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.durability.installation import BRISK, Installation, installed


@pytest.fixture(scope="session")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """Simulated clouds that answer at once and refuse what is not granted, Temporal, one worker."""
    async with installed(tmp_path_factory.mktemp("permissions")) as running:
        # Many lives go on side by side here, and nothing is measured.
        running.patience = 300.0
        # No worker dies here: one that is slow is not to be taken for dead, and its call made a second time beside it.
        running.pace = BRISK.model_copy(update={"liveness": timedelta(seconds=30)})
        yield running
