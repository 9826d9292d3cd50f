"""The project of a deployment: its number, and the agents as which Google's own services act in it."""

from __future__ import annotations

from enum import StrEnum

from google.cloud import resourcemanager_v3

from domain.deployment import Site


class ServiceAgent(StrEnum):
    """Google's services whose accounts come with their APIs; the value is the domain of these accounts."""

    COMPUTE = "compute-system"
    CONTAINER = "container-engine-robot"


def project_number(projects: resourcemanager_v3.ProjectsClient, site: Site) -> str:
    """Return the number that Google has given the project; Google's own accounts in it are named by it."""
    found = projects.get_project(name=f"projects/{site.cloud_account_id}")
    return str(found.name).rpartition("/")[2]


def service_agent(number: str, service: ServiceAgent) -> str:
    """Return the e-mail address as which one of Google's services acts in the project of this number."""
    return f"service-{number}@{service}.iam.gserviceaccount.com"


def container_agent(projects: resourcemanager_v3.ProjectsClient, site: Site) -> str:
    """Return the e-mail address as which GKE makes disks and load balancers."""
    return service_agent(project_number(projects, site), ServiceAgent.CONTAINER)
