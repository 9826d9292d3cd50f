"""Where the simulators of one process are reached."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict


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
    pid: int
    """Process that serves all of them."""
