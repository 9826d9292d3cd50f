"""Service Quotas: limits of each account, readable and enforced, and requests to raise them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from simulators.aws import scope
from simulators.aws.durations import Durations
from simulators.aws.identifiers import short_hash
from simulators.aws.refusals import Refusal
from simulators.aws.scope import Scope
from simulators.aws.work import Work
from simulators.clock import Clock


@dataclass(frozen=True)
class Quota:
    """One limit; `default` is AWS's."""

    service: str
    code: str
    name: str
    default: float
    granted: float
    """What the simulated accounts have: as accounts in use, they have had the tightest limits raised."""
    unit: str = "None"
    adjustable: bool = True


QUOTAS = tuple(
    Quota(*row)
    for row in (
        ("eks", "L-1194D53C", "Clusters", 100.0, 100.0),
        ("eks", "L-6D54EA21", "Managed node groups per cluster", 30.0, 30.0),
        ("eks", "L-BD136A63", "Nodes per managed node group", 450.0, 450.0),
        ("ec2", "L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 5.0, 256.0),
        ("ec2", "L-0263D0A3", "EC2-VPC Elastic IPs", 5.0, 20.0),
        ("vpc", "L-F678F1CE", "VPCs per Region", 5.0, 10.0),
        ("vpc", "L-407747CB", "Subnets per VPC", 200.0, 200.0),
        ("vpc", "L-FE5A380F", "NAT gateways per Availability Zone", 5.0, 10.0),
        ("vpc", "L-A4707A72", "Internet gateways per Region", 5.0, 10.0),
        ("vpc", "L-E79EC296", "VPC security groups per Region", 2500.0, 2500.0),
        ("vpc", "L-DF5E4CA3", "Network interfaces per Region", 5000.0, 5000.0),
        ("vpc", "L-29B6F2EB", "Interface VPC endpoints per VPC", 50.0, 50.0),
        ("vpc", "L-1B52E74A", "Gateway VPC endpoints per Region", 20.0, 20.0),
        ("ebs", "L-7A658B76", "Storage for General Purpose SSD (gp3) volumes, in TiB", 50.0, 50.0),
        ("elasticloadbalancing", "L-69A177A2", "Network Load Balancers per Region", 50.0, 50.0),
        ("elasticloadbalancing", "L-53DA6B97", "Application Load Balancers per Region", 50.0, 50.0),
        ("s3", "L-DC2B2D3D", "General purpose buckets", 10_000.0, 10_000.0),
    )
)

_BY_CODE: Mapping[tuple[str, str], Quota] = {(quota.service, quota.code): quota for quota in QUOTAS}
_SERVICE_NAMES = {
    "eks": "Amazon Elastic Kubernetes Service (Amazon EKS)",
    "ec2": "Amazon Elastic Compute Cloud (Amazon EC2)",
    "vpc": "Amazon Virtual Private Cloud (Amazon VPC)",
    "ebs": "Amazon Elastic Block Store (Amazon EBS)",
    "elasticloadbalancing": "Elastic Load Balancing (ELB)",
    "s3": "Amazon Simple Storage Service (Amazon S3)",
}


class Quotas:
    """The limits in force in each account and region."""

    def __init__(self) -> None:
        self._limits: dict[tuple[Scope, str, str], float] = {}

    def limit(self, here: Scope, service: str, code: str) -> float:
        """Return the limit in force."""
        return self._limits.get((here, service, code), _BY_CODE[service, code].granted)

    def set_limit(self, here: Scope, service: str, code: str, value: float) -> None:
        """Put another limit in force; an unknown quota raises KeyError."""
        _BY_CODE[service, code]
        self._limits[here, service, code] = value

    def allows(self, here: Scope, service: str, code: str, wanted: float) -> bool:
        """Return whether there may be `wanted` in all."""
        return wanted <= self.limit(here, service, code)

    def require(self, here: Scope, service: str, code: str, wanted: float, refuse: Callable[[float], Refusal]) -> None:
        """Raise what `refuse` makes of the limit if there may not be `wanted` in all."""
        if not self.allows(here, service, code, wanted):
            raise refuse(self.limit(here, service, code))

    def forget(self) -> None:
        """Go back to the limits that every account has at first."""
        self._limits.clear()


class ServiceQuotas:
    """The API of Service Quotas (JSON 1.1)."""

    TARGET_PREFIX = "ServiceQuotasV20190624"

    def __init__(self, quotas: Quotas, work: Work, clock: Clock, durations: Durations) -> None:
        self._quotas = quotas
        self._work = work
        self._clock = clock
        self._durations = durations
        self._requests: dict[tuple[Scope, str], dict[str, Any]] = {}
        self._operations: Mapping[str, Callable[[Scope, dict[str, Any]], dict[str, Any]]] = {
            "GetServiceQuota": self._get,
            "GetAWSDefaultServiceQuota": self._get_default,
            "ListServiceQuotas": self._list,
            "ListAWSDefaultServiceQuotas": self._list_defaults,
            "ListServices": self._list_services,
            "RequestServiceQuotaIncrease": self._request_increase,
            "GetRequestedServiceQuotaChange": self._get_request,
            "ListRequestedServiceQuotaChangeHistory": self._list_requests,
            "ListRequestedServiceQuotaChangeHistoryByQuota": self._list_requests,
        }

    async def handle(
        self, _method: str, _path: str, headers: Mapping[str, str], body: bytes, _query: Mapping[str, Any]
    ) -> tuple[int, dict[str, str], bytes]:
        """Answer one authorized request."""
        self._work.settle()
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        if operation not in self._operations:
            return Refusal("IllegalArgumentException", f"The simulator does not offer {operation}").reply("json")
        try:
            answer = self._operations[operation](scope.current(), json.loads(body or b"{}"))
        except Refusal as refusal:
            return refusal.reply("json")
        return 200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(answer).encode()

    def _get(self, here: Scope, parameters: dict[str, Any]) -> dict[str, Any]:
        return {"Quota": self._described(here, _quota(parameters))}

    def _get_default(self, here: Scope, parameters: dict[str, Any]) -> dict[str, Any]:
        quota = _quota(parameters)
        return {"Quota": {**self._described(here, quota), "Value": quota.default}}

    def _list(self, here: Scope, parameters: dict[str, Any]) -> dict[str, Any]:
        return _page([self._described(here, quota) for quota in _of_service(parameters)], "Quotas", parameters)

    def _list_defaults(self, here: Scope, parameters: dict[str, Any]) -> dict[str, Any]:
        described = [{**self._described(here, quota), "Value": quota.default} for quota in _of_service(parameters)]
        return _page(described, "Quotas", parameters)

    def _list_services(self, _here: Scope, parameters: dict[str, Any]) -> dict[str, Any]:
        services = [{"ServiceCode": code, "ServiceName": name} for code, name in _SERVICE_NAMES.items()]
        return _page(services, "Services", parameters)

    def _request_increase(self, here: Scope, parameters: dict[str, Any]) -> dict[str, Any]:
        quota, desired = _quota(parameters), float(parameters["DesiredValue"])
        if desired <= self._quotas.limit(here, quota.service, quota.code):
            message = (
                f"You must provide a quota value greater than or equal to the current quota value of {quota.name}."
            )
            raise Refusal("IllegalArgumentException", message)
        pending = ("PENDING", "CASE_OPENED")
        if any(
            asked["QuotaCode"] == quota.code and asked["Status"] in pending
            for (home, _), asked in self._requests.items()
            if home == here
        ):
            raise Refusal(
                "ResourceAlreadyExistsException", "Only one open service quota increase request is allowed per quota."
            )
        now = self._clock.time()
        request: dict[str, Any] = {
            "Id": short_hash(),
            "ServiceCode": quota.service,
            "ServiceName": _SERVICE_NAMES[quota.service],
            "QuotaCode": quota.code,
            "QuotaName": quota.name,
            "DesiredValue": desired,
            "Status": "PENDING",
            "Created": now,
            "LastUpdated": now,
        }
        self._requests[here, request["Id"]] = request

        def approve() -> None:
            request.update(Status="APPROVED", LastUpdated=self._clock.time())
            self._quotas.set_limit(here, quota.service, quota.code, desired)

        self._work.start(self._durations.quota_increase, approve, lambda _fault: request.update(Status="DENIED"))
        return {"RequestedQuota": request}

    def _get_request(self, here: Scope, parameters: dict[str, Any]) -> dict[str, Any]:
        request = self._requests.get((here, parameters["RequestId"]))
        if request is None:
            raise Refusal("NoSuchResourceException", f"The request {parameters['RequestId']} does not exist.")
        return {"RequestedQuota": request}

    def _list_requests(self, here: Scope, parameters: dict[str, Any]) -> dict[str, Any]:
        wanted = {key: parameters[key] for key in ("ServiceCode", "QuotaCode", "Status") if key in parameters}
        found = [
            request
            for (home, _), request in self._requests.items()
            if home == here and wanted.items() <= request.items()
        ]
        return _page(found, "RequestedQuotas", parameters)

    def _described(self, here: Scope, quota: Quota) -> dict[str, Any]:
        return {
            "ServiceCode": quota.service,
            "ServiceName": _SERVICE_NAMES[quota.service],
            "QuotaArn": here.arn("servicequotas", f"{quota.service}/{quota.code}"),
            "QuotaCode": quota.code,
            "QuotaName": quota.name,
            "Value": self._quotas.limit(here, quota.service, quota.code),
            "Unit": quota.unit,
            "Adjustable": quota.adjustable,
            "GlobalQuota": False,
        }

    def forget(self) -> None:
        """Forget every request, and every limit that was changed."""
        self._requests.clear()
        self._quotas.forget()


def _quota(parameters: Mapping[str, Any]) -> Quota:
    found = _BY_CODE.get((parameters["ServiceCode"], parameters["QuotaCode"]))
    if found is None:
        message = f"The request failed because the specified service quota {parameters['QuotaCode']} does not exist."
        raise Refusal("NoSuchResourceException", message)
    return found


def _of_service(parameters: Mapping[str, Any]) -> Iterable[Quota]:
    service = parameters["ServiceCode"]
    if service not in _SERVICE_NAMES:
        raise Refusal("NoSuchResourceException", f"The service {service} does not exist.")
    return [quota for quota in QUOTAS if quota.service == service]


def _page(items: list[dict[str, Any]], member: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    start = int(parameters.get("NextToken") or 0)
    size = int(parameters.get("MaxResults") or 100)
    page: dict[str, Any] = {member: items[start : start + size]}
    if start + size < len(items):
        page["NextToken"] = str(start + size)
    return page
