"""What is wrong with a file is said at once, with line, field, value and what is allowed."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import catalog
from domain.account import AccountSpec
from domain.clouds import Cloud
from starters.manifest import ManifestInvalid, read_manifests
from tests.starters.malformed import MALFORMED, Malformed, deployment


def problems_of(text: str, *accounts: AccountSpec) -> dict[str, str]:
    """Return the problems of a file as text, keyed by path."""
    with pytest.raises(ManifestInvalid) as refusal:
        read_manifests(text, catalogue=catalog.load(), accounts={account.name: account for account in accounts})
    return {problem.path: str(problem) for problem in refusal.value.problems}


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.name)
def test_a_malformed_file_is_refused_with_line_field_value_and_what_is_allowed(case: Malformed) -> None:
    """The refusal names the field, and contains the words that let its reader mend the file."""
    with pytest.raises(ManifestInvalid) as refusal:
        read_manifests(case.text, catalogue=catalog.load())

    named = [problem for problem in refusal.value.problems if problem.path == case.path]
    assert named, f"no problem names {case.path!r}: {refusal.value}"
    text = "\n".join(str(problem) for problem in named)
    assert [word for word in case.words if word not in text] == []
    assert (named[0].line or 0) == case.line


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.name)
def test_one_mistake_is_one_problem(case: Malformed) -> None:
    """No mistake drags others along that the reader would look for in vain."""
    with pytest.raises(ManifestInvalid) as refusal:
        read_manifests(case.text, catalogue=catalog.load())

    assert len(refusal.value.problems) == 1, str(refusal.value)


def test_every_problem_is_reported_at_once() -> None:
    """Mistakes of form and broken rules appear together, in the order of the file."""
    text = deployment(
        "  shape: v1-smal\n  network: {cidr: 8.8.0.0/24}\n  authWebhook: {url: https://localhost/}\n  colour: blue\n",
        region="eu-north-9",
    )

    with pytest.raises(ManifestInvalid) as refusal:
        read_manifests(text, catalogue=catalog.load())

    assert [problem.path for problem in refusal.value.problems] == [
        "spec.region",
        "spec.shape",
        "spec.network.cidr",
        "spec.network.cidr",
        "spec.authWebhook.url",
        "spec.colour",
    ]


def test_the_rules_of_a_broken_field_are_left_out() -> None:
    """Whether high availability is offered cannot be said while the shape is unknown."""
    problems = problems_of(deployment("  shape: v1-huge\n  highAvailability: true\n"))

    assert list(problems) == ["spec.shape"]


def test_a_region_outside_the_account_is_refused_with_those_of_the_account() -> None:
    """The account decides which regions may be used, not the cloud."""
    account = AccountSpec(
        name="acme-aws", customer="acme", cloud=Cloud.AWS, cloud_account_id="111122223333", regions=("eu-west-1",)
    )

    problems = problems_of(deployment(), account)

    assert list(problems) == ["spec.region"]
    assert "not among the regions of account acme-aws" in problems["spec.region"]
    assert "Allowed: eu-west-1" in problems["spec.region"]


def test_a_secret_in_a_webhook_is_never_repeated() -> None:
    """Neither the password nor a token of the query reaches a log by way of an error."""
    urls = (
        "https://ada:hunter2@login.acme.example/",
        "http://login.acme.example/?token=hunter2",
        "https://a:hunter2@[",
    )

    problems = [problems_of(deployment(f'  authWebhook: {{url: "{url}"}}\n')) for url in urls]

    assert [list(found) for found in problems] == [["spec.authWebhook.url"]] * 3
    assert "hunter2" not in str(problems)


def test_what_is_repeated_cannot_write_to_the_terminal() -> None:
    """Control characters of a value appear escaped, and a long value is cut."""
    problems = problems_of(deployment(region='"\\e[2Jeu\\nforged: line' + "x" * 1000 + '"'))

    assert "\\x1b[2Jeu\\nforged: line" in problems["spec.region"]
    assert len(problems["spec.region"]) < 500


def test_aliases_are_refused() -> None:
    """Ten lines of aliases can stand for gigabytes."""
    problems = problems_of("a: &a [x, x]\nb: &b [*a, *a]\n")

    assert "line 2: alias *a is not allowed" in problems[""]


def test_tags_are_refused() -> None:
    """A tag never makes an object."""
    problems = problems_of(deployment("  shape: !!python/object:os.system x\n"))

    assert "tag python/object:os.system is not allowed" in problems["spec.shape"]


def test_deep_nesting_is_refused() -> None:
    """A parser's stack is not ours to exhaust."""
    problems = problems_of("[" * 100_000)

    assert "nested too deeply" in problems[""]


def test_with_several_documents_a_problem_names_its_object() -> None:
    """The reader of a long file sees which object is meant."""
    text = deployment() + "---\n" + deployment(name="acme-test", region="eu-centrl-1")

    problems = problems_of(text)

    assert problems["spec.region"].startswith('line 15: Deployment acme-test: spec.region: "eu-centrl-1" is not')


def test_an_object_that_is_described_twice_is_refused() -> None:
    """The second would silently replace the first."""
    problems = problems_of(deployment() + "---\n" + deployment(region="eu-west-1"))

    assert "Deployment acme-prod is described twice, first on line 1" in problems["metadata.name"]


@settings(deadline=None)
@given(st.text(max_size=200))
def test_whatever_is_given_is_read_or_refused(text: str) -> None:
    """No text makes the door fail in any other way."""
    with pytest.raises(ManifestInvalid):
        read_manifests(text, catalogue=catalog.load())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("account", "region", "shape", "highAvailability", "release", "kubernetes", "network", "endpoint", "scaling")


@settings(deadline=None)
@given(field=st.sampled_from((*FIELDS, "authWebhook", "apiAccess")), value=JSON)
def test_whatever_a_field_holds_is_accepted_or_refused_by_name(field: str, value: object) -> None:
    """A value of any kind in any field leads to a manifest, or to a problem of that field."""
    endpoint = {"domain": "prod.db.acme.example"}
    spec = {"account": "acme-aws", "region": "eu-central-1", "endpoint": endpoint, field: value}
    text = json.dumps({"apiVersion": "byoc.dev/v1", "kind": "Deployment", "metadata": {"name": "acme"}, "spec": spec})

    with contextlib.suppress(ManifestInvalid):
        (manifest,) = read_manifests(text, catalogue=catalog.load())
        assert manifest.metadata.name == "acme"
        return

    assert all(path.startswith(f"spec.{field}") or not path for path in problems_of(text))
