"""Resource Manager: the projects themselves and their policies."""

from __future__ import annotations

from collections.abc import Iterator

from simulators.gcp.api import Method, Request, Rpc, RpcService, needs, needs_nothing
from simulators.gcp.cloud import Cloud
from simulators.gcp.iam.identities import Project
from simulators.gcp.iam.policy_methods import PolicyMethods
from simulators.gcp.refusals import Json, Refusal

_INTERFACE = "google.cloud.resourcemanager.v3.Projects"
_PACKAGE = "google.cloud.resourcemanager.v3"
_TYPE = "cloudresourcemanager.googleapis.com/Project"


class ResourceManager(RpcService):
    """Fulfils `google.cloud.resourcemanager.v3.Projects`, for projects that exist."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def rpcs(self) -> Iterator[Rpc]:
        """Return the methods."""
        checks = needs("resourcemanager.projects.get", type_=_TYPE)
        get = Method("resourcemanager", "GetProject", self._get, mutating=False, checks=checks)
        yield Rpc(_INTERFACE, "GetProject", f"{_PACKAGE}.GetProjectRequest", f"{_PACKAGE}.Project", get)
        search = Method("resourcemanager", "SearchProjects", self._search, mutating=False, checks=needs_nothing)
        response = f"{_PACKAGE}.SearchProjectsResponse"
        yield Rpc(_INTERFACE, "SearchProjects", f"{_PACKAGE}.SearchProjectsRequest", response, search)
        policies = PolicyMethods(self._cloud, "resourcemanager", _policy_kind, resource_of=self._canonical)
        yield from policies.rpcs(_INTERFACE)

    def _canonical(self, name: str) -> str:
        """Return the name with the project's id, where it has the number."""
        return f"projects/{self._project(name).id}"

    def _project(self, name: str) -> Project:
        found = self._cloud.identities.project(name.rpartition("/")[2])
        if found is None:
            raise Refusal("PERMISSION_DENIED", "The caller does not have permission")
        return found

    def _get(self, request: Request) -> Json:
        return _described(self._project(request.parameters["name"]))

    def _search(self, request: Request) -> Json:
        """Return the projects in whose policy the caller appears."""
        found = [
            _described(project)
            for project in self._cloud.identities.projects.values()
            if any(
                request.principal in binding["members"]
                for binding in self._cloud.policies.get(f"projects/{project.id}").get("bindings") or ()
            )
        ]
        return {"projects": found} if found else {}

    def forget(self) -> None:
        """Forget nothing: the cloud keeps the projects."""


def _policy_kind(_name: str) -> tuple[str, str]:
    return "resourcemanager.projects", _TYPE


def _described(project: Project) -> Json:
    return {
        "name": f"projects/{project.number}",
        "projectId": project.id,
        "displayName": project.id,
        "state": "ACTIVE",
        "createTime": project.created,
        "labels": project.labels,
    }
