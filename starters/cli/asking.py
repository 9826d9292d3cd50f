"""Asking the control plane: on whose behalf, and where its Temporal is."""

from __future__ import annotations

import asyncio
import getpass
import socket
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from domain.actor import Actor, Door
from starters.cli.app import CHOSEN, Options
from starters.client import ControlPlane
from workflows.temporal.settings import EncryptionSettings

Answer = TypeVar("Answer")


def acting() -> Actor:
    """Return who this command acts for."""
    return Actor(name=CHOSEN.get(Options()).actor or f"{getpass.getuser()}@{socket.gethostname()}", door=Door.CLI)


def ask(
    question: Callable[[ControlPlane], Awaitable[Answer]], *, encryption: EncryptionSettings | None = None
) -> Answer:
    """Connect, ask, and return the answer; `encryption` as for `connect`."""

    async def asking() -> Answer:
        options = CHOSEN.get(Options())
        patience = timedelta(seconds=options.patience)
        plane = await ControlPlane.open(acting(), profile=options.profile, patience=patience, encryption=encryption)
        return await question(plane)

    return asyncio.run(asking())
