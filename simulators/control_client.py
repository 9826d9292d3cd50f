"""Typed client of the control API, for tests, the demo and the playground."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any
from urllib.parse import quote

import requests
from pydantic import BaseModel, ConfigDict, TypeAdapter

from simulators.azure.documents import (
    AzureOutputs,
    AzureOwnNetwork,
    AzureOwnNetworkFacts,
    AzureQuota,
    AzureTemplate,
    AzureVendor,
)
from simulators.customer import OwnNetwork, OwnNetworkFacts
from simulators.faults import Fault
from simulators.gcp.documents import GcpOutputs, GcpOwnNetwork, GcpOwnNetworkFacts, GcpTemplate, GcpVendor, Quota
from simulators.inventory import Resource
from simulators.journal import Call
from simulators.secrets import Secret
from simulators.vendor import Vendor
from simulators.world import Held

_TIMEOUT = 120.0


Json = Any
"""A JSON document."""


class ControlError(Exception):
    """The control API refused a request; the text says why."""


class FaultInForce(BaseModel):
    """A rule, and how many calls it has affected."""

    model_config = ConfigDict(frozen=True)

    fault: Fault
    hits: int


class Time(BaseModel):
    """Simulated time, and how many simulated seconds pass in a real one."""

    model_config = ConfigDict(frozen=True)

    speed: float
    time: datetime


class Authorization(BaseModel):
    """One action that a principal needed, and whether it was allowed when it was last checked."""

    model_config = ConfigDict(frozen=True)

    account: str
    principal: str
    action: str
    agent: str = ""
    """The User-Agent of the call that needed it."""
    allowed: bool


_CALLS = TypeAdapter(list[Call])
_HELD = TypeAdapter(list[Held])
_FAULTS = TypeAdapter(list[FaultInForce])
_RESOURCES = TypeAdapter(list[Resource])
_SECRETS = TypeAdapter(list[Secret])
_AUTHORIZATIONS = TypeAdapter(list[Authorization])


class ControlClient:
    """Looks into one simulated world and makes it misbehave; every method raises ControlError if it is refused."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._http = requests.Session()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def journal(
        self,
        *,
        after: int = 0,
        service: str = "*",
        operation: str = "*",
        account: str = "*",
        agent: str = "",
        mutating: bool | None = None,
        changed: bool | None = None,
    ) -> list[Call]:
        """Return the calls that match, oldest first: shell patterns, and a substring for `agent`."""
        query: dict[str, Any] = {
            "after": after,
            "service": service,
            "operation": operation,
            "account": account,
            "agent": agent,
        }
        query |= {
            name: str(value).lower()
            for name, value in (("mutating", mutating), ("changed", changed))
            if value is not None
        }
        return _CALLS.validate_python(self.call("GET", "/journal", query=query))

    def position(self) -> int:
        """Return the number of the newest call: pass it as `after` to see only what follows."""
        return int(self.call("GET", "/journal/position")["position"])

    def faults(self) -> list[FaultInForce]:
        """Return the rules in force."""
        return _FAULTS.validate_python(self.call("GET", "/faults"))

    def inject(self, fault: Fault) -> Fault:
        """Put a rule in force."""
        return Fault.model_validate(self.call("POST", "/faults", fault.model_dump(mode="json")))

    def remove_fault(self, fault_id: str) -> None:
        """Take a rule out of force."""
        self.call("DELETE", f"/faults/{quote(fault_id, safe='')}")

    def clear_faults(self) -> None:
        """Take every rule out of force."""
        self.call("DELETE", "/faults")

    def held(self, *, wait: float = 0.0) -> list[Held]:
        """Return the calls that are held; wait up to `wait` real seconds (at most 60) for the first one."""
        return _HELD.validate_python(self.call("GET", "/held", query={"wait": wait}))

    def release(self, held_id: str) -> None:
        """Let a held call go on."""
        self.call("POST", f"/held/{quote(held_id, safe='')}/release")

    def clock(self) -> Time:
        """Return simulated time and its speed."""
        return Time.model_validate(self.call("GET", "/clock"))

    def set_speed(self, speed: float) -> Time:
        """Change how fast simulated time passes; `math.inf` means that nothing takes time."""
        value = "inf" if math.isinf(speed) else speed
        return Time.model_validate(self.call("POST", "/clock", {"speed": value}))

    def inventory(self, account: str) -> list[Resource]:
        """Return everything that the account holds, in every region in which anything was ever changed."""
        return _RESOURCES.validate_python(self.call("GET", "/inventory", query={"account": account}))

    def authorizations(self, account: str = "") -> list[Authorization]:
        """Return every permission that calls needed so far, of one account or of all."""
        return _AUTHORIZATIONS.validate_python(self.call("GET", "/authorizations", query={"account": account}))

    def secrets(self) -> list[Secret]:
        """Return every secret that this world gave out or was shown, also those of what is gone."""
        return _SECRETS.validate_python(self.call("GET", "/secrets"))

    def reset(self) -> None:
        """Make the world fresh: no accounts, clusters, faults or journal; time and speed stay."""
        self.call("POST", "/reset")

    def vendor(self) -> Vendor:
        """Return the vendor's credentials; its account is made on the first call after a reset."""
        return Vendor.model_validate(self.call("POST", "/aws/vendor"))

    def customer(self, account: str) -> CustomerClient:
        """Return the administrator of one customer's account."""
        return CustomerClient(self, account)

    def gcp_vendor(self) -> GcpVendor:
        """Return the vendor's identity at Google Cloud; it is made on the first call after a reset."""
        return GcpVendor.model_validate(self.call("POST", "/gcp/vendor"))

    def project(self, project: str) -> ProjectClient:
        """Return the owner of one customer's project of Google Cloud."""
        return ProjectClient(self, project)

    def azure_vendor(self) -> AzureVendor:
        """Return the vendor's applications at Azure; they are made on the first call after a reset."""
        return AzureVendor.model_validate(self.call("POST", "/azure/vendor"))

    def subscription(self, subscription: str) -> SubscriptionClient:
        """Return the owner of one customer's subscription of Azure."""
        return SubscriptionClient(self, subscription)

    def call(self, method: str, path: str, body: Json = None, *, query: dict[str, Any] | None = None) -> Json:
        """Make one request and return its reply's JSON document."""
        reply = self._http.request(method, self._url + path, json=body, params=query, timeout=_TIMEOUT)
        document = reply.json() if reply.headers.get("Content-Type", "").startswith("application/json") else {}
        if not reply.ok:
            raise ControlError(document.get("error") or f"{method} {path}: HTTP {reply.status_code}")
        return document


class CustomerClient:
    """Lets the administrator of one customer's account act."""

    def __init__(self, control: ControlClient, account: str) -> None:
        self.account = account
        self._control = control

    def apply_template(
        self,
        template: str | dict[str, Any],
        *,
        stack: str = "byoc",
        region: str = "us-east-1",
        parameters: dict[str, str] | None = None,
    ) -> dict[str, str]:
        """Create or update a CloudFormation stack and return its outputs once it is complete."""
        body = {"template": template, "stack": stack, "region": region, "parameters": parameters or {}}
        outputs: dict[str, str] = self._act("apply-template", body)["outputs"]
        return outputs

    def delete_template(self, *, stack: str = "byoc", region: str = "us-east-1") -> None:
        """Delete the stack with everything in it."""
        self._act("delete-template", {"stack": stack, "region": region})

    def deny(self, role: str, action: str) -> None:
        """Take one action away from the policies of a role (its name, without the path)."""
        self._act("deny", {"role": role, "action": action})

    def allow(self, role: str, action: str) -> None:
        """Give back what `deny` took."""
        self._act("allow", {"role": role, "action": action})

    def make_network(self, network: OwnNetwork) -> OwnNetworkFacts:
        """Make a network of the customer's own."""
        return OwnNetworkFacts.model_validate(self._act("own-vpc", network.model_dump(mode="json")))

    def _act(self, action: str, body: dict[str, Any]) -> Json:
        return self._control.call("POST", f"/aws/accounts/{self.account}/customer/{action}", body)


class ProjectClient:
    """Lets the owner of one customer's project of Google Cloud act."""

    def __init__(self, control: ControlClient, project: str) -> None:
        self.project = project
        self._control = control

    def apply_template(self, template: GcpTemplate) -> GcpOutputs:
        """Make what the template says, or bring it in line; it has effect afterwards."""
        return GcpOutputs.model_validate(self._act("apply-template", template.model_dump(mode="json")))

    def delete_template(self) -> None:
        """Delete everything that the template made."""
        self._act("delete-template", {})

    def deny(self, role: str, permission: str) -> None:
        """Take one permission away from a custom role (its id)."""
        self._act("deny", {"role": role, "permission": permission})

    def allow(self, role: str, permission: str) -> None:
        """Give back what `deny` took."""
        self._act("allow", {"role": role, "permission": permission})

    def make_network(self, network: GcpOwnNetwork) -> GcpOwnNetworkFacts:
        """Make a network of the customer's own."""
        return GcpOwnNetworkFacts.model_validate(self._act("own-network", network.model_dump(mode="json")))

    def set_quota(self, quota: Quota) -> None:
        """Give the project another limit than usual."""
        self._act("quota", quota.model_dump(mode="json"))

    def _act(self, action: str, body: dict[str, Any]) -> Json:
        return self._control.call("POST", f"/gcp/projects/{self.project}/customer/{action}", body)


class SubscriptionClient:
    """Lets the owner of one customer's subscription of Azure act."""

    def __init__(self, control: ControlClient, subscription: str) -> None:
        self.subscription = subscription
        self._control = control

    def apply_template(self, template: AzureTemplate) -> AzureOutputs:
        """Make what the template says, or bring it in line; it has effect afterwards."""
        return AzureOutputs.model_validate(self._act("apply-template", template.model_dump(mode="json")))

    def delete_template(self) -> None:
        """Delete everything that the template made."""
        self._act("delete-template", {})

    def deny(self, role: str, action: str) -> None:
        """Take one action away from a custom role (its name)."""
        self._act("deny", {"role": role, "action": action})

    def allow(self, role: str, action: str) -> None:
        """Give back what `deny` took."""
        self._act("allow", {"role": role, "action": action})

    def make_network(self, network: AzureOwnNetwork) -> AzureOwnNetworkFacts:
        """Make a network of the customer's own."""
        return AzureOwnNetworkFacts.model_validate(self._act("own-network", network.model_dump(mode="json")))

    def set_quota(self, quota: AzureQuota) -> None:
        """Give the subscription another limit than usual."""
        self._act("quota", quota.model_dump(mode="json"))

    def _act(self, action: str, body: dict[str, Any]) -> Json:
        return self._control.call("POST", f"/azure/subscriptions/{self.subscription}/customer/{action}", body)
