"""What canary and control have counted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from activities.kubernetes.measuring import read_exposition
from domain.shape import Component
from simulators.faults import Fault, FaultKind
from simulators.kubernetes import kinds
from tests.activities.kubernetes.highly_available import OLD, SAME_EPOCH, Upgraded, bad


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """One highly available server for the tests of this file."""
    running = Upgraded(tmp_path_factory.mktemp("measuring"))
    yield running
    running.stop()


@pytest.fixture
def server(shared: Upgraded) -> Iterator[Upgraded]:
    """Give the server back on the old release, without faults."""
    yield shared
    shared.world.faults.clear()
    for component in Component:
        shared.roll_back(component)


@pytest.mark.parametrize("component", list(Component))
def test_every_component_can_be_compared(server: Upgraded, component: Component) -> None:
    """The requests that are made reach canary and control of each component, and nothing fails."""
    server.stage(component, SAME_EPOCH)

    measured = server.measure(component, SAME_EPOCH)

    assert measured.canary is not None
    assert measured.control is not None
    assert (measured.canary.pods, measured.canary.ready, measured.canary.errors) == (1, 1, 0)
    assert measured.canary.requests >= 3
    assert measured.control.requests > measured.canary.requests or measured.control.pods == 1
    assert measured.canary.latency["+Inf"] == measured.canary.requests
    assert measured.control.errors == 0


@pytest.mark.parametrize("component", [Component.STORE, Component.API, Component.CDC])
def test_the_errors_of_a_bad_canary_are_its_own(server: Upgraded, component: Component) -> None:
    """One rule about an image makes it bad; its counters tell it from the others."""
    release = bad(component)
    server.fault(Fault(kind=FaultKind.ERROR, resource=f"*/{release.components[component]}"))
    server.stage(component, release)

    measured = server.measure(component, release)

    assert measured.canary is not None
    assert measured.control is not None
    assert measured.canary.errors == measured.canary.requests > 0
    assert measured.control.errors == 0


def test_a_slow_canary_shows_in_its_histogram(server: Upgraded) -> None:
    """What takes longer is counted in higher buckets only."""
    release = bad(Component.SUBSCRIPTION)
    image = release.components[Component.SUBSCRIPTION]
    server.fault(Fault(kind=FaultKind.SLOW, resource=f"*/{image}", seconds=0.06))
    server.stage(Component.SUBSCRIPTION, release)

    measured = server.measure(Component.SUBSCRIPTION, release)

    assert measured.canary is not None
    assert measured.control is not None
    assert measured.canary.latency["0.05"] == 0
    assert measured.canary.latency["10.0"] == measured.canary.requests
    assert measured.control.latency["0.05"] > 0


def test_a_canary_out_of_memory_is_told(server: Upgraded) -> None:
    """It is started again and serves, but its end is known."""
    release = bad(Component.API)
    server.fault(Fault(kind=FaultKind.CRASH, code="OOMKilled", resource=f"*/{release.components[Component.API]}"))
    server.stage(Component.API, release)

    measured = server.measure(Component.API, release, exercise=0)

    assert measured.canary is not None
    assert (measured.canary.ready, measured.canary.restarts, measured.canary.oom_kills) == (1, 1, 1)
    assert measured.control is not None
    assert measured.control.oom_kills == 0


def test_without_a_canary_there_is_only_control(server: Upgraded) -> None:
    """A side without pods is not a side that counted nothing."""
    measured = server.measure(Component.CDC, SAME_EPOCH, exercise=0)

    assert measured.canary is None
    assert measured.control is not None
    assert measured.control.pods == 2


def test_what_cannot_be_read_is_not_known(server: Upgraded) -> None:
    """While the API server reaches no pod, neither side is known, and nothing is invented."""
    server.stage(Component.CDC, SAME_EPOCH)
    server.fault(Fault(kind=FaultKind.ERROR, service="kubernetes", operation="get pods/proxy"))

    measured = server.measure(Component.CDC, SAME_EPOCH, exercise=0)

    assert (measured.canary, measured.control) == (None, None)


def test_no_key_is_left_behind(server: Upgraded) -> None:
    """The key of the requests is gone when they have been made."""
    before = server.get(kinds.SECRETS, "api-keys")

    server.measure(Component.STORE, OLD)

    after = server.get(kinds.SECRETS, "api-keys")
    assert before is not None
    assert after is not None
    assert before["data"] == after["data"]


def test_an_exposition_is_summed_over_its_series() -> None:
    """Comments do not count, labels may be there or not, numbers may be written with an exponent."""
    text = (
        "# TYPE requests_total counter\n"
        'requests_total{code="200"} 1.2e+01\n'
        'requests_total{code="500"} 3\n'
        "errors_total 3 1700000000000\n"
        'request_duration_seconds_bucket{le="0.1",code="200"} 7\n'
        'request_duration_seconds_bucket{code="500",le="+Inf"} 8\n'
    )

    assert read_exposition(text) == {"requests_total": 15, "errors_total": 3, "le=0.1": 7, "le=+Inf": 8}
