"""What a cloud's tests bring to the contract suite: an account, and the few words in which the clouds differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from activities.cloud import Activity, CloudActivities
from activities.kubernetes.manifests.clouds import CloudManifests
from activities.kubernetes.server import KubernetesServer
from activities.kubernetes.settings import KubernetesSettings
from activities.needs import Need
from domain.clouds import Cloud, Purpose
from domain.deployment import Site
from domain.failure import FailureClass
from simulators.control_client import ControlClient
from simulators.endpoints import Endpoints
from tests.activities.tenant import Tenant, by_name
from tests.contract.life import Facts


@dataclass(frozen=True)
class World:
    """The simulated clouds."""

    endpoints: Endpoints
    control: ControlClient
    folder: Path
    """For files of credentials."""


@dataclass(frozen=True)
class Stranger:
    """Something of somebody else's that has a name of ours: who meets it refuses it and leaves it as it is."""

    activity: str
    """Would make it."""
    deletion: str
    """Would delete it; empty where there is no such activity of its own."""
    arrive: Callable[[Any, Facts], None]
    """The customer makes it, in the cloud's tenant, for the deployment of the facts; or takes our tags off what we
    made."""
    leave: Callable[[Any, Facts], None] | None = None
    """Takes away what would keep the deployment from being deleted, or puts back our tags."""
    namesake: bool = True
    """It is met by another deployment of the account; False where it is one of our own parts without our tags."""
    about: str = ""
    """Of the scene, where the activity has several."""


class CloudUnderTest(Protocol):
    """One cloud, as the contract suite sees it."""

    cloud: Cloud
    looks: str
    """Pattern of the operations whose refusal says why."""
    names: Mapping[FailureClass, str]
    """With which code the cloud refuses any call for these reasons: AUTH and CONFLICT, and others as they fit."""
    waits: Mapping[str, str]
    """Which operation starts what the scene has to wait for; keyed by the scene's name."""
    machines: Mapping[str, str]
    """Which operation starts the machines of which the cloud may have none; keyed by activity."""
    strangers: Sequence[Stranger]
    nameless: Mapping[str, str]
    """Why what an activity makes cannot be mistaken for somebody else's; keyed by activity."""
    codes: Mapping[str, FailureClass]
    """The cloud's own codes, and what each means."""
    unasked: re.Pattern[str]
    """Of permissions that no template grants: everybody has them, or a cluster's own rules give them."""
    kept: Sequence[str]
    """Kinds of leftovers that the cloud does not let go at once."""
    restorable: Sequence[str]
    """Of these, those that have been deleted, and can only be had back: the inventory does not show them."""

    def tenant(self, world: World, number: int) -> Tenant:
        """Return a fresh account in which the customer has applied our template."""

    def activities(self, world: World) -> Mapping[str, Activity]:
        """Return what another worker registers, keyed by name: nothing that was cached is in it."""

    def implementation(self) -> CloudActivities:
        """Return the implementation of the contracts, connected to nothing."""

    def leave(self, tenant: Any) -> None:
        """Let the customer take the template away."""

    def purpose(self, site: Site, principal: str) -> Purpose | None:
        """Return for which purpose a caller was made, as the simulator names callers; None if it is none of ours."""

    def classify(self, code: str) -> FailureClass:
        """Return what the implementation takes a code for."""

    def granted(self, needs: Iterable[Need]) -> Iterable[Need]:
        """Return what the template grants for these needs: also what the cloud demands beside a declared permission."""

    def action(self, service: str, operation: str) -> str:
        """Return the permission that a call needs by its name; empty where the name does not tell."""


def registered(world: World, cloud: CloudActivities, manifests: CloudManifests) -> dict[str, Activity]:
    """Return what a worker of a cloud registers, keyed by name."""
    settings = KubernetesSettings(
        poll_interval=timedelta(milliseconds=20),
        grace=timedelta(hours=1),
        # What is granted has effect at once here, so that a refusal is one.
        access_grace=timedelta(),
        public_proxy=world.endpoints.internet_proxy_url,
        public_ca_file=str(world.endpoints.internet_ca_file),
    )
    server = KubernetesServer(cloud.cluster_credentials, cloud.cluster_credentials, manifests, settings)
    return by_name([*cloud.activities(), *server.activities()])
