"""`byoc releases`: what can be ordered and upgraded to, and on which Kubernetes versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape

from catalog import load
from domain.problem import Problem
from domain.release import Release
from starters.cli.asking import ask
from starters.cli.errors import Exit, fail
from starters.cli.files import read_text
from starters.cli.output import Format, FormatOption, print_data, print_facts, print_rows, stdout
from starters.documents import DocumentsInvalid, read_documents
from starters.form import problems_of_form
from starters.manifest import ManifestInvalid
from starters.releases import current_catalogue
from starters.releases import publish as publish_release
from starters.releases import withdraw as withdraw_release

app = typer.Typer(
    help="Releases of the server: list, show, publish, withdraw; Kubernetes versions.",
    no_args_is_help=True,
    add_completion=False,
)

Version = Annotated[str, typer.Argument(help="a release's version, 4.12.1", metavar="VERSION")]


@app.command("list")
def list_releases(output: FormatOption = Format.TABLE) -> None:
    """List every release: packaged, published since, withdrawn.

    Example: byoc releases list -o json
    """
    catalogue = ask(current_catalogue)
    if output is not Format.TABLE:
        print_data(catalogue.releases, output)
        return
    packaged = {release.version for release in load().releases}
    print_rows(
        ("VERSION", "RELEASED", "SEVERITY", "FROM", "KUBERNETES", "STOP", "COMES", "WITHDRAWN"),
        [
            (
                release.version,
                str(release.released_on or ""),
                release.severity,
                release.min_from,
                f"{release.kubernetes_minimum} to {release.kubernetes_maximum}",
                "yes" if release.mandatory_stop else "",
                "packaged" if release.version in packaged else "published",
                release.withdrawn,
            )
            for release in catalogue.releases
        ],
        empty="There is no release.",
    )


@app.command()
def show(version: Version, output: FormatOption = Format.TABLE) -> None:
    """Show one release: images, from where it is reached, where it goes back to, its notes.

    Example: byoc releases show 4.12.1
    """
    catalogue = ask(current_catalogue)
    release = catalogue.release(version)
    if release is None:
        fail(f"there is no release {version!r}. `byoc releases list` shows them", Exit.FAILED)
    elif output is not Format.TABLE:
        print_data(release, output)
    else:
        print_facts(
            (
                ("version", release.version),
                ("released", str(release.released_on or "")),
                ("severity", release.severity),
                ("upgrade from", release.min_from),
                ("mandatory stop", "yes" if release.mandatory_stop else ""),
                ("kubernetes", f"{release.kubernetes_minimum} to {release.kubernetes_maximum}"),
                ("rolls back to", ", ".join(release.rollback_to)),
                ("point of no return", release.point_of_no_return),
                ("withdrawn", release.withdrawn),
                ("notes", release.notes),
                *((component.value, image) for component, image in release.components.items()),
            )
        )


@app.command()
def publish(
    file: Annotated[Path, typer.Option("--file", "-f", help="one release, as in catalog/releases.yaml; - for stdin")],
    reason: Annotated[str, typer.Option(help="why; it is kept")] = "",
) -> None:
    """Publish a release: from then on it can be ordered and upgraded to. What it is never changes again.

    Example: byoc releases publish -f release-4.12.2.yaml --reason "CVE-2026-1234"
    """
    release = _read(read_text(file))
    ask(lambda plane: publish_release(plane, release, reason=reason))
    stdout.print(f"Release {release.version} is published.")


@app.command()
def withdraw(
    version: Version,
    reason: Annotated[str, typer.Option(help="why; whoever wants the release is told")],
) -> None:
    """Withdraw a release: nobody may order it or upgrade to it any more. What runs it goes on.

    Example: byoc releases withdraw 4.12.0 --reason "loses subscriptions when a node is drained"
    """
    ask(lambda plane: withdraw_release(plane, version, reason))
    stdout.print(f"Release {escape(version)} is withdrawn.")


@app.command()
def kubernetes(output: FormatOption = Format.TABLE) -> None:
    """Show the Kubernetes versions of each cloud: preview, supported, deprecated, expired, and what runs on them.

    Example: byoc releases kubernetes -o yaml
    """
    catalogue = ask(current_catalogue)
    if output is not Format.TABLE:
        print_data({cloud.value: _plain(offer.kubernetes) for cloud, offer in catalogue.clouds.items()}, output)
        return
    print_rows(
        ("CLOUD", "VERSION", "STATUS", "DEFAULT", "RELEASES"),
        [
            (
                cloud,
                known.version,
                known.status,
                "yes" if known.default else "",
                ", ".join(each.version for each in catalogue.orderable_releases() if each.runs_on(known.version)),
            )
            for cloud, offer in catalogue.clouds.items()
            for known in offer.kubernetes
        ],
        empty="There is no Kubernetes version.",
    )


def _plain(models: tuple[object, ...]) -> list[object]:
    return [model.model_dump(mode="json", by_alias=True) for model in models]  # type: ignore[attr-defined]


def _read(text: str) -> Release:
    try:
        documents = read_documents(text)
    except DocumentsInvalid as error:
        raise ManifestInvalid([error.problem]) from error
    if len(documents) != 1 or not isinstance(documents[0].content, dict):
        raise ManifestInvalid(
            [Problem(path="", message="the file is not one release", allowed="a mapping: version, …")]
        )
    (document,) = documents
    try:
        return Release.model_validate_json(json.dumps(document.content), strict=True, extra="forbid", by_name=False)
    except ValidationError as error:
        problems = problems_of_form(error, Release, document.written)
        raise ManifestInvalid(
            problem.model_copy(update={"line": document.line_of(problem.path)}) for problem in problems
        ) from error
