"""Azure on the command line: connected at the door, applied in its own forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.starters.conftest import Byoc
from tests.starters.test_cli import Count
from tests.workflows.scripted_cloud import ScriptedCloud

ROOT = Path(__file__).parents[2]
SUBSCRIPTION, REGION = "8d7a1c9e-3f5b-4a6d-9c2e-1b0f4e7d6a58", "westeurope"
APPLICATIONS = {
    "BYOC_AZURE_APPLICATIONS": "observe=0b5e7a10-0000-4000-8000-000000000001,"
    "operate=0b5e7a10-0000-4000-8000-000000000002,delete=0b5e7a10-0000-4000-8000-000000000003"
}


def connecting(name: str, subscription: str = SUBSCRIPTION, region: str = REGION) -> list[str]:
    """Return the command that connects a subscription."""
    where = ["--account-id", subscription, "--region", region]
    return ["accounts", "connect", name, "--customer", "acme", "--cloud", "azure", *where]


@pytest.mark.parametrize(
    ("subscription", "region", "words"),
    [
        ("acme-data-4711", REGION, ["--account-id", '"acme-data-4711"', "a subscription id (UUID)"]),
        ("111122223333", REGION, ["--account-id", '"111122223333"', "a subscription id (UUID)"]),
        (SUBSCRIPTION, "eu-central-1", ["--region", '"eu-central-1"', "not a region of azure"]),
    ],
)
async def test_a_subscription_is_validated_at_the_door(
    byoc: Byoc, workflows_started: Count, name: str, subscription: str, region: str, words: list[str]
) -> None:
    """The message names the option, what was given and what is allowed; nothing starts."""
    before = await workflows_started()

    ran = await byoc(*connecting(name, subscription, region))

    assert ran.code == 2
    assert [word for word in words if word not in ran.err] == []
    assert await workflows_started() == before


async def test_the_examples_of_azure_are_valid(byoc: Byoc) -> None:
    """Both files are what the door takes."""
    for kind in ("account", "deployment"):
        ran = await byoc("validate", "-f", str(ROOT / f"docs/examples/{kind}-azure.yaml"))
        assert ran.code == 0, ran.err


async def test_a_template_is_printed_in_the_cloud_s_forms(byoc: Byoc, cloud: ScriptedCloud, name: str) -> None:
    """Bicep unless something else is asked for; a script for Google Cloud is refused with what there is."""
    connected = await byoc(*connecting(f"{name}-azure"))
    assert connected.code == 0, connected.err

    bicep = await byoc("accounts", "template", f"{name}-azure", **APPLICATIONS)
    refused = await byoc("accounts", "template", f"{name}-azure", "--format", "gcloud", **APPLICATIONS)

    assert f"// Lets byoc into the subscription {SUBSCRIPTION}." in bicep.out
    assert "targetScope = 'subscription'\n" in bicep.out
    assert refused.code == 2
    assert "--format: gcloud is no form of azure. Allowed: bicep, json, table" in refused.err
