"""What a call to Azure is, what it is answered with, and what a plane of Azure does with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from simulators.azure.identities import Principal
from simulators.azure.refusals import Json, Refusal
from simulators.faults import Fault
from simulators.journal import Call


@dataclass
class Request:
    """One call: first as it arrives, then with what its plane understood of it."""

    method: str
    host: str
    """In lower case, with the port if one was named."""
    path: str
    """Decoded."""
    query: Mapping[str, str]
    """Keyed by lower-case names."""
    headers: Mapping[str, str]
    """Keyed by lower-case names."""
    content: bytes
    at: datetime
    service: str = ""
    """Of the journal and of faults: `network`, `containerservice`, `entra`, `blob`, `vault`."""
    operation: str = ""
    """What Azure calls the action, without the namespace: `virtualNetworks/subnets/write`."""
    mutating: bool = False
    subscription: str = ""
    region: str = ""
    resource: str = ""
    principal: Principal | None = None
    fault: Fault | None = None
    had_effect: bool = True
    """Whether a success changed the world, as far as the plane said."""

    @property
    def agent(self) -> str:
        """The User-Agent."""
        return self.headers.get("user-agent", "")

    @property
    def base(self) -> str:
        """The URL by which the caller reaches this host, for links in replies."""
        scheme = "http" if self.host.startswith(("127.", "localhost")) else "https"
        return f"{scheme}://{self.host}"

    @property
    def body(self) -> Json:
        """The JSON of the request."""
        try:
            found = json.loads(self.content or b"{}")
        except ValueError as error:
            text = f"The request content was invalid and could not be deserialized: '{error}'."
            raise Refusal(400, "InvalidRequestContent", text) from error
        return found if isinstance(found, dict) else {}

    def call(self, *, status: int = 0, error: str = "", changed: bool = False) -> Call:
        """Return the journal's record of this call."""
        return Call(
            at=self.at,
            service=self.service,
            operation=self.operation,
            mutating=self.mutating,
            account=self.subscription,
            region=self.region,
            principal=self.principal.name if self.principal is not None else "",
            agent=self.agent,
            resource=self.resource,
            status=status,
            error=error,
            changed=changed,
            fault=self.fault.id if self.fault is not None else "",
        )


@dataclass(frozen=True)
class Reply:
    """What a call is answered with."""

    body: Any = None
    """JSON, or bytes, or nothing."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One action that the caller must be allowed, on one scope."""

    action: str
    """`Microsoft.Network/virtualNetworks/write`."""
    scope: str
    data: bool = False
    """Whether it is about data, which other lists of a role allow."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """For conditions, keyed as `Request:Microsoft.Authorization/roleAssignments:RoleDefinitionId`."""


Deed = Callable[[], Reply]
"""What fulfils one call, or raises a Refusal."""


class Plane(Protocol):
    """One face of Azure, at hosts of its own."""

    def serves(self, request: Request) -> bool:
        """Return whether the call is for this plane."""

    def understand(self, request: Request) -> Deed:
        """Say in the request which operation it is, of which service, about what and by whom; return what fulfils it.

        Nothing is refused yet: a call that no service knows is refused by its deed.
        """

    def refused(self, refusal: Refusal, request: Request) -> Reply:
        """Return a refusal in the plane's own envelope."""

    def forget(self) -> None:
        """Forget everything."""
