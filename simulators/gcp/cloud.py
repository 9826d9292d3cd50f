"""What all services of one simulated Google Cloud share."""

from __future__ import annotations

from dataclasses import dataclass

from simulators.clock import Clock
from simulators.gcp.api import Check, stamp
from simulators.gcp.durations import Delays, Durations
from simulators.gcp.iam.identities import Identities, Project
from simulators.gcp.iam.policies import Policies
from simulators.gcp.iam.roles import Roles
from simulators.gcp.refusals import Refusal
from simulators.work import Work
from simulators.world import World

ENABLED_AT_FIRST = frozenset(
    f"{api}.googleapis.com" for api in ("logging", "monitoring", "serviceusage", "storage", "cloudresourcemanager")
)
"""The APIs that a new project has."""


@dataclass
class Cloud:
    """Projects, identities and time."""

    world: World
    work: Work
    identities: Identities
    roles: Roles
    policies: Policies
    durations: Durations

    @classmethod
    def make(cls, world: World, durations: Durations | None = None, delays: Delays | None = None) -> Cloud:
        """Return an empty cloud."""
        lags = delays or Delays()
        roles = Roles(world.clock, lags.policy)
        return cls(
            world=world,
            work=Work(world),
            identities=Identities(world.clock, lags.service_account),
            roles=roles,
            policies=Policies(world.clock, roles, lags.policy),
            durations=durations or Durations(),
        )

    @property
    def clock(self) -> Clock:
        """Simulated time."""
        return self.world.clock

    def now(self) -> str:
        """Return the simulated time as RFC 3339 writes it."""
        return stamp(self.clock.now())

    def project(self, project_id: str) -> Project:
        """Return a project, made if it does not exist: owned by its owner, with the APIs of a new project."""
        found = self.identities.projects.get(project_id)
        if found is None:
            found = self.identities.add_project(project_id)
            found.services |= ENABLED_AT_FIRST
            owner = {"role": "roles/owner", "members": [f"user:owner@{project_id}.example.com"]}
            agents = [
                {"role": f"roles/{service}.serviceAgent", "members": [self.identities.agent_of(service, project_id)]}
                for service in ("container", "compute")
            ]
            self.policies.set(f"projects/{project_id}", {"bindings": [owner, *agents]})
            self.policies.settle_now(f"projects/{project_id}")
        return found

    def require(self, principal: str, check: Check, project: str, *, service: str, agent: str) -> None:
        """Refuse, in the service's own words, what the caller may not do."""
        if not self.policies.require(principal, check, project, agent):
            raise denied(principal, check, service)

    def allows(self, principal: str, check: Check, project: str) -> bool:
        """Return whether somebody may do something; nothing is remembered of it."""
        return self.policies.allows(principal, check, f"projects/{project}")

    def forget(self) -> None:
        """Forget every project."""
        self.work.forget()
        self.identities.forget()
        self.roles.forget()
        self.policies.forget()


def denied(principal: str, check: Check, service: str) -> Refusal:
    """Return the refusal of a call whose caller lacks a permission."""
    permission, resource = check.permission, check.resource
    host = check.type.partition("/")[0] or f"{service}.googleapis.com"
    match service:
        case "compute":
            message = f"Required '{permission}' permission for '{resource}'"
        case "container":
            message = f'Required "{permission}" permission(s) for "{resource}".'
        case "storage":
            who = principal.partition(":")[2]
            message = (
                f"{who} does not have {permission} access to the Google Cloud Storage resource."
                f" Permission '{permission}' denied on resource (or it may not exist)."
            )
        case "iamcredentials":
            message = f"Permission '{permission}' denied on resource (or it may not exist)."
        case _:
            message = f"Permission '{permission}' denied on resource '//{host}/{resource}' (or it may not exist)."
    return Refusal(
        "PERMISSION_DENIED",
        message,
        reason="IAM_PERMISSION_DENIED",
        domain=host,
        metadata={"permission": permission, "resource": resource},
    )
