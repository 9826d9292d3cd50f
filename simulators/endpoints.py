"""Where the simulators of one process are reached, and which ports they are asked to use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class Ports:
    """Which loopback port each endpoint listens on; 0 lets the system choose."""

    aws: int = 0
    kubernetes: int = 0
    internet: int = 0
    control: int = 0
    gcp: int = 0
    gcp_grpc: int = 0
    azure: int = 0
    acme: int = 0


class Endpoints(BaseModel):
    """URLs on loopback, and the certificates to trust behind them."""

    model_config = ConfigDict(frozen=True)

    aws_url: str
    """HTTP; every AWS service, account and region."""
    kubernetes_url: str
    """HTTPS; each cluster below `/clusters/<id>`."""
    kubernetes_ca_file: Path
    """PEM file of the authority that signs the clusters' certificates."""
    internet_proxy_url: str
    """HTTP proxy (CONNECT) that leads to the deployments' public hostnames."""
    internet_ca_file: Path
    """PEM file of the authority that signs the public hostnames' certificates."""
    control_url: str
    """HTTP; the control API."""
    gcp_url: str = ""
    """HTTP; compute, storage, DNS and tokens of Google Cloud, in every project. Empty where it is not simulated."""
    gcp_grpc_address: str = ""
    """Host and port; every other API of Google Cloud by gRPC, over local channel credentials."""
    azure_url: str = ""
    """HTTP; every host of Azure, told apart by the `Host` header. Empty where it is not simulated."""
    acme_url: str = ""
    """HTTPS; the directory of an ACME authority, which proves domains by the simulated Azure's DNS. Its certificate is
    of the authority in `internet_ca_file`, as are those that it signs. Empty where Azure is not simulated."""
    pid: int
    """Process that serves all of them."""
