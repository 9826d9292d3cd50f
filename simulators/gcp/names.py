"""The public DNS of this cloud: from a name to the load balancer at its address, and to what is behind it."""

from __future__ import annotations

from simulators.gcp.certificates import CertificateManager
from simulators.gcp.dns import DnsService
from simulators.gcp.kubernetes_provider import GcpProvider
from simulators.kubernetes.provider import Destination
from simulators.work import Work

_LONGEST_CHAIN = 8


class Names:
    """Fulfils `NameService`."""

    def __init__(self, dns: DnsService, certificates: CertificateManager, provider: GcpProvider, work: Work) -> None:
        self._dns = dns
        self._certificates = certificates
        self._provider = provider
        self._work = work

    def resolve(self, hostname: str, port: int = 443) -> Destination | None:
        """Return where the name and the port lead."""
        self._work.settle()
        address = self._address_of(hostname)
        return self._provider.destination_at(address, port) if address is not None else None

    def has_certificate(self, hostname: str, port: int = 443) -> bool:
        """Return whether a Gateway's listener at that port presents an issued certificate that covers the name.

        A Service's load balancer passes TLS on to the pods, which do not speak it.
        """
        address = self._address_of(hostname)
        found = self._provider.gateways.listener_at(address, port) if address is not None else None
        return found is not None and any(self._certificates.covers(name, hostname) for name in found[1].certificates)

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
