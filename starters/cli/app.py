"""The root command. What a command needs is imported when the command is used, so that `byoc --help` is quick."""

from __future__ import annotations

from contextvars import ContextVar
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command


class Entry(NamedTuple):
    """One command (or group of commands) of the root: where it is, and its first sentence, shown in the list."""

    module: str
    name: str
    """A Typer application, or a function that is a command."""
    summary: str


ENTRIES = {
    name: Entry(f"starters.cli.{module}", attribute, summary)
    for name, module, attribute, summary in (
        ("accounts", "accounts", "app", "Customers' cloud accounts: connect, verify, hold, revoke."),
        ("deployments", "deployments", "app", "Deployments of the server: create, watch, decide, retire."),
        ("approvals", "approvals", "app", "Approvals of plans: list, show, approve, decline, delegate."),
        ("rollout", "rollouts", "app", "A release for the whole fleet: forecast, start, watch, pause, halt."),
        ("windows", "windows", "app", "Maintenance windows: show, set, exclude days, defer, compute."),
        ("releases", "releases", "app", "Releases of the server: list, show, publish, withdraw; Kubernetes versions."),
        ("api-keys", "api_keys", "app", "HTTP API keys of a deployment: create, list, rotate, revoke."),
        ("durations", "durations", "app", "How long steps take: show what plans expect, learn from what ran."),
        ("validate", "files", "validate", "Check a file offline and name everything that is wrong with it."),
        ("schema", "files", "schema", "Print the JSON Schema of a kind, for editors."),
        ("demo", "playground", "demo", "Play the whole story on this machine, in two or three minutes."),
        ("dev", "playground", "dev", "Keep a playground running on this machine: clouds, Temporal, workers."),
        ("customer", "customer", "app", "Play the customer of an account in the playground."),
        ("worker", "processes", "worker", "Run a worker process: what runs workflows and acts in the clouds."),
        ("versions", "versions", "app", "Builds of the workflows' code: list, check, promote."),
        ("keys", "keys", "app", "Keys that encrypt what Temporal keeps: make, list, rotate, check."),
        ("codec", "codec", "app", "Serve the endpoint through which Temporal's UI and CLI read encrypted payloads."),
        ("setup", "processes", "setup", "Prepare Temporal: the namespace and the search attributes."),
        ("version", "processes", "version", "Print the versions of byoc and of what it stands on."),
    )
}
"""In the order in which `byoc --help` lists them."""


HELP = {"help_option_names": ["-h", "--help"]}


class Commands(TyperGroup):
    """The root's commands. Listed, they are names and summaries; used, they are imported."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - the framework's own type is private
        """Return the names in the order in which they are listed."""
        return list(ENTRIES)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:  # noqa: ANN401, ARG002
        """Return what the list shows of a command."""
        entry = ENTRIES.get(cmd_name)
        return TyperCommand(cmd_name, help=entry.summary) if entry else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401
        """Return the command itself, imported, and what is left for it to read."""
        entry = ENTRIES.get(args[0])
        return (args[0], load(entry), args[1:]) if entry else super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        """Run a command; what it raises becomes one clear message and an exit code."""
        from starters.cli.errors import explained  # noqa: PLC0415 - it knows the errors of everything

        with explained():
            return super().invoke(ctx)


def load(entry: Entry) -> Any:  # noqa: ANN401 - a command or a group; their common type is private
    """Return the command or group that an entry names."""
    found = getattr(import_module(entry.module), entry.name)
    if isinstance(found, typer.Typer):
        return get_command(found)
    single = typer.Typer(add_completion=False, rich_markup_mode="rich", context_settings=HELP)
    single.command()(found)
    return get_command(single)


app = typer.Typer(
    name="byoc",
    cls=Commands,
    help=(
        "Run a vendor's server in its customers' own cloud accounts: durable, waiting instead of failing.\n\n"
        "Example: byoc deployments list --account acme-aws -o json"
    ),
    epilog="A first look: `byoc demo` plays the whole story on this machine; `byoc dev` gives you a playground.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings=HELP,
)


class Options(NamedTuple):
    """The options before the command; every command may read them."""

    actor: str = ""
    profile: str | None = None
    patience: float = 15.0
    """Seconds."""


CHOSEN: ContextVar[Options] = ContextVar("CHOSEN")
"""The options of this call."""


@app.callback()
def _root(
    actor: Annotated[
        str, typer.Option(envvar="BYOC_ACTOR", help="who asks; it goes into the audit trail (default: user@host)")
    ] = "",
    profile: Annotated[
        str | None, typer.Option(envvar="TEMPORAL_PROFILE", help="profile of Temporal's own configuration file")
    ] = None,
    patience: Annotated[
        float, typer.Option(envvar="BYOC_PATIENCE", min=0.1, max=3600, help="seconds to wait for an answer")
    ] = 15.0,
) -> None:
    CHOSEN.set(Options(actor, profile, patience))
