"""The public DNS: the hosted zones of all accounts, and where they lead."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ministack.services import acm, alb, route53

from simulators.aws.kubernetes_provider import AwsProvider
from simulators.aws.work import Work
from simulators.kubernetes.provider import Destination

_LONGEST_CHAIN = 8


def public_records(name: str) -> Iterator[dict[str, Any]]:
    """Yield the records of exactly this name (or of the wildcard above it) in every public zone."""
    wanted = name.lower().rstrip(".") + "."
    wildcard = "*." + wanted.partition(".")[2]
    zones = route53._zones.to_dict()
    for key, records in route53._records.to_dict().items():
        if key in zones and not zones[key].get("private"):
            # Route 53 stores the asterisk of a wildcard in its octal spelling.
            yield from (entry for entry in records if entry["Name"].lower().replace("\\052", "*") in (wanted, wildcard))


class Names:
    """Fulfils `NameService`: DNS records to load balancers to services in clusters."""

    def __init__(self, provider: AwsProvider, work: Work) -> None:
        self._provider = provider
        self._work = work

    def resolve(self, hostname: str, port: int = 443) -> Destination | None:
        """Return where the name and the port lead; a load balancer must be active."""
        self._work.settle()
        end = self._balancer_of(hostname)
        found = self._provider.service_at(end["DNSName"]) if end is not None and end["State"] == "active" else None
        return Destination(*found, port) if found is not None else None

    def has_certificate(self, hostname: str, port: int = 443) -> bool:
        """Return whether the listener at that port presents an issued certificate that covers the name."""
        balancer = self._balancer_of(hostname)
        if balancer is None:
            return False
        for listener in alb._listeners._data.values():
            if listener["LoadBalancerArn"] != balancer["LoadBalancerArn"] or int(listener["Port"]) != port:
                continue
            certificates = (_certificate(arn) for arn in listener.get("Certificates", ()))
            if any(certificate is not None and _covers(certificate, hostname) for certificate in certificates):
                return True
        return False

    def _balancer_of(self, hostname: str) -> dict[str, Any] | None:
        """Follow aliases and CNAMEs until the name is that of a load balancer."""
        balancers = {record["DNSName"].lower(): record for record in alb._lbs._data.values()}
        name = hostname.lower().rstrip(".")
        for _ in range(_LONGEST_CHAIN):
            if name in balancers:
                found: dict[str, Any] = balancers[name]
                return found
            following = next(filter(None, map(_target, public_records(name))), None)
            if following is None:
                return None
            name = following.lower().rstrip(".").removeprefix("dualstack.")
        return None


def _target(record: dict[str, Any]) -> str | None:
    """Return the name that a record refers to."""
    if alias := record.get("AliasTarget"):
        return str(alias["DNSName"])
    values = record.get("ResourceRecords") or ()
    return str(values[0]) if record["Type"] == "CNAME" and values else None


def _certificate(arn: str) -> dict[str, Any] | None:
    _, _, _, region, account, _ = arn.split(":", 5)
    found: dict[str, Any] | None = acm._certificates.get_scoped(account, region, arn)
    return found


def _covers(certificate: dict[str, Any], hostname: str) -> bool:
    wildcard = f"*.{hostname.partition('.')[2]}"
    return certificate["Status"] == "ISSUED" and bool(
        {hostname, wildcard} & set(certificate["SubjectAlternativeNames"])
    )
