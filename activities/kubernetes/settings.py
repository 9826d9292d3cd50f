"""How the Kubernetes activities of one worker are set up."""

from __future__ import annotations

from datetime import timedelta

from domain.model import Model


class KubernetesSettings(Model):
    """Settings of the Kubernetes activities; the defaults are those of production."""

    poll_interval: timedelta = timedelta(seconds=15)
    """When to look again at something that the cluster is still making or taking away."""
    grace: timedelta = timedelta(minutes=5)
    """How long after its start a step still takes an image that cannot be pulled, a crash loop or a pod without a node
    for a passing fault. Nodes join, and components wait for one another, within this time."""
    access_grace: timedelta = timedelta(minutes=1)
    """How long after its start a step still takes a refusal by the cluster for a grant that is on its way: clouds need
    some seconds to tell the cluster whom it is to let in."""
    request_timeout: timedelta = timedelta(seconds=30)
    """For one request, to a cluster or to a public endpoint."""
    public_proxy: str | None = None
    """Proxy through which the public endpoints of deployments are reached; unset where the worker needs none."""
    public_ca_file: str | None = None
    """File of certificate authorities (PEM) that sign the public endpoints' certificates; unset: the system's."""
    key_lifetime: timedelta = timedelta(minutes=10)
    """After this time the smoke test's API key is worthless even if a crash kept us from removing it."""
    key_propagation: timedelta = timedelta(seconds=90)
    """How long the smoke test waits until its new API key is accepted: kubelets look at secrets once a minute."""
