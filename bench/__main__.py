"""`make bench`: measure, print a table, write bench/results.json."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import encryption, forecasts, idle, makespan, overhead, plans, rollouts, windows

RESULTS = Path(__file__).with_name("results.json")
BOUNDS = {
    "overhead_cpu_ratio": 1.25,
    "overhead_wall_ratio": 1.25,
    "makespan_ratio": 1.10,
    "plan_seconds": 5.0,
    "windows_100_ms": 5.0,
    "forecast_10000_seconds": 10.0,
}
MEASUREMENTS = {
    "overhead": overhead.measure,
    "encryption": encryption.measure,
    "makespan": makespan.measure,
    "plan": plans.measure,
    "windows": windows.measure,
    "forecast": forecasts.measure,
    "rollout": rollouts.measure,
    "idle": idle.measure,
}


def main() -> None:
    """Run the measurements one after the other."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MEASUREMENTS, []], help="which measurements (default: all)")
    names = parser.parse_args().names or [*MEASUREMENTS]
    results: dict[str, float] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    console = Console()
    for name in names:
        console.print(f"Measuring: {name} …")
        results.update(asyncio.run(MEASUREMENTS[name]()))
    RESULTS.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
    table = Table("measure", "value", "at most")
    for key, value in sorted(results.items()):
        table.add_row(key, f"{value:,.3f}" if value < 100 else f"{value:,.0f}", str(BOUNDS.get(key, "")))
    console.print(table)
    sys.stdout.flush()
    # The SDK's runtime threads may abort an interpreter that is being torn down; everything is closed by now.
    os._exit(0)


if __name__ == "__main__":
    main()
