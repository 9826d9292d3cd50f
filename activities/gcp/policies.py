"""Changes of IAM policies: read, changed and written back, unless somebody else has written in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from google.api_core.exceptions import InvalidArgument

from activities.failures import not_ready
from activities.gcp.settings import GcpSettings

POLICY_VERSION = 3
"""A policy that is read in an older version lacks its conditions, and would lose them when it is written."""


class HasPolicy(Protocol):
    """A client of something with an IAM policy."""

    get_iam_policy: Any
    set_iam_policy: Any


class PolicyEditor:
    """Edits the policy of one resource. After a concurrent change Google refuses, and the step tries again."""

    def __init__(self, client: HasPolicy, resource: str, settings: GcpSettings) -> None:
        self._client = client
        self._resource = resource
        self._settings = settings

    def grant(self, role: str, members: Sequence[str]) -> None:
        """Let the members have the role without conditions; nothing is written if they have it."""
        self._edit(lambda policy: _add(policy, role, members))

    def grant_exactly(self, role: str, members: Sequence[str]) -> None:
        """Let these members have the role without conditions, and nobody else have it in any way."""

        def edit(policy: Any) -> None:  # noqa: ANN401 - a message without types
            bindings = [each for each in policy.bindings if each.role == role]
            if len(bindings) == 1 and _is_plain(bindings[0], role) and set(bindings[0].members) == set(members):
                return
            for binding in bindings:
                policy.bindings.remove(binding)
            _add(policy, role, members)

        self._edit(edit)

    def take(self, role: str, emails: Iterable[str]) -> None:
        """Take the role from these service accounts, also from such as are deleted already.

        Other roles that somebody gave them are not ours to take: Google would refuse the whole change.
        """
        doomed = set(emails)

        def edit(policy: Any) -> None:  # noqa: ANN401 - a message without types
            for binding in [each for each in policy.bindings if each.role == role]:
                kept = [member for member in binding.members if email_of(member) not in doomed]
                if not kept:
                    policy.bindings.remove(binding)
                elif len(kept) < len(binding.members):
                    del binding.members[:]
                    binding.members.extend(kept)

        self._edit(edit)

    def _edit(self, edit: Callable[[Any], None]) -> None:
        asked = {"resource": self._resource, "options": {"requested_policy_version": POLICY_VERSION}}
        policy = self._client.get_iam_policy(request=asked)
        before = policy.SerializeToString(deterministic=True)
        edit(policy)
        if policy.SerializeToString(deterministic=True) == before:
            return
        policy.version = POLICY_VERSION
        try:
            self._client.set_iam_policy(request={"resource": self._resource, "policy": policy})
        except InvalidArgument as error:
            if "does not exist" not in str(error.message):
                raise
            # A service account that was just made is not seen by policies for some seconds.
            message = f"Google does not see a new service account yet: {error.message}"
            raise not_ready(message, look_again_in=self._settings.poll_interval) from error


def _add(policy: Any, role: str, members: Sequence[str]) -> None:  # noqa: ANN401 - a message without types
    present = {member for each in policy.bindings if _is_plain(each, role) for member in each.members}
    missing = [member for member in members if member not in present]
    if not missing:
        return
    for binding in policy.bindings:
        if _is_plain(binding, role):
            binding.members.extend(missing)
            return
    policy.bindings.add(role=role, members=missing)


def _is_plain(binding: Any, role: str) -> bool:  # noqa: ANN401 - a message without types
    """Return whether a binding is of this role and without a condition."""
    return bool(binding.role == role and not binding.condition.expression)


def email_of(member: str) -> str:
    """Return the address of a member: `serviceAccount:…`, or `deleted:serviceAccount:…?uid=…` after its deletion."""
    return member.removeprefix("deleted:").partition(":")[2].partition("?")[0]
