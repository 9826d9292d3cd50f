"""Bringing objects in line, against a simulated API server."""

from __future__ import annotations

import pytest
from temporalio.exceptions import ApplicationError

from activities.kubernetes.access import FIELD_MANAGER, ClusterApi, KubernetesConnections, Request
from activities.kubernetes.apply import Change, Outcome, bring_in_line, remove
from activities.kubernetes.manifests.identity import labels
from activities.kubernetes.objects import Object, reference_to
from domain.failure import FailureClass
from simulators.faults import Fault, FaultKind
from simulators.kubernetes import kinds
from tests.activities.kubernetes.playground import Playground
from tests.activities.kubernetes.samples import SITE


def configuration(**data: str) -> Object:
    """Return a ConfigMap of ours."""
    metadata = {"name": "settings", "namespace": "default", "labels": labels(SITE, "settings")}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


@pytest.fixture
def api(playground: Playground) -> ClusterApi:
    """The API of the playground's cluster."""
    return KubernetesConnections(playground.identity, playground.settings).api(SITE, playground.cluster)


def data(playground: Playground) -> dict[str, str]:
    """Return what the ConfigMap holds now."""
    found = playground.get(kinds.CONFIG_MAPS, "settings", "default")
    assert found is not None
    content: dict[str, str] = found["data"]
    return content


def test_what_is_missing_is_made(playground: Playground, api: ClusterApi) -> None:
    """The object is there afterwards, under our field manager."""
    outcome = bring_in_line(api, configuration(color="blue"))

    found = playground.get(kinds.CONFIG_MAPS, "settings", "default")
    assert outcome.change is Change.MADE
    assert found is not None
    assert found["metadata"]["managedFields"][0]["manager"] == FIELD_MANAGER


def test_what_is_as_it_should_be_is_left_alone(playground: Playground, api: ClusterApi) -> None:
    """A second time makes no mutating call, not even one without effect."""
    bring_in_line(api, configuration(color="blue"))
    position = playground.world.journal.position

    outcome = bring_in_line(api, configuration(color="blue"))

    assert outcome.change is Change.NONE
    assert playground.world.journal.calls(after=position, mutating=True, agent="byoc/") == []


def test_what_somebody_changed_is_put_back(playground: Playground, api: ClusterApi) -> None:
    """A value that was edited behind our back is ours again."""
    bring_in_line(api, configuration(color="blue"))
    playground.edit(kinds.CONFIG_MAPS, "settings", lambda obj: obj["data"].update(color="red"), "default")

    outcome = bring_in_line(api, configuration(color="blue"))

    assert outcome.change is Change.CHANGED
    assert data(playground) == {"color": "blue"}


def test_a_field_that_another_manager_took_is_taken_back_and_named(playground: Playground, api: ClusterApi) -> None:
    """The conflict is forced, and the outcome says which field it was."""
    bring_in_line(api, configuration(color="blue"))
    body = configuration(color="red")
    path = reference_to(body).path + "?fieldManager=somebody&force=true"
    connections = KubernetesConnections(playground.identity, playground.settings)
    request = Request("PATCH", path, body=body, content_type="application/apply-patch+yaml")
    connections.send(SITE, playground.cluster, request)

    outcome = bring_in_line(api, configuration(color="blue"))

    assert data(playground) == {"color": "blue"}
    assert any("color" in field and "somebody" in field for field in outcome.put_back)


def test_what_the_manifest_no_longer_has_is_taken_away(playground: Playground, api: ClusterApi) -> None:
    """A dropped field vanishes, although the object holds every value that is left."""
    bring_in_line(api, configuration(color="blue", size="large"))

    bring_in_line(api, configuration(color="blue"))

    assert data(playground) == {"color": "blue"}


def test_what_others_added_stays(playground: Playground, api: ClusterApi) -> None:
    """A field that we never had is none of our business."""
    bring_in_line(api, configuration(color="blue"))
    playground.edit(kinds.CONFIG_MAPS, "settings", lambda obj: obj["data"].update(shape="round"), "default")

    outcome = bring_in_line(api, configuration(color="blue"))

    assert outcome.change is Change.NONE
    assert data(playground) == {"color": "blue", "shape": "round"}


def test_what_is_not_ours_is_never_touched(playground: Playground, api: ClusterApi) -> None:
    """An object of our name without our labels is refused, for applying and for deleting."""
    theirs = {"metadata": {"name": "settings"}, "data": {"color": "green"}}
    playground.put(kinds.CONFIG_MAPS, theirs, "default")

    def put() -> Outcome:
        return bring_in_line(api, configuration(color="blue"))

    def take() -> Outcome:
        return remove(api, reference_to(configuration()))

    for deed in (put, take):
        with pytest.raises(ApplicationError) as refusal:
            deed()
        assert refusal.value.type == FailureClass.NOT_OURS
        assert "settings" in refusal.value.message
    assert data(playground) == {"color": "green"}


def test_an_apply_whose_reply_is_lost_is_repeated_without_effect(playground: Playground, api: ClusterApi) -> None:
    """The first attempt fails for want of a reply; the next one finds the deed done."""
    playground.fault(Fault(kind=FaultKind.LOST_REPLY, service="kubernetes", operation="patch configmaps", times=1))

    with pytest.raises(ApplicationError) as loss:
        bring_in_line(api, configuration(color="blue"))
    outcome = bring_in_line(api, configuration(color="blue"))

    assert loss.value.type == FailureClass.TRANSIENT
    assert outcome.change is Change.NONE
    assert data(playground) == {"color": "blue"}
