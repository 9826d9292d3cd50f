"""The audit journal: one record for each call that reached a simulator, in the order of arrival."""

from __future__ import annotations

import fnmatch
import threading
from datetime import datetime

from pydantic import BaseModel, ConfigDict


class Call(BaseModel):
    """One API call as the cloud saw it."""

    model_config = ConfigDict(frozen=True)

    number: int = 0
    at: datetime
    """Simulated time of arrival."""
    service: str
    """Lower-case service: `ec2`, `eks`, `sts`, …, or `kubernetes`."""
    operation: str
    """The SDK's operation name (`CreateVpc`); for Kubernetes verb and resource (`patch deployments`)."""
    mutating: bool
    """Whether a successful call of this operation changes the world."""
    account: str = ""
    region: str = ""
    principal: str = ""
    """ARN or Kubernetes user name of the caller, empty before authentication."""
    agent: str = ""
    """The User-Agent header: the caller names its deployment, operation and step there."""
    resource: str = ""
    """The name or id that the call is about, where one is known."""
    status: int = 0
    """HTTP status of the reply; 0 if the reply was withheld."""
    error: str = ""
    """Error code of the reply, empty on success."""
    changed: bool = False
    """Whether this call changed the world (false for a rejected call and for a no-op apply)."""
    fault: str = ""
    """Id of the injected fault that this call met."""


class Journal:
    """Holds every call of one simulated world."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[Call] = []

    def record(self, call: Call) -> Call:
        """Append `call` and return it with its number (counted from 1)."""
        with self._lock:
            numbered = call.model_copy(update={"number": len(self._calls) + 1})
            self._calls.append(numbered)
            return numbered

    def clear(self) -> None:
        """Forget every call; numbers start at 1 again."""
        with self._lock:
            self._calls.clear()

    @property
    def position(self) -> int:
        """The number of the newest call: pass it as `after` to see only what follows."""
        with self._lock:
            return len(self._calls)

    def calls(
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
        """Return the calls that match: shell patterns for service, operation and account, a substring for agent."""
        with self._lock:
            candidates = self._calls[after:]
        return [
            call
            for call in candidates
            if fnmatch.fnmatchcase(call.service, service)
            and fnmatch.fnmatchcase(call.operation, operation)
            and fnmatch.fnmatchcase(call.account, account)
            and agent in call.agent
            and (mutating is None or call.mutating == mutating)
            and (changed is None or call.changed == changed)
        ]
