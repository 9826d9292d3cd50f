"""The simulated world as the playground sees it: the vendor's credentials, and customers who act in their accounts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests

from domain.model import Model

_TIMEOUT = 120.0


class WorldRefused(Exception):  # noqa: N818 - it names what happened
    """The simulated world did not do what it was asked for; the message says why."""


class Addresses(Model):
    """Where the simulators serve, on loopback."""

    aws_url: str
    kubernetes_url: str
    kubernetes_ca_file: Path
    internet_proxy_url: str
    internet_ca_file: Path
    control_url: str


class Vendor(Model):
    """The vendor's identity in the simulated AWS."""

    principal: str
    access_key_id: str
    secret_access_key: str


class World:
    """A client of the simulators' control API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def vendor(self) -> Vendor:
        """Return the credentials that the control plane runs with."""
        return Vendor.model_validate(self._post("/aws/vendor"))

    def apply_template(self, account: str, template: str) -> None:
        """Let the customer's administrator apply our CloudFormation template."""
        self._post(f"/aws/accounts/{account}/customer/apply-template", {"template": template})

    def delete_template(self, account: str) -> None:
        """Let the customer's administrator delete the stack: every permission is gone."""
        self._post(f"/aws/accounts/{account}/customer/delete-template", {})

    def deny(self, account: str, role: str, action: str) -> None:
        """Let the customer's administrator take one action away from one of our roles."""
        self._post(f"/aws/accounts/{account}/customer/deny", {"role": role, "action": action})

    def allow(self, account: str, role: str, action: str) -> None:
        """Let the customer's administrator give back what was taken."""
        self._post(f"/aws/accounts/{account}/customer/allow", {"role": role, "action": action})

    def hold_next(self, account: str, operation: str) -> None:
        """Let the next call of this operation in the account wait, before it is looked at, until it is released."""
        self._post(
            "/faults", {"kind": "hold_before", "account": account, "operation": operation, "mutating": True, "times": 1}
        )

    def wait_until_held(self, seconds: float) -> str:
        """Return the id of the call that waits, or an empty string if none does within `seconds`."""
        held = self._answer(requests.get(f"{self.url}/held", params={"wait": seconds}, timeout=_TIMEOUT))
        return str(held[0]["id"]) if held else ""

    def release(self, held: str) -> None:
        """Let a call that waits go on."""
        self._post(f"/held/{held}/release")

    def set_speed(self, speed: float) -> None:
        """Change how many simulated seconds pass in a real one."""
        self._post("/clock", {"speed": speed})

    def resources(self, account: str) -> list[dict[str, Any]]:
        """Return everything that an account holds."""
        found: list[dict[str, Any]] = self._answer(
            requests.get(f"{self.url}/inventory", params={"account": account}, timeout=_TIMEOUT)
        )
        return found

    def _post(self, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        return self._answer(requests.post(self.url + path, json=body, timeout=_TIMEOUT))

    def _answer(self, reply: requests.Response) -> Any:  # noqa: ANN401 - JSON
        is_json = reply.headers.get("Content-Type", "").startswith("application/json")
        document = reply.json() if is_json else {}
        if not reply.ok:
            raise WorldRefused(document.get("error") or f"HTTP {reply.status_code}")
        return document
