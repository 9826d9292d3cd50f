"""What the commands about rollouts have in common: their options, and who is meant by them."""

from __future__ import annotations

from typing import Annotated

import typer

from domain.clouds import Cloud
from domain.rollout import RolloutLimits
from domain.upgrade import Override, UpgradeRequest
from domain.waves import Member
from starters import rollouts
from starters.cli.errors import BadInput
from starters.client import ControlPlane
from starters.releases import current_catalogue
from starters.rollout_requests import RequestInvalid, upgrades_to
from starters.rollouts import Selection

Name = Annotated[str, typer.Argument(help="name of the rollout", metavar="NAME")]
Reason = Annotated[str, typer.Option(help="why; it goes into the audit trail")]
ReleaseOption = Annotated[
    str, typer.Option("--release", help="the server's release to reach, 4.12.1", metavar="VERSION")
]
KubernetesOption = Annotated[
    str, typer.Option("--kubernetes", help="the Kubernetes minor version to reach, 1.35", metavar="VERSION")
]
CloudOption = Annotated[list[Cloud] | None, typer.Option("--cloud", help="only deployments in this cloud (repeatable)")]
CustomerOption = Annotated[list[str] | None, typer.Option("--customer", help="only this customer's (repeatable)")]
RegionOption = Annotated[list[str] | None, typer.Option("--region", help="only in this region (repeatable)")]
OnlyOption = Annotated[list[str] | None, typer.Option("--only", help="only the deployment of this name (repeatable)")]
InternalOption = Annotated[
    list[str] | None,
    typer.Option("--internal", help="a customer that is the vendor itself: the first wave (repeatable)"),
]
TotalOption = Annotated[int, typer.Option("--total", min=1, help="deployments at the same time, at most")]
PerCloudOption = Annotated[int, typer.Option("--per-cloud", min=1, help="the same in one cloud")]
PerCustomerOption = Annotated[int, typer.Option("--per-customer", min=1, help="the same of one customer")]
UrgentOption = Annotated[
    bool, typer.Option("--urgent", help="pass over windows and notice; two others have to approve it within 24 hours")
]
LIMITS = RolloutLimits()


async def upgrades(
    plane: ControlPlane, release: str, kubernetes: str, override: Override | None
) -> dict[Cloud, UpgradeRequest]:
    """Return what the deployments of each cloud are asked.

    Raises:
        BadInput: It cannot be rolled out.
    """
    try:
        return upgrades_to(await current_catalogue(plane), release=release, kubernetes=kubernetes, override=override)
    except RequestInvalid as error:
        raise BadInput(error.problems) from error


async def members_of(plane: ControlPlane, selection: Selection, asked: dict[Cloud, UpgradeRequest]) -> list[Member]:
    """Return the deployments that are selected, active, and behind."""
    upgrade = next(iter(asked.values()))
    return [member for member in await rollouts.fleet(plane, selection, upgrade) if Cloud(member.cloud) in asked]
