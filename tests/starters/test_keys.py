"""`byoc keys` and `byoc codec token` as operators type them, and what is said where keys are missing."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from tests.starters.conftest import Byoc
from tests.workflows.scripted_cloud import ScriptedCloud

ROOT = Path(__file__).parents[2]


async def test_a_key_ring_goes_through_its_life(byoc: Byoc, tmp_path: Path) -> None:
    """Made once, listed, prepared, rotated; no command shows a key."""
    file = tmp_path / "keys.json"
    made = await byoc("keys", "new", "--file", str(file))
    again = await byoc("keys", "new", "--file", str(file))
    prepared = await byoc("keys", "rotate", "--prepare", "-o", "json", BYOC_ENCRYPTION_KEYS=str(file))
    rotated = await byoc("keys", "rotate", "-o", "json", BYOC_ENCRYPTION_KEYS=str(file))
    listed = await byoc("keys", "list", "-o", "json", BYOC_ENCRYPTION_KEYS=str(file))
    table = await byoc("keys", "list", "--file", str(file))

    secrets = [key["key"] for key in json.loads(file.read_text())["keys"]]
    everything = "".join(ran.out + ran.err for ran in (made, again, prepared, rotated, listed, table))
    assert (made.code, f"BYOC_ENCRYPTION_KEYS={file}" in made.out) == (0, True)
    assert (again.code, "is there already" in again.err) == (2, True)
    assert [key["use"] for key in prepared.json()] == ["encrypts", "prepared"]
    assert [key["use"] for key in rotated.json()] == ["encrypts", "decrypts"]
    assert rotated.json()[0]["id"] == prepared.json()[1]["id"]
    assert listed.json() == rotated.json()
    assert [secret for secret in secrets if secret in everything] == []


async def test_check_says_which_keys_are_needed_and_which_are_missing(
    byoc: Byoc, cloud: ScriptedCloud, temporal: WorkflowEnvironment, tmp_path: Path, name: str
) -> None:
    """Read from what Temporal keeps, without any of the keys: exit code 1 and the key's id if the ring lacks one."""
    mine, theirs = tmp_path / "mine.json", tmp_path / "theirs.json"
    for file in (mine, theirs):
        await byoc("keys", "new", "--file", str(file))
    encrypted = {"BYOC_ENCRYPTION": "required", "BYOC_ENCRYPTION_KEYS": str(mine), "TEMPORAL_NAMESPACE": name}
    await byoc("setup", **encrypted)
    await byoc(
        "--patience", "1", "accounts", "connect", "acme-aws", "--customer", "acme", "--account-id", "111122223333",
        "--region", "eu-central-1", **encrypted,
    )  # fmt: skip
    await byoc("keys", "rotate", "--file", str(mine))

    for _ in range(100):
        known = await byoc("keys", "check", "--file", str(mine), "-o", "json", TEMPORAL_NAMESPACE=name)
        if known.json()["workflows"]:
            break
    table = await byoc("keys", "check", "--file", str(mine), TEMPORAL_NAMESPACE=name)
    missing = await byoc("keys", "check", "--file", str(theirs), "-o", "json", TEMPORAL_NAMESPACE=name)

    first, second = known.json()["keys"]
    assert (known.code, known.json()["complete"], known.json()["plainWorkflows"]) == (0, True, 0)
    assert (first["encrypts"], first["openWorkflows"], second["openWorkflows"]) == (True, 0, 1)
    assert second["example"] == "account/acme-aws"
    assert "needed" in table.out
    assert (missing.code, second["id"] in missing.err, "account/acme-aws" in missing.err) == (1, True, True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"BYOC_ENCRYPTION": "required"}, ["BYOC_ENCRYPTION_KEYS is not set", "byoc keys new", "BYOC_ENCRYPTION=off"]),
        ({"BYOC_ENCRYPTION": "maybe"}, ["BYOC_ENCRYPTION is 'maybe'", "'required' or 'off'"]),
        (
            {"BYOC_ENCRYPTION": "required", "BYOC_ENCRYPTION_KEYS": "/nowhere/keys.json"},
            ["/nowhere/keys.json does not exist", "byoc keys new"],
        ),
    ],
    ids=["no ring", "no such choice", "no file"],
)
async def test_without_a_key_ring_neither_client_nor_worker_starts(
    byoc: Byoc, settings: dict[str, str], words: list[str]
) -> None:
    """One line that says what to do; exit code 2. What needs no Temporal works all the same."""
    client = await byoc("deployments", "list", **settings)
    worker = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "workers", "lifecycles"], cwd=ROOT, env={**os.environ, **settings},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    offline = await byoc("validate", "-f", str(ROOT / "docs/examples/deployment-small.yaml"), **settings)

    for code, said in ((client.code, client.err), (worker.returncode, worker.stderr)):
        assert code == 2
        assert len(said.strip().splitlines()) == 1
        assert [word for word in words if word not in said] == []
    assert offline.code == 0


async def test_a_client_without_the_key_says_which_one_it_lacks(
    byoc: Byoc, cloud: ScriptedCloud, tmp_path: Path, account: str
) -> None:
    """A question is encrypted with a key that the worker does not have: the answer names it, without a traceback."""
    file = tmp_path / "keys.json"
    await byoc("keys", "new", "--file", str(file))

    ran = await byoc(
        "--patience", "2", "accounts", "hold", account, "--reason", "x",
        BYOC_ENCRYPTION="required", BYOC_ENCRYPTION_KEYS=str(file),
    )  # fmt: skip

    assert ran.code in (1, 3), ran.out
    assert ran.err.startswith("Error: ")
    assert "Traceback" not in ran.err


async def test_codec_tokens_are_made_listed_and_revoked(byoc: Byoc, tmp_path: Path) -> None:
    """A token is shown once and kept as a digest; a name has one at a time."""
    file = str(tmp_path / "tokens.json")
    made = await byoc("codec", "token", "new", "ada", "--days", "30", "--file", file, "-o", "json")
    twice = await byoc("codec", "token", "new", "ada", "--file", file)
    long = await byoc("codec", "token", "new", "grace", "--days", "999", "--file", file)
    listed = await byoc("codec", "token", "list", "-o", "json", BYOC_CODEC_TOKENS=file)
    revoked = await byoc("codec", "token", "revoke", "ada", "--file", file)
    unknown = await byoc("codec", "token", "revoke", "ada", "--file", file)
    empty = await byoc("codec", "token", "list", "--file", file)

    assert made.json()["token"].startswith("byoc_codec_")
    assert (twice.code, "has a token already" in twice.err) == (2, True)
    assert (long.code, "1 to 365 days" in long.err) == (2, True)
    assert [each["name"] for each in listed.json()] == ["ada"]
    assert made.json()["token"] not in listed.out
    assert (revoked.code, unknown.code) == (0, 1)
    assert empty.out == "There are no tokens.\n"
    assert Path(file).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ([], ["--tokens", "byoc codec token new"]),
        (["--address", "localhost:1", "--tokens", "t"], ["--address", "localhost:1"]),
        (["--ui", "https://ui.example/path", "--tokens", "t"], ["--ui", "https://ui.example/path"]),
        (["--jwks-url", "https://login.example/keys"], ["--issuer, --audience", "missing"]),
        (["--tokens", "/nowhere/tokens.json"], ["/nowhere/tokens.json does not exist"]),
    ],
    ids=["nobody", "address", "origin", "provider", "no file"],
)
async def test_a_codec_that_could_not_serve_says_why(
    byoc: Byoc, tmp_path: Path, typed: list[str], words: list[str]
) -> None:
    """Exit code 2 and the option."""
    keys = tmp_path / "keys.json"
    await byoc("keys", "new", "--file", str(keys))

    ran = await byoc("codec", *typed, BYOC_ENCRYPTION="required", BYOC_ENCRYPTION_KEYS=str(keys))

    assert ran.code == 2, ran.out + ran.err
    assert [word for word in words if word not in ran.err] == []
