"""What commands print: a table for people, JSON or YAML for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer
import yaml
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_WIDTH_OF_A_LOG = 200
"""Columns where there is no terminal: wide enough that no table is cut."""

stdout = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_LOG)


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


FormatOption = Annotated[Format, typer.Option("--output", "-o", help="table for people; json or yaml for programs")]


def print_data(data: BaseModel | Sequence[BaseModel] | dict[str, Any], form: Format) -> None:
    """Print models as JSON or YAML, with the field names of files (camelCase)."""
    plain = _plain(data)
    if form is Format.JSON:
        stdout.print(json.dumps(plain, indent=2), soft_wrap=True, markup=False)
    else:
        stdout.print(yaml.safe_dump(plain, sort_keys=False).rstrip(), soft_wrap=True, markup=False)


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print a table, or `empty` if there is nothing in it."""
    if not rows:
        stdout.print(empty)
        return
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    stdout.print(table)


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print names and values, one a line; what has no value is left out."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts:
        if value:
            table.add_row(f"[bold]{escape(name)}[/bold]", escape(value))
    stdout.print(table)


def ago(instant: datetime | None) -> str:
    """Return how long ago an instant was, `3 min`."""
    return duration(datetime.now(UTC) - instant) if instant else ""


def duration(span: timedelta) -> str:
    """Return a duration in its two largest units, `2 h 5 min`."""
    seconds = max(0, int(span.total_seconds()))
    days, seconds = divmod(seconds, 86_400)
    hours, seconds = divmod(seconds, 3_600)
    minutes, seconds = divmod(seconds, 60)
    units = ((days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s"))
    parts = [f"{number} {unit}" for number, unit in units if number]
    return " ".join(parts[:2]) or "0 s"


def _plain(data: Any) -> Any:  # noqa: ANN401 - models, or sequences of them, or plain data
    if isinstance(data, BaseModel):
        return data.model_dump(mode="json", by_alias=True)
    if isinstance(data, list | tuple):
        return [_plain(item) for item in data]
    return data
