"""The simulated world as the playground sees it: the vendor's credentials, and customers who act in their accounts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests

from domain.account import AccountSpec
from domain.clouds import Purpose
from starters.playground.clouds import CLOUDS, Json, SimulatedCloud

_TIMEOUT = 120.0


class WorldRefused(Exception):  # noqa: N818 - it names what happened
    """The simulated world did not do what it was asked for; the message says why."""


class World:
    """A client of the simulators' control API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def vendor(self, cloud: SimulatedCloud) -> Json:
        """Return as whom the control plane acts in a cloud, with its credentials."""
        made: Json = self._post(f"/{cloud.cloud}/vendor")
        return made

    def apply_template(self, account: AccountSpec, template: str) -> None:
        """Let the customer's administrator apply our template, which is given as JSON."""
        self._act(account, "apply-template", _known(account).application(template))

    def delete_template(self, account: AccountSpec) -> None:
        """Let the customer's administrator delete what the template made: every permission is gone."""
        self._act(account, "delete-template", {})

    def deny(self, account: AccountSpec, purpose: Purpose, action: str, template: Callable[[], str]) -> None:
        """Let the customer's administrator take one permission away from one of our roles.

        `template` makes the account's template as JSON, if the role's name is to be read there.
        """
        self._act(account, "deny", _known(account).one_permission(account.name, purpose, action, template))

    def allow(self, account: AccountSpec, purpose: Purpose, action: str, template: Callable[[], str]) -> None:
        """Let the customer's administrator give back what was taken."""
        self._act(account, "allow", _known(account).one_permission(account.name, purpose, action, template))

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

    def fail_image(self, image: str) -> None:
        """Make a bad release: whatever runs this image answers its requests with errors."""
        rule = {"kind": "error", "service": "server", "resource": f"*/{image}"}
        self._post("/faults", {**rule, "operation": "* /v1/*"})

    def set_speed(self, speed: float) -> None:
        """Change how many simulated seconds pass in a real one."""
        self._post("/clock", {"speed": speed})

    def resources(self, account: str) -> list[dict[str, Any]]:
        """Return everything that an account holds."""
        found: list[dict[str, Any]] = self._answer(
            requests.get(f"{self.url}/inventory", params={"account": account}, timeout=_TIMEOUT)
        )
        return found

    def _act(self, account: AccountSpec, what: str, body: Json) -> None:
        self._post(f"/{_known(account).accounts}/{account.cloud_account_id}/customer/{what}", body)

    def _post(self, path: str, body: Json | None = None) -> Any:  # noqa: ANN401 - JSON
        return self._answer(requests.post(self.url + path, json=body, timeout=_TIMEOUT))

    def _answer(self, reply: requests.Response) -> Any:  # noqa: ANN401 - JSON
        is_json = reply.headers.get("Content-Type", "").startswith("application/json")
        document = reply.json() if is_json else {}
        if not reply.ok:
            raise WorldRefused(document.get("error") or f"HTTP {reply.status_code}")
        return document


def _known(account: AccountSpec) -> SimulatedCloud:
    cloud = CLOUDS.get(account.cloud)
    if cloud is None:
        raise WorldRefused(f"{account.cloud} is not simulated for customers; {', '.join(CLOUDS)} are")
    return cloud
