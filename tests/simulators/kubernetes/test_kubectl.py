"""The real kubectl against the simulated cluster: what an operator would type works."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from simulators.kubernetes.simulator import NodeShape
from tests.simulators.kubernetes.conftest import OPERATOR_TOKEN, Playground

KUBECTL = Path(sysconfig.get_path("scripts")) / "kubectl"
Kubectl = Callable[..., subprocess.CompletedProcess[str]]

MANIFESTS = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: registry.example.com/web:1.0
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /ready, port: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 443, targetPort: 8080}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: shop}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
"""


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """A file with a small application."""
    file = tmp_path / "application.yaml"
    file.write_text(MANIFESTS)
    return file


@pytest.fixture
def kubectl(living: Playground, tmp_path: Path) -> Kubectl:
    """Run kubectl as the operator of a cluster of three nodes, and return its outcome (it must succeed)."""
    for zone in "abc":
        node = NodeShape(
            name=f"node-{zone}",
            zone=f"eu-west-1{zone}",
            region="eu-west-1",
            instance_type="m7i.large",
            pool="general",
            cpu=4,
            memory_bytes=16 * 2**30,
            version="1.34.1",
        )
        living.on_loop(lambda node=node: living.cluster.add_node(node))  # type: ignore[misc]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "demo", "cluster": {"server": living.cluster.url, "certificate-authority": str(living.ca_file)}}
        ],
        "users": [{"name": "operator", "user": {"token": OPERATOR_TOKEN}}],
        "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": "operator"}}],
        "current-context": "demo",
    }
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config))

    def run(*arguments: str, succeeds: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {"KUBECONFIG": str(file), "HOME": str(tmp_path)}
        done = subprocess.run(
            [KUBECTL, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode == 0) is succeeds, done.stdout + done.stderr
        return done

    return run


def test_apply_roll_out_and_look(kubectl: Kubectl, manifests: Path) -> None:
    """A manifest applied server-side rolls out, and get and describe show it."""
    applied = kubectl("apply", "--server-side", "-f", str(manifests)).stdout
    rolled_out = kubectl("-n", "shop", "rollout", "status", "deployment/web", "--timeout=30s").stdout

    listed = kubectl("-n", "shop", "get", "deployments,pods").stdout
    described = kubectl("-n", "shop", "describe", "deployment", "web").stdout
    service = kubectl("-n", "shop", "describe", "service", "web").stdout
    assert "deployment.apps/web serverside-applied" in applied
    assert "successfully rolled out" in rolled_out
    assert "3/3" in listed
    assert listed.count("Running") == 3
    assert "3 desired | 3 updated | 3 total | 3 available | 0 unavailable" in described
    assert "LoadBalancer Ingress" in service


def test_apply_again_changes_nothing(kubectl: Kubectl, manifests: Path, living: Playground) -> None:
    """The same manifest applied a second time is a no-op on the server."""
    kubectl("apply", "--server-side", "-f", str(manifests))
    kubectl("-n", "shop", "rollout", "status", "deployment/web", "--timeout=30s")
    position = living.world.journal.position

    kubectl("apply", "--server-side", "-f", str(manifests))

    patches = living.world.journal.calls(after=position, operation="patch *")
    assert len(patches) == 4
    assert not any(call.changed for call in patches)


def test_conflict_names_the_other_manager(kubectl: Kubectl, manifests: Path) -> None:
    """Another manager's apply is refused with an explanation, and goes through with force."""
    kubectl("apply", "--server-side", "-f", str(manifests))
    manifests.write_text(MANIFESTS.replace("replicas: 3", "replicas: 4"))

    refused = kubectl("apply", "--server-side", "--field-manager=rival", "-f", str(manifests), succeeds=False)
    kubectl("apply", "--server-side", "--field-manager=rival", "--force-conflicts", "-f", str(manifests))

    assert 'conflict with "kubectl": .spec.replicas' in refused.stderr
    replicas = kubectl("-n", "shop", "get", "deployment", "web", "-o", "jsonpath={.spec.replicas}").stdout
    assert replicas == "4"


def test_malformed_manifest_is_refused_with_the_field(kubectl: Kubectl, manifests: Path) -> None:
    """Kubectl shows which field the server does not know."""
    manifests.write_text(MANIFESTS.replace("replicas:", "replica:"))

    refused = kubectl("create", "-f", str(manifests), succeeds=False)

    assert 'unknown field "spec.replica"' in refused.stderr


def test_drain_moves_the_pods_and_respects_the_budget(kubectl: Kubectl, manifests: Path, living: Playground) -> None:
    """Draining evicts one pod after another, and the node is empty and unschedulable afterwards."""
    kubectl("apply", "--server-side", "-f", str(manifests))
    kubectl("-n", "shop", "rollout", "status", "deployment/web", "--timeout=30s")

    drained = kubectl("drain", "node-a", "--ignore-daemonsets", "--timeout=50s").stdout

    assert "node/node-a drained" in drained
    pods = json.loads(kubectl("-n", "shop", "get", "pods", "-o", "json").stdout)["items"]
    assert "node-a" not in {pod["spec"].get("nodeName") for pod in pods}
    assert "SchedulingDisabled" in kubectl("get", "node", "node-a").stdout
    assert living.world.journal.calls(operation="create pods/eviction")


def test_restart_and_scale(kubectl: Kubectl, manifests: Path) -> None:
    """A restarted and scaled deployment rolls out anew."""
    kubectl("apply", "--server-side", "-f", str(manifests))

    kubectl("-n", "shop", "scale", "deployment/web", "--replicas=2")
    kubectl("-n", "shop", "rollout", "restart", "deployment/web")
    kubectl("-n", "shop", "rollout", "status", "deployment/web", "--timeout=30s")

    listed = json.loads(kubectl("-n", "shop", "get", "deployment", "web", "-o", "json").stdout)
    assert listed["status"]["readyReplicas"] == 2
    assert listed["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"


def test_delete_waits_until_the_namespace_is_gone(kubectl: Kubectl, manifests: Path, living: Playground) -> None:
    """Deleting the namespace takes everything in it, the load balancer too."""
    kubectl("apply", "--server-side", "-f", str(manifests))
    kubectl("-n", "shop", "rollout", "status", "deployment/web", "--timeout=30s")

    kubectl("delete", "namespace", "shop", "--timeout=50s")

    assert "NotFound" in kubectl("get", "namespace", "shop", succeeds=False).stderr
    assert living.provider.load_balancers == {}


def test_questions_about_oneself_and_the_server(kubectl: Kubectl) -> None:
    """Kubectl learns who it is, what it may do, what the server serves and what a field means."""
    assert kubectl("auth", "can-i", "create", "deployments").stdout.strip() == "yes"
    assert "operator" in kubectl("auth", "whoami").stdout
    assert "v1.34" in kubectl("version").stdout
    assert "volumesnapshots" in kubectl("api-resources").stdout
    assert "Number of desired pods" in kubectl("explain", "deployment.spec.replicas").stdout
