"""Durations of steps: what is expected, and what is learnt."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import catalog
from domain.clouds import Cloud
from domain.durations import summarized, without_version
from workflows import steps

AWS = catalog.durations().clouds[Cloud.AWS]


def test_every_step_of_an_operation_has_a_duration() -> None:
    """A step that is added to the workflows gets a line in the table, and no line is of a step that is gone."""
    activities = {step.name for step in steps.ALL} | {undo.name for undo in steps.UNDOS}
    of_accounts = {steps.VERIFY_ACCESS.name, steps.PROVE_REVOKED.name}

    assert {step.partition("/")[0] for step in AWS.steps} == activities - of_accounts


def test_a_step_is_expected_as_its_name_then_its_activity_then_any() -> None:
    """What is known of the store's component is not what is known of the others, nor of a step never seen."""
    names = ("install_component/store", "install_component/api", "new")

    assert [AWS.expected(name, changes=True) for name in names] == [
        timedelta(seconds=each.p50)
        for each in (AWS.steps["install_component/store"], AWS.steps["install_component"], AWS.makes)
    ]


def test_a_step_on_the_way_to_a_version_is_known_from_the_way_to_another_one() -> None:
    """What was learnt of the store's canaries holds for every release, and of control planes for every version."""
    names = ("stage_canary/store 4.12.1", "stage_canary/api 4.12.1", "upgrade_control_plane/1.36")

    assert [AWS.expected(name, changes=True) for name in names] == [
        timedelta(seconds=AWS.steps[name].p50)
        for name in ("stage_canary/store", "stage_canary", "upgrade_control_plane")
    ]
    assert without_version("smoke_test/the store machines 1.36") == "smoke_test/the store machines"
    assert without_version("install_component/store") == "install_component/store"


def test_a_step_with_nothing_to_do_only_looks() -> None:
    """A control plane that is there is looked at in seconds; a step that is quicker than a look stays as quick."""
    assert AWS.expected("create_cluster", changes=False) == timedelta(seconds=AWS.looks.p50)
    assert AWS.expected("apply_api_keys", changes=False) == AWS.expected("apply_api_keys", changes=True)


def test_percentiles_are_values_that_were_seen() -> None:
    """Of twenty runs, the tenth is the median and the nineteenth the 95th percentile."""
    learnt = summarized([float(number) for number in range(20, 0, -1)])

    assert (learnt.p50, learnt.p95, learnt.runs) == (10.0, 19.0, 20)


def test_learning_replaces_what_was_seen_and_keeps_the_rest() -> None:
    """A step without samples keeps its line."""
    learnt = catalog.durations().learnt({Cloud.AWS: {"create_cluster": [500.0, 700.0], "create_roles": []}})

    assert learnt.clouds[Cloud.AWS].steps["create_cluster"].p50 == 500.0
    assert learnt.clouds[Cloud.AWS].steps["create_roles"] == AWS.steps["create_roles"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clouds: {aws: {looks: {p50: 2, p95: 1}, makes: {p50: 1, p95: 1}, steps: {}}}", "is below the median"),
        ("clouds: {aws: {looks: {p50: -2, p95: 1}, makes: {p50: 1, p95: 1}, steps: {}}}", "clouds.aws.looks.p50"),
        ("clouds: {mars: {}}", "clouds.mars"),
        ("[]", "is not a mapping"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_field(tmp_path: Path, text: str, said: str) -> None:
    """The message names the file's field and what is wrong with it."""
    file = tmp_path / "durations.yaml"
    file.write_text(text)

    with pytest.raises(catalog.CatalogueInvalid, match=said):
        catalog.durations(file)
