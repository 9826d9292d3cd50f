"""Names fit the clouds' limits and keep deployments apart; tokens depend on what is made, not on the attempt."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.deployment import Site
from domain.naming import base_name, global_name, owner_tags, resource_name, short_name, token

NAMES = st.from_regex(r"[a-z][a-z0-9-]{1,28}[a-z0-9]", fullmatch=True)
RESOURCES = st.from_regex(r"[a-z][a-z0-9-]{1,16}[a-z0-9]", fullmatch=True)
SITES = st.builds(
    lambda deployment, account, region, generation: Site(
        deployment=deployment,
        customer="acme",
        account="acme-aws",
        cloud="aws",
        cloud_account_id=account,
        external_id="x",
        region=region,
        generation=generation,
    ),
    NAMES,
    st.from_regex(r"[0-9]{12}", fullmatch=True),
    st.sampled_from(["eu-central-1", "us-east-1"]),
    st.integers(1, 3),
)

LIMITS = {
    "AWS EKS cluster": (base_name, r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}"),
    "GCP GKE cluster": (base_name, r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?"),
    "Azure AKS cluster": (base_name, r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"),
}
LIMITS_OF_RESOURCES = {
    "AWS IAM role": (resource_name, r"[\w+=,.@-]{1,64}"),
    "AWS security group": (resource_name, r"[A-Za-z0-9 ._:/()#,@\[\]+=&;{}!$*-]{1,255}"),
    "GCP network, firewall, address": (resource_name, r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"),
    "Azure network, identity": (resource_name, r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}[A-Za-z0-9_]"),
    "bucket of AWS and GCP": (global_name, r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
}
"""The clouds' rules for names: what makes the name, and the form that the cloud accepts; keyed by what is named."""


@pytest.mark.parametrize("kind", LIMITS)
@given(site=SITES)
def test_a_cluster_s_name_is_accepted_by_each_cloud(kind: str, site: Site) -> None:
    """Whatever name a customer may choose."""
    make, form = LIMITS[kind]

    assert re.fullmatch(form, make(site))


@pytest.mark.parametrize("kind", LIMITS_OF_RESOURCES)
@given(site=SITES, resource=RESOURCES)
def test_a_resource_s_name_is_accepted_by_each_cloud(kind: str, site: Site, resource: str) -> None:
    """For resources of up to 18 characters."""
    make, form = LIMITS_OF_RESOURCES[kind]

    assert re.fullmatch(form, make(site, resource))


@given(site=SITES, resource=RESOURCES)
def test_a_short_name_fits_the_tightest_limits(site: Site, resource: str) -> None:
    """A GCP service account has 6 to 30 characters, an Azure storage account 3 to 24 letters and digits."""
    assert re.fullmatch(r"[a-z]([a-z0-9-]{4,28}[a-z0-9])", short_name(site, resource, limit=30))
    assert re.fullmatch(r"[a-z0-9]{3,24}", short_name(site, resource, limit=24))


@given(one=SITES, other=SITES, resource=RESOURCES)
def test_names_of_two_deployments_differ(one: Site, other: Site, resource: str) -> None:
    """A name is unique where the cloud wants it to be: in the account, or in the world."""
    where = (one.cloud_account_id, one.region, one.deployment) == (
        other.cloud_account_id,
        other.region,
        other.deployment,
    )

    assert (resource_name(one, resource) == resource_name(other, resource)) == (one.deployment == other.deployment)
    assert (global_name(one, resource) == global_name(other, resource)) == where
    assert (short_name(one, resource, limit=24) == short_name(other, resource, limit=24)) == where


@given(site=SITES, resource=RESOURCES, operation=st.text(max_size=5))
def test_a_token_is_the_same_for_every_attempt(site: Site, resource: str, operation: str) -> None:
    """Another operation that makes the same resource sends the same token."""
    again = site.model_copy(update={"operation": operation})

    assert token(again, resource) == token(site, resource)
    assert len(token(site, resource)) == 36


@given(one=SITES, other=SITES, resources=st.tuples(RESOURCES, RESOURCES))
def test_tokens_of_two_resources_differ(one: Site, other: Site, resources: tuple[str, str]) -> None:
    """Also those of two generations of the same deployment."""
    same = (one, resources[0]) == (other, resources[1])

    assert (token(one, resources[0]) == token(other, resources[1])) == same


@given(site=SITES, resource=RESOURCES)
def test_tags_say_whose_a_resource_is(site: Site, resource: str) -> None:
    """They fit AWS' limits (128 and 256 characters), and their number leaves room for the customer's own."""
    tags = owner_tags(site, resource, "a" * 64)

    assert tags["byoc"] == "managed"
    assert tags["byoc:deployment"] == site.deployment
    assert all(len(key) <= 128 and len(value) <= 256 for key, value in tags.items())
    assert len(tags) <= 10
