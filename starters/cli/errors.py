"""Errors as people read them, and the exit codes that scripts read.

| Code | Meaning |
|---|---|
| 0 | done |
| 1 | the request was refused, or something failed; the message says why |
| 2 | the input is wrong: which field, which value, what is allowed |
| 3 | the control plane does not answer |
| 4 | what was waited for ended aborted, rolled back or withdrawn |
| 130 | Ctrl-C; what was asked for goes on |
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from enum import IntEnum

from rich.console import Console
from rich.markup import escape

from domain.api_key import ApiKeyRefused
from starters.client import ControlPlaneError, NotFound, Unreachable
from starters.manifest import ManifestInvalid
from workflows.temporal.private_file import FileUnusable
from workflows.temporal.settings import BadSettings

stderr = Console(stderr=True, highlight=False, soft_wrap=True)


class Exit(IntEnum):
    """Exit codes."""

    FAILED = 1
    BAD_INPUT = 2
    UNREACHABLE = 3
    ABORTED = 4
    INTERRUPTED = 130


class BadInput(Exception):  # noqa: N818 - it names what is so
    """The input is wrong; `problems` says each thing that is."""

    def __init__(self, problems: Iterable[object]) -> None:
        self.problems = tuple(str(problem) for problem in problems)
        super().__init__("\n".join(self.problems))


def fail(message: str, code: Exit) -> None:
    """Print an error and leave."""
    stderr.print(f"[red]Error:[/red] {escape(message)}")
    sys.exit(code)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn what a command raises into one clear message and the right exit code."""
    try:
        yield
    except (BadInput, ManifestInvalid) as error:
        for problem in error.problems:
            stderr.print(f"[red]Error:[/red] {escape(str(problem))}")
        sys.exit(Exit.BAD_INPUT)
    except (ApiKeyRefused, BadSettings, FileUnusable) as error:
        fail(str(error), Exit.BAD_INPUT)
    except Unreachable as error:
        fail(str(error), Exit.UNREACHABLE)
    except NotFound as error:
        fail(str(error), Exit.FAILED)
    except ControlPlaneError as error:
        fail(str(error), Exit.FAILED)
    except KeyboardInterrupt:
        stderr.print("\nInterrupted. What was asked for goes on; nothing is lost.")
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
