"""`byoc dev` and `byoc demo`: the whole control plane on this machine, with simulated clouds."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from starters.cli.errors import Exit, fail
from starters.cli.output import stdout
from starters.playground.children import ChildDied
from starters.playground.clouds import SimulatedCloud
from starters.playground.installation import CannotStart, Installation, installed
from starters.playground.narrator import StoryBroke
from starters.playground.story import Story
from starters.playground.world import WorldRefused

Speed = Annotated[float, typer.Option(min=1, max=10_000, help="simulated seconds in a real one")]


def dev(
    speed: Speed = 60.0,
    state: Annotated[Path, typer.Option(help="directory for logs, database and `env`")] = Path(".byoc"),
) -> None:
    """Keep a playground running on this machine: clouds, Temporal, workers.

    The clouds are simulated: nothing leaves loopback, and no real account is touched. Ctrl-C stops all of it. What an
    earlier run left is removed.

    Example: byoc dev --speed 120
    """
    with _explained(), installed(state, speed=speed, poll_interval=1.0, say=_say) as playground:
        _print_places(playground)
        _stay(playground)


def demo(
    speed: Speed = 120.0,
    keep: Annotated[bool, typer.Option("--keep", help="leave the playground running after the story")] = False,
    state: Annotated[Path, typer.Option(help="directory for logs, database and `env`")] = Path(".byoc/demo"),
) -> None:
    """Play the whole story on this machine, in two or three minutes.

    A customer in each cloud connects its account, their deployments are provisioned side by side, a permission is
    missing and comes back, a client uses the server. A release goes over all of them in their maintenance windows, a
    bad one is rolled back, a patch is let past a window; one deployment leaves with a receipt. Clouds are simulated:
    nothing leaves loopback.

    Example: byoc demo --keep
    """
    with _explained(), installed(state, speed=speed, poll_interval=0.3, say=_say) as playground:
        Story(playground, stdout, speed).tell()
        if keep:
            _print_places(playground)
            _stay(playground)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """End in order on Ctrl-C and SIGTERM; say clearly what went wrong."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        stdout.print("\nStopped: no process of the playground is left.")
    except (ChildDied, CannotStart, StoryBroke, WorldRefused) as error:
        fail(str(error), Exit.FAILED)


def _stay(playground: Installation) -> None:
    while True:
        playground.check()
        time.sleep(0.5)


def _say(line: str) -> None:
    stdout.print(line, style="dim", soft_wrap=True)


def _print_places(playground: Installation) -> None:
    state, addresses = playground.state, playground.addresses
    places = {name: url for cloud in playground.vendors for name, url in cloud.places(addresses).items()}
    clouds = "\n".join(f"  {name:<18}  {url}" for name, url in places.items())
    connecting = "\n".join(_connecting(cloud) for cloud in playground.vendors)
    stdout.print(
        f"""
The playground runs. Ctrl-C stops all of it.

  Temporal UI         {playground.ui_url}
  … in plain text     {playground.login_url}
                      (log in once; used up, the next link is in {state}/codec-login)
  Temporal            {playground.temporal}
{clouds}
  Simulated clusters  {addresses.kubernetes_url}
  Control API         {addresses.control_url}  (faults, clock, inventory)
  Logs                {state}/*.log

In a second shell:

  source {state}/env
{connecting}
To try upgrades, order with `release: 4.11.0` in the file's spec. Once it is active:

  byoc windows next acme-dev                 # when we may disturb it
  byoc rollout forecast --release 4.12.1
  byoc deployments upgrade acme-dev --release 4.12.1
  byoc deployments schedule acme-dev immediate --reason "a playground"   # nobody waits for the window here
  byoc deployments watch acme-dev
""",
        soft_wrap=True,
    )


def _connecting(cloud: SimulatedCloud) -> str:
    """Return the commands with which a customer of a cloud begins."""
    name = f"acme-{cloud.cloud}"
    where = f"--cloud {cloud.cloud} --account-id {cloud.account_of('acme')} --region {cloud.region}"
    return f"""\
  byoc accounts connect {name} --customer acme {where}
  byoc customer apply-template {name}       # you play the customer
  byoc accounts verify {name}
  byoc deployments create -f docs/examples/{cloud.example} --watch
"""
