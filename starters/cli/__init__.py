"""The command line, `byoc`: one module for each group of commands."""

from __future__ import annotations

import contextlib
import os
import sys

from starters.cli.app import app


def main() -> None:
    """Run the command line and leave with its exit code.

    It leaves at once: the threads of Temporal's SDK may abort an interpreter that is being torn down, and with it the
    exit code. Nothing is pending by then.
    """
    code = _run()
    with contextlib.suppress(OSError, ValueError):  # whoever read our output may be gone, and then stderr is closed
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _run() -> int:
    try:
        app()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except Exception as error:
        if os.environ.get("BYOC_DEBUG"):
            raise
        sys.stderr.write(f"Error: {type(error).__name__}: {error}\nThis is a defect; BYOC_DEBUG=1 shows where it is.\n")
        return 1
    return 0
