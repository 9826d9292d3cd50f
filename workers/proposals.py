"""Proposing rollouts: what the monthly schedule asks for, seen in the catalogue and in the list of deployments."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from temporalio import activity
from temporalio.client import Client

import catalog
from activities.contracts import ProposalAnswer, ProposalContract, ProposalQuestion
from domain.actor import Actor, Door
from domain.catalogue import Catalogue, VersionStatus
from domain.clouds import Cloud
from domain.rollout import RolloutOrder, RolloutPolicy
from domain.upgrade import UpgradeRequest
from domain.version import version_order
from domain.waves import waves_of
from starters import rollouts
from starters.client import ControlPlane, Refused
from starters.releases import current_catalogue
from starters.rollout_requests import upgrades_to, with_needs
from starters.rollouts import Selection

SCHEDULE = Actor(name="cadence", door=Door.SCHEDULE)
FORCED_AFTER = timedelta(days=30)
"""From the proposal until what runs on an expired version is upgraded even outside of its windows."""


class Proposals(ProposalContract):
    """Starts the rollouts that are due, under names that a repeat finds again."""

    def __init__(self, client: Client) -> None:
        self._plane = ControlPlane(client, SCHEDULE)

    @activity.defn
    async def propose_rollouts(self, question: ProposalQuestion) -> ProposalAnswer:
        """Start a rollout of the newest release whose first wave has to be approved, and one for each cloud of which
        deployments run an expired Kubernetes version, to the next one. The same month again changes nothing.
        """
        catalogue, durations = await current_catalogue(self._plane), catalog.durations()
        proposed: list[str] = []
        left: list[str] = []
        newest = catalogue.newest_release()
        if newest is not None:
            month = f"release-{newest.version}-{question.at:%Y-%m}"
            upgrades = upgrades_to(catalogue, release=newest.version, kubernetes="")
            what = f"release {newest.version}"
            left += await self._propose(month, what, upgrades, Selection(), proposed, version=newest.version)
        for cloud in Cloud:
            for expired, following in _expired(catalogue, cloud):
                month = f"kubernetes-{cloud}-{following}-{question.at:%Y-%m}"
                expiring = UpgradeRequest(kubernetes=following, forced_at=question.at + FORCED_AFTER)
                upgrade = with_needs(expiring, durations.clouds[cloud])
                names = await self._running(cloud, expired)
                if names:
                    left += await self._propose(
                        month,
                        f"Kubernetes {following} instead of {expired}, which is expired",
                        {cloud: upgrade},
                        Selection(clouds=(cloud,), names=names),
                        proposed,
                    )
        return ProposalAnswer(rollouts=tuple(proposed), left_alone=tuple(left))

    async def _running(self, cloud: Cloud, kubernetes: str) -> tuple[str, ...]:
        """Return the deployments of a cloud that run this version."""
        return tuple(
            listed.name
            for listed in await self._plane.deployments()
            if listed.cloud == cloud and listed.kubernetes == kubernetes
        )

    async def _propose(
        self,
        name: str,
        target: str,
        upgrades: dict[Cloud, UpgradeRequest],
        selection: Selection,
        proposed: list[str],
        *,
        version: str = "",
    ) -> list[str]:
        """Start one rollout, or say why there is none; a release begins only when its first wave is approved."""
        upgrade = next(iter(upgrades.values()))
        members = await rollouts.fleet(self._plane, selection, upgrade)
        if not members:
            return [f"{target}: no active deployment is behind"]
        waves = waves_of(members, release=version or upgrade.kubernetes)
        order = RolloutOrder(
            name=name,
            target=target,
            version=version,
            requests=rollouts.requests_of(self._plane, name, upgrades, f"monthly: {target}"),
            waves=waves,
            policy=RolloutPolicy(approve=(waves[0].name,) if version else ()),
            actor=SCHEDULE,
            reason="monthly cadence",
        )
        try:
            await rollouts.start(self._plane, order)
        except Refused as refusal:
            return [f"{target}: {refusal}"]
        proposed.append(name)
        return []


def _expired(catalogue: Catalogue, cloud: Cloud) -> list[tuple[str, str]]:
    """Return each expired minor version of a cloud, with the one that follows it."""
    versions = sorted(catalogue.clouds[cloud].kubernetes, key=lambda known: version_order(known.version))
    return [
        (known.version, following.version)
        for known, following in pairwise(versions)
        if known.status is VersionStatus.EXPIRED
    ]
