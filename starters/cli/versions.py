"""`byoc versions`: which builds of the workflows' code a server knows, and how the fleet goes over to a new one."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer
from rich.markup import escape

from starters import versions
from starters.cli.app import CHOSEN, Options
from starters.cli.asking import ask
from starters.cli.errors import BadInput, Exit, fail
from starters.cli.output import Format, FormatOption, ago, print_data, print_rows, stdout
from starters.versions import BadQuery, HistoriesReport, Promotion

app = typer.Typer(
    help="Builds of the workflows' code: list, check, promote.", no_args_is_help=True, add_completion=False
)

DeploymentOption = Annotated[
    str, typer.Option("--deployment", envvar="BYOC_WORKER_DEPLOYMENT", help="as the workers call it")
]


@app.command("list")
def list_builds(deployment: DeploymentOption = "byoc", output: FormatOption = Format.TABLE) -> None:
    """List the builds that the server knows: which is current, and which workers may go.

    Workers of a build stay until it is drained: operations end on the build that began them.

    Example: byoc versions list -o json
    """
    found = ask(lambda plane: versions.builds(plane, deployment))
    if output is not Format.TABLE:
        print_data(found, output)
        return
    print_rows(
        ("BUILD", "STATUS", "FOR", "OPEN WORKFLOWS"),
        [(build.build_id, build.status, ago(build.since), str(build.open_workflows)) for build in found],
        empty="No build is known: the workers are unversioned (BYOC_BUILD_ID is not set).",
    )


@app.command()
def check(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="how many workflows at most, the newest first")] = 500,
    query: Annotated[
        str, typer.Option(help="only workflows that this visibility query finds as well", metavar="QUERY")
    ] = "",
    output: FormatOption = Format.TABLE,
) -> None:
    """Replay the open workflows with the code that is installed here; exit code 1 if any does not replay.

    To be run with a new version before its workers run. It only reads.

    Example: byoc versions check --query "WorkflowType = 'Deployment'"
    """
    try:
        ask(lambda plane: versions.count_open(plane, query))
    except BadQuery as error:
        raise BadInput(
            [f"--query: {query!r} is no visibility query: {error}. Allowed: as in the Temporal UI"]
        ) from None
    report = replay(limit, query)
    if output is Format.TABLE:
        _print_report(report)
    else:
        print_data(report, output)
    if any(each.problem for each in report.replayed):
        sys.exit(Exit.FAILED)


def replay(limit: int, query: str) -> HistoriesReport:
    """Return how the open workflows replay. The worker's program does it: it has the code of every workflow."""
    profile = CHOSEN.get(Options()).profile
    arguments = [sys.executable, "-m", "workers", "check-histories", f"--limit={limit}", f"--query={query}"]
    arguments += [f"--profile={profile}"] if profile else []
    made = subprocess.run(arguments, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    if made.returncode:
        fail(made.stderr.strip() or "the histories cannot be replayed", Exit.FAILED)
    return HistoriesReport.model_validate_json(made.stdout)


@app.command()
def promote(
    build_id: Annotated[str, typer.Argument(help="BYOC_BUILD_ID of its workers", metavar="BUILD_ID")],
    deployment: DeploymentOption = "byoc",
    output: FormatOption = Format.TABLE,
) -> None:
    """Make a build current: what is new begins on it, accounts and deployments go over to it.

    Operations that run end on the build that began them. A repeat asks those again that have not gone over. Promoting
    the build of before is the way back.

    Example: byoc versions promote 1.4.0
    """
    done = ask(lambda plane: versions.promote(plane, deployment, build_id))
    if output is Format.TABLE:
        _print_promotion(done)
    else:
        print_data(done, output)
    if done.silent:
        sys.exit(Exit.FAILED)


def _print_report(report: HistoriesReport) -> None:
    broken = [each for each in report.replayed if each.problem]
    if broken:
        print_rows(
            ("WORKFLOW", "TYPE", "PINNED TO", "EVENTS"),
            [(each.workflow_id, each.workflow_type, each.build, str(each.events)) for each in broken],
            empty="",
        )
        for each in broken:
            stdout.print(f"\n{escape(each.workflow_id)}: {escape(each.problem)}", soft_wrap=True)
        stdout.print()
    looked_at = len(report.replayed)
    stdout.print(
        f"{looked_at - len(broken)} of {looked_at} open workflows replay with the code that is installed here."
    )
    if report.found > looked_at:
        stdout.print(f"These are the newest of {report.found}; --limit looks at more.")


def _print_promotion(done: Promotion) -> None:
    before = f"instead of {done.previous}" if done.previous else "the first one"
    changed = "was current already" if done.previous == done.build_id else f"is current, {before}"
    stdout.print(f"Build {escape(done.build_id)} {escape(changed)}.")
    stdout.print(f"Accounts and deployments: {done.went_over} run on it, {len(done.asked)} go over now.")
    for workflow in done.leaving:
        stdout.print(f"  {escape(workflow)} is about to end, on its own build.")
    for workflow in done.silent:
        stdout.print(f"  {escape(workflow)} does not answer: is a worker of its build running? Then repeat this.")
