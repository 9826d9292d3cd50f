"""Task queues: the queue picks the cloud, so that no workflow has to."""

from __future__ import annotations

from domain.deployment import Site

LIFECYCLES = "lifecycles"
"""Workflows only; its workers hold no credentials."""

SERVICES = "services"
"""Planning, notifications, and what looks at Temporal itself; its workers hold no credentials."""


def cloud_queue(cloud: str, region: str = "") -> str:
    """Return the queue of one cloud's activities, or of a worker that must sit in one region."""
    return f"cloud-{cloud}-{region}" if region else f"cloud-{cloud}"


def site_queue(site: Site) -> str:
    """Return the queue of what is done for one deployment: its cloud's, in its own region where that was ordered."""
    return cloud_queue(site.cloud, site.workers_in)


def kubernetes_queue(site: Site) -> str:
    """Return the queue of the steps inside a cluster.

    Today the cloud's own workers reach every cluster. An agent inside the customer's network would poll a queue of the
    deployment's own; this function is the one place that would know.
    """
    return site_queue(site)
