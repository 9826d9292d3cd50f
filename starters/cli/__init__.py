"""The command line, `byoc`: one module for each group of commands."""

from __future__ import annotations

import os
import sys

from starters.cli.app import app


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        app()
    except Exception as error:
        if os.environ.get("BYOC_DEBUG"):
            raise
        sys.stderr.write(f"Error: {type(error).__name__}: {error}\nThis is a defect; BYOC_DEBUG=1 shows where it is.\n")
        sys.exit(1)
