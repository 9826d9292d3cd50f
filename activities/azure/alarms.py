"""Metric alerts in the customer's subscription: on the nodes of the cluster, and on what its load balancer leads to.

The control plane has its own monitoring; these alerts are what the customer sees beside their other ones, and what
still works when the control plane does not. They notify nobody by themselves; action groups that the customer adds
stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from azure.mgmt.monitor import MonitorManagementClient
from azure.mgmt.network import NetworkManagementClient
from temporalio import activity

from activities.azure.aks import CLUSTER, Document, cluster_id
from activities.azure.cluster_settings import agrees
from activities.azure.controller_made import BALANCER, PUBLIC_BALANCER
from activities.azure.errors import failures_named
from activities.azure.existing import if_exists
from activities.azure.groups import EMPTYING, ENSURING, group_name, node_group_name
from activities.azure.ownership import find_ours, is_ours
from activities.azure.part import AzurePart
from activities.contracts import ClusterContract, InCluster
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.naming import base_name, owner_tags, resource_name

ALERT = "Microsoft.Insights/metricAlerts"
_WINDOW = "PT5M"
"""How far back the metric is averaged. Of a load balancer half has to fail for as long; of nodes any is told."""
_EVERY_MINUTE = "PT1M"
_CRITERIA = "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria"


@dataclass(frozen=True)
class Alarm:
    """One alert: it fires while the average of the metric is beyond the threshold."""

    resource: str
    """What the tag says that it is about; a deployment has one alarm for each."""
    description: str
    scope: str
    """Id of what it watches."""
    namespace: str
    metric: str
    operator: str
    threshold: float
    dimensions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Values of each dimension that count, keyed by the dimension's name."""

    def document(self, site: Site) -> Document:
        """Return the alert as Azure Monitor has it, apart from its action groups."""
        criterion = {
            "name": self.resource,
            "criterionType": "StaticThresholdCriterion",
            "metricNamespace": self.namespace,
            "metricName": self.metric,
            "operator": self.operator,
            "threshold": self.threshold,
            "timeAggregation": "Average",
            "dimensions": [
                {"name": name, "operator": "Include", "values": list(values)}
                for name, values in self.dimensions.items()
            ],
        }
        return {
            "location": "global",
            "tags": owner_tags(site, self.resource),
            "properties": {
                "description": self.description,
                "severity": 1,
                "enabled": True,
                "scopes": [self.scope],
                "evaluationFrequency": _EVERY_MINUTE,
                "windowSize": _WINDOW,
                "autoMitigate": True,
                "criteria": {"odata.type": _CRITERIA, "allOf": [criterion]},
            },
        }


class AzureAlarms(AzurePart, ClusterContract):
    """Makes and deletes the deployment's alarms."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        *ENSURING, f"{ALERT}/read", f"{ALERT}/write", "Microsoft.Insights/actionGroups/read", f"{BALANCER}/read",
        f"{CLUSTER}/read",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_alarms(self, request: InCluster) -> None:
        """The nodes have their alarm, and so has the load balancer that the cluster has now."""
        site = request.site
        with failures_named(resource=request.cluster.name):
            self._ensure_group(site)
            network = self._connections.client(NetworkManagementClient, site, Purpose.OPERATE)
            wanted = [_node_alarm(site), *_balancer_alarms(site, _public_balancers(network, site))]
            alerts = self._connections.client(MonitorManagementClient, site, Purpose.OPERATE).metric_alerts
            for alarm in wanted:
                self._ensure_alarm(alerts, site, alarm)

    @activity.defn(no_thread_cancel_exception=True)
    @needs(*EMPTYING, f"{ALERT}/read", f"{ALERT}/delete", purpose=Purpose.DELETE)
    def delete_alarms(self, site: Site) -> None:
        """No alarm of the deployment is left."""
        with failures_named():
            alerts = self._connections.client(MonitorManagementClient, site, Purpose.DELETE).metric_alerts
            listed = if_exists(lambda: list(alerts.list_by_resource_group(group_name(site)))) or []
            for name in [each.name for each in listed if is_ours(each.tags, site)]:
                if_exists(lambda name=name: alerts.delete(group_name(site), name))  # type: ignore[misc] # mypy has no types for defaults of lambdas
            self._delete_group_if_empty(site)

    @staticmethod
    def _ensure_alarm(alerts: Any, site: Site, alarm: Alarm) -> None:  # noqa: ANN401 - the SDK is not typed here
        """Let an alarm be as it has to be; tags and action groups that the customer added stay."""
        name, wanted = resource_name(site, alarm.resource), alarm.document(site)
        found = find_ours(lambda: alerts.get(group_name(site), name), site, f"metric alert {name}")
        if found is not None:
            present = found.serialize(keep_readonly=True)
            if agrees(present, wanted):
                return
            wanted["tags"] = {**(present.get("tags") or {}), **wanted["tags"]}
            wanted["properties"]["actions"] = present["properties"].get("actions") or []
        # As bytes, because this SDK's models spell some of the names otherwise.
        alerts.create_or_update(group_name(site), name, json.dumps(wanted).encode())


def _node_alarm(site: Site) -> Alarm:
    """Return the alarm on nodes: Kubernetes says of one that it is not ready, or has not heard of it."""
    return Alarm(
        resource="unhealthy-nodes",
        description=f"A node of the cluster {base_name(site)} is not ready.",
        scope=cluster_id(site),
        namespace=CLUSTER,
        metric="kube_node_status_condition",
        operator="GreaterThan",
        threshold=0.0,
        dimensions={"condition": ("Ready",), "status": ("false", "unknown")},
    )


def _balancer_alarms(site: Site, balancers: Sequence[str]) -> Iterator[Alarm]:
    """Yield the alarm on health probes: half of the nodes do not lead to a proxy that is ready."""
    for balancer in balancers:
        yield Alarm(
            resource="failing-load-balancer",
            description=f"The load balancer of the cluster {base_name(site)} finds no healthy way in for minutes.",
            scope=balancer,
            namespace=BALANCER,
            metric="DipAvailability",
            operator="LessThan",
            threshold=50.0,
        )


def _public_balancers(network: NetworkManagementClient, site: Site) -> list[str]:
    """Return the ids of the load balancers by which clients reach the cluster: one at most."""
    listed = if_exists(lambda: list(network.load_balancers.list(node_group_name(site)))) or []
    return [str(each.id) for each in listed if each.name == PUBLIC_BALANCER]
