"""Who may use a cluster: access entries, access policies, and the presigned tokens that prove who is asking."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import uuid4

from ministack.core.responses import request_scope
from ministack.services import eks as ministack_eks

from simulators.aws import authorization
from simulators.aws.context import report_no_effect
from simulators.aws.eks.records import ClusterRecord, Document, forbidden_now, in_use, invalid, not_found
from simulators.aws.eks.surroundings import Surroundings
from simulators.aws.scope import Scope
from simulators.kubernetes.provider import ADMINISTRATORS, User

_POLICY_PREFIX = "arn:aws:eks::aws:cluster-access-policy/"
CLUSTER_ADMINISTRATOR = f"{_POLICY_PREFIX}AmazonEKSClusterAdminPolicy"
_POLICIES = (
    "AmazonEKSClusterAdminPolicy",
    "AmazonEKSAdminPolicy",
    "AmazonEKSEditPolicy",
    "AmazonEKSViewPolicy",
    "AmazonEKSAdminViewPolicy",
)
_AUTHENTICATED = "system:authenticated"


class Access:
    """The operations on access entries and policies, and the authenticator of every cluster."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._has = surroundings

    def create_access_entry(self, here: Scope, parameters: Document) -> Document:
        """CreateAccessEntry."""
        cluster = self._with_entries(here, parameters)
        principal, kind = parameters["principalArn"], parameters.get("type", "STANDARD")
        groups = parameters.get("kubernetesGroups") or []
        if principal in cluster.access_entries:
            message = "The specified access entry resource is already in use on this cluster."
            raise in_use(message, clusterName=cluster.name)
        if not principal.startswith("arn:aws:iam::"):
            raise invalid("The principalArn parameter format is not valid", clusterName=cluster.name)
        if reserved := [group for group in groups if group.startswith(("system:", "eks:", "aws:", "amazon:", "iam:"))]:
            message = f"The kubernetes group name {reserved[0]} is invalid, it cannot start with system:"
            raise invalid(message, clusterName=cluster.name)
        entry = self._entry(
            cluster,
            principal,
            kind,
            groups=groups,
            username=parameters.get("username"),
            tags=parameters.get("tags"),
        )
        return {"accessEntry": entry}

    def admit_creator(self, cluster: ClusterRecord) -> None:
        """Make whoever creates the cluster its administrator."""
        request = authorization.current_request.get()
        principal = _role_of_session(request.principal) if request is not None else ""
        self._entry(cluster, principal or f"arn:aws:iam::{cluster.scope.account}:root")
        self._associate(cluster, next(iter(cluster.access_entries)), CLUSTER_ADMINISTRATOR, {"type": "cluster"})

    def admit_nodes(self, cluster: ClusterRecord, role_arn: str) -> None:
        """Let machines with this role join; EKS does it itself for managed node groups."""
        if role_arn not in cluster.access_entries and _uses_entries(cluster):
            username = "system:node:{{EC2PrivateDNSName}}"
            self._entry(cluster, role_arn, "EC2_LINUX", groups=["system:nodes"], username=username)

    def _entry(
        self,
        cluster: ClusterRecord,
        principal: str,
        kind: str = "STANDARD",
        *,
        groups: Sequence[str] = (),
        username: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Document:
        _, _, _, _, account, resource = principal.split(":", 5)
        now = self._has.clock.time()
        entry: Document = {
            "clusterName": cluster.name,
            "principalArn": principal,
            "kubernetesGroups": list(groups),
            "accessEntryArn": cluster.scope.arn(
                "eks",
                f"access-entry/{cluster.name}/{resource.split('/')[0]}/{account}/{resource.rpartition('/')[2]}/{uuid4()}",
            ),
            "createdAt": now,
            "modifiedAt": now,
            "tags": dict(tags or {}),
            "username": username or _default_username(principal),
            "type": kind,
        }
        cluster.access_entries[principal] = entry
        return entry

    def describe_access_entry(self, here: Scope, parameters: Document) -> Document:
        """DescribeAccessEntry."""
        return {"accessEntry": _entry_of(self._with_entries(here, parameters), parameters["principalArn"])}

    def list_access_entries(self, here: Scope, parameters: Document) -> Document:
        """ListAccessEntries."""
        cluster = self._with_entries(here, parameters)
        wanted = parameters.get("associatedPolicyArn")
        return {
            "accessEntries": [
                principal
                for principal in cluster.access_entries
                if wanted is None or (principal, wanted) in cluster.access_policies
            ]
        }

    def update_access_entry(self, here: Scope, parameters: Document) -> Document:
        """UpdateAccessEntry."""
        entry = _entry_of(self._with_entries(here, parameters), parameters["principalArn"])
        changes: Document = {key: parameters[key] for key in ("kubernetesGroups", "username") if key in parameters}
        if all(entry[key] == value for key, value in changes.items()):
            report_no_effect()
        entry.update(changes, modifiedAt=self._has.clock.time())
        return {"accessEntry": entry}

    def delete_access_entry(self, here: Scope, parameters: Document) -> Document:
        """DeleteAccessEntry, with the policies that are associated."""
        cluster = self._with_entries(here, parameters)
        principal = _entry_of(cluster, parameters["principalArn"])["principalArn"]
        del cluster.access_entries[principal]
        for key in [key for key in cluster.access_policies if key[0] == principal]:
            del cluster.access_policies[key]
        return {}

    def list_access_policies(self, _here: Scope, _parameters: Document) -> Document:
        """ListAccessPolicies."""
        return {"accessPolicies": [{"name": name, "arn": f"{_POLICY_PREFIX}{name}"} for name in _POLICIES]}

    def associate_access_policy(self, here: Scope, parameters: Document) -> Document:
        """AssociateAccessPolicy."""
        cluster = self._with_entries(here, parameters)
        entry = _entry_of(cluster, parameters["principalArn"])
        policy, reach = parameters["policyArn"], parameters["accessScope"]
        if policy.removeprefix(_POLICY_PREFIX) not in _POLICIES:
            raise not_found(f"The policyArn {policy} could not be found", clusterName=cluster.name)
        if (reach["type"] == "namespace") != bool(reach.get("namespaces")):
            raise invalid("Namespaces must be given for the scope type namespace alone", clusterName=cluster.name)
        if entry["type"] != "STANDARD":
            message = "Access policies can only be associated with entries of type STANDARD"
            raise forbidden_now(message, clusterName=cluster.name)
        known = cluster.access_policies.get((entry["principalArn"], policy))
        if known is not None and known["accessScope"] == {
            "type": reach["type"],
            "namespaces": reach.get("namespaces") or [],
        }:
            report_no_effect()
        association = self._associate(cluster, entry["principalArn"], policy, reach)
        return {
            "clusterName": cluster.name, "principalArn": entry["principalArn"], "associatedAccessPolicy": association
        }  # fmt: skip

    def _associate(self, cluster: ClusterRecord, principal: str, policy: str, reach: Document) -> Document:
        now = self._has.clock.time()
        association = {
            "policyArn": policy,
            "accessScope": {"type": reach["type"], "namespaces": reach.get("namespaces") or []},
            "associatedAt": now,
            "modifiedAt": now,
        }
        cluster.access_policies[principal, policy] = association
        return association

    def disassociate_access_policy(self, here: Scope, parameters: Document) -> Document:
        """DisassociateAccessPolicy."""
        cluster = self._with_entries(here, parameters)
        principal = _entry_of(cluster, parameters["principalArn"])["principalArn"]
        if cluster.access_policies.pop((principal, parameters["policyArn"]), None) is None:
            raise not_found("The specified policy is not associated with the access entry", clusterName=cluster.name)
        return {}

    def list_associated_access_policies(self, here: Scope, parameters: Document) -> Document:
        """ListAssociatedAccessPolicies."""
        cluster = self._with_entries(here, parameters)
        principal = _entry_of(cluster, parameters["principalArn"])["principalArn"]
        associated = [policy for (owner, _), policy in cluster.access_policies.items() if owner == principal]
        return {"clusterName": cluster.name, "principalArn": principal, "associatedAccessPolicies": associated}

    def _with_entries(self, here: Scope, parameters: Document) -> ClusterRecord:
        cluster = self._has.clusters.get(here, parameters["name"])
        if not _uses_entries(cluster):
            message = (
                "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP]"
                " to perform this operation."
            )
            raise forbidden_now(message, clusterName=cluster.name)
        return cluster

    def authenticate(self, cluster_id: str, token: str) -> User | None:
        """Return whom a presigned token stands for at this cluster.

        The signature must be that of a key which AWS has issued and which still works, for this cluster's name, at most
        15 minutes ago; and the principal needs an access entry.
        """
        cluster = self._has.clusters.by_id(cluster_id)
        if cluster is None:
            return None
        with request_scope(*cluster.scope):
            credential = ministack_eks._verify_eks_token(token, cluster.name)
        if not credential:
            return None
        principal = str(credential.principal_arn)
        entry = cluster.access_entries.get(principal) or cluster.access_entries.get(_role_of_session(principal))
        if entry is None:
            return None
        session = principal.rpartition("/")[2]
        name = entry["username"].replace("{{SessionName}}", session).replace("{{AccountID}}", cluster.scope.account)
        return User(name, _groups(cluster, entry))


def _uses_entries(cluster: ClusterRecord) -> bool:
    return bool(cluster.description["accessConfig"]["authenticationMode"] != "CONFIG_MAP")


def _entry_of(cluster: ClusterRecord, principal: str) -> Document:
    if principal not in cluster.access_entries:
        message = (
            f"The specified principalArn {principal} could not be found. You can view your access entries with list."
        )
        raise not_found(message, clusterName=cluster.name)
    return cluster.access_entries[principal]


def _groups(cluster: ClusterRecord, entry: Document) -> tuple[str, ...]:
    """Return the groups of an entry; a policy appears as a group of its own, that of the administrators as theirs."""
    groups = [_AUTHENTICATED, *entry["kubernetesGroups"]]
    for (owner, policy), association in cluster.access_policies.items():
        if owner != entry["principalArn"]:
            continue
        reach = association["accessScope"]
        name = policy.removeprefix(_POLICY_PREFIX)
        if policy == CLUSTER_ADMINISTRATOR and reach["type"] == "cluster":
            groups.append(ADMINISTRATORS)
        else:
            groups += [f"eks-access-policy:{name}:{namespace}" for namespace in reach["namespaces"] or ["*"]]
    return tuple(dict.fromkeys(groups))


def _role_of_session(principal: str) -> str:
    """Return the ARN, path included, of the role behind an assumed role's session; else the principal itself."""
    return str(ministack_eks._role_arn_from_assumed_role(principal) or principal)


def _default_username(principal: str) -> str:
    _, _, _, _, account, resource = principal.split(":", 5)
    if resource.startswith("role/"):
        return f"arn:aws:sts::{account}:assumed-role/{resource.rpartition('/')[2]}/{{{{SessionName}}}}"
    return principal
