"""The IAM roles of a deployment."""

from __future__ import annotations

import json

from activities.aws.identity import boundary_arn
from activities.aws.role_policies import RoleName, role_definitions, role_name
from domain.naming import global_name
from tests.activities.aws.conftest import Account


def test_roles_stand_under_the_boundary_and_carry_our_tags(account: Account) -> None:
    """Every role has the path, the permissions boundary and the owner tags by which the customer limits us."""
    roles = account.run("create_roles", account.site)

    iam = account.customer("iam")
    for definition in role_definitions(account.site):
        role = iam.get_role(RoleName=definition.name)["Role"]
        assert role["Path"] == "/byoc/"
        assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary_arn(account.site)
        assert {"Key": "byoc:deployment", "Value": account.site.deployment} in role["Tags"]
        assert role["AssumeRolePolicyDocument"] == definition.trust
        assert role["Arn"] in set(roles.model_dump().values())


def test_the_store_may_write_its_own_bucket_only(account: Account) -> None:
    """IAM itself says that the store's role reaches the deployment's bucket, no other, and deletes nothing."""
    account.run("create_roles", account.site)
    store = f"arn:aws:iam::{account.site.cloud_account_id}:role/byoc/{role_name(account.site, RoleName.STORE)}"

    def decision(action: str, resource: str) -> str:
        found = account.customer("iam").simulate_principal_policy(
            PolicySourceArn=store, ActionNames=[action], ResourceArns=[resource]
        )
        return str(found["EvaluationResults"][0]["EvalDecision"])

    own = f"arn:aws:s3:::{global_name(account.site, 'backups')}/2026/full.bak"
    assert decision("s3:PutObject", own) == "allowed"
    assert decision("s3:DeleteObject", own) != "allowed"
    assert decision("s3:PutObject", "arn:aws:s3:::byoc-other-backups/x") != "allowed"


def test_the_restore_only_reads_the_bucket(account: Account) -> None:
    """The proof of a restore reads backups, decrypts with our key through S3 alone, and changes nothing."""
    roles = account.run("create_roles", account.site)
    key = account.run("create_encryption_key", account.site).key_id

    def decision(action: str, resource: str) -> str:
        context = [
            {"ContextKeyName": name, "ContextKeyValues": [value], "ContextKeyType": "string"}
            for name, value in (
                ("kms:ViaService", f"s3.{account.site.region}.amazonaws.com"),
                ("aws:RequestedRegion", account.site.region),
                ("aws:ResourceTag/byoc", "managed"),
                ("aws:ResourceTag/byoc:deployment", account.site.deployment),
            )
        ]
        found = account.customer("iam").simulate_principal_policy(
            PolicySourceArn=roles.restore, ActionNames=[action], ResourceArns=[resource], ContextEntries=context
        )
        return str(found["EvaluationResults"][0]["EvalDecision"])

    own = f"arn:aws:s3:::{global_name(account.site, 'backups')}"
    assert decision("s3:GetObject", f"{own}/2026/full.bak") == "allowed"
    assert decision("s3:ListBucket", own) == "allowed"
    assert decision("kms:Decrypt", key) == "allowed"
    for action in ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"):
        assert decision(action, f"{own}/2026/full.bak") != "allowed"
    assert decision("kms:GenerateDataKey", key) != "allowed"
    assert decision("s3:GetObject", "arn:aws:s3:::byoc-other-backups/x") != "allowed"


def test_changed_roles_are_put_back(account: Account) -> None:
    """Trust, boundary, policies and tags that somebody changed are as before after the next run."""
    account.run("create_roles", account.site)
    iam, nodes = account.customer("iam"), role_name(account.site, RoleName.NODES)
    iam.update_assume_role_policy(RoleName=nodes, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []}))
    iam.delete_role_permissions_boundary(RoleName=nodes)
    iam.delete_role_policy(RoleName=nodes, PolicyName="byoc")
    iam.detach_role_policy(RoleName=nodes, PolicyArn="arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy")
    iam.untag_role(RoleName=nodes, TagKeys=["byoc:resource"])

    account.run("create_roles", account.site)

    role = iam.get_role(RoleName=nodes)["Role"]
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Service": "ec2.amazonaws.com"}
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary_arn(account.site)
    assert {"Key": "byoc:resource", "Value": "role-nodes"} in role["Tags"]
    assert iam.list_role_policies(RoleName=nodes)["PolicyNames"] == ["byoc"]
    attached = iam.list_attached_role_policies(RoleName=nodes)["AttachedPolicies"]
    assert "AmazonEKSWorkerNodePolicy" in {policy["PolicyName"] for policy in attached}
