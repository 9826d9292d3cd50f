"""The command line, `byoc`: one module for each group of commands."""

from __future__ import annotations

import sys

from starters.cli.app import app
from starters.cli.errors import explained


def main() -> None:
    """Run the command line and leave with its exit code."""
    with explained():
        app(standalone_mode=True)
    sys.exit(0)
