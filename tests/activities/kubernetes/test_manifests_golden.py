"""All manifests, compared with the files under golden/ and with the schemas of the Kubernetes API.

`pytest tests/activities/kubernetes --write-golden` writes the files anew.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

import catalog
from activities.kubernetes.manifests import jobs
from activities.kubernetes.manifests.aws import AwsManifests
from activities.kubernetes.manifests.azure import AzureManifests
from activities.kubernetes.manifests.components import component_manifests
from activities.kubernetes.manifests.foundation import (
    api_keys_secret,
    foundation,
    restore_foundation,
    storage_class,
)
from activities.kubernetes.manifests.gcp import GcpManifests
from activities.kubernetes.objects import Object, reference_to
from domain.clouds import Cloud
from domain.shape import Component, Shape
from tests.activities.kubernetes.samples import (
    AZURE_BUCKET,
    AZURE_CERTIFICATE,
    AZURE_KEY,
    AZURE_NETWORK,
    AZURE_ROLES,
    AZURE_SITE,
    BACKUP,
    BUCKET,
    CERTIFICATE,
    GCP_CERTIFICATE,
    GCP_KEY,
    GCP_NETWORK,
    GCP_SITE,
    KEY,
    NETWORK,
    ORDERS,
    RELEASE,
    SITE,
    SMALL,
    WEBHOOK,
    spec_of,
)

GOLDEN = Path(__file__).parent / "golden"
AWS = AwsManifests()
GCP = GcpManifests()
AZURE = AzureManifests()
VERSIONS = sorted({version for offer in catalog.load().clouds.values() for version in offer.orderable_kubernetes()})


def shared_manifests() -> list[Object]:
    """Return what is the same for every shape."""
    return [
        storage_class(SITE, KEY, AWS),
        *foundation(SITE, WEBHOOK, AWS).present,
        api_keys_secret(SITE, "W10="),
        *AWS.endpoint(SITE, NETWORK, CERTIFICATE),
        jobs.backup_job(SITE, RELEASE, BUCKET, "first", AWS),
        *restore_foundation(SITE, AWS, {"byoc.dev/backup": BACKUP.key}).present,
        jobs.restore_job(SITE, RELEASE, BACKUP, AWS),
    ]


def manifests_of_gcp() -> list[Object]:
    """Return what Google Cloud decides."""
    return [
        storage_class(GCP_SITE, GCP_KEY, GCP),
        *foundation(GCP_SITE, WEBHOOK, GCP).present,
        *GCP.endpoint(GCP_SITE, GCP_NETWORK, GCP_CERTIFICATE),
        *restore_foundation(GCP_SITE, GCP, {"byoc.dev/backup": BACKUP.key}).present,
    ]


def manifests_of_azure() -> list[Object]:
    """Return what Azure decides, of the pods too: those that act in the cloud are marked."""
    store = component_manifests(AZURE_SITE, Component.STORE, RELEASE, SMALL, spec_of(SMALL), cloud=AZURE)
    return [
        storage_class(AZURE_SITE, AZURE_KEY, AZURE),
        *foundation(AZURE_SITE, WEBHOOK, AZURE, AZURE_ROLES).present,
        *(obj for obj in store.present if obj["kind"] == "StatefulSet"),
        *AZURE.endpoint(AZURE_SITE, AZURE_NETWORK, AZURE_CERTIFICATE),
        jobs.backup_job(AZURE_SITE, RELEASE, AZURE_BUCKET, "first", AZURE),
        *restore_foundation(AZURE_SITE, AZURE, {"byoc.dev/backup": BACKUP.key}, AZURE_ROLES).present,
        jobs.restore_job(AZURE_SITE, RELEASE, BACKUP, AZURE),
    ]


def components_of(shape: Shape, *, highly_available: bool) -> list[Object]:
    """Return the five components of an order, in the order of their installation; what they share stands once."""
    spec = spec_of(shape, high_availability=highly_available)
    wanted = (component_manifests(SITE, component, RELEASE, shape, spec, cloud=AWS) for component in Component)
    return list({reference_to(obj): obj for desired in wanted for obj in desired.present}.values())


FILES = {"shared": shared_manifests(), "gcp": manifests_of_gcp(), "azure": manifests_of_azure()} | {
    f"{shape.name}{'-ha' if highly_available else ''}": components_of(shape, highly_available=highly_available)
    for shape, highly_available in ORDERS
}


class _Text(yaml.SafeDumper):
    """Writes every object in full: golden files have no references."""

    def ignore_aliases(self, data: object) -> bool:
        """Return True for everything."""
        return True


_Text.add_multi_representer(str, lambda dumper, text: dumper.represent_str(str(text)))


@pytest.mark.parametrize("name", FILES)
def test_manifests_are_those_that_were_reviewed(name: str, pytestconfig: pytest.Config) -> None:
    """Each set of manifests equals its golden file."""
    file = GOLDEN / f"{name}.yaml"
    text = yaml.dump_all(FILES[name], Dumper=_Text, sort_keys=False, width=120)
    if pytestconfig.getoption("--write-golden", default=False):
        file.write_text(text, "utf-8")

    assert text == file.read_text("utf-8")


def test_no_golden_file_is_left_over() -> None:
    """Each golden file belongs to a set of manifests."""
    assert {file.stem for file in GOLDEN.iterdir()} == set(FILES)


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_valid_for_each_version_that_can_be_ordered(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API's own schemas, strict on unknown fields, accept every manifest.

    For a version that it does not know kubernetes-validate takes an earlier one, and this fails: update it first.
    """
    # The shapes differ in numbers; two of them show every form. Reading a schema takes longer than the validation.
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents))
    every_form = [obj for name in ("shared", "gcp", "azure", "v1-small", "v1-large-ha") for obj in FILES[name]]
    # The schemas of custom resources are their controllers'; the simulator knows those that we use.
    every_form = [obj for obj in every_form if "gateway" not in obj["apiVersion"] and "gke" not in obj["apiVersion"]]

    checked_against = {kubernetes_validate.validate(obj, version, strict=True) for obj in every_form}

    assert checked_against == {version}


def test_each_cloud_offers_a_version() -> None:
    """There is something to validate against for every cloud that can be ordered."""
    assert all(catalog.load().clouds[cloud].orderable_kubernetes() for cloud in Cloud)
