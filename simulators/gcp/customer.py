"""The simulated customer: what the owner of a project does there, with the official SDKs.

The owner's token is `owner:<project>`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import grpc
from google.api_core.exceptions import AlreadyExists, FailedPrecondition, GoogleAPICallError, NotFound
from google.api_core.gapic_v1.client_info import ClientInfo
from google.auth.transport.grpc import secure_authorized_channel
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import iam_admin_v1, resourcemanager_v3, service_usage_v1
from google.oauth2.credentials import Credentials

from simulators.customer import AGENT, CustomerError
from simulators.gcp.documents import GcpOutputs, GcpOwnNetwork, GcpOwnNetworkFacts, GcpTemplate
from simulators.gcp.simulator import GoogleCloud

_TOKEN_CREATOR = "roles/iam.serviceAccountTokenCreator"  # noqa: S105 - the name of a role
_TIMEOUT = 60.0
"""Real seconds."""
_LOOK_INTERVAL = 0.02

Client = Any
"""The SDK's clients are not typed here."""
Policy = Any


class GcpCustomer:
    """The owner of one project."""

    def __init__(self, google: GoogleCloud, project: str) -> None:
        self.project = project
        self._google = google
        google.cloud.project(project)
        self._credentials = Credentials(f"owner:{project}")
        self._channel: grpc.Channel | None = None
        self._applied = GcpTemplate()

    def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            self._channel.close()

    def apply_template(self, template: GcpTemplate) -> GcpOutputs:
        """Make what the template says, or bring it in line; return it once it has effect.

        Raises CustomerError with Google's reason if it is refused.
        """
        try:
            self._enable(template)
            emails = {
                account.account_id: self._ensure_account(account.account_id, account.display_name)
                for account in template.accounts
            }
            self._google.cloud.identities.settle_now(emails.values())
            roles = {
                role.role_id: self._ensure_role(role.role_id, role.title, role.permissions) for role in template.roles
            }
            for account in template.accounts:
                self._let_impersonate(emails[account.account_id], account.impersonators)
            self._bind(template, emails, roles)
            self._remove_what_is_gone(template)
        except GoogleAPICallError as error:
            raise CustomerError(f"the template of project {self.project} failed: {error.message}") from error
        self._applied = template
        self._settle(emails)
        return GcpOutputs(emails=emails, roles=roles)

    def delete_template(self) -> None:
        """Delete everything that the template made; what is gone already is no error."""
        self._bind(GcpTemplate(), {}, {})
        self._remove_what_is_gone(GcpTemplate())
        self._applied = GcpTemplate()
        self._settle({})

    def deny(self, role_id: str, permission: str) -> None:
        """Take one permission away from a custom role of the template."""
        granted = self._permissions(role_id)
        if permission not in granted:
            raise CustomerError(f"the role {role_id} of project {self.project} does not grant {permission}")
        self._ensure_role(role_id, "", tuple(entry for entry in granted if entry != permission))

    def allow(self, role_id: str, permission: str) -> None:
        """Give a permission back that was taken away."""
        granted = self._permissions(role_id)
        if permission in granted:
            raise CustomerError(f"{permission} was not taken away from the role {role_id} of project {self.project}")
        self._ensure_role(role_id, "", (*granted, permission))

    def make_network(self, network: GcpOwnNetwork) -> GcpOwnNetworkFacts:
        """Make a network with a subnetwork for a cluster and, unless it says otherwise, a router with NAT."""
        place, region = f"projects/{self.project}/global", f"projects/{self.project}/regions/{network.region}"
        name = f"{place}/networks/{network.name}"
        self._insert(f"{place}/networks", {"name": network.name, "autoCreateSubnetworks": False})
        ranges = {"pods": network.pods_cidr, "services": network.services_cidr}
        subnetwork = {
            "name": network.subnetwork,
            "network": name,
            "ipCidrRange": network.cidr,
            "privateIpGoogleAccess": True,
            "secondaryIpRanges": [{"rangeName": key, "ipCidrRange": cidr} for key, cidr in ranges.items()],
        }
        self._insert(f"{region}/subnetworks", subnetwork)
        if network.nat:
            nat = {
                "name": "nat",
                "natIpAllocateOption": "AUTO_ONLY",
                "sourceSubnetworkIpRangesToNat": "ALL_SUBNETWORKS_ALL_IP_RANGES",
            }
            self._insert(f"{region}/routers", {"name": f"{network.name}-router", "network": name, "nats": [nat]})
        return GcpOwnNetworkFacts(network=name, subnetwork=f"{region}/subnetworks/{network.subnetwork}")

    def _insert(self, collection: str, document: dict[str, Any]) -> None:
        """Make a resource of Compute Engine and wait for the operation."""
        session = AuthorizedSession(self._credentials)
        session.headers["User-Agent"] = AGENT
        root = f"{self._google.url}/compute/v1/"
        reply = session.post(root + collection, json=document)
        if not reply.ok:
            raise CustomerError(reply.json()["error"]["message"])
        operation = reply.json()["selfLink"].partition("/compute/v1/")[2]
        while (found := session.get(root + operation).json())["status"] != "DONE":
            time.sleep(_LOOK_INTERVAL)
        if "error" in found:
            raise CustomerError(found["error"]["errors"][0]["message"])

    def _enable(self, template: GcpTemplate) -> None:
        usage = self._client(service_usage_v1.ServiceUsageClient)
        enabled = self._google.cloud.project(self.project).services
        missing = [api for api in template.services if api not in enabled]
        if not missing:
            return
        usage.batch_enable_services(request={"parent": f"projects/{self.project}", "service_ids": missing})
        deadline = time.monotonic() + _TIMEOUT
        while not set(missing) <= enabled:
            if time.monotonic() > deadline:
                raise CustomerError(f"the APIs of project {self.project} were not enabled in {_TIMEOUT:.0f} s")
            time.sleep(_LOOK_INTERVAL)

    def _ensure_account(self, account_id: str, display_name: str) -> str:
        iam = self._client(iam_admin_v1.IAMClient)
        email = f"{account_id}@{self.project}.iam.gserviceaccount.com"
        request = {
            "name": f"projects/{self.project}",
            "account_id": account_id,
            "service_account": {"display_name": display_name},
        }
        with contextlib.suppress(AlreadyExists):
            iam.create_service_account(request=request)
        return email

    def _ensure_role(self, role_id: str, title: str, permissions: tuple[str, ...]) -> str:
        iam = self._client(iam_admin_v1.IAMClient)
        name = f"projects/{self.project}/roles/{role_id}"
        role = {"title": title or role_id, "included_permissions": list(permissions), "stage": "GA"}
        parent = f"projects/{self.project}"
        try:
            iam.create_role(request={"parent": parent, "role_id": role_id, "role": role})
        except FailedPrecondition:
            iam.undelete_role(request={"name": name})
            self._update_role(name, permissions)
        except AlreadyExists:
            self._update_role(name, permissions)
        return name

    def _update_role(self, name: str, permissions: tuple[str, ...]) -> None:
        role = {"included_permissions": list(permissions)}
        request = {"name": name, "role": role, "update_mask": {"paths": ["included_permissions"]}}
        self._client(iam_admin_v1.IAMClient).update_role(request=request)

    def _permissions(self, role_id: str) -> tuple[str, ...]:
        name = f"projects/{self.project}/roles/{role_id}"
        try:
            role = self._client(iam_admin_v1.IAMClient).get_role(request={"name": name})
        except NotFound as error:
            raise CustomerError(f"project {self.project} has no role {role_id}") from error
        return tuple(role.included_permissions)

    def _let_impersonate(self, email: str, members: tuple[str, ...]) -> None:
        iam = self._client(iam_admin_v1.IAMClient)
        resource = f"projects/{self.project}/serviceAccounts/{email}"
        policy = iam.get_iam_policy(request={"resource": resource})
        _replace(policy, lambda binding: binding.role == _TOKEN_CREATOR)
        if members:
            policy.bindings.add(role=_TOKEN_CREATOR, members=members)
        iam.set_iam_policy(request={"resource": resource, "policy": policy})

    def _bind(self, template: GcpTemplate, emails: dict[str, str], roles: dict[str, str]) -> None:
        """Let the project's policy have the template's bindings, and none of those of an earlier one."""
        projects = self._client(resourcemanager_v3.ProjectsClient)
        resource = f"projects/{self.project}"
        asked = {"resource": resource, "options": {"requested_policy_version": 3}}
        policy = projects.get_iam_policy(request=asked)
        ours = {f"{account.account_id}@{self.project}." for account in (*self._applied.accounts, *template.accounts)}

        def is_ours(binding: Policy) -> bool:
            return any(f":{account}" in member for member in binding.members for account in ours)

        _replace(policy, is_ours)
        for binding in template.bindings:
            members = [f"serviceAccount:{emails[account]}" for account in binding.accounts]
            added = policy.bindings.add(role=roles.get(binding.role, binding.role), members=members)
            if binding.condition is not None:
                added.condition.title = binding.condition.title
                added.condition.expression = binding.condition.expression
        policy.version = 3
        projects.set_iam_policy(request={"resource": resource, "policy": policy})

    def _remove_what_is_gone(self, template: GcpTemplate) -> None:
        iam = self._client(iam_admin_v1.IAMClient)
        wanted_roles = {role.role_id for role in template.roles}
        wanted_accounts = {account.account_id for account in template.accounts}
        for role in self._applied.roles:
            if role.role_id not in wanted_roles:
                iam.delete_role(request={"name": f"projects/{self.project}/roles/{role.role_id}"})
        for account in self._applied.accounts:
            if account.account_id not in wanted_accounts:
                email = f"{account.account_id}@{self.project}.iam.gserviceaccount.com"
                iam.delete_service_account(request={"name": f"projects/{self.project}/serviceAccounts/{email}"})

    def _settle(self, emails: dict[str, str]) -> None:
        """Let what the template made have effect: the customer tells us only once it has."""
        policies = self._google.cloud.policies
        policies.settle_now(f"projects/{self.project}")
        for email in emails.values():
            policies.settle_now(f"projects/{self.project}/serviceAccounts/{email}")
        self._google.cloud.roles.settle_now(f"projects/{self.project}/roles/")

    def _client(self, client: Client) -> Client:
        if self._channel is None:
            self._channel = secure_authorized_channel(
                self._credentials,
                Request(),
                self._google.grpc_address,
                ssl_credentials=grpc.local_channel_credentials(),
            )
        # A transport that is given brings its own client information.
        transport = client.get_transport_class("grpc")(channel=self._channel, client_info=ClientInfo(user_agent=AGENT))
        return client(transport=transport)


def _replace(policy: Policy, is_gone: Callable[[Policy], bool]) -> None:
    kept = [binding for binding in policy.bindings if not is_gone(binding)]
    del policy.bindings[:]
    policy.bindings.extend(kept)
