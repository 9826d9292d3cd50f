"""The public DNS of this cloud: from a name to the load balancer at its address, and to the Service behind it."""

from __future__ import annotations

from simulators.gcp.certificates import CertificateManager
from simulators.gcp.dns import DnsService
from simulators.gcp.kubernetes_provider import GcpProvider
from simulators.work import Work

_LONGEST_CHAIN = 8


class Names:
    """Fulfils `NameService`."""

    def __init__(self, dns: DnsService, certificates: CertificateManager, provider: GcpProvider, work: Work) -> None:
        self._dns = dns
        self._certificates = certificates
        self._provider = provider
        self._work = work

    def resolve(self, hostname: str) -> tuple[str, str, str] | None:
        """Return cluster id, namespace and Service that the name leads to."""
        self._work.settle()
        address = self._address_of(hostname)
        return self._provider.service_at(address) if address is not None else None

    def has_certificate(self, hostname: str) -> bool:
        """Return whether an issued certificate of a map, in the load balancer's project, covers the name."""
        address = self._address_of(hostname)
        project = self._provider.project_at(address) if address is not None else None
        return project is not None and self._certificates.covers(project, hostname)

    def _address_of(self, hostname: str) -> str | None:
        name = hostname.lower()
        for _ in range(_LONGEST_CHAIN):
            records = {record["type"]: record for record in self._dns.public_records(name)}
            if "A" in records:
                return str(records["A"]["rrdatas"][0])
            if "CNAME" not in records:
                return None
            name = records["CNAME"]["rrdatas"][0]
        return None
