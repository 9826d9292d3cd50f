"""Paths from what runs to what was asked for: in tables, and against every sequence that there is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.release import Release
from domain.shape import Component
from domain.upgrade import Stage, StageKind, UpgradeRequest, Verification
from domain.upgrade_path import NoPath, hop_refusal, rolls_back, stages_of


def a_release(version: str, runs: str = "1.30 1.40", **changes: object) -> Release:
    minimum, maximum = runs.split()
    base = Release(
        version=version,
        components=dict.fromkeys(Component, f"registry.byoc.example/server@sha256:{'0' * 64}"),
        min_from="1.0.0",
        kubernetes_minimum=minimum,
        kubernetes_maximum=maximum,
        schema_epoch=1,
    )
    return base.model_copy(update=changes)


def path(
    release: Release, target: Release | None, *between: Release, on: str = "1.33", to: str = "", nodes: str = ""
) -> list[str]:
    """Return the stages' names, those of add-ons and nodes left out unless nothing else is there."""
    request = UpgradeRequest(release=target, stops=between, kubernetes=to)
    stages = stages_of(request, release=release, kubernetes=on, high_availability=False, nodes=nodes)
    return [stage.name for stage in stages if stage.kind in (StageKind.CONTROL_PLANE, StageKind.SERVER)]


def why_not(release: Release, target: Release | None, *between: Release, on: str = "1.33", to: str = "") -> str:
    with pytest.raises(NoPath) as refused:
        path(release, target, *between, on=on, to=to)
    return str(refused.value)


A, B, C, D = (a_release(f"4.{minor}.0") for minor in (10, 11, 12, 13))


def changed(release: Release, **changes: object) -> Release:
    return release.model_copy(update=changes)


@pytest.mark.parametrize(
    ("stops", "target", "expected"),
    [
        pytest.param((), D, ["server 4.13.0"], id="directly"),
        pytest.param((B, C), D, ["server 4.13.0"], id="what need not be passed through is not"),
        pytest.param((changed(B, mandatory_stop=True), C), D, ["server 4.11.0", "server 4.13.0"], id="a stop"),
        pytest.param(
            (changed(B, mandatory_stop=True), changed(C, mandatory_stop=True)),
            D,
            ["server 4.11.0", "server 4.12.0", "server 4.13.0"],
            id="two stops",
        ),
        pytest.param((B, C), changed(D, min_from="4.12.0"), ["server 4.12.0", "server 4.13.0"], id="min_from"),
        pytest.param(
            (B, changed(C, min_from="4.11.0")),
            changed(D, min_from="4.12.0"),
            ["server 4.11.0", "server 4.12.0", "server 4.13.0"],
            id="min_from of what lies between",
        ),
        pytest.param(
            (B, changed(C, withdrawn="it leaks")),
            changed(D, min_from="4.11.0"),
            ["server 4.11.0", "server 4.13.0"],
            id="what is withdrawn is passed by",
        ),
        pytest.param(
            (changed(B, mandatory_stop=True, withdrawn="it leaks"), changed(C, mandatory_stop=True)),
            D,
            ["server 4.12.0", "server 4.13.0"],
            id="a later stop takes the place of one that is withdrawn",
        ),
        pytest.param((a_release("4.9.0", mandatory_stop=True),), D, ["server 4.13.0"], id="a stop that lies behind"),
        pytest.param((a_release("5.0.0", mandatory_stop=True),), D, ["server 4.13.0"], id="a stop that lies beyond"),
        pytest.param((D, A, B), D, ["server 4.13.0"], id="start and target among the stops"),
    ],
)
def test_the_shortest_path_through_releases(stops: tuple[Release, ...], target: Release, expected: list[str]) -> None:
    """As few hops as mandatory stops, withdrawals and `min_from` allow."""
    assert path(A, target, *stops) == expected


@pytest.mark.parametrize(
    ("release", "target", "on", "to", "expected"),
    [
        pytest.param(A, None, "1.33", "1.34", ["control-plane 1.34"], id="one minor version"),
        pytest.param(
            A,
            None,
            "1.33",
            "1.36",
            ["control-plane 1.34", "control-plane 1.35", "control-plane 1.36"],
            id="never two at once",
        ),
        pytest.param(
            A,
            B,
            "1.33",
            "1.34",
            ["server 4.11.0", "control-plane 1.34"],
            id="the server first, where both are possible",
        ),
        pytest.param(
            changed(A, kubernetes_maximum="1.34"),
            changed(B, kubernetes_minimum="1.34"),
            "1.33",
            "1.35",
            ["control-plane 1.34", "server 4.11.0", "control-plane 1.35"],
            id="the hop is made on the version that both run on",
        ),
        pytest.param(
            changed(A, kubernetes_maximum="1.33"),
            changed(B, kubernetes_minimum="1.33"),
            "1.33",
            "1.34",
            ["server 4.11.0", "control-plane 1.34"],
            id="the old release does not run on what is asked for",
        ),
        pytest.param(
            A,
            changed(B, kubernetes_minimum="1.34"),
            "1.33",
            "1.34",
            ["control-plane 1.34", "server 4.11.0"],
            id="the new release does not run on what there is",
        ),
        pytest.param(A, None, "1.33.4", "1.34", ["control-plane 1.34"], id="a patch number of the control plane"),
    ],
)
def test_kubernetes_and_releases_take_turns(
    release: Release, target: Release | None, on: str, to: str, expected: list[str]
) -> None:
    """The minor version moves by one, and at each point the release runs on it."""
    assert path(release, target, on=on, to=to) == expected


def test_a_release_in_between_joins_two_that_share_no_kubernetes_version() -> None:
    """What runs up to 1.34 and what begins at 1.36 are joined by one that runs on both."""
    old = changed(A, kubernetes_maximum="1.34")
    new = changed(C, kubernetes_minimum="1.36")
    bridge = changed(B, kubernetes_minimum="1.34", kubernetes_maximum="1.36")

    assert path(old, new, bridge, on="1.34", to="1.36") == [
        "server 4.11.0",
        "control-plane 1.35",
        "control-plane 1.36",
        "server 4.12.0",
    ]
    assert "in between" in why_not(old, new, on="1.34", to="1.36")


@pytest.mark.parametrize(
    ("release", "target", "stops", "on", "to", "words"),
    [
        pytest.param(A, None, (), "1.33", "", "nothing was asked for", id="nothing"),
        pytest.param(B, A, (), "1.33", "", "an upgrade never goes backwards", id="older release"),
        pytest.param(A, A, (), "1.33", "", "release 4.10.0 runs already", id="reached"),
        pytest.param(A, None, (), "1.33", "1.32", "it never goes backwards", id="older Kubernetes"),
        pytest.param(A, None, (), "1.33", "2.1", "another major version", id="major version"),
        pytest.param(A, changed(B, withdrawn="it leaks."), (), "1.33", "", "is withdrawn: it leaks.", id="withdrawn"),
        pytest.param(A, changed(D, min_from="4.12.0"), (), "1.33", "", "can be reached from 4.12.0 on", id="min_from"),
        pytest.param(
            A,
            D,
            (changed(B, mandatory_stop=True, withdrawn="it leaks"),),
            "1.33",
            "",
            "every path to 4.13.0 passes through 4.11.0",
            id="the only stop is withdrawn",
        ),
        pytest.param(
            A,
            changed(B, kubernetes_maximum="1.32"),
            (),
            "1.33",
            "",
            "Ask for a release that runs on 1.33",
            id="too new a Kubernetes",
        ),
        pytest.param(
            A,
            changed(B, kubernetes_minimum="1.35"),
            (),
            "1.33",
            "",
            "Ask for a version of Kubernetes from 1.35 on",
            id="too old a Kubernetes",
        ),
        pytest.param(
            changed(A, kubernetes_maximum="1.33"), None, (), "1.33", "1.34", "1.34 is what was asked for", id="range"
        ),
        pytest.param(
            changed(A, kubernetes_maximum="1.33"),
            changed(B, kubernetes_minimum="1.34"),
            (),
            "1.33",
            "1.34",
            "no order of hops keeps every release on a Kubernetes version that it runs on",
            id="nothing in common",
        ),
    ],
)
def test_what_cannot_be_reached_is_refused_in_words(
    release: Release, target: Release | None, stops: tuple[Release, ...], on: str, to: str, words: str
) -> None:
    """The refusal says why, and what to ask for instead."""
    assert words in why_not(release, target, *stops, on=on, to=to)


def names(*, nodes: str, on: str = "1.34", to: str = "1.35") -> list[str]:
    request = UpgradeRequest(kubernetes=to)
    return [stage.name for stage in stages_of(request, release=A, kubernetes=on, high_availability=False, nodes=nodes)]


LEVEL_34 = ["add-ons 1.34", "nodes 1.34 services", "nodes 1.34 store"]
LEVEL_35 = ["add-ons 1.35", "nodes 1.35 services", "nodes 1.35 store"]


@pytest.mark.parametrize(
    ("nodes", "on", "to", "expected"),
    [
        pytest.param("1.34", "1.34", "1.35", ["control-plane 1.35", *LEVEL_35], id="level"),
        pytest.param("1.33", "1.34", "1.35", [*LEVEL_34, "control-plane 1.35", *LEVEL_35], id="behind, after a park"),
        pytest.param("", "1.34", "1.35", ["control-plane 1.35", *LEVEL_35], id="not known"),
        pytest.param("1.34", "1.35", "1.35", LEVEL_35, id="only the control plane has arrived"),
    ],
)
def test_nodes_are_levelled_before_the_control_plane_moves(nodes: str, on: str, to: str, expected: list[str]) -> None:
    """Add-ons and nodes follow each step, and what a parked upgrade left behind comes first; services before store."""
    assert names(nodes=nodes, on=on, to=to) == expected


def test_stages_say_what_they_need_and_what_cannot_be_taken_back() -> None:
    """Bake and needs are the request's; a control plane never goes back, a release where its format allows."""
    verification = Verification(bake=timedelta(minutes=7))
    needs = {StageKind.SERVER: timedelta(minutes=11)}
    target = changed(B, schema_epoch=2)
    request = UpgradeRequest(release=target, kubernetes="1.34", verification=verification, needs=needs)

    server, plane, *rest = stages_of(request, release=A, kubernetes="1.33", high_availability=False)

    assert (server.need, server.release) == (timedelta(minutes=11), target)
    assert "which release 4.10.0 does not read" in server.irreversible
    assert (plane.bake, plane.kubernetes) == (timedelta(minutes=7), "1.34")
    assert "cannot be put back" in plane.irreversible
    assert not any(stage.irreversible or stage.bake for stage in rest)


@pytest.mark.parametrize(
    ("changes", "back", "irreversible"),
    [
        ({}, True, ""),
        ({"schema_epoch": 2}, False, "it writes the store in format 2"),
        ({"schema_epoch": 2, "rollback_to": ("4.10.0",)}, True, ""),
        ({"point_of_no_return": "the old keys are destroyed"}, True, "the old keys are destroyed"),
    ],
)
def test_when_a_release_may_be_put_back(changes: dict[str, object], back: bool, irreversible: str) -> None:
    """The same format, or declared; a declared point of no return is shown in any case."""
    after = changed(B, **changes)

    assert rolls_back(after, A) is back
    (stage,) = stages_of(UpgradeRequest(release=after), release=A, kubernetes="1.33", high_availability=False)
    assert irreversible in stage.irreversible
    assert bool(irreversible) is bool(stage.irreversible)


def test_high_availability_needs_more_time() -> None:
    """More replicas and machines one after another take longer; what was learnt of the cloud counts for both."""
    request = UpgradeRequest(release=B, kubernetes="1.34")

    small, large = (
        {stage.kind: stage.need for stage in stages_of(request, release=A, kubernetes="1.33", high_availability=high)}
        for high in (False, True)
    )

    assert large[StageKind.SERVER] > small[StageKind.SERVER]
    assert large[StageKind.NODES] > small[StageKind.NODES]
    assert large[StageKind.CONTROL_PLANE] == small[StageKind.CONTROL_PLANE]


VERSIONS = [f"4.{minor}.0" for minor in range(5)]


@st.composite
def catalogues(draw: st.DrawFn) -> list[Release]:
    """Return five releases in order, with ranges, stops, withdrawals and oldest predecessors as they fall."""
    made = []
    for index, version in enumerate(VERSIONS):
        lowest = draw(st.integers(32, 35))
        highest = draw(st.integers(lowest, 36))
        made.append(
            a_release(
                version,
                f"1.{lowest} 1.{highest}",
                min_from=draw(st.sampled_from(VERSIONS[: index + 1])),
                mandatory_stop=draw(st.booleans()),
                withdrawn=draw(st.sampled_from(["", "", "", "it leaks"])),
            )
        )
    return made


Point = tuple[int, int]
"""The index of a release, and the minor version."""


def runs_on(release: Release, minor: int) -> bool:
    return int(release.kubernetes_minimum[2:]) <= minor <= int(release.kubernetes_maximum[2:])


def may_hop(known: list[Release], before: int, after: int) -> bool:
    """The rules of one hop, told once more."""
    target = known[after]
    oldest = VERSIONS.index(target.min_from)
    skipped = [each for each in known[before + 1 : after] if each.mandatory_stop]
    excused = target.mandatory_stop and all(each.withdrawn for each in skipped)
    return not target.withdrawn and before >= oldest and (not skipped or excused)


def every_sequence(start: Point, goal: Point) -> Iterator[list[Point]]:
    """Yield every choice of releases in between, in every order of hops and of steps of one minor version."""
    (first, low), (last, high) = start, goal
    between = range(first + 1, last)
    for size in range(len(between) + 1):
        for chosen in combinations(between, size):
            hops = [*chosen, last] if last != first else []
            moves = len(hops) + high - low
            for places in combinations(range(moves), len(hops)):
                points, left = [start], list(hops)
                for place in range(moves):
                    release, minor = points[-1]
                    points.append((left.pop(0), minor) if place in places else (release, minor + 1))
                yield points


def is_sound(known: list[Release], points: list[Point]) -> bool:
    """Whether each point is supported, and each hop and each step allowed."""
    for before, after in pairwise(points):
        if not runs_on(known[after[0]], after[1]):
            return False
        if before[0] != after[0] and not may_hop(known, before[0], after[0]):
            return False
        if before[1] != after[1] and after[1] != before[1] + 1:
            return False
    return True


def points_of(stages: tuple[Stage, ...], start: Point) -> list[Point]:
    points = [start]
    for stage in stages:
        release, minor = points[-1]
        if stage.release is not None:
            points.append((VERSIONS.index(stage.release.version), minor))
        elif stage.kind is StageKind.CONTROL_PLANE:
            points.append((release, int(stage.kubernetes[2:])))
    return points


@settings(max_examples=250, deadline=None)
@given(catalogues(), st.integers(0, 4), st.integers(0, 4), st.integers(0, 3), st.data())
def test_the_path_is_sound_and_no_sequence_is_shorter(
    known: list[Release], first: int, hops: int, minors: int, data: st.DataObject
) -> None:
    """Compared with every sequence of hops and minor versions: one is found if there is any, and it is as short."""
    last = min(first + hops, 4)
    low = data.draw(st.integers(int(known[first].kubernetes_minimum[2:]), int(known[first].kubernetes_maximum[2:])))
    start, goal = (first, low), (last, min(low + minors, 36))
    lengths = [len(points) for points in every_sequence(start, goal) if is_sound(known, points)]
    request = UpgradeRequest(
        release=known[last] if last != first else None, stops=tuple(known), kubernetes=f"1.{goal[1]}"
    )

    try:
        stages = stages_of(request, release=known[first], kubernetes=f"1.{low}", high_availability=False)
    except NoPath:
        assert not lengths
        return

    points = points_of(stages, start)
    assert (points[0], points[-1]) == (start, goal)
    assert is_sound(known, points)
    assert len(points) == min(lengths)


@settings(max_examples=200, deadline=None)
@given(catalogues(), st.integers(0, 4), st.integers(0, 4))
def test_the_rules_of_a_hop(known: list[Release], before: int, after: int) -> None:
    """A hop is refused, in words, exactly where the rules refuse it."""
    allowed = after > before and may_hop(known, before, after)

    assert (hop_refusal(known[before], known[after], known) == "") is allowed
