"""EKS Pod Identity: which service account acts as which role."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from simulators.aws import identities
from simulators.aws.context import report_no_effect
from simulators.aws.eks.records import ClusterRecord, Document, in_use, invalid, not_found
from simulators.aws.eks.surroundings import Surroundings
from simulators.aws.scope import Scope

SERVICE = "pods.eks.amazonaws.com"
ACTIONS = ("sts:AssumeRole", "sts:TagSession")


class PodIdentities:
    """The operations on associations."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._has = surroundings

    def create_pod_identity_association(self, here: Scope, parameters: Document) -> Document:
        """CreatePodIdentityAssociation."""
        association = self.associate(
            here,
            self._has.clusters.get(here, parameters["name"]),
            namespace=parameters["namespace"],
            service_account=parameters["serviceAccount"],
            role_arn=parameters["roleArn"],
            tags=parameters.get("tags") or {},
        )
        return {"association": association}

    def associate(
        self,
        here: Scope,
        cluster: ClusterRecord,
        *,
        namespace: str,
        service_account: str,
        role_arn: str,
        tags: Mapping[str, str],
        owner: str = "",
    ) -> Document:
        """Make an association; refuse a second one for the same service account, and a role that pods cannot assume."""
        if self.find(cluster, namespace, service_account) is not None:
            message = f"Association already exists: the service account {service_account} in {namespace} has a role"
            raise in_use(message, clusterName=cluster.name)
        identities.require_caller("iam:GetRole", role_arn)
        _validate_role(role_arn, cluster)
        now = self._has.clock.time()
        id_ = f"a-{secrets.token_hex(8)}0"
        association: Document = {
            "clusterName": cluster.name,
            "namespace": namespace,
            "serviceAccount": service_account,
            "roleArn": role_arn,
            "associationArn": here.arn("eks", f"podidentityassociation/{cluster.name}/{id_}"),
            "associationId": id_,
            "tags": dict(tags),
            "createdAt": now,
            "modifiedAt": now,
            "disableSessionTags": False,
            **(
                {"ownerArn": here.arn("eks", f"{owner.partition('/')[0]}/{cluster.name}/{owner.partition('/')[2]}")}
                if owner
                else {}
            ),
        }
        cluster.pod_identities[id_] = association
        return association

    def find(self, cluster: ClusterRecord, namespace: str, service_account: str) -> Document | None:
        """Return the association of a service account."""
        for association in cluster.pod_identities.values():
            if (association["namespace"], association["serviceAccount"]) == (namespace, service_account):
                return association
        return None

    def describe_pod_identity_association(self, here: Scope, parameters: Document) -> Document:
        """DescribePodIdentityAssociation."""
        return {"association": self._association(here, parameters)}

    def list_pod_identity_associations(self, here: Scope, parameters: Document) -> Document:
        """ListPodIdentityAssociations: summaries, without the role."""
        cluster = self._has.clusters.get(here, parameters["name"])
        members = ("clusterName", "namespace", "serviceAccount", "associationArn", "associationId", "ownerArn")
        return {
            "associations": [
                {member: association[member] for member in members if member in association}
                for association in cluster.pod_identities.values()
                if parameters.get("namespace") in (None, association["namespace"])
                and parameters.get("serviceAccount") in (None, association["serviceAccount"])
            ]
        }

    def update_pod_identity_association(self, here: Scope, parameters: Document) -> Document:
        """UpdatePodIdentityAssociation."""
        association = self._association(here, parameters)
        role_arn = parameters.get("roleArn") or association["roleArn"]
        _validate_role(role_arn, self._has.clusters.get(here, parameters["name"]))
        if role_arn == association["roleArn"]:
            report_no_effect()
        association.update(roleArn=role_arn, modifiedAt=self._has.clock.time())
        return {"association": association}

    def delete_pod_identity_association(self, here: Scope, parameters: Document) -> Document:
        """DeletePodIdentityAssociation."""
        association = self._association(here, parameters)
        del self._has.clusters.get(here, parameters["name"]).pod_identities[association["associationId"]]
        self._has.tokens.forget(association)
        return {"association": association}

    def _association(self, here: Scope, parameters: Document) -> Document:
        cluster = self._has.clusters.get(here, parameters["name"])
        id_ = parameters["associationId"]
        if id_ not in cluster.pod_identities:
            raise not_found(f"No association found for id: {id_}", clusterName=cluster.name)
        return cluster.pod_identities[id_]


def _validate_role(role_arn: str, cluster: ClusterRecord) -> None:
    role = identities.role_of(role_arn)
    arn = cluster.description["arn"]
    if role is None:
        raise invalid(f"Role provided in the request does not exist: {role_arn}", clusterName=cluster.name)
    if not identities.service_may_assume(role, SERVICE, source_arn=arn, actions=ACTIONS):
        message = (
            "Trust policy of role provided in the request is invalid: it must allow pods.eks.amazonaws.com"
            " to do sts:AssumeRole and sts:TagSession"
        )
        raise invalid(message, clusterName=cluster.name)
