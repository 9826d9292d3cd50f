"""What operators type, and what they get."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import yaml
from temporalio.testing import WorkflowEnvironment

from domain.account import SurplusPermission
from domain.clouds import Purpose
from domain.failure import FailureClass
from starters.cli.app import ENTRIES, load
from tests.starters.conftest import Byoc
from tests.starters.malformed import MALFORMED, Malformed
from tests.workflows.scripted_cloud import ANSWERS, ScriptedCloud

Count = Callable[[], Awaitable[int]]
ROOT = Path(__file__).parents[2]


def manifest(folder: Path, name: str, account: str, **spec: object) -> str:
    """Write an order and return its path."""
    file = folder / f"{name}.yaml"
    document = {
        "apiVersion": "byoc.dev/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "account": account,
            "region": "eu-central-1",
            "endpoint": {"domain": f"{name}.db.acme.example"},
            **spec,
        },
    }
    file.write_text(yaml.safe_dump(document), "utf-8")
    return str(file)


@pytest.fixture
async def deployment(byoc: Byoc, tmp_path: Path, account: str, name: str) -> str:
    """An active deployment."""
    made = await byoc("deployments", "create", "-f", manifest(tmp_path, name, account), "--watch")
    assert made.code == 0, made.err + made.out
    return name


def commands() -> list[list[str]]:
    """Return every command there is, as one types it."""

    def typed(name: str, command: object) -> list[list[str]]:
        inner = getattr(command, "commands", {})
        below = [words for each, further in inner.items() for words in typed(each, further)]
        return [[name, *words] for words in below] if inner else [[name]]

    return [words for name, entry in ENTRIES.items() for words in typed(name, load(entry))]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
async def test_every_command_teaches_itself_with_an_example(byoc: Byoc, command: list[str]) -> None:
    """`--help` says what the command does and shows one call of it."""
    ran = await byoc(*command, "--help")

    assert ran.code == 0
    assert f"Example: byoc {' '.join(command)}" in " ".join(ran.out.split())


def test_the_list_of_commands_says_of_each_what_it_says_of_itself() -> None:
    """The summaries that `byoc --help` shows without importing a command are the commands' own first sentences."""
    told = {name: load(entry).get_short_help_str(limit=200).rstrip(".") for name, entry in ENTRIES.items()}

    assert told == {name: entry.summary.rstrip(".") for name, entry in ENTRIES.items()}


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.name)
async def test_a_malformed_file_starts_nothing_and_names_the_field(
    byoc: Byoc, workflows_started: Count, tmp_path: Path, case: Malformed
) -> None:
    """Whatever is wrong with a file, the exit code is 2, the field is named, and no workflow starts."""
    file = tmp_path / "order.yaml"
    file.write_text(case.text, "utf-8")
    command = ("accounts", "connect") if "kind: Account" in case.text else ("deployments", "create")
    before = await workflows_started()

    ran = await byoc(*command, "-f", str(file))

    assert ran.code == 2, ran.out + ran.err
    assert case.path in ran.err
    assert [word for word in case.words if word not in ran.err] == []
    assert "Traceback" not in ran.err
    assert await workflows_started() == before


@pytest.mark.parametrize("case", MALFORMED[:3], ids=lambda case: case.name)
async def test_validate_needs_no_server(byoc: Byoc, tmp_path: Path, case: Malformed) -> None:
    """A file is checked where nothing runs."""
    file = tmp_path / "order.yaml"
    file.write_text(case.text, "utf-8")

    wrong = await byoc("validate", "-f", str(file), TEMPORAL_ADDRESS="127.0.0.1:1")
    right = await byoc(
        "validate", "-f", str(ROOT / "docs/examples/deployment-small.yaml"), TEMPORAL_ADDRESS="127.0.0.1:1"
    )

    assert (wrong.code, right.code) == (2, 0)
    assert right.out == "Deployment acme-dev is valid.\n"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["accounts", "connect", "acme-aws"], ["--customer", "is missing"]),
        (["accounts", "connect", "acme-aws", "--cloud", "awz"], ["--cloud", "awz", "aws", "gcp", "azure"]),
        (
            ["accounts", "connect", "a b", "--customer", "acme", "--account-id", "111122223333", "--region", "x"],
            ["NAME", '"a b"'],
        ),
        (
            ["accounts", "connect", "acme-aws", "--customer", "acme", "--account-id", "12", "--region", "eu-west-1"],
            ["--account-id", "12 digits"],
        ),
        (
            ["accounts", "connect", "acme-aws", "--customer", "acme", "--account-id", "1" * 12, "--region", "mars"],
            ["--region", '"mars"', "not a region of aws"],
        ),
        (["deployments", "create"], ["--file"]),
        (["deployments", "create", "-f", "/nowhere.yaml"], ["--file", "/nowhere.yaml", "No such file"]),
        (["deployments", "list", "-o", "xml"], ["--output", "xml", "table", "json", "yaml"]),
        (["deployments", "retire"], ["NAME"]),
        (
            ["deployments", "retire", "acme-dev", "--final-backup", "maybe", "--yes"],
            ["--final-backup", "maybe", "keep"],
        ),
        (["api-keys", "create", "acme-dev", "--name", "x", "--scope", "root"], ["root", "read, write, admin"]),
        (["api-keys", "create", "acme-dev", "--name", "x", "--scope", "read", "--days", "999"], ["365 days"]),
        (["worker", "everything"], ["everything", "lifecycles", "cloud", "all"]),
        (["schema", "Cluster"], ["Cluster"]),
        (["frobnicate"], ["frobnicate"]),
    ],
    ids=lambda value: " ".join(value[:6]) if isinstance(value, list) else "",
)
async def test_a_malformed_command_is_refused_with_what_is_allowed(
    byoc: Byoc, workflows_started: Count, typed: list[str], words: list[str]
) -> None:
    """The exit code is 2, and the message names the option, what was given and what may be."""
    before = await workflows_started()

    ran = await byoc(*typed)

    assert ran.code == 2, ran.out + ran.err
    assert [word for word in words if word not in " ".join(ran.err.replace("│", " ").split())] == []
    assert await workflows_started() == before


async def test_an_account_goes_through_its_life(byoc: Byoc, account: str) -> None:
    """Connect twice, list, show, verify, hold, release, revoke: each does what it says."""
    again = await byoc(
        "accounts", "connect", account, "--customer", "acme", "--account-id", "111122223333",
        "--region", "eu-central-1", "-o", "json",
    )  # fmt: skip
    other = await byoc(
        "accounts", "connect", account, "--customer", "acme", "--account-id", "999999999999", "--region", "eu-central-1"
    )
    verified = await byoc("accounts", "verify", account, "-o", "json")
    held = await byoc("accounts", "hold", account, "--reason", "freeze", "-o", "json")
    held_again = await byoc("accounts", "hold", account)
    released = await byoc("accounts", "release", account, "-o", "yaml")
    shown = await byoc("accounts", "show", account)
    revoked = await byoc("accounts", "revoke", account, "--wait", "-o", "json")

    assert (again.code, again.json()["phase"]) == (0, "active")
    assert (other.code, "connected already" in other.err) == (1, True)
    assert verified.json()["report"]["checkedActions"] == 10
    assert (held.json()["phase"], held.json()["holdReason"]) == ("held", "freeze")
    assert (held_again.code, "held already" in held_again.err) == (1, True)
    assert yaml.safe_load(released.out)["phase"] in ("suspended", "active")
    assert account in shown.out
    assert (revoked.json()["phase"], bool(revoked.json()["proof"]["refusals"])) == ("revoked", True)


async def test_what_is_granted_too_much_is_listed_and_is_no_failure(
    byoc: Byoc, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verification that finds something surplus, or a role withheld, says so and exits with 0."""
    surplus = SurplusPermission(
        purpose=Purpose.OPERATE, action="ec2:*", granted_by="inline policy x", because="no step declares it"
    )
    report = ANSWERS["verify_access"].model_copy(
        update={"surplus": (surplus,), "more_surplus": 2, "withheld": (Purpose.DELETE,)}
    )
    monkeypatch.setitem(ANSWERS, "verify_access", report)

    verified = await byoc("accounts", "verify", account)
    shown = await byoc("accounts", "show", account, "-o", "json")

    assert verified.code == 0
    assert "the role for delete" in verified.out
    assert "ec2:* on * (operate), by inline policy x: no step declares it" in verified.out
    assert "and 2 more" in verified.out
    assert shown.json()["report"]["surplus"][0]["grantedBy"] == "inline policy x"
    assert shown.json()["report"]["withheld"] == ["delete"]


async def test_the_template_is_printed_for_the_customer_and_needs_to_know_who_we_are(byoc: Byoc, account: str) -> None:
    """The template names the account's external id; without a principal the command says which setting is missing."""
    principal = "arn:aws:iam::444455556666:role/control-plane"
    as_json = await byoc("accounts", "template", account, BYOC_AWS_PRINCIPAL=principal)
    as_table = await byoc("accounts", "template", account, "--format", "table", BYOC_AWS_PRINCIPAL=principal)
    rows = await byoc("accounts", "template", account, "--format", "table", "-o", "json", BYOC_AWS_PRINCIPAL=principal)
    mixed = await byoc("accounts", "template", account, "-o", "json", BYOC_AWS_PRINCIPAL=principal)
    nobody = await byoc("accounts", "template", account, BYOC_AWS_PRINCIPAL="")

    known = (await byoc("accounts", "show", account, "-o", "json")).json()
    assert known["externalId"] in as_json.out
    assert principal in as_json.out
    assert as_table.out.startswith("# What acme grants")
    assert known["externalId"] in as_table.out
    (create_vpc,) = [line for line in rows.json()["lines"] if line["action"] == "ec2:CreateVpc"]
    assert [(use["step"], use["lifecycles"]) for use in create_vpc["uses"]] == [("Create the network", ["provision"])]
    assert (mixed.code, "--format table" in mixed.err) == (2, True)
    assert (nobody.code, "BYOC_AWS_PRINCIPAL" in nobody.err) == (1, True)


async def test_a_deployment_is_ordered_watched_and_retired_with_a_receipt(
    byoc: Byoc, tmp_path: Path, account: str, deployment: str
) -> None:
    """The main job by the command line alone."""
    again = await byoc("deployments", "create", "-f", manifest(tmp_path, deployment, account), "-o", "json")
    other = await byoc("deployments", "create", "-f", manifest(tmp_path, deployment, account, shape="v1-medium"))
    shown = await byoc("deployments", "show", deployment)
    as_json = await byoc("deployments", "show", deployment, "-o", "json")
    converged = await byoc("deployments", "converge", deployment, "--reason", "drift", "--watch")
    no_receipt = await byoc("deployments", "receipt", deployment)
    busy = await byoc("accounts", "revoke", account)
    mistyped = await byoc("deployments", "retire", deployment, typed="something-else\n")
    retired = await byoc("deployments", "retire", deployment, "--reason", "trial ended", "--yes", "--watch")
    receipt = await byoc("deployments", "receipt", deployment)

    assert again.json()["operations"] == 1
    assert (other.code, "another specification" in other.err) == (1, True)
    assert f"{deployment}.db.acme.example" in as_json.out
    assert "provision/1" in shown.out
    assert (converged.code, "provision/2 is done" in converged.out) == (0, True)
    assert (no_receipt.code, "there is no receipt" in no_receipt.err) == (1, True)
    assert (busy.code, deployment in busy.err) == (1, True)
    assert mistyped.code == 2
    assert (retired.code, "retire/3 is done" in retired.out) == (0, True)
    assert receipt.out.startswith(f"# Offboarding receipt: {deployment}")


async def test_a_wait_is_shown_with_who_must_act_and_can_be_decided(
    byoc: Byoc, cloud: ScriptedCloud, tmp_path: Path, account: str, name: str
) -> None:
    """Watching names the permission; `retry` goes on at once when it is granted; the list shows whom we wait for."""
    cloud.refuse("create_egress", FailureClass.PERMISSION, "ec2:CreateNatGateway")
    await byoc("deployments", "create", "-f", manifest(tmp_path, name, account))
    for _ in range(200):
        waiting = await byoc("deployments", "show", name)
        if "ec2:CreateNatGateway" in waiting.out:
            break
        await asyncio.sleep(0.05)
    too_bold = await byoc("deployments", "skip", name, "--step", "create_egress")
    unknown = await byoc("deployments", "retry", name, "--step", "no_such_step")
    cloud.allow("create_egress")
    retried = await byoc("deployments", "retry", name, "--step", "create_egress", "--reason", "granted")
    watched = await byoc("deployments", "watch", name)

    assert "Waiting for the customer" in waiting.out
    assert "ec2:CreateNatGateway" in waiting.out
    assert (too_bold.code, "allowed: retry" in too_bold.err) == (1, True)
    assert (unknown.code, "create_egress" in unknown.err) == (1, True)
    assert (retried.code, retried.out) == (0, "retry by ada@vendor (cli)\n")
    assert (watched.code, "provision/1 is done" in watched.out) == (0, True)


async def test_what_is_asked_for_during_a_hold_is_parked_until_the_release(
    byoc: Byoc, temporal: WorkflowEnvironment, account: str, deployment: str
) -> None:
    """Requests are accepted and say for whom they wait; who watches waits with them; the release starts them."""
    held = await byoc("accounts", "hold", account, "--reason", "change freeze")
    converged = await byoc("deployments", "converge", deployment, "--reason", "drift")
    key = await byoc("api-keys", "create", deployment, "--name", "reporting", "--scope", "read")
    shown = await byoc("deployments", "show", deployment)
    busy = await byoc("accounts", "revoke", account)
    watching = await _watching(temporal, deployment, "--operation", "provision/2")
    assert watching.stdout is not None
    first_line = await asyncio.wait_for(watching.stdout.readline(), 30)
    released = await byoc("accounts", "release", account)
    out, _ = await asyncio.wait_for(watching.communicate(), 60)

    parked = f"Parked: The customer holds the account {account}: change freeze."
    assert ("Held by" in held.out, deployment in held.out) == (True, True)
    assert "provision/2 is queued." in converged.out
    assert parked in converged.out
    assert (key.code, "Recorded, not applied yet." in key.err) == (0, True)
    assert "queued, parked" in shown.out
    assert (busy.code, deployment in busy.err) == (1, True)
    assert first_line.decode().startswith(parked)
    assert released.code == 0
    assert (watching.returncode, "provision/2 is done" in out.decode()) == (0, True)


async def test_an_abort_takes_the_first_provisioning_back_and_says_so_by_its_exit_code(
    byoc: Byoc, cloud: ScriptedCloud, tmp_path: Path, account: str, name: str
) -> None:
    """Whoever watches an operation that is aborted leaves with 4."""
    cloud.refuse("create_egress", FailureClass.PERMISSION, "ec2:CreateNatGateway")
    await byoc("deployments", "create", "-f", manifest(tmp_path, name, account))
    aborted = await byoc("deployments", "abort", name, "--yes", "--reason", "wrong region")
    watched = await byoc("deployments", "watch", name)

    assert aborted.code == 0, aborted.err
    assert (watched.code, "provision/1 is aborted" in watched.out) == (4, True)


async def test_api_keys_are_created_listed_rotated_and_revoked(byoc: Byoc, deployment: str) -> None:
    """The key is shown once; lists know it by its id alone."""
    made = (await byoc("api-keys", "create", deployment, "--name", "reporting", "--scope", "read", "-o", "json")).json()
    rotated = (await byoc("api-keys", "rotate", deployment, made["id"], "-o", "json")).json()
    revoked = await byoc("api-keys", "revoke", deployment, rotated["id"])
    listed = await byoc("api-keys", "list", deployment, "-o", "json")
    unknown = await byoc("api-keys", "rotate", deployment, "nosuchkey")

    assert made["key"].startswith(f"byoc_{made['id']}_")
    assert made["key"] not in listed.out
    assert rotated["name"] == "reporting"
    assert revoked.code == 0, revoked.err
    assert {key["id"]: bool(key["revokedAt"]) for key in listed.json()} == {made["id"]: False, rotated["id"]: True}
    assert (unknown.code, made["id"] in unknown.err) == (1, True)


async def test_lists_are_tables_for_people_and_data_for_programs(byoc: Byoc, account: str, deployment: str) -> None:
    """The same rows in each form; a table is not cut where there is no terminal."""
    for _ in range(100):
        rows = (await byoc("deployments", "list", "--account", account, "-o", "json")).json()
        if rows and rows[0]["phase"] == "active":
            break
        await asyncio.sleep(0.05)
    table = await byoc("deployments", "list", "--account", account)
    as_yaml = await byoc("accounts", "list", "-o", "yaml")
    by_quote = await byoc("deployments", "list", "--account", "it's")

    assert [row["name"] for row in rows] == [deployment]
    assert table.out.splitlines()[0].split()[:3] == ["NAME", "CUSTOMER", "ACCOUNT"]
    assert "…" not in table.out
    assert account in [row["name"] for row in yaml.safe_load(as_yaml.out)]
    assert by_quote.code == 0, by_quote.err


@pytest.mark.parametrize(
    "command",
    [
        ["accounts", "show", "nobody"], ["deployments", "show", "nobody"], ["deployments", "watch", "nobody"],
        ["deployments", "retire", "nobody", "--yes"], ["api-keys", "list", "nobody"], ["accounts", "verify", "nobody"],
        ["deployments", "converge", "nobody"], ["deployments", "retry", "nobody"],
    ],
    ids=" ".join,
)  # fmt: skip
async def test_what_does_not_exist_is_said_in_one_line(byoc: Byoc, cloud: ScriptedCloud, command: list[str]) -> None:
    """The exit code is 1 and the message names what is not there."""
    ran = await byoc(*command)

    assert ran.code == 1
    assert ran.err.splitlines()[0].startswith("Error: there is no ")
    assert "'nobody'" in ran.err


async def test_a_temporal_that_is_down_is_said_with_what_to_do(byoc: Byoc) -> None:
    """The exit code is 3."""
    ran = await byoc("deployments", "list", TEMPORAL_ADDRESS="127.0.0.1:1")

    assert ran.code == 3
    assert "Temporal does not answer" in ran.err
    assert "byoc dev" in ran.err


async def test_missing_workers_are_said_with_what_to_do(byoc: Byoc) -> None:
    """In a namespace that no worker polls, a question is not answered: exit code 3 after the given patience."""
    await byoc("setup", TEMPORAL_NAMESPACE="idle")
    ran = await byoc(
        "--patience", "1", "accounts", "connect", "acme-aws", "--customer", "acme", "--account-id", "111122223333",
        "--region", "eu-central-1", TEMPORAL_NAMESPACE="idle",
    )  # fmt: skip

    assert ran.code == 3, ran.err
    assert "byoc worker lifecycles" in ran.err


async def test_setup_prepares_a_namespace_once(byoc: Byoc, name: str) -> None:
    """The first call makes namespace and search attributes, the second finds them; before it, the CLI names it."""
    before = await byoc("deployments", "list", TEMPORAL_NAMESPACE=name)
    first = await byoc("setup", "-o", "json", TEMPORAL_NAMESPACE=name)
    second = await byoc("setup", "-o", "json", TEMPORAL_NAMESPACE=name)

    assert (before.code, "byoc setup" in before.err) == (3, True)
    assert (first.json()["namespaceMade"], len(first.json()["added"])) == (True, 9)
    assert (second.json()["namespaceMade"], second.json()["added"]) == (False, [])


async def test_ctrl_c_while_watching_says_that_the_work_goes_on(
    byoc: Byoc, cloud: ScriptedCloud, temporal: WorkflowEnvironment, tmp_path: Path, account: str, name: str
) -> None:
    """The exit code is 130, there is no traceback, and the operation is as it was."""
    cloud.refuse("create_egress", FailureClass.PERMISSION, "ec2:CreateNatGateway")
    await byoc("deployments", "create", "-f", manifest(tmp_path, name, account))
    watching = await _watching(temporal, name)
    assert watching.stdout is not None
    while b"ec2:CreateNatGateway" not in await asyncio.wait_for(watching.stdout.readline(), 30):
        continue
    watching.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(watching.communicate(), 20)
    after = await byoc("deployments", "show", name)

    assert watching.returncode == 130
    assert f"The work goes on: `byoc deployments watch {name}` shows it again." in out.decode()
    assert err == b""
    assert "Waiting for the customer" in after.out


async def _watching(temporal: WorkflowEnvironment, *arguments: str) -> asyncio.subprocess.Process:
    """Start `byoc deployments watch` in a process of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from starters.cli import main; main()", "deployments", "watch", *arguments,
        env={**os.environ, "TEMPORAL_ADDRESS": temporal.client.service_client.config.target_host},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
