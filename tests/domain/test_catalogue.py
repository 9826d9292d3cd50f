"""The catalogue that comes with the product is consistent, complete and quick to load, and a broken one is refused."""

from __future__ import annotations

import time
from importlib import resources

import pytest

import catalog
from catalog import CatalogueInvalid
from domain.catalogue import VersionStatus
from domain.clouds import Cloud
from domain.shape import SCALABLE, ShapeName
from domain.sizing import ZONES

CATALOGUE = catalog.load()


def files() -> dict[str, str]:
    """Return the catalogue's files, keyed by name."""
    return {file.name: file.read_text("utf-8") for file in resources.files("catalog").iterdir() if ".yaml" in file.name}


def test_loading_takes_less_than_50_ms() -> None:
    """Every command of the CLI loads it. The best of five, because other tests share the processor."""
    seconds = []
    for _ in range(5):
        started = time.thread_time()
        catalog.parse(files())
        seconds.append(time.thread_time() - started)

    assert min(seconds) < 0.05


def test_it_is_loaded_once() -> None:
    """Later calls return the same object."""
    assert catalog.load() is catalog.load()


def test_high_availability_is_offered_with_medium_and_large() -> None:
    """The shapes are those of the product's description."""
    offered = [shape.name for shape in CATALOGUE.shapes if shape.high_availability_offered]

    assert offered == [ShapeName.V1_MEDIUM, ShapeName.V1_LARGE]


def test_store_api_and_subscription_scale_by_themselves_in_every_shape() -> None:
    """Each shape lets them grow by default."""
    for shape in CATALOGUE.shapes:
        for component in SCALABLE:
            scale = shape.components[component].scale
            assert scale.maximum > scale.minimum, (shape.name, component)


def test_a_highly_available_store_keeps_its_quorum_when_a_zone_is_lost() -> None:
    """At least one replica in each of three zones."""
    for shape in CATALOGUE.shapes:
        if shape.high_availability_offered:
            assert all(scale.minimum >= 2 for scale in shape.highly_available_replicas.values())
            assert (
                min(scale.minimum for name, scale in shape.highly_available_replicas.items() if name == "store")
                >= ZONES
            )


@pytest.mark.parametrize("cloud", Cloud)
def test_every_cloud_offers_two_minor_versions_to_upgrade_between(cloud: Cloud) -> None:
    """An upgrade moves one minor version at a time."""
    first, second = CATALOGUE.clouds[cloud].orderable_kubernetes()

    assert int(second.split(".")[1]) == int(first.split(".")[1]) + 1
    assert CATALOGUE.default_kubernetes(cloud) == second


def test_every_version_in_extended_support_is_deprecated_or_expired() -> None:
    """The order of the dates is that of the statuses."""
    for offer in CATALOGUE.clouds.values():
        ends = [known.standard_support_until for known in offer.kubernetes if known.standard_support_until]
        assert ends == sorted(ends)
        statuses = [list(VersionStatus).index(known.status) for known in offer.kubernetes]
        assert statuses == sorted(statuses, reverse=True)


def test_every_zone_belongs_to_its_region() -> None:
    """AWS appends a letter, GCP a hyphen and a letter, Azure counts."""
    for cloud, offer in CATALOGUE.clouds.items():
        for region in offer.regions:
            prefix = {Cloud.AWS: region.name, Cloud.GCP: f"{region.name}-", Cloud.AZURE: ""}[cloud]
            assert all(zone.startswith(prefix) and len(zone) == len(prefix) + 1 for zone in region.zones)
            assert len(set(region.zones)) == len(region.zones)


def test_a_region_belongs_to_one_cloud() -> None:
    """A region's name alone tells the cloud."""
    assert CATALOGUE.cloud_of_region("eu-central-1") is Cloud.AWS
    assert CATALOGUE.cloud_of_region("europe-west3") is Cloud.GCP
    assert CATALOGUE.cloud_of_region("westeurope") is Cloud.AZURE
    assert CATALOGUE.cloud_of_region("atlantis") is None


def test_the_newest_release_that_fits_is_found() -> None:
    """A withdrawn release is never the newest."""
    newest, newest_on_old = CATALOGUE.newest_release(), CATALOGUE.newest_release("1.33")

    assert newest
    assert newest.version == "4.12.1"
    assert newest_on_old
    assert newest_on_old.version == "4.11.0"
    assert CATALOGUE.newest_release("1.20") is None


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("shapes.yaml", "name: v1-large", "name: v1-medium", "shape v1-large is defined 0 times"),
        ("shapes.yaml", "cpuMillis: 100,", "cpuMilis: 100,", "Extra inputs are not permitted"),
        ("shapes.yaml", "api: {minimum: 1, maximum: 8}", "api: {minimum: 1, maximum: 3}", "outside its scaling bounds"),
        ("releases.yaml", "server/api@sha256:", "server/api:", "image of api is not pinned by digest"),
        ("releases.yaml", "version: 4.12.0", "version: 4.09.0", "releases are not in order"),
        ("releases.yaml", "rollbackTo: [4.11.0]", "rollbackTo: [4.8.0]", "rolls back to 4.8.0, which is not in"),
        ("aws.yaml", "status: supported, default: true", "status: preview, default: true", "must be the default"),
        ("aws.yaml", "status: preview", "status: brandnew", "aws.yaml: kubernetes.4.status"),
        ("gcp.yaml", "name: us-east4", "name: us-east1", "region us-east1 is defined 2 times"),
        ("azure.yaml", "cloud: azure", "cloud: aws", "filed under another cloud's name"),
        ("gcp.yaml", "cloud: gcp", "cloud: [", "gcp.yaml is not YAML"),
        ("gcp.yaml", "cloud: gcp", "- gcp", "gcp.yaml is not"),
    ],
)
def test_a_catalogue_that_contradicts_itself_is_refused(file: str, old: str, new: str, words: str) -> None:
    """The message names file or object, and what is wrong with it."""
    broken = files()
    assert old in broken[file]
    broken[file] = broken[file].replace(old, new)

    with pytest.raises(CatalogueInvalid) as refusal:
        catalog.parse(broken)

    assert words in str(refusal.value)


def test_a_missing_file_is_named() -> None:
    """An installation without data says so."""
    incomplete = files()
    del incomplete["azure.yaml"]

    with pytest.raises(CatalogueInvalid, match=r"no file azure\.yaml"):
        catalog.parse(incomplete)
