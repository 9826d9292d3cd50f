"""Service Usage: which APIs a project has enabled."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from simulators.gcp.api import Method, Request, Rpc, RpcService, needs, page_of
from simulators.gcp.cloud import Cloud
from simulators.gcp.operations import LongRunning
from simulators.gcp.refusals import Json, failed_precondition, invalid, not_found

_INTERFACE = "google.api.serviceusage.v1.ServiceUsage"
_PACKAGE = "google.api.serviceusage.v1"
_OPERATION = "google.longrunning.Operation"
APIS = frozenset(
    f"{name}.googleapis.com"
    for name in (
        "certificatemanager",
        "cloudkms",
        "cloudresourcemanager",
        "compute",
        "container",
        "dns",
        "iam",
        "iamcredentials",
        "logging",
        "monitoring",
        "networkservices",
        "serviceusage",
        "storage",
    )
)
"""Every API that there is."""


class ServiceUsage(RpcService):
    """Fulfils `google.api.serviceusage.v1.ServiceUsage`."""

    def __init__(self, cloud: Cloud, operations: LongRunning) -> None:
        self._cloud = cloud
        self._operations = operations

    def rpcs(self) -> Iterator[Rpc]:
        """Return the methods."""
        get, list_ = needs("serviceusage.services.get"), needs("serviceusage.services.list", "parent")
        enable, batch = needs("serviceusage.services.enable"), needs("serviceusage.services.enable", "parent")
        for name, deed, response, mutating, checks in (
            ("GetService", self._get, f"{_PACKAGE}.Service", False, get),
            ("ListServices", self._list, f"{_PACKAGE}.ListServicesResponse", False, list_),
            ("BatchGetServices", self._batch_get, f"{_PACKAGE}.BatchGetServicesResponse", False, list_),
            ("EnableService", self._enable, _OPERATION, True, enable),
            ("BatchEnableServices", self._batch_enable, _OPERATION, True, batch),
            ("DisableService", self._disable, _OPERATION, True, needs("serviceusage.services.disable")),
        ):
            method = Method("serviceusage", name, deed, mutating, checks)
            yield Rpc(_INTERFACE, name, f"{_PACKAGE}.{name}Request", response, method)

    def _described(self, project: str, api: str) -> Json:
        found = self._cloud.project(project)
        return {
            "name": f"projects/{found.number}/services/{api}",
            "parent": f"projects/{found.number}",
            "config": {"name": api, "title": f"{api.partition('.')[0]} API"},
            "state": "ENABLED" if api in found.services else "DISABLED",
        }

    def _get(self, request: Request) -> Json:
        return self._described(request.project, _known(request.parameters["name"]))

    def _list(self, request: Request) -> Json:
        wanted = request.parameters.get("filter", "")
        if wanted not in ("", "state:ENABLED", "state:DISABLED"):
            raise invalid(f"Invalid filter {wanted!r}: only state:ENABLED and state:DISABLED are allowed.")
        state = wanted.removeprefix("state:")
        services = [self._described(request.project, api) for api in sorted(APIS)]
        found = [service for service in services if state in ("", service["state"])]
        return page_of(found, "services", request.parameters)

    def _batch_get(self, request: Request) -> Json:
        names = request.parameters.get("names") or []
        return {"services": [self._described(request.project, _known(name)) for name in names]}

    def _enable(self, request: Request) -> Json:
        api = _known(request.parameters["name"])
        return self._start(request, [api], lambda: {"service": self._described(request.project, api)}, "Enable")

    def _batch_enable(self, request: Request) -> Json:
        apis = [_known(f"services/{service_id}") for service_id in request.parameters.get("serviceIds") or ()]

        def result() -> Json:
            return {"services": [self._described(request.project, api) for api in apis]}

        return self._start(request, apis, result, "BatchEnable", plural=True)

    def _start(
        self, request: Request, apis: list[str], result: Callable[[], Json], verb: str, *, plural: bool = False
    ) -> Json:
        project = self._cloud.project(request.project)
        request.had_effect = not set(apis) <= project.services

        def finish() -> Json:
            project.services.update(apis)
            return {"@type": f"type.googleapis.com/{_PACKAGE}.{verb}Service{'s' * plural}Response", **result()}

        return self._operations.start(request, "", self._cloud.durations.api if request.had_effect else 0.0, finish)

    def _disable(self, request: Request) -> Json:
        api, project = _known(request.parameters["name"]), self._cloud.project(request.project)
        if api not in project.services:
            raise failed_precondition(f"Service {api} is not enabled for consumer projects/{project.number}.")

        def finish() -> Json:
            project.services.discard(api)
            described = self._described(request.project, api)
            return {"@type": f"type.googleapis.com/{_PACKAGE}.DisableServiceResponse", "service": described}

        return self._operations.start(request, "", self._cloud.durations.api, finish)

    def forget(self) -> None:
        """Forget nothing: the cloud keeps the projects."""


def _known(name: str) -> str:
    api = name.rpartition("/")[2]
    if api not in APIS:
        raise not_found(
            f"Service {api} not found or permission denied.", reason="SERVICE_CONFIG_NOT_FOUND_OR_PERMISSION_DENIED"
        )
    return api
