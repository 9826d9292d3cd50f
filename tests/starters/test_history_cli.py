"""`history`, as operators type it, against a real Temporal server."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from domain.audit import AuditEntry, AuditKind
from domain.failure import FailureClass
from starters.history.fold import Child
from starters.history.reader import Histories
from tests.starters.conftest import Byoc
from tests.starters.test_cli import ROOT, manifest
from tests.workflows.scripted_cloud import ScriptedCloud

BYOC = (sys.executable, "-c", "from starters.cli import main; main()")


@pytest.fixture
async def retired(byoc: Byoc, client: Client, tmp_path: Path, account: str, name: str) -> str:
    """A deployment that was ordered, got a key, and was retired."""
    made = await byoc("deployments", "create", "-f", manifest(tmp_path, name, account), "--watch")
    key = await byoc("api-keys", "create", name, "--name", "reporting", "--scope", "read")
    over = await byoc("deployments", "retire", name, "--reason", "trial ended", "--yes", "--watch")
    assert (made.code, key.code, over.code) == (0, 0, 0), made.err + key.err + over.err
    # Its last operation is over a moment before the deployment is.
    await client.get_workflow_handle(f"deployment/{name}").result()
    return name


def objects(out: str) -> list[Any]:
    """Return what was printed, one JSON object a line."""
    return [json.loads(text) for text in out.splitlines()]


async def test_each_format_tells_the_same_lines(byoc: Byoc, retired: str) -> None:
    """Table, JSON, YAML and JSON lines agree; the first line is the order, by who ordered."""
    table = await byoc("deployments", "history", retired)
    as_json = (await byoc("deployments", "history", retired, "-o", "json")).json()
    as_yaml = yaml.safe_load((await byoc("deployments", "history", retired, "-o", "yaml")).out)
    as_lines = objects((await byoc("deployments", "history", retired, "-o", "jsonl")).out)

    assert as_json == as_yaml == as_lines
    assert len(table.out.splitlines()) == len(as_json) + 1
    assert table.out.splitlines()[0].split() == ["TIME", "WHO", "OPERATION", "KIND", "WHAT"]
    assert as_json[0]["kind"] == "requested"
    assert as_json[0]["actor"] == {"name": "ada@vendor", "door": "cli"}
    operations = [line["operation"] for line in as_json if line["kind"] == "ended"]
    assert operations == ["provision/1", "reconfigure/2", "retire/3", ""]


async def test_lines_are_chosen_by_operation_kind_and_time(byoc: Byoc, retired: str) -> None:
    """Each option narrows what is told, and nothing of what is asked for is left out."""
    every = (await byoc("deployments", "history", retired, "-o", "json")).json()
    middle = every[len(every) // 2]["at"]

    async def told(*options: str) -> list[Any]:
        return objects((await byoc("deployments", "history", retired, "-o", "jsonl", *options)).out)

    of_one = await told("--operation", "retire/3")
    asked = await told("--kind", "requested", "--kind", "key-changed")
    since, until, long_ago = await told("--since", middle), await told("--until", middle), await told("--until", "1d")

    assert of_one == [line for line in every if line["operation"] == "retire/3"]
    assert [(line["operation"], line["summary"].partition(" ")[0]) for line in asked] == [
        ("", "order"), ("reconfigure/2", "create"), ("retire/3", "retire,"),
    ]  # fmt: skip
    assert {line["id"] for line in since} | {line["id"] for line in until} == {line["id"] for line in every}
    assert 0 < len(since) < len(every)
    assert 0 < len(until) < len(every)
    assert long_ago == []


async def test_an_export_is_valid_cloudevents_and_the_same_the_next_time(byoc: Byoc, retired: str) -> None:
    """CloudEvents' own SDK reads each; source and id repeat in a second export and never within one."""
    first = await byoc("deployments", "history", retired, "-o", "cloudevents")
    second = await byoc("deployments", "history", retired, "-o", "cloudevents")

    events = [JSONFormat().read(CloudEvent, text) for text in first.out.splitlines()]
    ids = [(event.get_source(), event.get_id()) for event in events]
    assert second.out == first.out
    assert len(set(ids)) == len(ids)
    assert {event.get_specversion() for event in events} == {"1.0"}
    assert {event.get_source() for event in events} == {f"/temporal/default/deployment/{retired}"}
    assert {"dev.byoc.deployment.requested", "dev.byoc.deployment.step"} <= {event.get_type() for event in events}
    assert {event.get_subject() for event in events} == {retired, "provision/1", "reconfigure/2", "retire/3"}
    assert all(isinstance(event.get_data(), dict) for event in events)


async def test_an_account_tells_who_connected_it_and_what_each_look_found(
    byoc: Byoc, client: Client, cloud: ScriptedCloud, account: str
) -> None:
    """Connected, verified, held, released, refused once, and revoked, each with its actor."""
    await byoc("accounts", "hold", account, "--reason", "freeze")
    cloud.fail("verify_access", FailureClass.AUTH)
    await byoc("accounts", "release", account)
    await byoc("accounts", "verify", account)
    await byoc("accounts", "revoke", account, "--reason", "contract ended", "--wait")
    await client.get_workflow_handle(f"account/{account}").result()

    lines = objects((await byoc("accounts", "history", account, "-o", "jsonl")).out)

    asked = [(line["kind"], line["summary"]) for line in lines if line["actor"]["name"] == "ada@vendor"]
    assert asked == [
        ("requested", "connect aws 111122223333 of acme (eu-central-1)"),
        ("held", "hold: freeze"),
        ("released", "release"),
        ("requested", "verify"),
        ("requested", "revoke: contract ended"),
    ]
    looks = {line["summary"]: line["party"] for line in lines if line["kind"] == "verified"}
    assert looks["everything that is needed is granted (10 actions)"] is None
    assert looks["could not look: verify_access met AuthenticationRefused"] == "customer"
    assert (lines[-1]["kind"], lines[-1]["outcome"], lines[-1]["missing"]) == ("ended", "revoked", "AccessDenied")


async def test_every_generation_of_a_name_is_told(
    byoc: Byoc, client: Client, tmp_path: Path, account: str, retired: str
) -> None:
    """Ordered again after a retirement, the deployment's trail begins with its first life."""
    again = await byoc("deployments", "create", "-f", manifest(tmp_path, retired, account), "--watch")
    await client.get_workflow_handle(f"deployment/{retired}/provision/1").result()

    lines = objects((await byoc("deployments", "history", retired, "-o", "jsonl")).out)

    assert again.code == 0, again.err
    orders = [line["summary"] for line in lines if line["summary"].startswith("order ")]
    assert len(orders) == 2
    assert [("generation 2" in order) for order in orders] == [False, True]
    ended = [(line["operation"], line["outcome"]) for line in lines if line["kind"] == "ended"]
    assert ended == [
        ("provision/1", "done"), ("reconfigure/2", "done"), ("retire/3", "done"), ("", "retired"),
        ("provision/1", "done"),
    ]  # fmt: skip
    assert [line for line in lines if line["kind"] == "gap"] == []


async def test_what_retention_has_taken_is_named(client: Client) -> None:
    """An operation whose history is not there (any more) leaves a line that says so, at the time of its start."""
    lost = Child("deployment/acme-prod/reconfigure/2", str(uuid4()), datetime(2026, 1, 2, tzinfo=UTC))

    told = [each async for each in Histories(client).of_child(lost)]

    (gap,) = told
    assert isinstance(gap, AuditEntry)
    assert (gap.kind, gap.operation, gap.at) == (AuditKind.GAP, "reconfigure/2", lost.began)
    assert gap.summary == f"the history of {lost.workflow_id} is not kept by Temporal any more"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["--since", "yesterday"], ["--since", "'yesterday'", "2026-05-01", "7d"]),
        (["--since", "1h", "--until", "2h"], ["--until", "2h", "before"]),
        (["--kind", "gossip"], ["--kind", "gossip", "requested", "waited"]),
        (["-o", "xml"], ["--output", "xml", "cloudevents"]),
        (["--follow", "-o", "json"], ["json", "jsonl"]),
    ],
    ids=" ".join,
)
async def test_a_malformed_question_is_refused_with_what_is_allowed(
    byoc: Byoc, typed: list[str], words: list[str]
) -> None:
    """The exit code is 2, and the message names the option, what was given and what may be."""
    ran = await byoc("deployments", "history", "acme-prod", *typed)

    assert ran.code == 2, ran.out + ran.err
    assert [word for word in words if word not in " ".join(ran.err.replace("│", " ").split())] == []


@pytest.mark.parametrize("group", ["deployments", "accounts"])
async def test_what_never_was_has_no_history(byoc: Byoc, group: str) -> None:
    """The exit code is 1, and the message names what is not there."""
    ran = await byoc(group, "history", "nobody")

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("Error: there is no history of ")
    assert "'nobody'" in ran.err


async def test_following_tells_what_happens_until_ctrl_c(
    byoc: Byoc, cloud: ScriptedCloud, temporal: WorkflowEnvironment, tmp_path: Path, account: str, name: str
) -> None:
    """The wait is told when it begins and when it ends, and Ctrl-C ends the telling alone, with 130."""
    cloud.refuse("create_egress", FailureClass.PERMISSION, "ec2:CreateNatGateway")
    await byoc("deployments", "create", "-f", manifest(tmp_path, name, account))
    following = await asyncio.create_subprocess_exec(
        *BYOC, "deployments", "history", name, "--follow", "-o", "jsonl",
        env={**os.environ, "TEMPORAL_ADDRESS": temporal.client.service_client.config.target_host},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert following.stdout is not None

    async def until(kind: str, step: str) -> dict[str, Any]:
        assert following.stdout is not None
        while True:
            line: dict[str, Any] = json.loads(await asyncio.wait_for(following.stdout.readline(), 60))
            if (line["kind"], line["step"]) == (kind, step):
                return line

    began = await until("waiting", "create_egress")
    cloud.allow("create_egress")
    await byoc("deployments", "retry", name, "--step", "create_egress")
    waited = await until("waited", "create_egress")
    ended = await until("ended", "")
    following.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(following.communicate(), 30)
    after = await byoc("deployments", "show", name, "-o", "json")

    assert (began["party"], began["at"]) == ("customer", waited["at"])
    assert (waited["actor"]["name"], ended["operation"]) == ("ada@vendor", "provision/1")
    assert following.returncode == 130
    assert b"Traceback" not in err
    assert after.json()["phase"] == "active"


async def test_a_reader_that_has_seen_enough_is_no_error(temporal: WorkflowEnvironment, retired: str) -> None:
    """Piped into `head`, the command ends quietly and says nothing on standard error."""
    telling = f"{shlex.join(BYOC)} deployments history {retired} -o jsonl"
    shell = await asyncio.create_subprocess_exec(
        "bash", "-c", f"{telling} | head -n 1; echo ${{PIPESTATUS[0]}}",
        env={**os.environ, "TEMPORAL_ADDRESS": temporal.client.service_client.config.target_host},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    out, err = await asyncio.wait_for(shell.communicate(), 60)

    line, code = out.decode().splitlines()
    assert json.loads(line)["kind"] == "requested"
    assert (code, err) == ("0", b"")
