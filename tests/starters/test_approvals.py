"""What operators and customers type to approve, and what they get."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from domain.failure import FailureClass
from tests.starters.conftest import Byoc
from tests.starters.test_cli import manifest
from tests.workflows.scripted_cloud import ScriptedCloud

GRACE = {"BYOC_ACTOR": "grace@vendor"}
BOB = {"BYOC_ACTOR": "bob@acme"}


def account_file(folder: Path, name: str, **approvals: Any) -> str:
    """Write an account's file and return its path."""
    file = folder / f"{name}.yaml"
    spec = {"customer": "acme", "cloud": "aws", "cloudAccountId": "111122223333", "regions": ["eu-central-1"]}
    document = {
        "apiVersion": "byoc.dev/v1",
        "kind": "Account",
        "metadata": {"name": name},
        "spec": {**spec, "approvals": approvals},
    }
    file.write_text(yaml.safe_dump(document), "utf-8")
    return str(file)


@pytest.fixture
async def careful(byoc: Byoc, cloud: ScriptedCloud, tmp_path: Path, name: str) -> str:
    """An active account in which both sides approve what deletes; its name."""
    file = account_file(tmp_path, f"{name}-aws", destructive=["vendor", "customer"], expiresAfter="PT1H")
    connected = await byoc("accounts", "connect", "-f", file, "--wait")
    assert connected.code == 0, connected.err
    return f"{name}-aws"


@pytest.fixture
async def retiring(byoc: Byoc, careful: str, tmp_path: Path, name: str) -> str:
    """A deployment whose retirement waits for approval; its name."""
    made = await byoc("deployments", "create", "-f", manifest(tmp_path, name, careful), "--watch")
    assert made.code == 0, made.err + made.out
    asked = await byoc("deployments", "retire", name, "--yes")
    assert asked.code == 0, asked.err
    await planned(byoc, name)
    return name


async def planned(byoc: Byoc, name: str) -> str:
    """Return the hash of the plan that waits, as soon as there is one."""
    for _ in range(200):
        shown = await byoc("approvals", "show", name, "-o", "json")
        assert shown.code == 0, shown.err
        if plan := shown.json()["plan"]:
            return str(plan["hash"])
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} has no plan")


async def until_phase(byoc: Byoc, name: str, phase: str) -> dict[str, Any]:
    """Return the deployment as soon as it is in a phase."""
    for _ in range(400):
        shown = (await byoc("deployments", "show", name, "-o", "json")).json()
        if shown["phase"] == phase:
            return dict(shown)
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} is never {phase}")


async def test_a_retirement_is_listed_shown_approved_by_both_sides_and_runs(byoc: Byoc, retiring: str) -> None:
    """From the list over the plan to two approvals, by a hash's first digits; a repeat gets the same answer."""
    hash_ = await planned(byoc, retiring)

    for _ in range(100):
        listed = (await byoc("approvals", "list", "-o", "json")).json()
        if any(row["deployment"] == retiring for row in listed):
            break
        await asyncio.sleep(0.05)
    row = next(row for row in listed if row["deployment"] == retiring)
    table = await byoc("approvals", "list")
    plan = await byoc("approvals", "show", retiring, "retire/2")
    deployment = await byoc("deployments", "show", retiring)
    vendor = [
        await byoc(
            "approvals", "approve", retiring, "retire/2", "--side", "vendor", "--hash", hash_[:8], "-o", "json", **GRACE
        )
        for _ in range(2)
    ]
    customer = await byoc("approvals", "approve", retiring, "--side", "customer", "--hash", hash_, **BOB)
    after = await until_phase(byoc, retiring, "retired")
    again = await byoc("approvals", "approve", retiring, "--side", "customer", "--hash", hash_[:10], **BOB)
    receipt = await byoc("deployments", "receipt", retiring)

    assert (row["operationId"], row["risk"], row["missing"]) == ("retire/2", "destructive", ["vendor", "customer"])
    assert hash_[:12] in table.out
    assert "delete_workloads" in plan.out
    assert "The data in the store is deleted" in plan.out
    assert hash_[:12] in deployment.out
    assert "anybody who speaks for the side" in deployment.out
    assert [each.code for each in vendor] == [0, 0], vendor[0].err
    assert vendor[0].json() == vendor[1].json()
    assert "Everybody has approved." in customer.out
    assert after["past"][-1]["approved"]["hash"] == hash_
    assert again.code == 0, again.err
    assert hash_ in receipt.out


async def test_without_a_hash_the_plan_is_shown_and_one_is_asked(byoc: Byoc, retiring: str) -> None:
    """Who says no has approved nothing; who says yes has approved what was shown."""
    hash_ = await planned(byoc, retiring)

    no = await byoc("approvals", "approve", retiring, "--side", "customer", typed="n\n", **BOB)
    yes = await byoc("approvals", "approve", retiring, "--side", "customer", typed="y\n", **BOB)

    assert (no.code, yes.code) == (1, 0)
    assert hash_ in no.out
    assert "Still missing: vendor." in yes.out


@pytest.mark.parametrize(
    ("arguments", "actor", "code", "words"),
    [
        (["--side", "customer", "--hash", "abc"], "bob@acme", 2, ["--hash", "'abc'", "8 to 64 hexadecimal digits"]),
        (["--side", "nobody", "--hash", "0" * 8], "bob@acme", 2, ["--side", "nobody", "vendor", "customer"]),
        (["--side", "customer", "--hash", "0" * 8], "bob@acme", 1, ["the plan has changed: present hash"]),
        (["retire/9", "--side", "customer", "--hash", "0" * 8], "bob@acme", 1, ["retire/9", "waiting: retire/2"]),
    ],
)
async def test_what_cannot_be_approved_is_said(
    byoc: Byoc, retiring: str, arguments: list[str], actor: str, code: int, words: list[str]
) -> None:
    """Wrong input has exit code 2, a refusal 1, and either names what is allowed."""
    ran = await byoc("approvals", "approve", retiring, *arguments, BYOC_ACTOR=actor)

    assert ran.code == code, ran.err
    assert [word for word in words if word not in ran.err] == []


async def test_the_requester_and_a_single_person_are_refused(byoc: Byoc, retiring: str) -> None:
    """Four eyes, in words."""
    hash_ = await planned(byoc, retiring)

    own = await byoc("approvals", "approve", retiring, "--side", "vendor", "--hash", hash_, BYOC_ACTOR="ada@vendor")
    one = await byoc("approvals", "approve", retiring, "--side", "vendor", "--hash", hash_, **GRACE)
    both = await byoc("approvals", "approve", retiring, "--side", "customer", "--hash", hash_, **GRACE)
    back = await byoc("approvals", "withdraw", retiring, "--side", "vendor", **GRACE)

    assert (own.code, one.code, both.code, back.code) == (1, 0, 1, 0)
    assert "ada@vendor asked for retire/2 and cannot approve it" in own.err
    assert "two persons" in both.err
    assert "Still missing: vendor, customer." in back.out


async def test_watching_says_whose_approval_is_missing_and_ends_when_it_is_declined(byoc: Byoc, retiring: str) -> None:
    """`retire --watch` waits as long as the approval takes; declined, it ends with exit code 4."""
    watching = asyncio.create_task(byoc("deployments", "retire", retiring, "--yes", "--watch"))
    await asyncio.sleep(1)

    declined = await byoc(
        "approvals", "decline", retiring, "--side", "vendor", "--reason", "the contract goes on", **GRACE
    )
    watched = await watching
    shown = await byoc("deployments", "show", retiring)

    assert declined.code == 0, declined.err
    assert "retire/2 waits for approval by the vendor and the customer" in watched.out
    assert watched.code == 4
    assert "declined" in watched.err
    assert "declined" in shown.out


async def test_a_delegate_is_named_and_a_policy_changed_by_the_right_side(
    byoc: Byoc, account: str, tmp_path: Path, name: str
) -> None:
    """The vendor asks for more, not for less; an approver lends his right until an instant."""
    strict = account_file(tmp_path, account, destructive=["customer"], approvers={"customer": ["bob@acme"]})
    loose = account_file(tmp_path / "..", account)
    made = await byoc("deployments", "create", "-f", manifest(tmp_path, name, account), "--watch")
    assert made.code == 0, made.err

    told = await byoc("approvals", "policy", account, "-f", strict, "--side", "customer")
    refused = await byoc("approvals", "policy", account, "-f", loose, "--side", "vendor")
    shown = await byoc("approvals", "policy", account)
    await byoc("deployments", "retire", name, "--yes")
    hash_ = await planned(byoc, name)
    wrong = await byoc(
        "approvals", "delegate", name, "--side", "customer", "--to", "carl@acme", "--until", "tomorrow", **BOB
    )
    lent = await byoc("approvals", "delegate", name, "--side", "customer", "--to", "carl@acme", **BOB)
    approved = await byoc("approvals", "approve", name, "--side", "customer", "--hash", hash_, BYOC_ACTOR="carl@acme")

    assert told.code == 0, told.err
    assert refused.code == 1
    assert "customer" in refused.err
    assert "destructive: customer" in shown.out
    assert "bob@acme" in shown.out
    assert wrong.code == 2
    assert "2026-12-01T12:00:00Z" in wrong.err
    assert "carl@acme may approve retire/2 for the customer" in lent.out
    assert approved.code == 0, approved.err
    state = await until_phase(byoc, name, "retired")
    assert state["past"][-1]["approved"]["approvals"][0]["onBehalfOf"] == "bob@acme"


async def test_a_plan_that_cannot_be_made_is_listed_and_planned_again(
    byoc: Byoc, cloud: ScriptedCloud, careful: str, tmp_path: Path, name: str
) -> None:
    """`show` says why there is no plan, and `replan` makes it once the cause is gone."""
    await byoc("deployments", "create", "-f", manifest(tmp_path, name, careful), "--watch")
    cloud.refuse("make_plan", FailureClass.CONFIG)
    await byoc("deployments", "retire", name, "--yes")
    for _ in range(200):
        if "make_plan met" in (shown := await byoc("approvals", "show", name)).out:
            break
        await asyncio.sleep(0.05)
    cloud.allow("make_plan")

    replanned = await byoc("approvals", "replan", name)

    assert "make_plan met ConfigurationWrong" in shown.out
    assert replanned.code == 0, replanned.err
    assert await planned(byoc, name)


async def test_a_key_that_has_to_be_approved_is_shown_and_not_yet_valid(
    byoc: Byoc, cloud: ScriptedCloud, tmp_path: Path, name: str
) -> None:
    """The key is shown once all the same, the message says what is missing, and nobody waits for it."""
    account = f"{name}-aws"
    await byoc("accounts", "connect", "-f", account_file(tmp_path, account, routine=["customer"]), "--wait")
    await byoc("deployments", "create", "-f", manifest(tmp_path, name, account), "--watch")

    made = await byoc("api-keys", "create", name, "--name", "reports", "--scope", "read")

    assert made.code == 0, made.err
    assert "reconfigure/2 has to be approved first" in made.err
    assert (await byoc("api-keys", "list", name, "-o", "json")).json() == []
    hash_ = await planned(byoc, name)
    await byoc("approvals", "approve", name, "--side", "customer", "--hash", hash_, **BOB)
    for _ in range(200):
        if keys := (await byoc("api-keys", "list", name, "-o", "json")).json():
            break
        await asyncio.sleep(0.05)
    assert [key["name"] for key in keys] == ["reports"]
