"""`byoc accounts`: customers' cloud accounts, from the invitation until the permissions are gone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.markup import escape

from catalog import load
from domain.account import AccessReport, AccountAccess, AccountPhase, AccountSpec
from domain.clouds import Cloud
from domain.permission import FORMS, PermissionTable, TemplateForm
from domain.problem import Problem
from domain.state import AccountState
from starters.cli.asking import ask
from starters.cli.errors import BadInput, Exit, fail
from starters.cli.history import account_history
from starters.cli.output import Format, FormatOption, ago, print_data, print_facts, print_rows, stdout
from starters.client import ControlPlane
from starters.manifest import API_VERSION, AccountManifest, ManifestInvalid, read_manifests

app = typer.Typer(
    help="Customers' cloud accounts: connect, verify, hold, revoke.", no_args_is_help=True, add_completion=False
)

Name = Annotated[str, typer.Argument(help="name of the account", metavar="NAME")]
Reason = Annotated[str, typer.Option(help="why; it goes into the audit trail")]
POLL_SECONDS = 0.5


@app.command()
def connect(
    name: Annotated[str | None, typer.Argument(help="what we call the account", metavar="NAME")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="a file of kind Account, instead of options")
    ] = None,
    customer: Annotated[str, typer.Option(help="whose account it is")] = "",
    cloud: Annotated[Cloud, typer.Option(help="which cloud")] = Cloud.AWS,
    cloud_account_id: Annotated[
        str, typer.Option("--account-id", help="AWS: 12 digits; GCP: project; Azure: subscription")
    ] = "",
    region: Annotated[list[str] | None, typer.Option(help="a region that may be used; repeat for several")] = None,
    contact: Annotated[str, typer.Option(help="e-mail address of who acts for the customer")] = "",
    wait: Annotated[bool, typer.Option(help="wait until the account is active")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Invite an account: from now on it is verified until everything is granted, then every day.

    Example: byoc accounts connect acme-aws --customer acme --account-id 111122223333 --region eu-west-1

    Example: byoc accounts connect acme-gcp --customer acme --cloud gcp --account-id acme-data --region europe-west4
    """
    spec = read_account(file) if file else _spec_of_options(name, customer, cloud, cloud_account_id, region, contact)
    state = ask(lambda plane: plane.connect_account(spec))
    if wait:
        state = ask(lambda plane: _until(plane, spec.name, AccountPhase.ACTIVE))
    if output is not Format.TABLE:
        print_data(state, output)
        return
    _print_account(state)
    if state.phase is not AccountPhase.ACTIVE:
        stdout.print(
            f"\nNext: `byoc accounts template {spec.name}` prints what the customer applies. "
            f"`byoc accounts show {spec.name}` says what is still missing."
        )


@app.command()
def template(
    name: Name,
    form: Annotated[
        TemplateForm | None,
        typer.Option(
            "--format",
            help="what is applied (AWS: json, yaml; GCP: gcloud, terraform, json; Azure: bicep, json), by default the "
            "first of these; table: what a reviewer reads",
        ),
    ] = None,
    output: Annotated[
        Format, typer.Option("--output", "-o", help="with --format table: table for people; json or yaml for programs")
    ] = Format.TABLE,
) -> None:
    """Print what the customer applies: roles with exactly the permissions that our steps need.

    For AWS it is a CloudFormation template, for Google Cloud a script that is to be read before it is run, or the same
    for Terraform. With --format table it is what their security review reads: for each action its limits, which step
    of which lifecycle needs it, and why.

    Example: byoc accounts template acme-aws --format yaml > byoc.yaml

    Example: byoc accounts template acme-gcp --format terraform > byoc.tf
    """
    if output is not Format.TABLE and form is not TemplateForm.TABLE:
        given = f"with --format {form}" if form else "without --format"
        raise BadInput([f"--output: {output} is how the table is printed. Allowed {given}: none; give --format table"])
    state = ask(lambda plane: plane.account(name))
    forms = FORMS[state.spec.cloud]
    if form and form not in forms:
        raise BadInput([f"--format: {form} is no form of {state.spec.cloud}. Allowed: {', '.join(forms)}"])
    text, code = render_template(state, form if output is Format.TABLE else TemplateForm.TABLE_JSON)
    if code:
        said = text.strip() or "the template cannot be made"
        fail(said, Exit.BAD_INPUT if code == Exit.BAD_INPUT else Exit.FAILED)
    if output is Format.TABLE:
        sys.stdout.write(text)
    else:
        print_data(PermissionTable.model_validate_json(text), output)


def render_template(state: AccountState, form: TemplateForm | None) -> tuple[str, int]:
    """Return the template's text in a form of the account's cloud and 0, or what went wrong and another number.

    It is made from the permissions that the activities of the account's cloud declare, so that cloud's SDK does it, in
    a process of its own.
    """
    spec = state.spec
    access = AccountAccess(
        account=spec.name,
        customer=spec.customer,
        cloud=spec.cloud,
        cloud_account_id=spec.cloud_account_id,
        external_id=state.external_id,
    )
    arguments = [
        sys.executable,
        "-m",
        "workers",
        "template",
        *(["--format", form] if form else []),
        *(f"--region={r}" for r in spec.regions),
    ]
    made = subprocess.run(arguments, input=access.model_dump_json(), capture_output=True, text=True, check=False)  # noqa: S603
    return (made.stdout, 0) if made.returncode == 0 else (made.stderr, made.returncode)


@app.command()
def verify(name: Name, output: FormatOption = Format.TABLE) -> None:
    """Verify now what the customer granted; exit code 1 if anything is missing.

    What is granted beyond that is listed as surplus, with the policy that grants it. It stops nothing.

    Example: byoc accounts verify acme-aws
    """
    state = ask(lambda plane: plane.verify_account(name))
    _print(state, output)
    if state.refusal or (state.report and not state.report.complete):
        sys.exit(Exit.FAILED)


@app.command("list")
def list_accounts(output: FormatOption = Format.TABLE) -> None:
    """List the accounts that are connected.

    Example: byoc accounts list -o json
    """
    rows = ask(lambda plane: plane.accounts())
    if output is not Format.TABLE:
        print_data(rows, output)
        return
    print_rows(
        ("NAME", "CUSTOMER", "CLOUD", "PHASE", "WAITING FOR", "AGE"),
        [(row.name, row.customer, row.cloud, row.phase, row.waiting_for, ago(row.started_at)) for row in rows],
        empty="No account is connected. `byoc accounts connect --help` says how.",
    )


@app.command()
def show(name: Name, output: FormatOption = Format.TABLE) -> None:
    """Show one account: phase, what is missing, what is granted and not needed, and which role is withheld.

    Example: byoc accounts show acme-aws
    """
    state = ask(lambda plane: plane.account(name))
    _print(state, output)


@app.command()
def hold(name: Name, reason: Reason = "", output: FormatOption = Format.TABLE) -> None:
    """Hands off: the step under way ends, then work in this account parks, and nothing starts until it is released.

    Requests are accepted meanwhile and wait in their deployments' queues. Reads and the daily verification go on.

    Example: byoc accounts hold acme-aws --reason "change freeze until Monday"
    """
    _print(ask(lambda plane: plane.hold_account(name, reason)), output)


@app.command()
def release(name: Name, reason: Reason = "", output: FormatOption = Format.TABLE) -> None:
    """End a hold; the account is verified, then everything that was parked goes on by itself.

    Example: byoc accounts release acme-aws
    """
    _print(ask(lambda plane: plane.release_account(name, reason)), output)


@app.command()
def revoke(
    name: Name,
    reason: Reason = "",
    wait: Annotated[bool, typer.Option(help="wait for the proof")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Leave an account: once the customer has deleted our roles, prove that we cannot enter any more.

    Deployments in it must be retired first. One whose workflow was terminated is forgotten by `byoc accounts verify`.

    Example: byoc accounts revoke acme-aws --reason "contract ended" --wait
    """
    state = ask(lambda plane: plane.revoke_account(name, reason))
    if wait:
        state = ask(lambda plane: _until(plane, name, AccountPhase.REVOKED))
    _print(state, output)


app.command("history")(account_history)


def read_account(file: Path) -> AccountSpec:
    """Return what a file of kind Account describes.

    Raises:
        BadInput: It cannot be read, or holds something else.
        ManifestInvalid: With everything that is wrong with it.
    """
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise BadInput([f"--file: {file} cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise BadInput([f"--file: {file} is not UTF-8 text"]) from error
    manifests = read_manifests(text, catalogue=load())
    accounts = [manifest.spec for manifest in manifests if isinstance(manifest, AccountManifest)]
    if len(accounts) != 1 or len(manifests) != 1:
        raise BadInput([f"--file: {file} holds {len(manifests)} documents. Allowed: one of kind Account"])
    return accounts[0]


_OPTIONS = {
    "metadata.name": "NAME",
    "spec.customer": "--customer",
    "spec.cloudAccountId": "--account-id",
    "spec.regions": "--region",
    "spec.contact": "--contact",
}
"""Which option gives a field; keyed by the field's path in a file."""


def _spec_of_options(
    name: str | None, customer: str, cloud: Cloud, account_id: str, regions: list[str] | None, contact: str
) -> AccountSpec:
    given = {"NAME": name, "--customer": customer, "--account-id": account_id, "--region": regions}
    if missing := [option for option, value in given.items() if not value]:
        raise BadInput([f"{option}: is missing. Give it, or describe the account in a file (-f)" for option in missing])
    spec = {"customer": customer, "cloud": str(cloud), "cloudAccountId": account_id, "regions": regions}
    described = {
        "apiVersion": API_VERSION,
        "kind": "Account",
        "metadata": {"name": name},
        "spec": spec | ({"contact": contact} if contact else {}),
    }
    try:
        (manifest,) = read_manifests(yaml.safe_dump(described), catalogue=load())
    except ManifestInvalid as error:
        raise BadInput([_about_an_option(problem) for problem in error.problems]) from error
    assert isinstance(manifest, AccountManifest), "its kind is Account"
    return manifest.spec


def _about_an_option(problem: Problem) -> Problem:
    """Return the problem with the option's name in place of the field's, and without a line: there is no file."""
    path = problem.path.partition("[")[0]
    return problem.model_copy(update={"path": _OPTIONS.get(path, path), "line": None})


async def _until(plane: ControlPlane, name: str, phase: AccountPhase) -> AccountState:
    """Return the account as soon as it is in a phase."""
    while True:
        state = await plane.account(name)
        if state.phase is phase:
            return state
        await asyncio.sleep(POLL_SECONDS)


def _print(state: AccountState, output: Format) -> None:
    if output is Format.TABLE:
        _print_account(state)
    else:
        print_data(state, output)


def _print_account(state: AccountState) -> None:
    spec, report = state.spec, state.report
    print_facts(
        [
            ("Account", spec.name),
            ("Customer", spec.customer),
            ("Cloud", f"{spec.cloud} {spec.cloud_account_id}"),
            ("Regions", ", ".join(spec.regions)),
            ("Phase", f"{state.phase}, for {ago(state.since)}"),
            ("Held because", state.hold_reason),
            ("Held by", str(state.by) if state.phase is AccountPhase.HELD else ""),
            ("Narrowed", state.standing.withholding_in_words() if state.standing.withheld else ""),
            ("Refused", state.refusal),
            ("Verified", f"{ago(report.verified_at)} ago, {report.checked_actions} actions" if report else ""),
            ("Acting as", report.principal if report else ""),
            ("Deployments", ", ".join(state.deployments)),
        ]
    )
    if report:
        _print_report(report)
    if state.proof:
        stdout.print(f"\nProven gone at {state.proof.proven_at:%Y-%m-%d %H:%M:%SZ}:")
        for refusal in state.proof.refusals:
            stdout.print(f"  {escape(refusal)}")


def _print_report(report: AccessReport) -> None:
    """Print what is granted too little and too much."""
    if report.missing:
        stdout.print("\nMissing; the customer has to grant:")
        for missing in report.missing:
            stdout.print(f"  {escape(missing.action)} on {escape(missing.resource)} ({missing.purpose})")
    if report.surplus:
        stdout.print("\nSurplus; no step needs it, the customer can take it away:")
        for surplus in report.surplus:
            where = f"on {surplus.resource} ({surplus.purpose}), by {surplus.granted_by}: {surplus.because}"
            stdout.print(f"  {escape(surplus.action)} {escape(where)}")
    if report.more_surplus:
        stdout.print(f"  … and {report.more_surplus} more")
