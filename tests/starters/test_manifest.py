"""Files become manifests, complete and valid; manifests become files; schemas and examples are current."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import catalog
from domain.account import AccountSpec
from domain.clouds import Cloud
from domain.deployment import AuthWebhook, DeploymentSpec, Endpoint, ExistingNetwork, NetworkSpec
from domain.shape import Component, Scale, ShapeName
from starters.manifest import AccountManifest, DeploymentManifest, Metadata, read_manifests, render
from starters.schema import json_schemas
from tests.starters.malformed import deployment

DOCS = Path(__file__).parents[2] / "docs"
DEPLOYMENT_SCHEMA = jsonschema.Draft202012Validator(json.loads(json_schemas()["deployment.json"]))
EXAMPLES = sorted((DOCS / "examples").glob("*.yaml"))


def read(text: str, *accounts: AccountSpec) -> DeploymentManifest:
    """Return the only manifest of a file, which is a deployment."""
    (manifest,) = read_manifests(text, catalogue=catalog.load(), accounts={known.name: known for known in accounts})
    assert isinstance(manifest, DeploymentManifest)
    return manifest


def test_the_newest_release_and_the_default_kubernetes_version_are_filled_in() -> None:
    """A file may leave both out; the manifest names them."""
    spec = read(deployment()).spec

    assert (spec.release, spec.kubernetes) == ("4.12.1", "1.35")


def test_what_is_filled_in_suits_what_is_given() -> None:
    """The default of one is chosen so that it fits the other."""
    older_release = read(deployment("  release: 4.10.2\n")).spec
    older_kubernetes = read(deployment('  kubernetes: "1.34"\n')).spec

    assert (older_release.release, older_release.kubernetes) == ("4.10.2", "1.34")
    assert (older_kubernetes.release, older_kubernetes.kubernetes) == ("4.12.1", "1.34")


def test_the_other_defaults_are_those_of_the_model() -> None:
    """The least that one can say is a v1-small deployment in a network that we make."""
    spec = read(deployment()).spec

    assert spec.shape is ShapeName.V1_SMALL
    assert not spec.high_availability
    assert spec.network == NetworkSpec(cidr=IPv4Network("10.64.0.0/16"))


def test_an_account_and_its_deployments_may_share_a_file() -> None:
    """The deployment is checked against the account of the same file, wherever in the file it stands."""
    account = (DOCS / "examples" / "account-aws.yaml").read_text("utf-8")

    first, second = read_manifests(f"{deployment()}---\n{account}", catalogue=catalog.load())

    assert isinstance(first, DeploymentManifest)
    assert isinstance(second, AccountManifest)
    assert second.spec.name == second.metadata.name == first.spec.account


def test_empty_documents_are_passed_over() -> None:
    """A separator at the end of a file is no mistake."""
    assert read(f"---\n{deployment()}---\n").metadata.name == "acme-prod"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_each_example_is_accepted_by_door_and_schema(example: Path) -> None:
    """What the documentation shows, works."""
    text = example.read_text("utf-8")
    content = yaml.safe_load(text)

    (manifest,) = read_manifests(text, catalogue=catalog.load())

    jsonschema.validate(content, json.loads(json_schemas()[f"{manifest.kind.lower()}.json"]))


@pytest.mark.parametrize("name", sorted(json_schemas()))
def test_each_committed_schema_is_current(name: str) -> None:
    """`python -m starters.schema docs/schema` writes them again."""
    assert (DOCS / "schema" / name).read_text("utf-8") == json_schemas()[name]


def test_the_schema_refuses_fields_that_do_not_exist() -> None:
    """An editor marks a misspelt field."""
    content = yaml.safe_load(deployment("  highAvailabilty: true\n"))

    with pytest.raises(jsonschema.ValidationError, match="highAvailabilty"):
        DEPLOYMENT_SCHEMA.validate(content)


NAMES = st.from_regex(r"[a-z][a-z0-9-]{1,28}[a-z0-9]", fullmatch=True)
LABELS = st.dictionaries(
    st.text("abcxyz/.-", min_size=1, max_size=9), st.from_regex(r"[A-Za-z0-9]{0,9}", fullmatch=True), max_size=2
)
DOMAINS = st.lists(st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True), min_size=2, max_size=4).map(".".join)
EXISTING = ExistingNetwork(
    network_id="vpc-0a1b2c3d",
    private_subnet_ids=("subnet-0a1b2c3d", "subnet-1a1b2c3d", "subnet-2a1b2c3d"),
    public_subnet_ids=("subnet-3a1b2c3d",),
)


@st.composite
def specifications(draw: st.DrawFn) -> DeploymentSpec:
    """Return a deployment on AWS that can be ordered."""
    shape = catalog.load().shape(draw(st.sampled_from(ShapeName)))
    release = draw(st.sampled_from(catalog.load().orderable_releases()))
    offered = catalog.load().clouds[Cloud.AWS].orderable_kubernetes()
    third = draw(st.integers(0, 15)) * 16
    scaling: dict[Component, Scale] = {}
    for component in draw(st.sets(st.sampled_from(sorted(shape.scaling_bounds)))):
        bounds = shape.scaling_bounds[component]
        least = shape.highly_available_replicas.get(component, bounds).minimum
        minimum = draw(st.integers(max(least, bounds.minimum), bounds.maximum))
        scaling[component] = Scale(minimum=minimum, maximum=draw(st.integers(minimum, bounds.maximum)))
    return DeploymentSpec(
        account=draw(NAMES),
        region=draw(st.sampled_from(["eu-central-1", "us-east-1"])),
        shape=shape.name,
        high_availability=shape.high_availability_offered and draw(st.booleans()),
        release=release.version,
        kubernetes=draw(st.sampled_from([version for version in offered if release.runs_on(version)])),
        network=NetworkSpec(existing=EXISTING)
        if draw(st.booleans())
        else NetworkSpec(cidr=IPv4Network(f"10.7.{third}.0/20")),
        endpoint=Endpoint(domain=draw(DOMAINS)),
        auth_webhook=draw(
            st.none()
            | st.builds(AuthWebhook, url=DOMAINS.map("https://{}/a".format), timeout_seconds=st.integers(1, 30))
        ),
        scaling=scaling,
    )


@settings(deadline=None)
@given(name=NAMES, labels=LABELS, spec=specifications())
def test_a_manifest_survives_being_written_and_read(name: str, labels: dict[str, str], spec: DeploymentSpec) -> None:
    """Reading what was rendered gives the same manifest, and the schema accepts it."""
    manifest = DeploymentManifest(metadata=Metadata(name=name, labels=labels), spec=spec)

    text = render(manifest)

    assert read(text) == manifest
    DEPLOYMENT_SCHEMA.validate(yaml.safe_load(text))
