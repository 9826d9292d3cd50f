"""`byoc validate` and `byoc schema`: what can be said of a file without any server."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from catalog import load
from starters.cli.errors import BadInput
from starters.cli.output import stdout
from starters.manifest import read_manifests
from starters.schema import json_schemas


class Kind(StrEnum):
    """The kinds of files."""

    ACCOUNT = "Account"
    DEPLOYMENT = "Deployment"


def validate(file: Annotated[Path, typer.Option("--file", "-f", help="YAML file, or - for standard input")]) -> None:
    """Check a file offline and name everything that is wrong with it.

    Each problem comes with its line, its field, its value and what is allowed; nothing needs to run.

    Example: byoc validate -f docs/examples/deployment-small.yaml
    """
    for manifest in read_manifests(read_text(file), catalogue=load()):
        stdout.print(f"{manifest.kind} {manifest.metadata.name} is valid.")


def schema(
    kind: Annotated[Kind, typer.Argument(help="which kind of file", metavar="KIND", case_sensitive=False)],
) -> None:
    """Print the JSON Schema of a kind, for editors.

    Example: byoc schema Deployment > deployment.json
    """
    stdout.print(json_schemas()[f"{kind.lower()}.json"].rstrip(), markup=False, soft_wrap=True)


def read_text(file: Path) -> str:
    """Return the text of the file that `--file` names; `-` is standard input."""
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except OSError as error:
        raise BadInput([f"--file: {file} cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise BadInput([f"--file: {file} is not UTF-8 text"]) from error
