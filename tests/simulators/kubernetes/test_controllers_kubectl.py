"""Rollouts as an operator sees them: the real kubectl against a cluster with controllers."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from simulators.kubernetes import kinds
from simulators.kubernetes.objects import Object
from simulators.kubernetes.simulator import NodeShape
from tests.simulators.kubernetes.clusters import STORAGE_CLASS, claim_template, image, template
from tests.simulators.kubernetes.conftest import OPERATOR_TOKEN, Playground

KUBECTL = Path(sysconfig.get_path("scripts")) / "kubectl"
Kubectl = Callable[..., str]


@pytest.fixture
def kubectl(living: Playground, tmp_path: Path) -> Kubectl:
    """Run kubectl in the namespace `server` of a cluster with one node, and return what it prints."""

    def prepare() -> None:
        shape = NodeShape("node", "eu-west-1a", "eu-west-1", "m5.xlarge", "services", 4, 2**34, "1.34")
        living.cluster.add_node(shape)
        living.cluster.store.create(kinds.NAMESPACES, {"metadata": {"name": "server"}})
        storage = {"provisioner": "ebs.csi.aws.com", "volumeBindingMode": "WaitForFirstConsumer"}
        living.cluster.store.create(kinds.STORAGE_CLASSES, {"metadata": {"name": STORAGE_CLASS}, **storage})

    living.on_loop(prepare)
    access = (
        f"--server={living.cluster.url}",
        f"--certificate-authority={living.ca_file}",
        f"--token={OPERATOR_TOKEN}",
        f"--cache-dir={tmp_path}",
        "--namespace=server",
    )

    def run(*arguments: str, manifest: Object | None = None) -> str:
        outcome = subprocess.run(
            [KUBECTL, *access, *arguments],
            input=json.dumps(manifest) if manifest else None,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert outcome.returncode == 0, outcome.stderr
        return outcome.stdout

    return run


def workload(kind: str, component: str, digest: str, **spec: object) -> Object:
    """Return a manifest of two replicas."""
    labels = {"app": component}
    content = {
        "replicas": 2,
        "selector": {"matchLabels": labels},
        "template": template(component, digest=digest),
        **spec,
    }
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": component}, "spec": content}


@pytest.mark.parametrize(
    ("manifest", "update"),
    [
        (workload("Deployment", "api", "aa"), workload("Deployment", "api", "bb")),
        (
            workload("StatefulSet", "store", "aa", serviceName="store", volumeClaimTemplates=[claim_template()]),
            workload("StatefulSet", "store", "bb", serviceName="store", volumeClaimTemplates=[claim_template()]),
        ),
    ],
    ids=["deployment", "statefulset"],
)
def test_a_rollout_can_be_followed_and_undone(kubectl: Kubectl, manifest: Object, update: Object) -> None:
    """`rollout status` ends once pods are replaced, `history` lists both revisions, `undo` goes back to the first."""
    name = f"{manifest['kind'].lower()}/{manifest['metadata']['name']}"
    component = manifest["metadata"]["name"]
    images = ("get", "pods", f"--selector=app={component}", "--output=jsonpath={.items[*].spec.containers[0].image}")
    kubectl("apply", "--server-side", "--filename=-", manifest=manifest)
    kubectl("rollout", "status", name, "--timeout=30s")

    kubectl("apply", "--server-side", "--filename=-", manifest=update)
    kubectl("rollout", "status", name, "--timeout=30s")
    updated = kubectl(*images)
    history = kubectl("rollout", "history", name)
    kubectl("rollout", "undo", name)
    kubectl("rollout", "status", name, "--timeout=30s")

    assert updated.split() == [image(component, "bb")] * 2
    assert [line.split()[0] for line in history.strip().splitlines()[2:]] == ["1", "2"]
    assert kubectl(*images).split() == [image(component)] * 2


def test_describe_tells_why_a_pod_waits(kubectl: Kubectl) -> None:
    """Events of the scheduler are shown with the pod."""
    manifest = workload("Deployment", "api", "aa")
    manifest["spec"]["template"]["spec"]["nodeSelector"] = {"pool": "none"}
    kubectl("apply", "--server-side", "--filename=-", manifest=manifest)
    kubectl("wait", "deployment/api", "--for=condition=Available=False", "--timeout=30s")

    description = kubectl("describe", "pods", "--show-events=true")

    assert "FailedScheduling" in description
    assert "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector." in description
