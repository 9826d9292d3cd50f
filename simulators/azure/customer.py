"""The simulated customer: what the owner of a subscription does there, over HTTP as any tool of theirs would.

The owner's token is `owner:<subscription>`.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import requests

from simulators.azure.documents import AzureOutputs, AzureOwnNetwork, AzureOwnNetworkFacts, AzureRole, AzureTemplate
from simulators.azure.roles import DEFINITIONS
from simulators.azure.simulator import Azure
from simulators.customer import AGENT, CustomerError

_AUTHORIZATION = "2022-04-01"
_RESOURCES = "2022-09-01"
_NETWORK = "2024-05-01"
_ASSIGNMENTS = "/providers/Microsoft.Authorization/roleAssignments/"
_TIMEOUT = 60.0
"""Real seconds."""
_LOOK_INTERVAL = 0.02
_NOT_FOUND = 404


class AzureCustomer:
    """The owner of one subscription."""

    def __init__(self, azure: Azure, subscription: str) -> None:
        self.subscription = subscription
        self._azure = azure
        azure.cloud.subscription_ready(subscription)
        self._http = requests.Session()
        self._http.headers.update({"Authorization": f"Bearer owner:{subscription}", "User-Agent": AGENT})
        self._applied = AzureTemplate()

    @property
    def tenant(self) -> str:
        """The tenant of the subscription."""
        return self._azure.cloud.identities.subscriptions[self.subscription].tenant

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def apply_template(self, template: AzureTemplate) -> AzureOutputs:
        """Make what the template says, or bring it in line; return it once it has effect.

        Raises CustomerError with Azure's reason if it is refused.
        """
        self._register(template.providers)
        identities = self._azure.cloud.identities
        clients = dict.fromkeys(assignment.client_id for assignment in template.assignments)
        principals = {client: identities.consent(self.tenant, client).object_id for client in clients}
        identities.settle_now(principals.values())
        roles = {role.name: self._define(role) for role in template.roles}
        wanted = {}
        for assignment in template.assignments:
            built_in = f"/subscriptions/{self.subscription}{DEFINITIONS}{assignment.role}"
            properties = {
                "roleDefinitionId": roles.get(assignment.role, built_in),
                "principalId": principals[assignment.client_id],
                "principalType": "ServicePrincipal",
            }
            if assignment.condition:
                properties |= {"condition": assignment.condition, "conditionVersion": "2.0"}
            path = self._assignment(assignment.role, assignment.client_id, assignment.scope)
            wanted[path] = properties
        for path in self._assignments(self._applied):
            if path not in wanted:
                self._call("DELETE", path, _AUTHORIZATION)
        for path, properties in wanted.items():
            self._call("PUT", path, _AUTHORIZATION, {"properties": properties})
        for role in self._applied.roles:
            if role.name not in roles:
                self._call("DELETE", self._role(role.name), _AUTHORIZATION)
        self._applied = template
        self._azure.cloud.access.settle_now()
        return AzureOutputs(tenant=self.tenant, roles=roles, principals=principals)

    def delete_template(self) -> None:
        """Delete everything that the template made; what is gone already is no error."""
        self.apply_template(AzureTemplate())

    def deny(self, role: str, action: str) -> None:
        """Take one action away from a custom role of the template."""
        document = self._defined(role)
        for permission in document["properties"]["permissions"]:
            for key in ("actions", "dataActions"):
                if action in permission[key]:
                    permission[key].remove(action)
                    self._call("PUT", self._role(role), _AUTHORIZATION, document)
                    return
        raise CustomerError(f"the role {role} of subscription {self.subscription} does not grant {action}")

    def allow(self, role: str, action: str) -> None:
        """Give an action back that was taken away."""
        document = self._defined(role)
        applied = next(entry for entry in self._applied.roles if entry.name == role)
        for permission in document["properties"]["permissions"]:
            for key, original in (("actions", applied.actions), ("dataActions", applied.data_actions)):
                if action in original and action not in permission[key]:
                    permission[key].append(action)
                    self._call("PUT", self._role(role), _AUTHORIZATION, document)
                    return
        raise CustomerError(f"{action} was not taken away from the role {role} of subscription {self.subscription}")

    def make_network(self, network: AzureOwnNetwork) -> AzureOwnNetworkFacts:
        """Make a network with a subnet for a cluster and, unless it says otherwise, a NAT gateway."""
        self._register(("Microsoft.Network",))
        group = f"/subscriptions/{self.subscription}/resourceGroups/{network.group}"
        base = f"{group}/providers/Microsoft.Network"
        self._call("PUT", group, _RESOURCES, {"location": network.region})
        subnet: dict[str, Any] = {"addressPrefix": network.cidr}
        if network.nat:
            address = {"sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
            self._make(f"{base}/publicIPAddresses/nat", {"location": network.region, **address})
            addresses = {"publicIpAddresses": [{"id": f"{base}/publicIPAddresses/nat"}]}
            self._make(f"{base}/natGateways/nat", {"location": network.region, "properties": addresses})
            subnet["natGateway"] = {"id": f"{base}/natGateways/nat"}
        properties = {
            "addressSpace": {"addressPrefixes": [network.cidr]},
            "subnets": [{"name": network.subnet, "properties": subnet}],
        }
        path = f"{base}/virtualNetworks/{network.name}"
        self._make(path, {"location": network.region, "properties": properties})
        return AzureOwnNetworkFacts(network=path, subnet=f"{path}/subnets/{network.subnet}")

    def _register(self, namespaces: tuple[str, ...]) -> None:
        deadline = time.monotonic() + _TIMEOUT
        for namespace in namespaces:
            path = f"/subscriptions/{self.subscription}/providers/{namespace}"
            if self._call("GET", path, _RESOURCES)["registrationState"] == "Registered":
                continue
            self._call("POST", f"{path}/register", _RESOURCES)
            while self._call("GET", path, _RESOURCES)["registrationState"] != "Registered":
                if time.monotonic() > deadline:
                    raise CustomerError(f"{namespace} was not registered in {_TIMEOUT:.0f} s")
                time.sleep(_LOOK_INTERVAL)

    def _define(self, role: AzureRole) -> str:
        permission = {
            "actions": role.actions,
            "notActions": role.not_actions,
            "dataActions": role.data_actions,
            "notDataActions": role.not_data_actions,
        }
        properties = {
            "roleName": role.name,
            "assignableScopes": [f"/subscriptions/{self.subscription}"],
            "permissions": [permission],
        }
        path = self._role(role.name)
        self._call("PUT", path, _AUTHORIZATION, {"properties": properties})
        return path

    def _defined(self, role: str) -> dict[str, Any]:
        if role not in {entry.name for entry in self._applied.roles}:
            raise CustomerError(f"subscription {self.subscription} has no role {role}")
        return self._call("GET", self._role(role), _AUTHORIZATION)

    def _role(self, name: str) -> str:
        guid = uuid5(NAMESPACE_URL, f"{self.subscription}/{name}")
        return f"/subscriptions/{self.subscription}{DEFINITIONS}{guid}"

    def _assignment(self, role: str, client_id: str, scope: str) -> str:
        below = f"/subscriptions/{self.subscription}" + (f"/{scope.strip('/')}" if scope else "")
        return f"{below}{_ASSIGNMENTS}{uuid5(NAMESPACE_URL, f'{below}/{role}/{client_id}')}"

    def _assignments(self, template: AzureTemplate) -> list[str]:
        return [self._assignment(entry.role, entry.client_id, entry.scope) for entry in template.assignments]

    def _make(self, path: str, document: dict[str, Any]) -> None:
        self._call("PUT", path, _NETWORK, document)
        deadline = time.monotonic() + _TIMEOUT
        while (state := self._call("GET", path, _NETWORK)["properties"]["provisioningState"]) != "Succeeded":
            if state == "Failed" or time.monotonic() > deadline:
                raise CustomerError(f"{path} is {state}")
            time.sleep(_LOOK_INTERVAL)

    def _call(self, method: str, path: str, version: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        url, query = self._azure.url + path, {"api-version": version}
        reply = self._http.request(method, url, params=query, json=body, timeout=_TIMEOUT)
        document: dict[str, Any] = reply.json() if reply.content else {}
        if not reply.ok and not (method == "DELETE" and reply.status_code == _NOT_FOUND):
            raise CustomerError(document["error"]["message"])
        return document
