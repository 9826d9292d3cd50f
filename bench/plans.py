"""(e) Seconds to a plan: the process that rehearses a first provisioning of v1-medium, over starting Python alone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from domain.plan import Plan
from tests.plans.orders import question

ROUNDS = 5
ROOT = Path(__file__).parents[1]


async def measure() -> dict[str, float]:
    """Return `plan_seconds` and `plan_import_ratio` (medians of interleaved rounds), and the number of steps."""
    asked = question().model_dump_json()
    plans, bare = [], []
    for _ in range(ROUNDS):
        seconds, made = await asyncio.to_thread(_timed, ["-m", "workers", "plan"], asked)
        plans.append(seconds)
        seconds, _ = await asyncio.to_thread(_timed, ["-c", "import temporalio.worker"], "")
        bare.append(seconds)
    return {
        "plan_seconds": median(plans),
        "plan_import_ratio": median(plans) / median(bare),
        "plan_steps": float(len(Plan.model_validate_json(made).steps)),
    }


def _timed(arguments: list[str], text: str) -> tuple[float, str]:
    started = time.perf_counter()
    made = subprocess.run(
        [sys.executable, *arguments], input=text, capture_output=True, text=True, check=True, cwd=ROOT
    )
    return time.perf_counter() - started, made.stdout
