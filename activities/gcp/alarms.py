"""Alert policies in the customer's project: on the nodes of the cluster, and on what its load balancer answers.

The control plane has its own monitoring; these policies are what the customer sees beside their other ones, and what
still works when the control plane does not. They notify nobody by themselves; channels that the customer adds stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from google.cloud import compute_v1
from google.cloud.monitoring_v3 import AlertPolicy, AlertPolicyServiceClient, UpdateAlertPolicyRequest
from google.protobuf import duration_pb2, field_mask_pb2, wrappers_pb2
from temporalio import activity

from activities.contracts import ClusterContract, InCluster
from activities.gcp.compute import DeploymentCompute, if_exists
from activities.gcp.controller_made import load_balancer_parts
from activities.gcp.errors import failures_named
from activities.gcp.ownership import LABEL_RESOURCE, is_ours
from activities.gcp.part import GcpPart
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.naming import base_name, owner_labels, resource_name

_DURATION = duration_pb2.Duration(seconds=300)
"""How long something must be unhealthy before the alarm rings (lifecycles.md, section 5: nodes 5 min)."""
_EVERY_MINUTE = duration_pb2.Duration(seconds=60)
_COMPARED = ("display_name", "documentation", "combiner", "enabled", "user_labels", "conditions")
_Aggregation = dict[str, object]


@dataclass(frozen=True)
class Alarm:
    """One alarm: it rings while the metric is above 0."""

    resource: str
    """What the label says that it is about; a deployment has one alarm for each."""
    description: str
    filter: str
    aggregation: _Aggregation

    def policy(self, site: Site) -> AlertPolicy:
        """Return the alarm as Cloud Monitoring has it."""
        threshold = AlertPolicy.Condition.MetricThreshold(
            filter=self.filter,
            aggregations=[{"alignment_period": _EVERY_MINUTE, **self.aggregation}],
            comparison="COMPARISON_GT",
            threshold_value=0.0,
            duration=_DURATION,
            trigger={"count": 1},
            evaluation_missing_data="EVALUATION_MISSING_DATA_INACTIVE",
        )
        return AlertPolicy(
            display_name=resource_name(site, self.resource),
            documentation={"content": self.description, "mime_type": "text/markdown"},
            combiner="OR",
            enabled=wrappers_pb2.BoolValue(value=True),
            user_labels=owner_labels(site, self.resource),
            conditions=[AlertPolicy.Condition(display_name=self.description, condition_threshold=threshold)],
        )


class GcpAlarms(GcpPart, ClusterContract):
    """Makes and deletes the deployment's alarms."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "compute.addresses.list", "compute.firewalls.list", "compute.forwardingRules.list",
        "compute.networkEndpointGroups.list", "compute.networks.get", "compute.regionBackendServices.list",
        "compute.regionHealthChecks.list",
        "compute.regionTargetHttpsProxies.list", "compute.regionUrlMaps.list", "compute.targetPools.list",
        "monitoring.alertPolicies.create", "monitoring.alertPolicies.list", "monitoring.alertPolicies.update",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_alarms(self, request: InCluster) -> None:
        """The nodes have their alarm, and so have the load balancers that the cluster has now."""
        site = request.site
        with failures_named(resource=request.cluster.name):
            compute = DeploymentCompute(self._settings, self._connections, site, Purpose.OPERATE)
            wanted = [_node_alarm(site), *_balancer_alarms(site, _forwarding_rules(compute))]
            monitoring = self._connections.client(AlertPolicyServiceClient, site, Purpose.OPERATE)
            present = {policy.user_labels.get(LABEL_RESOURCE): policy for policy in our_alarms(monitoring, site)}
            for alarm in wanted:
                found = present.get(alarm.resource)
                if found is None:
                    parent = f"projects/{site.cloud_account_id}"
                    monitoring.create_alert_policy(name=parent, alert_policy=alarm.policy(site))
                else:
                    _put_back(monitoring, found, alarm.policy(site))

    @activity.defn(no_thread_cancel_exception=True)
    @needs("monitoring.alertPolicies.delete", "monitoring.alertPolicies.list", purpose=Purpose.DELETE)
    def delete_alarms(self, site: Site) -> None:
        """No alarm of the deployment is left."""
        with failures_named():
            monitoring = self._connections.client(AlertPolicyServiceClient, site, Purpose.DELETE)
            for policy in our_alarms(monitoring, site):
                _delete(monitoring, policy.name)


def our_alarms(monitoring: AlertPolicyServiceClient, site: Site) -> list[AlertPolicy]:
    """Return the deployment's alert policies; Google numbers them and lets titles repeat, so the labels tell."""
    policies = monitoring.list_alert_policies(name=f"projects/{site.cloud_account_id}")
    return [policy for policy in policies if is_ours(policy.user_labels, site)]


def _delete(monitoring: AlertPolicyServiceClient, name: str) -> None:
    if_exists(lambda: monitoring.delete_alert_policy(name=name))


def _put_back(monitoring: AlertPolicyServiceClient, found: AlertPolicy, wanted: AlertPolicy) -> None:
    """Let the policy be as it has to be; labels and channels that the customer added stay."""
    wanted.name = found.name
    wanted.user_labels = {**found.user_labels, **wanted.user_labels}
    changed = [field for field in _COMPARED if _comparable(found, field) != _comparable(wanted, field)]
    if changed:
        mask = field_mask_pb2.FieldMask(paths=changed)
        monitoring.update_alert_policy(UpdateAlertPolicyRequest(alert_policy=wanted, update_mask=mask))


def _comparable(policy: AlertPolicy, field: str) -> object:
    """Return a field without the names that Google gives to conditions."""
    if field == "conditions":
        return [(condition.display_name, condition.condition_threshold) for condition in policy.conditions]
    return getattr(policy, field)


def _node_alarm(site: Site) -> Alarm:
    """Return the alarm on nodes: Kubernetes says of one that it is not ready, or has not heard of it."""
    return Alarm(
        resource="unhealthy-nodes",
        description=f"A node of the cluster {base_name(site)} is not ready.",
        filter=_all_of(
            'resource.type = "k8s_node"',
            f'resource.labels.cluster_name = "{base_name(site)}"',
            f'resource.labels.location = "{site.region}"',
            'metric.type = "kubernetes.io/node/status_condition"',
            'metric.labels.condition = "Ready"',
            'metric.labels.status = monitoring.regex.full_match("(?i)false|unknown")',
        ),
        aggregation={"per_series_aligner": "ALIGN_COUNT_TRUE"},
    )


def _balancer_alarms(site: Site, rules: Iterable[str]) -> Iterator[Alarm]:
    """Yield the alarm on failed answers: a load balancer without a healthy backend gives them itself."""
    names = ", ".join(f'"{rule}"' for rule in rules)
    if names:
        yield Alarm(
            resource="failing-load-balancer",
            description=f"The load balancer of the cluster {base_name(site)} has answered with errors for minutes.",
            filter=_all_of(
                'resource.type = "http_external_regional_lb_rule"',
                f'resource.labels.region = "{site.region}"',
                f"resource.labels.forwarding_rule_name = one_of({names})",
                'metric.type = "loadbalancing.googleapis.com/https/external/regional/request_count"',
                "metric.labels.response_code_class = 500",
            ),
            aggregation={"per_series_aligner": "ALIGN_DELTA", "cross_series_reducer": "REDUCE_SUM"},
        )


def _forwarding_rules(compute: DeploymentCompute) -> list[str]:
    """Return the names of the rules by which clients reach the proxies of the cluster's load balancers."""
    parts = load_balancer_parts(compute)
    return sorted(
        rule.name
        for kind, listed in parts.items()
        if kind.client is compute_v1.ForwardingRulesClient
        for rule in listed
        if any("/targetHttpsProxies/" in path for path in rule.leads_to)
    )


def _all_of(*terms: str) -> str:
    return " AND ".join(terms)
