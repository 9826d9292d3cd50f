"""`byoc api-keys`: HTTP API keys. A key is made here and shown once; the control plane and the server know its hash."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import uuid4

import typer
from rich.markup import escape

from domain import api_key
from domain.facts import ApiKeyRecord
from domain.operation import OperationPhase
from domain.state import ApiKeyChange, ApiKeyChangeKind, OperationAccepted
from starters.cli.asking import acting, ask
from starters.cli.errors import BadInput, Exit, fail, stderr
from starters.cli.output import Format, FormatOption, duration, print_data, print_rows, stdout
from starters.cli.watching import OVER
from starters.client import ControlPlane, NotFound

app = typer.Typer(
    help="HTTP API keys of a deployment: create, list, rotate, revoke.", no_args_is_help=True, add_completion=False
)

Deployment = Annotated[str, typer.Argument(help="name of the deployment", metavar="DEPLOYMENT")]
KeyId = Annotated[str, typer.Argument(help="id of the key, as `list` shows it", metavar="KEY")]
Days = Annotated[int, typer.Option("--days", help="days until it expires, at most 365")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="wait until the server knows the change")]


@app.command()
def create(
    deployment: Deployment,
    name: Annotated[str, typer.Option(help="what it is for")],
    scope: Annotated[list[str], typer.Option(help="read, write or admin; repeat for several")],
    days: Days = 90,
    wait: Wait = True,
    output: FormatOption = Format.TABLE,
) -> None:
    """Create a key and show it, once.

    Example: byoc api-keys create acme-prod --name reporting --scope read --days 30
    """
    made = api_key.issue(
        name, scope, now=datetime.now(UTC), lifetime=timedelta(days=days), randomness=secrets.token_bytes
    )
    change = ApiKeyChange(
        request_id=f"key-{uuid4().hex[:12]}", kind=ApiKeyChangeKind.CREATE, actor=acting(), record=made.record
    )
    _apply(deployment, change, wait=wait)
    _show_once(made, output)


@app.command("list")
def list_keys(deployment: Deployment, output: FormatOption = Format.TABLE) -> None:
    """List the keys: never the keys themselves, which nobody has kept.

    Example: byoc api-keys list acme-prod
    """
    keys = ask(lambda plane: plane.deployment(deployment)).api_keys
    if output is not Format.TABLE:
        print_data(keys, output)
        return
    now = datetime.now(UTC)
    print_rows(
        ("ID", "NAME", "SCOPES", "STATE", "EXPIRES IN"),
        [
            (
                key.id,
                key.name,
                ",".join(key.scopes),
                "valid" if api_key.is_valid(key, now) else "revoked" if key.revoked_at else "expired",
                duration(key.expires_at - now) if key.expires_at > now else "",
            )
            for key in keys
        ],
        empty=f"Deployment {deployment} has no API keys.",
    )


@app.command()
def rotate(
    deployment: Deployment,
    key: KeyId,
    overlap_hours: Annotated[int, typer.Option(help="how long the old key stays valid beside the new one")] = 24,
    days: Days = 90,
    wait: Wait = True,
    output: FormatOption = Format.TABLE,
) -> None:
    """Replace a key by a new one of the same name and scopes, with an overlap.

    Example: byoc api-keys rotate acme-prod k3v9 --overlap-hours 48
    """
    if overlap_hours < 0:
        raise BadInput([f"--overlap-hours: {overlap_hours} is negative. Allowed: 0 or more"])
    record = _record(deployment, key)
    rotation = api_key.rotate(
        record,
        now=datetime.now(UTC),
        overlap=timedelta(hours=overlap_hours),
        lifetime=timedelta(days=days),
        randomness=secrets.token_bytes,
    )
    change = ApiKeyChange(
        request_id=f"key-{uuid4().hex[:12]}",
        kind=ApiKeyChangeKind.ROTATE,
        actor=acting(),
        record=rotation.new.record,
        key_id=key,
        overlap_seconds=overlap_hours * 3600,
    )
    _apply(deployment, change, wait=wait)
    _show_once(rotation.new, output)


@app.command()
def revoke(deployment: Deployment, key: KeyId, wait: Wait = True) -> None:
    """Make a key worthless.

    Example: byoc api-keys revoke acme-prod k3v9
    """
    change = ApiKeyChange(request_id=f"revoke-{key}", kind=ApiKeyChangeKind.REVOKE, actor=acting(), key_id=key)
    if _apply(deployment, change, wait=wait):
        stdout.print(f"Key {key} is revoked.")


def _record(deployment: str, key: str) -> ApiKeyRecord:
    keys = ask(lambda plane: plane.deployment(deployment)).api_keys
    found = next((record for record in keys if record.id == key), None)
    if found is None:
        known = ", ".join(record.id for record in keys) or "none"
        raise NotFound(f"deployment {deployment!r} has no key {key!r} (keys: {known})")
    return found


def _apply(deployment: str, change: ApiKeyChange, *, wait: bool) -> bool:
    """Ask for a change; return False if it has to be approved before it takes effect, which nobody waits for here."""

    async def applying(plane: ControlPlane) -> tuple[OperationAccepted, OperationPhase | None, bool]:
        accepted = await plane.change_api_keys(deployment, change)
        queue = (await plane.deployment(deployment)).queue
        if any(each.approval and each.summary.operation_id == accepted.operation_id for each in queue):
            return accepted, None, True
        if accepted.parked:
            stderr.print(f"Recorded, not applied yet. {escape(accepted.parked)}. It is applied after the release.")
            return accepted, None, False
        return accepted, await _applied(plane, deployment, accepted) if wait else None, False

    accepted, phase, to_be_approved = ask(applying)
    if phase not in (None, OperationPhase.DONE):
        fail(f"the change was recorded but not applied: its operation is {phase}", Exit.ABORTED)
    if to_be_approved:
        operation = accepted.operation_id
        stderr.print(f"{operation} has to be approved first: `byoc approvals show {deployment} {operation}`")
    return not to_be_approved


async def _applied(plane: ControlPlane, deployment: str, accepted: OperationAccepted) -> OperationPhase:
    while True:
        state = await plane.deployment(deployment)
        ended = next((past for past in state.past if past.operation_id == accepted.operation_id), None)
        if ended is not None and ended.phase in OVER:
            return ended.phase
        await asyncio.sleep(0.2)


def _show_once(made: api_key.NewKey, output: Format) -> None:
    if output is not Format.TABLE:
        print_data({"key": made.key, **made.record.model_dump(mode="json", by_alias=True)}, output)
        return
    stdout.print(made.key, markup=False, soft_wrap=True)
    stdout.print(
        f"This is the only time that the key is shown. Its id is {made.record.id}; "
        f"it expires on {made.record.expires_at:%Y-%m-%d}."
    )
