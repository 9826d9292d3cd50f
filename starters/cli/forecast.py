"""`byoc rollout forecast`: when each wave would be done, before anything starts."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfoNotFoundError

import typer
import yaml
from pydantic import ValidationError

from domain.forecast import Forecast, forecast
from domain.maintenance import MaintenancePolicy, Work
from domain.recurrence import RuleInvalid
from domain.rollout import RolloutLimits, RolloutPolicy
from domain.waves import Member, waves_of
from starters import rollouts
from starters.cli.asking import ask
from starters.cli.errors import BadInput
from starters.cli.files import read_text
from starters.cli.instants import instant_of
from starters.cli.output import Format, FormatOption, print_data, print_rows, stdout
from starters.cli.rollout_options import (
    LIMITS,
    CloudOption,
    CustomerOption,
    InternalOption,
    KubernetesOption,
    PerCloudOption,
    PerCustomerOption,
    RegionOption,
    ReleaseOption,
    TotalOption,
    UrgentOption,
    members_of,
    upgrades,
)
from starters.client import ControlPlane, Refused
from starters.forecasts import Fleet, FleetEntry, always, openings_of, policies_of
from starters.rollouts import Selection
from starters.window_file import exclusion_as_written, window_as_written


def forecast_command(
    release: ReleaseOption = "",
    kubernetes: KubernetesOption = "",
    fleet: Annotated[
        Path | None,
        typer.Option("--fleet", help="YAML or JSON with the deployments; default: those of the control plane"),
    ] = None,
    now: Annotated[str, typer.Option(help="when it would start (ISO 8601, UTC); default: now", metavar="INSTANT")] = "",
    need: Annotated[
        int, typer.Option(min=1, max=24 * 60, help="minutes that one upgrade takes at the 95th percentile")
    ] = 90,
    notice: Annotated[float | None, typer.Option(min=0, help="hours of notice; default: 72, or 14 days")] = None,
    cloud: CloudOption = None,
    customer: CustomerOption = None,
    region: RegionOption = None,
    internal: InternalOption = None,
    total: TotalOption = LIMITS.total,
    per_cloud: PerCloudOption = LIMITS.per_cloud,
    per_customer: PerCustomerOption = LIMITS.per_customer,
    urgent: UrgentOption = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Say when each wave would be done, from the windows of the deployments, before anything starts.

    With --fleet nothing is asked of the control plane.

    Example: byoc rollout forecast --kubernetes 1.35 --need 180 -o json
    """
    begins = instant_of(now)
    work = Work.MINOR if kubernetes else Work.SERVER
    span = timedelta(hours=notice) if notice is not None else timedelta(days=14 if kubernetes else 3)
    if fleet is not None:
        entries = _read_fleet(fleet)
        members, policies = [entry.member for entry in entries], policies_of(entries)
    else:
        selection = Selection(clouds=tuple(cloud or ()), customers=tuple(customer or ()), regions=tuple(region or ()))
        members, policies = ask(lambda plane: _living(plane, selection, release, kubernetes))
    if not members:
        raise Refused("no active deployment is selected that has anything to gain")
    minutes = timedelta(minutes=need)
    try:
        found = forecast(
            waves_of(members, release=release or kubernetes or "forecast", internal=internal or [], urgent=urgent),
            always if urgent else openings_of(policies, work, minutes),
            now=begins,
            need=lambda _: minutes,
            notice=timedelta(0) if urgent else span,
            policy=RolloutPolicy(limits=RolloutLimits(total=total, per_cloud=per_cloud, per_customer=per_customer)),
        )
    except (RuleInvalid, ZoneInfoNotFoundError) as error:
        raise BadInput([f"--fleet: a window cannot be computed: {error}"]) from error
    _print_forecast(found, output)


async def _living(
    plane: ControlPlane, selection: Selection, release: str, kubernetes: str
) -> tuple[list[Member], dict[str, MaintenancePolicy]]:
    """Return the fleet of the control plane, and each deployment's windows."""
    asked = await upgrades(plane, release, kubernetes, None)
    members = await members_of(plane, selection, asked)
    known = await rollouts.specifications(plane, members)
    policies = {
        name: MaintenancePolicy(windows=state.order.spec.windows, exclusions=state.order.spec.exclusions)
        for name, state in known.items()
    }
    return [member for member in members if member.deployment in policies], policies


def _read_fleet(file: Path) -> tuple[FleetEntry, ...]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(read_text(file), Loader=loader)  # noqa: S506 - both are safe loaders
    except yaml.YAMLError as error:
        raise BadInput([f"--fleet: {file} is not YAML: {error}"]) from error
    rows = content.get("deployments") if isinstance(content, dict) else content
    try:
        return Fleet.model_validate({"deployments": _as_written(rows)}, extra="forbid").deployments
    except ValidationError as error:
        raise BadInput(
            f"--fleet: {'.'.join(map(str, fault['loc']))}: {fault['msg']} (given: {fault['input']!r})"
            for fault in error.errors()[:20]
        ) from error


def _as_written(rows: Any) -> Any:  # noqa: ANN401 - whatever the file has
    """Return the rows with windows and exclusions as their models have them."""
    if not isinstance(rows, list):
        return rows
    changed = []
    for row in rows:
        filled = dict(row) if isinstance(row, dict) else row
        if isinstance(row, dict) and isinstance(row.get("windows"), list):
            filled["windows"] = [window_as_written(window, number) for number, window in enumerate(row["windows"])]
        if isinstance(row, dict) and isinstance(row.get("exclusions"), list):
            filled["exclusions"] = [exclusion_as_written(exclusion) for exclusion in row["exclusions"]]
        changed.append(filled)
    return changed


def _print_forecast(found: Forecast, output: Format) -> None:
    if output is not Format.TABLE:
        print_data(found, output)
        return
    print_rows(
        ("WAVE", "DEPLOYMENTS", "BEGINS (UTC)", "HALF", "COMPLETE", "BAKED", "LATE", "NO WINDOW"),
        [
            (
                wave.name,
                str(wave.size),
                _minute(wave.begins_at),
                _minute(wave.half_at),
                _minute(wave.complete_at),
                _minute(wave.baked_at),
                str(wave.late or ""),
                str(wave.without_window or ""),
            )
            for wave in found.waves
        ],
        empty="",
    )
    stdout.print(f"If all goes well the last one is done at {_minute(found.finishes_at)} UTC.")


def _minute(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M}" if instant else ""
