"""`byoc durations`: the table from which plans say how long an operation will take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml

import catalog
from domain.durations import Durations
from starters.cli.asking import ask
from starters.cli.errors import BadInput
from starters.cli.output import Format, FormatOption, print_data, print_rows, stdout

app = typer.Typer(
    help="How long steps take: show what plans expect, learn from what ran.",
    no_args_is_help=True,
    add_completion=False,
)

Table = Annotated[
    Path | None,
    typer.Option("--table", envvar="BYOC_DURATIONS_FILE", help="a table that was learnt; default: the catalogue's own"),
]


@app.command()
def show(table: Table = None, output: FormatOption = Format.TABLE) -> None:
    """Show the durations that plans expect, and from how many runs they were learnt.

    Example: byoc durations show -o yaml
    """
    _print(_read(table), output)


@app.command()
def learn(
    table: Table = None,
    write: Annotated[Path | None, typer.Option("--write", help="write the new table into this file")] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Learn from the operations that Temporal still knows: median and 95th percentile of each step.

    Steps that did not run keep their values. Workers use the new table with BYOC_DURATIONS_FILE.

    Example: byoc durations learn --write /etc/byoc/durations.yaml
    """
    known = _read(table)
    samples = ask(lambda plane: plane.recorded_durations())
    learnt = known.learnt(samples)
    if write:
        text = yaml.safe_dump(learnt.model_dump(mode="json", by_alias=True), sort_keys=False)
        try:
            write.write_text(text, "utf-8")
        except OSError as error:
            raise BadInput([f"--write: {write} cannot be written: {error.strerror}"]) from error
    _print(learnt, output)
    if output is Format.TABLE:
        steps = sum(len(of_cloud) for of_cloud in samples.values())
        stdout.print(
            f"\n{steps} {'step' if steps == 1 else 'steps'} learnt{f', written into {write}' if write else ''}."
        )


def _read(table: Path | None) -> Durations:
    try:
        return catalog.durations(table)
    except catalog.CatalogueInvalid as error:
        raise BadInput([f"--table: {error}"]) from error


def _print(table: Durations, output: Format) -> None:
    if output is not Format.TABLE:
        print_data(table, output)
        return
    print_rows(
        ("CLOUD", "STEP", "P50", "P95", "RUNS"),
        [
            (cloud, step, f"{each.p50:g} s", f"{each.p95:g} s", str(each.runs or ""))
            for cloud, of_cloud in table.clouds.items()
            for step, each in sorted(of_cloud.steps.items())
        ],
        empty="The table is empty.",
    )
