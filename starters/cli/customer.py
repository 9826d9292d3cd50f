"""`byoc customer`: play the customer of an account in the playground."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated

import requests
import typer

from domain.clouds import Purpose
from domain.permission import TemplateForm
from domain.state import AccountState
from starters.cli.accounts import render_template
from starters.cli.asking import ask
from starters.cli.errors import BadInput, Exit, fail
from starters.cli.output import stdout
from starters.playground.world import World, WorldRefused

app = typer.Typer(help="Play the customer of an account in the playground.", no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Argument(help="name of the account", metavar="NAME")]
Action = Annotated[
    str,
    typer.Argument(
        help="in the cloud's own spelling: ec2:CreateNatGateway, compute.routers.create, "
        "Microsoft.Network/natGateways/write",
        metavar="ACTION",
    ),
]
ForPurpose = Annotated[Purpose, typer.Option("--purpose", help="which of our roles")]


@app.command("apply-template")
def apply_template(name: Name) -> None:
    """Apply our permission template in the account, as its administrator would.

    Example: byoc customer apply-template acme-aws
    """
    state = _state_of(name)
    text = _template_of(state)
    _act(lambda world: world.apply_template(state.spec, text))
    stdout.print(
        f"The template is applied in {state.spec.cloud_account_id}. `byoc accounts verify {name}` looks at once."
    )


@app.command("delete-template")
def delete_template(name: Name) -> None:
    """Delete what the template made: every permission of ours is gone.

    Example: byoc customer delete-template acme-aws
    """
    account = _state_of(name).spec
    _act(lambda world: world.delete_template(account))
    stdout.print(f"The template is gone from {account.cloud_account_id}.")


@app.command()
def deny(name: Name, action: Action, purpose: ForPurpose = Purpose.OPERATE) -> None:
    """Take one permission away from one of our roles.

    Example: byoc customer deny acme-aws ec2:CreateNatGateway
    """
    state = _state_of(name)
    _act(lambda world: world.deny(state.spec, purpose, action, lambda: _template_of(state)))
    stdout.print(f"{action} is taken away from our role to {purpose} in {name}.")


@app.command()
def allow(name: Name, action: Action, purpose: ForPurpose = Purpose.OPERATE) -> None:
    """Give back a permission that was taken away.

    Example: byoc customer allow acme-aws ec2:CreateNatGateway
    """
    state = _state_of(name)
    _act(lambda world: world.allow(state.spec, purpose, action, lambda: _template_of(state)))
    stdout.print(f"{action} is given back to our role to {purpose} in {name}.")


def _state_of(name: str) -> AccountState:
    return ask(lambda plane: plane.account(name))


def _template_of(state: AccountState) -> str:
    text, code = render_template(state, TemplateForm.JSON)
    if code:
        fail(text.strip(), Exit.BAD_INPUT if code == Exit.BAD_INPUT else Exit.FAILED)
    return text


def _act(deed: Callable[[World], None]) -> None:
    url = os.environ.get("BYOC_PLAYGROUND_URL")
    if not url:
        raise BadInput(["BYOC_PLAYGROUND_URL is not set: start `byoc dev` and `source .byoc/env` in this shell"])
    try:
        deed(World(url))
    except WorldRefused as error:
        fail(f"the simulated cloud refuses: {error}", Exit.FAILED)
    except requests.ConnectionError:
        fail(f"no playground answers at {url}; `byoc dev` starts one", Exit.UNREACHABLE)
