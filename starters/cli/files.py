"""`byoc validate` and `byoc schema`: what can be said of a file without any server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from catalog import load
from starters.cli.errors import BadInput
from starters.cli.output import stdout
from starters.manifest import KINDS, read_manifests
from starters.schema import json_schema


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(validate)
    app.command()(schema)


def validate(file: Annotated[Path, typer.Option("--file", "-f", help="YAML file, or - for standard input")]) -> None:
    """Check a file offline, and name everything that is wrong with it: field, value, what is allowed.

    Example: byoc validate -f docs/examples/deployment-small.yaml
    """
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except OSError as error:
        raise BadInput([f"--file: {file} cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise BadInput([f"--file: {file} is not UTF-8 text"]) from error
    for manifest in read_manifests(text, catalogue=load()):
        stdout.print(f"{manifest.kind} {manifest.metadata.name} is valid.")


def schema(kind: Annotated[str, typer.Argument(help="Account or Deployment", metavar="KIND")]) -> None:
    """Print the JSON Schema of a kind, for editors.

    Example: byoc schema Deployment > deployment.json
    """
    if kind not in KINDS:
        raise BadInput([f"KIND: {kind!r} does not exist. Allowed: {', '.join(KINDS)}"])
    stdout.print(json.dumps(json_schema(kind), indent=2), markup=False, soft_wrap=True)
