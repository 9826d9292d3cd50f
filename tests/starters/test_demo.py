"""The whole story, as a first-time user plays it: one command, nothing prepared, nothing left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
LONGEST = 480.0
"""Real seconds, on a machine that runs other tests at the same time."""


def processes_of(state: Path) -> list[str]:
    """Return the command lines of processes that know this playground's directory or its workers' environment."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or ())
        if str(state) in command:
            found.append(command)
    return found


def test_the_demo_tells_the_whole_story_and_leaves_nothing_running(tmp_path: Path) -> None:
    """Three clouds, a wait that names its permission, a served request, upgrades, a rollback, receipts; exit code 0.

    What Temporal kept of it is encrypted.
    """
    state = tmp_path / "playground"
    ran = subprocess.run(
        [sys.executable, "-c", "from starters.cli import main; main()", "demo", "--state", str(state)],
        cwd=ROOT, env={**os.environ, "AWS_PROFILE": "not-a-profile", "TEMPORAL_ADDRESS": "127.0.0.1:1"},
        capture_output=True, text=True, timeout=LONGEST, check=False,
    )  # fmt: skip

    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr
    assert ran.stderr == ""
    story = ran.stdout
    for words in (
        "verified by asking AWS",
        "verified by asking Google Cloud",
        "verified by asking Azure",
        "waits for the customer: The permission compute.routers.create is missing",
        "grants compute.routers.create again",
        "reads the plan of globex-prod: 39 steps",
        "waits for approval by the customer: plan ",
        "carol@acme.example approves exactly that plan",
        "| Approved by | carol@acme.example (cli) for the customer",
        "provision/1 waited for the customer: Create the NAT gateways",
        "without a key: 401",
        "…/hello: 200",
        "rolls release 4.12.1 out, wave after wave: initech-test, then ",
        "globex   runs 4.12.1, up from 4.11.0",
        "acme     runs 4.12.1, up from 4.11.0",
        "initech  runs 4.12.1, up from 4.11.0",
        "the rollout is done: 3 of 3 deployments run 4.12.1",
        "% of the canary's requests failed, the others 0.0 %; everything goes back",
        "withdraws 4.13.0",
        "initech  ⏸ upgrade/5 waits: from ",
        "bob@vendor.example approves to break the window",
        "eve@vendor.example approves to break the window",
        "initech  runs 4.13.1 and gets the receipt of its broken window",
        "# Offboarding receipt: acme-dev",
        "Prove that nothing is left",
    ):
        assert words in story
    rows = {line.split()[0]: line.split() for line in story[story.index("What there is now") :].splitlines() if line}
    assert story.count("is rolled back to 4.12.1, by itself") == 1
    assert story.count("| upgrade/") == 1, "one window was broken"
    assert "bob@vendor.example (cli), eve@vendor.example (cli)" in story
    assert [rows[name][4] for name in ("globex-prod", "acme-dev", "initech-test")] == ["4.12.1", "4.12.1", "4.13.1"]
    assert (rows["acme-dev"][2], rows["acme-dev"][5]) == ("gcp", "retired")
    assert (rows["globex-prod"][2], rows["globex-prod"][5]) == ("aws", "active")
    assert rows["globex-prod"][6] == "https://globex-prod.db.globex.example"
    assert (rows["initech-test"][2], rows["initech-test"][5]) == ("azure", "active")
    assert rows["initech-test"][6] == "https://initech-test.db.initech.example"
    assert story.index("acme     ✔ Create the network") < story.index("grants compute.routers.create")
    assert story.index("grants compute.routers.create") < story.index("acme     ✔ Create the NAT gateways")
    kept = b"".join(path.read_bytes() for path in state.glob("temporal.db*"))
    assert b"deployment/globex-prod" in kept
    assert b"globex-prod.db.globex.example" not in kept
    assert processes_of(state) == []
