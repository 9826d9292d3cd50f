"""Account and region: the two that every piece of regional state is keyed by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ministack.core.responses import get_account_id, get_region, request_scope


class Scope(NamedTuple):
    """One region of one account."""

    account: str
    region: str

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of `resource` (`cluster/name`) of a regional service here."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"


def current() -> Scope:
    """Return account and region of the request that is being handled."""
    return Scope(get_account_id(), get_region())


@contextmanager
def inside(scope: Scope) -> Iterator[None]:
    """Let ministack's stores, which look at the current request, show those of `scope`."""
    with request_scope(scope.account, scope.region):
        yield
