"""All simulators of one world, served from one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

from simulators.aws import overlay
from simulators.aws.front import AwsEndpoint
from simulators.clock import Clock
from simulators.control import CloudControl, Control
from simulators.endpoints import Endpoints, Ports
from simulators.internet import Internet, PublicNames
from simulators.kubernetes.simulator import KubernetesSimulator
from simulators.world import World

if TYPE_CHECKING:
    from simulators.azure.acme import AcmeDirectory
    from simulators.azure.simulator import Azure
    from simulators.gcp.simulator import GoogleCloud

_TICK = 0.05
"""Real seconds between two looks at what has become due, when no call makes one happen."""


class Simulators:
    """One world with its clouds and clusters.

    An asynchronous context manager: inside it `endpoints` are served, after it nothing of it is left.
    """

    def __init__(
        self,
        directory: Path,
        *,
        speed: float = 1.0,
        ports: Ports | None = None,
        gcp: bool = False,
        azure: bool = False,
    ) -> None:
        """Write certificates to `directory`, which the caller removes; `speed` is simulated seconds in a real one.

        Google Cloud is simulated too if `gcp` asks for it; that needs the packages of the extra `gcp-simulator`. So is
        Azure if `azure` asks for it.
        """
        self.world = World(Clock(speed))
        self.kubernetes = KubernetesSimulator(self.world)
        names = PublicNames([overlay.install(self.world, self.kubernetes)])
        self.aws = AwsEndpoint(self.world)
        self.google: GoogleCloud | None = None
        clouds: list[CloudControl] = []
        if gcp:
            # Only who asks for it pays for the import, and needs Google's packages.
            self.google = importlib.import_module("simulators.gcp.simulator").GoogleCloud(self.world, self.kubernetes)
            clouds.append(importlib.import_module("simulators.gcp.control").GcpControl(self.google))
            names.add(self.google.names)
        self.azure: Azure | None = None
        if azure:
            self.azure = importlib.import_module("simulators.azure.simulator").Azure(self.world, self.kubernetes)
            names.add(self.azure.names)
        self.internet = Internet(self.world, self.kubernetes, names)
        self.acme: AcmeDirectory | None = None
        if self.azure is not None:
            self.acme = importlib.import_module("simulators.azure.acme").AcmeDirectory(
                self.world, self.internet.authority, self.azure.public_records.texts_of
            )
            clouds.append(importlib.import_module("simulators.azure.control").AzureControl(self.azure, self.acme))
        self.control = Control(self.world, self.aws, self.kubernetes, clouds)
        self._directory = directory
        self._ports = ports or Ports()
        self._exit = contextlib.AsyncExitStack()

    @property
    def endpoints(self) -> Endpoints:
        """Where everything is reached."""
        return Endpoints(
            aws_url=self.aws.url,
            kubernetes_url=self.kubernetes.url,
            kubernetes_ca_file=self._directory / "kubernetes-ca.pem",
            internet_proxy_url=self.internet.proxy_url,
            internet_ca_file=self._directory / "internet-ca.pem",
            control_url=self.control.url,
            gcp_url=self.google.url if self.google is not None else "",
            gcp_grpc_address=self.google.grpc_address if self.google is not None else "",
            azure_url=self.azure.url if self.azure is not None else "",
            acme_url=self.acme.url if self.acme is not None else "",
            pid=os.getpid(),
        )

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            if self.google is not None:
                stack.push_async_callback(self.google.stop)
                await self.google.start(self._ports.gcp, self._ports.gcp_grpc)
            if self.azure is not None:
                stack.push_async_callback(self.azure.stop)
                await self.azure.start(self._ports.azure)
            if self.acme is not None:
                stack.push_async_callback(self.acme.stop)
                await self.acme.start(self._ports.acme)
            for server, port in (
                (self.kubernetes, self._ports.kubernetes),
                (self.aws, self._ports.aws),
                (self.internet, self._ports.internet),
                (self.control, self._ports.control),
            ):
                stack.push_async_callback(server.stop)
                await server.start(port)
            ticking = asyncio.ensure_future(self._tick())
            stack.callback(ticking.cancel)
            (self._directory / "kubernetes-ca.pem").write_bytes(self.kubernetes.ca_pem)
            (self._directory / "internet-ca.pem").write_bytes(self.internet.ca_pem)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self.world.clock.settle()
            if self.google is not None:
                self.google.cloud.work.settle()
            if self.azure is not None:
                self.azure.cloud.work.settle()
