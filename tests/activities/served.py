"""The server in a cluster, for the tests of endpoints: installed, opened and used by its public name."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic

import requests

import catalog
from activities.contracts import (
    ComponentRequest,
    EndpointRequest,
    PublicationRequest,
    SmokeTestRequest,
    StorageClassRequest,
)
from activities.kubernetes.settings import KubernetesSettings
from domain.deployment import DeploymentSpec
from domain.deployment import Endpoint as PublicName
from domain.facts import Bucket, Certificate, Cluster, Domain, LoadBalancer, SmokeTest
from domain.shape import Component
from simulators.endpoints import Endpoints
from tests.activities.ground import Account, Ground

RELEASE = next(release for release in reversed(catalog.load().releases) if not release.withdrawn)
SMALL = catalog.load().shapes[0]


def kubernetes_settings(endpoints: Endpoints) -> KubernetesSettings:
    """Return how the activities in clusters look and wait, and how they reach public names."""
    return KubernetesSettings(
        poll_interval=timedelta(seconds=0.02),
        grace=timedelta(hours=1),
        public_proxy=endpoints.internet_proxy_url,
        public_ca_file=str(endpoints.internet_ca_file),
    )


@dataclass
class Served(Generic[Account]):
    """A cluster with nodes, an issued certificate, and the namespace of the server."""

    account: Account
    ground: Ground[Account]
    cluster: Cluster
    domain: Domain
    certificate: Certificate
    bucket: Bucket = field(default_factory=lambda: Bucket(name="unused"))

    def endpoint_request(self) -> EndpointRequest:
        """Return the order for the endpoint."""
        return EndpointRequest(
            site=self.account.site,
            cluster=self.cluster,
            network=self.ground.network,
            domain=self.domain,
            certificate=self.certificate,
        )

    def open(self) -> LoadBalancer:
        """Open the endpoint and publish its address."""
        balancer: LoadBalancer = self.account.run("open_endpoint", self.endpoint_request())
        publication = PublicationRequest(site=self.account.site, domain=self.domain, load_balancer=balancer)
        self.account.run("publish_endpoint", publication)
        return balancer

    def install(self) -> None:
        """Let all components run."""
        site = self.account.site
        storage = StorageClassRequest(site=site, cluster=self.cluster, key=self.ground.key)
        self.account.run("create_storage_class", storage)
        spec = DeploymentSpec(
            account=site.account,
            region=site.region,
            shape=SMALL.name,
            release=RELEASE.version,
            kubernetes=self.ground.kubernetes,
            endpoint=PublicName(domain=self.domain.name),
        )
        for component in Component:
            order = ComponentRequest(
                site=site, cluster=self.cluster, component=component, release=RELEASE, shape=SMALL, spec=spec,
                bucket=self.bucket,
            )  # fmt: skip
            self.account.run("install_component", order)

    def smoke_test(self) -> SmokeTest:
        """Use the server as the smoke test does."""
        order = SmokeTestRequest(site=self.account.site, cluster=self.cluster, domain=self.domain, release=RELEASE)
        tested: SmokeTest = self.account.run("smoke_test", order)
        return tested

    def status_at_subscriptions(self, endpoints: Endpoints, path: str) -> int:
        """Return with which status the port of subscriptions answers, asked over TLS by a client outside."""
        reply: Any = requests.get(
            f"https://{self.domain.name}:8443{path}",
            proxies={"https": endpoints.internet_proxy_url},
            verify=str(endpoints.internet_ca_file),
            timeout=30,
        )
        return int(reply.status_code)
