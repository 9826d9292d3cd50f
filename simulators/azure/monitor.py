"""Microsoft.Insights: alerts on metrics, and the groups of people that they tell. Nothing is measured here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from simulators.azure.api import Check, Request
from simulators.azure.cloud import Cloud
from simulators.azure.ids import ResourceId, parsed
from simulators.azure.kinds import Kind
from simulators.azure.records import Record
from simulators.azure.refusals import Json, Refusal, invalid, not_found

ALERT = "Microsoft.Insights/metricAlerts"
_FREQUENCIES: Mapping[str, int] = {"PT1M": 1, "PT5M": 5, "PT15M": 15, "PT30M": 30, "PT1H": 60}
"""Minutes."""
_WINDOWS: Mapping[str, int] = {**_FREQUENCIES, "PT6H": 360, "PT12H": 720, "P1D": 1440}
_SINGLE = "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria"
_MULTIPLE = "Microsoft.Azure.Monitor.MultipleResourceMultipleMetricCriteria"
_OPERATORS = ("Equals", "GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual")
_AGGREGATIONS = ("Average", "Count", "Maximum", "Minimum", "Total")
_REQUIRED = ("severity", "enabled", "scopes", "evaluationFrequency", "windowSize", "criteria")
_MOST_CRITERIA = 5
_NAME = re.compile(r"[^*#&+:<>?@%{}\\/|]{1,260}")
_NODE = ("condition", "status", "status2", "node")
_METRICS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "microsoft.containerservice/managedclusters": {
        "kube_node_status_condition": _NODE,
        "kube_node_status_allocatable_cpu_cores": (),
        "kube_node_status_allocatable_memory_bytes": (),
        "kube_pod_status_phase": ("phase", "namespace", "pod"),
        "kube_pod_status_ready": ("namespace", "pod", "condition"),
        "node_cpu_usage_percentage": ("node", "nodepool"),
        "node_disk_usage_percentage": ("node", "nodepool", "device"),
        "node_memory_working_set_percentage": ("node", "nodepool"),
    },
    "microsoft.network/loadbalancers": {
        "VipAvailability": ("FrontendIPAddress", "FrontendPort"),
        "DipAvailability": ("ProtocolType", "BackendPort", "FrontendIPAddress", "FrontendPort", "BackendIPAddress"),
        "ByteCount": ("FrontendIPAddress", "FrontendPort", "Direction"),
        "PacketCount": ("FrontendIPAddress", "FrontendPort", "Direction"),
        "SYNCount": ("FrontendIPAddress", "FrontendPort", "Direction"),
    },
}
"""Dimensions of the metrics of a type of resources, as far as they are known here; keyed by the type in lower case."""


@dataclass(frozen=True)
class MetricAlert(Kind):
    """A rule on metrics of resources that exist."""

    type: str = ALERT
    has_state: bool = False
    created: int = 200
    binds: bool = False

    def checks(self, request: Request, _cloud: Cloud, _id: ResourceId) -> Iterator[Check]:
        """Yield the permission to read what the rule watches, and whom it tells."""
        properties = request.body.get("properties") or {}
        told = [action.get("actionGroupId") for action in properties.get("actions") or ()]
        for scope in (*(properties.get("scopes") or ()), *told):
            target = parsed(str(scope))
            if target is not None:
                yield Check(f"{target.type}/read", target.text)

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Refuse a rule that is not whole, on what does not exist, or on metrics that it does not have."""
        del request, before
        properties = record.properties
        if not _NAME.fullmatch(record.id.name):
            raise _bad(f"The name of the alert rule '{record.id.name}' is invalid.")
        if record.location != "global":
            raise _bad(f"The location of metric alert rules is 'global', not '{record.location}'.")
        missing = [name for name in _REQUIRED if properties.get(name) in (None, [], "")]
        if missing:
            raise _bad(f"The property 'properties.{missing[0]}' is required.")
        if properties["severity"] not in range(5):
            raise _bad(f"The severity {properties['severity']} is not between 0 and 4.")
        _times(str(properties["evaluationFrequency"]), str(properties["windowSize"]))
        targets = [_target(cloud, str(scope)) for scope in properties["scopes"]]
        _criteria(properties["criteria"], targets)
        for action in properties.get("actions") or ():
            _target(cloud, str(action.get("actionGroupId", "")))
        properties.setdefault("autoMitigate", True)
        properties.setdefault("actions", [])
        properties.setdefault("targetResourceType", targets[0].kind.type)
        properties.setdefault("targetResourceRegion", targets[0].location)


@dataclass(frozen=True)
class ActionGroup(Kind):
    """Whom alerts tell."""

    type: str = "Microsoft.Insights/actionGroups"
    has_state: bool = False

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Refuse a group without a short name."""
        del cloud, request, before
        short = str(record.properties.get("groupShortName") or "")
        if not 1 <= len(short) <= 12:
            raise _bad("The short name of an action group has one to twelve characters.")
        record.properties.setdefault("enabled", True)


KINDS: tuple[Kind, ...] = (MetricAlert(), ActionGroup())


def _times(frequency: str, window: str) -> None:
    if frequency not in _FREQUENCIES:
        raise _bad(f"The evaluation frequency {frequency} is not one of {', '.join(_FREQUENCIES)}.")
    if window not in _WINDOWS:
        raise _bad(f"The window size {window} is not one of {', '.join(_WINDOWS)}.")
    if _WINDOWS[window] < _FREQUENCIES[frequency]:
        raise _bad(f"The window size {window} is smaller than the evaluation frequency {frequency}.")


def _target(cloud: Cloud, scope: str) -> Record:
    record = cloud.records.get(scope)
    if record is None:
        found = parsed(scope)
        raise not_found(f"{found.type}/{found.names}" if found is not None else scope, "")
    return record


def _criteria(criteria: Json, targets: list[Record]) -> None:
    kind, single = criteria.get("odata.type"), len(targets) == 1
    if kind not in (_SINGLE, _MULTIPLE) or (kind == _SINGLE and not single):
        raise _bad(f"The criteria type {kind} does not go with {len(targets)} scopes.")
    given = criteria.get("allOf") or []
    if not 1 <= len(given) <= _MOST_CRITERIA:
        raise _bad(f"An alert rule has between one and {_MOST_CRITERIA} criteria.")
    if len({each.get("name") for each in given}) < len(given):
        raise _bad("The names of criteria have to differ.")
    for each in given:
        _criterion(each, targets[0])


def _criterion(criterion: Json, target: Record) -> None:
    if not criterion.get("name") or not criterion.get("metricName"):
        raise _bad("A criterion needs a name and a metric.")
    if criterion.get("timeAggregation") not in _AGGREGATIONS:
        raise _bad(f"The time aggregation {criterion.get('timeAggregation')} is not one of {', '.join(_AGGREGATIONS)}.")
    static = criterion.get("criterionType", "StaticThresholdCriterion") == "StaticThresholdCriterion"
    if static and (criterion.get("operator") not in _OPERATORS or criterion.get("threshold") is None):
        raise _bad("A static criterion needs an operator and a threshold.")
    namespace = str(criterion.get("metricNamespace") or target.kind.type)
    known = _METRICS.get(target.kind.type.lower())
    if criterion.get("skipMetricValidation") or known is None:
        return
    metric = criterion["metricName"]
    dimensions = {each["name"] for each in criterion.get("dimensions") or ()}
    if namespace.lower() != target.kind.type.lower() or metric not in known:
        raise _bad(f"Couldn't find a metric named {metric} in the namespace {namespace} of {target.id.text}.")
    if unknown := dimensions - set(known[metric]):
        raise _bad(f"The metric {metric} has no dimension {min(unknown)}.")


def _bad(message: str) -> Refusal:
    return invalid("BadRequest", message)
