"""Manifests that several tests apply."""

from __future__ import annotations

from typing import Any


def deployment(name: str = "web", **changes: Any) -> dict[str, Any]:
    """Return a deployment of one container in the namespace `default`."""
    labels = {"app": name}
    container = {
        "name": "server",
        "image": "registry.example.com/server:1.0",
        "ports": [{"containerPort": 8080}],
        "env": [{"name": "MODE", "value": "normal"}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default", "labels": dict(labels)},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": dict(labels)},
            "template": {"metadata": {"labels": dict(labels)}, "spec": {"containers": [container]}},
            **changes,
        },
    }


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    """Return a ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels or {}}, "data": data}


def pod(name: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """Return a pod of one container."""
    containers = [{"name": "server", "image": "registry.example.com/server:1.0"}]
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": {"containers": containers}}
