"""The public DNS of this cloud: from a name to the load balancer at its address, and to what is behind it."""

from __future__ import annotations

from simulators.azure.dns import PublicRecords
from simulators.azure.kubernetes_provider import AzureProvider
from simulators.kubernetes.provider import Destination
from simulators.work import Work


class Names:
    """Fulfils `NameService`."""

    def __init__(self, records: PublicRecords, provider: AzureProvider, work: Work) -> None:
        self._records = records
        self._provider = provider
        self._work = work

    def resolve(self, hostname: str, port: int = 443) -> Destination | None:
        """Return where the name and the port lead."""
        self._work.settle()
        address = self._records.address_of(hostname)
        return self._provider.destination_at(address, port) if address is not None else None

    def has_certificate(self, hostname: str, port: int = 443) -> bool:
        """Return whether a Gateway's proxies present, at that port, a certificate that covers the name.

        The load balancer of a Service passes TLS on to the pods, which do not speak it.
        """
        address = self._records.address_of(hostname)
        return address is not None and self._provider.presents(address, port, hostname.lower().rstrip("."))
