"""`byoc worker`, `byoc setup`, `byoc version`: the processes and the server that they need."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from enum import StrEnum
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Annotated

import typer

from domain.clouds import Cloud
from starters.cli.asking import ask
from starters.cli.output import Format, FormatOption, print_data, print_rows, stdout
from starters.preparation import Preparation, prepare

_STANDS_ON = ("byoc", "temporalio", "pydantic", "kubernetes", "boto3", "google-cloud-compute", "azure-mgmt-network")


class WorkerKind(StrEnum):
    """What a worker process runs."""

    LIFECYCLES = "lifecycles"
    CLOUD = "cloud"
    SERVICES = "services"
    ALL = "all"


def worker(
    kind: Annotated[
        WorkerKind,
        typer.Argument(
            help="lifecycles: workflows, without credentials; cloud: acts in a cloud; services: makes plans; all: all"
        ),
    ],
    cloud: Annotated[
        Cloud | None,
        typer.Option(help="whose activities to run (cloud: aws unless named; all: those whose settings are there)"),
    ] = None,
    region: Annotated[str, typer.Option(help="poll the queue of this region only, for data locality")] = "",
) -> None:
    """Run a worker process: what runs workflows and acts in the clouds.

    It runs until SIGTERM or Ctrl-C and then lets what is under way finish; a second one ends it at once. Its settings
    are BYOC_* in the environment.

    Example: byoc worker cloud --cloud aws
    """
    sys.stdout.flush()
    arguments = [sys.executable, "-m", "workers", kind]
    arguments += [*(["--cloud", cloud] if cloud else []), *(["--region", region] if region else [])]
    os.execv(sys.executable, arguments)  # noqa: S606 - the worker takes this process over, with its id and its signals


def setup(
    retention_days: Annotated[
        int, typer.Option(min=1, max=3650, help="days for which Temporal keeps workflows that ended")
    ] = 30,
    output: FormatOption = Format.TABLE,
) -> None:
    """Prepare Temporal: the namespace and the search attributes. A repeat changes nothing.

    Example: byoc setup --retention-days 90
    """
    done = ask(lambda plane: prepare(plane.client, retention=timedelta(days=retention_days)))
    if output is not Format.TABLE:
        print_data(done, output)
        return
    _say(done)


def version(output: FormatOption = Format.TABLE) -> None:
    """Print the versions of byoc and of what it stands on.

    Example: byoc version -o json
    """
    found = {name: _version(name) for name in _STANDS_ON}
    if output is not Format.TABLE:
        print_data(found, output)
        return
    print_rows(("PACKAGE", "VERSION"), [*found.items()], empty="")


def _say(done: Preparation) -> None:
    stdout.print(f"Namespace {done.namespace}: {'made' if done.namespace_made else 'was there'}.")
    for name in done.added:
        stdout.print(f"Search attribute {name}: registered.")
    if not done.added:
        stdout.print("Search attributes: all were registered already.")


def _version(package: str) -> str:
    try:
        return version_of(package)
    except PackageNotFoundError:
        return "not installed"
