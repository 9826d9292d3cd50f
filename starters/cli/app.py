"""The root command and what all commands share: who acts, and which Temporal."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from domain.actor import Actor, Door
from starters.client import ControlPlane

Answer = TypeVar("Answer")

app = typer.Typer(
    name="byoc",
    help="Run a vendor's server in its customers' own cloud accounts: durable, waiting instead of failing.",
    epilog="A first look: `byoc demo` plays the whole story on this machine; `byoc dev` gives you a playground.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Chosen:
    """The global options of this call."""

    actor: str = ""
    profile: str | None = None


@app.callback()
def _root(
    actor: Annotated[
        str, typer.Option(envvar="BYOC_ACTOR", help="who asks; it goes into the audit trail (default: user@host)")
    ] = "",
    profile: Annotated[
        str | None, typer.Option(envvar="TEMPORAL_PROFILE", help="profile of Temporal's own configuration file")
    ] = None,
) -> None:
    Chosen.actor = actor or f"{getpass.getuser()}@{socket.gethostname()}"
    Chosen.profile = profile


def acting() -> Actor:
    """Return who this command line acts for."""
    return Actor(name=Chosen.actor or f"{getpass.getuser()}@{socket.gethostname()}", door=Door.CLI)


def ask(question: Callable[[ControlPlane], Awaitable[Answer]]) -> Answer:
    """Connect, ask, and return the answer."""

    async def asking() -> Answer:
        return await question(await ControlPlane.open(acting(), profile=Chosen.profile))

    return asyncio.run(asking())


def temporal_address() -> str:
    """Return where Temporal is looked for, for messages."""
    return os.environ.get("TEMPORAL_ADDRESS", "localhost:7233")


# Each module adds its commands to the application above.
from starters.cli import accounts, api_keys, deployments, files, processes  # noqa: E402

app.add_typer(accounts.app, name="accounts")
app.add_typer(deployments.app, name="deployments")
app.add_typer(api_keys.app, name="api-keys")
files.register(app)
processes.register(app)
