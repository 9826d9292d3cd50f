"""The table for the security review says where each permission is needed, by the code's own word."""

from __future__ import annotations

import pytest

from activities.aws.cloud import AwsCloud
from activities.aws.settings import AwsSettings
from activities.azure.cloud import AzureCloud
from activities.azure.settings import AzureSettings
from activities.gcp.cloud import GcpCloud
from activities.gcp.settings import GcpSettings
from domain.account import AccountAccess
from domain.clouds import Cloud, Purpose
from domain.permission import PermissionTable
from workers import azure, gcp
from workers.assembly import WORKFLOWS
from workers.aws import IN_REGIONS, permission_table
from workers.permissions import as_markdown, occurrences
from workflows import steps

PRINCIPAL = "arn:aws:iam::111111111111:role/control-plane"
SUBSCRIPTION = "8d7a1c9e-3f5b-4a6d-9c2e-1b0f4e7d6a58"
ACCESS = AccountAccess(
    account="acme-aws", customer="acme", cloud=Cloud.AWS, cloud_account_id="222222222222", external_id="3b5b4a3e"
)


def the_table() -> PermissionTable:
    """Return the table of an account in one region."""
    needs = AwsCloud(AwsSettings(principal=PRINCIPAL)).needs()
    return permission_table(ACCESS, ("eu-west-1",), PRINCIPAL, needs)


def the_table_of_a_project() -> PermissionTable:
    """Return the table of a project of Google Cloud in two regions."""
    principal = "control-plane@byoc-vendor.iam.gserviceaccount.com"
    access = ACCESS.model_copy(update={"cloud": Cloud.GCP, "cloud_account_id": "acme-data-4711"})
    needs = GcpCloud(GcpSettings(principal=principal)).needs()
    return gcp.permission_table(access, ("europe-west4", "europe-west1"), principal, needs)


def the_table_of_a_subscription() -> PermissionTable:
    """Return the table of a subscription of Azure."""
    applications = {purpose: f"application-that-may-{purpose}" for purpose in Purpose}
    access = ACCESS.model_copy(update={"cloud": Cloud.AZURE, "cloud_account_id": SUBSCRIPTION})
    needs = AzureCloud(AzureSettings(applications=applications)).needs()
    return azure.permission_table(access, ("westeurope",), applications, needs)


TABLES = {Cloud.AWS: the_table, Cloud.GCP: the_table_of_a_project, Cloud.AZURE: the_table_of_a_subscription}


def test_every_step_occurs_in_a_lifecycle() -> None:
    """No step is without a workflow that runs it, and none is put into a lifecycle in which it does not occur."""
    where = occurrences(WORKFLOWS)

    assert {step.name for step in (*steps.ALL, *steps.UNDOS)} == set(where)
    assert where["create_network"].lifecycles == ("provision",)
    assert where["delete_network"].lifecycles == ("provision, if aborted", "retire")
    assert where["back_up"].lifecycles == ("provision", "retire", "upgrade")
    assert where["back_up"].step == "Take a backup"
    assert where["delete_canary_nodes"].lifecycles == ("upgrade, if aborted", "upgrade")
    assert where["roll_back_component"].lifecycles == ("upgrade",)
    assert where["apply_api_keys"].lifecycles == ("provision", "reconfigure")
    assert where["verify_access"].lifecycles == ("account",)


@pytest.mark.parametrize("cloud", TABLES)
def test_every_line_says_which_step_of_which_lifecycle_needs_it_and_why(cloud: Cloud) -> None:
    """Nothing is asked for without a reason."""
    lines = TABLES[cloud]().lines

    assert all(line.uses for line in lines)
    assert [use for line in lines for use in line.uses if not (use.step and use.lifecycles and use.why)] == []


def test_a_reviewer_reads_protection_first_and_then_role_by_role() -> None:
    """The Markdown begins with what protects the customer; each action is under its role and service."""
    text = as_markdown(the_table(), in_regions=IN_REGIONS)

    assert text.index("external id 3b5b4a3e") < text.index("## Observe") < text.index("## Operate")
    operate = text[text.index("## Operate") : text.index("## Delete")]
    assert "| ec2:CreateVpc | \\* | our regions; aws:RequestTag/byoc = managed |" in operate
    assert "Create the network (provision): Make VPC, subnets and route tables |" in operate
    assert "boundary" in text.partition("## Observe")[0]


def test_at_google_cloud_a_reviewer_reads_what_conditions_limit() -> None:
    """Keys and buckets have patterns of names, the one grant its role, and no sentence speaks of regions of calls."""
    text = as_markdown(the_table_of_a_project())

    keys = [
        f"projects/acme-data-4711/locations/{region}/keyRings/byoc-\\*" for region in ("europe-west1", "europe-west4")
    ]
    assert f"| cloudkms.cryptoKeys.create | {', '.join(keys)} | none |" in text
    assert "| storage.buckets.create | projects/\\_/buckets/byoc-\\* | none |" in text
    grant = "| resourcemanager.projects.setIamPolicy | projects/acme-data-4711 | grants roles/container."
    assert grant in text
    assert "### Operate, compute" in text
    assert "Our regions" not in text


def test_at_azure_a_reviewer_reads_who_may_enter_and_what_may_be_handed_on() -> None:
    """The applications stand before the lines; the right to give roles says its limit, a data action that it is one."""
    text = as_markdown(the_table_of_a_subscription())

    scope = f"/subscriptions/{SUBSCRIPTION}"
    for purpose in Purpose:
        assert f"application-that-may-{purpose}" in text.partition("## Observe")[0]
    limit = "only roles that identities of a deployment need, only for identities"
    assert f"| Microsoft.Authorization/roleAssignments/write | {scope} | {limit} |" in text
    secrets = "Microsoft.ContainerService/managedClusters/secrets/write"
    assert f"| {secrets} | {scope} | a data action |" in text
    assert "### Operate, Microsoft.Network" in text


@pytest.mark.parametrize("cloud", TABLES)
def test_the_lines_are_those_of_the_template(cloud: Cloud) -> None:
    """Each purpose has lines, in order."""
    purposes = [line.purpose for line in TABLES[cloud]().lines]

    assert list(dict.fromkeys(purposes)) == list(Purpose)
    assert purposes == sorted(purposes, key=list(Purpose).index)
