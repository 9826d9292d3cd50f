"""What the Temporal UI shows of a rollout: a function of its state alone, the same on replay."""

from __future__ import annotations

from collections import Counter

from domain.rollout import RolloutPhase, RolloutState, baked_at
from domain.text import escaped, instant, table

SHOWN_FAILURES = 10
SHOWN_EVENTS = 10

_WORDS = {
    RolloutPhase.APPROVING: "The next wave has to be approved.",
    RolloutPhase.RUNNING: "Deployments are being upgraded, each in its own window.",
    RolloutPhase.BAKING: "A wave is done and proves itself.",
    RolloutPhase.PAUSED: "An operator stopped it: nobody starts.",
    RolloutPhase.HALTED: "A rule stopped it: nobody starts until an operator has looked.",
    RolloutPhase.ENDING: "It was ended: what has not started is taken back.",
    RolloutPhase.DONE: "Every deployment was asked, and is over.",
    RolloutPhase.ENDED: "It was ended before its time.",
}


def details(state: RolloutState) -> str:
    """Return phase, waves, who is on the way, what failed and what happened lately."""
    order = state.order
    stopped = f" **{escaped(state.stopped_because)}**" if state.phase in _STOPPED and state.stopped_because else ""
    parts = [
        f"### Rollout {order.name}: {state.phase}",
        f"{escaped(order.target)}. {_WORDS[state.phase]}{stopped} Since {instant(state.since)}.",
        table(
            ("Wave", "Deployments", "Asked", "Done", "Failed", "Refused", "Began", "Baked"),
            [
                (
                    wave.name,
                    str(tally.size),
                    str(tally.asked),
                    str(tally.done),
                    str(tally.failed),
                    str(tally.refused),
                    instant(tally.began_at) if tally.began_at else "",
                    instant(tally.complete_at + wave.bake) if tally.complete_at else "",
                )
                for wave, tally in zip(order.waves, state.tallies, strict=True)
            ],
        ),
    ]
    if state.active:
        states = Counter(str(each.state or "asked") for each in state.active.values())
        parts.append("On the way: " + ", ".join(f"{number} {name}" for name, number in sorted(states.items())) + ".")
    if baked := baked_at(state):
        parts.append(f"The wave has baked at {instant(baked)}.")
    if state.failures:
        rows = [
            (failure.deployment, failure.signature, failure.detail, instant(failure.at))
            for failure in state.failures[-SHOWN_FAILURES:]
        ]
        parts.append(table(("Deployment", "Signature", "What was seen", "When"), rows))
    events = [(instant(event.at), event.what, str(event.actor)) for event in reversed(state.trail[-SHOWN_EVENTS:])]
    parts.append(table(("When", "What", "Who"), events))
    return "\n\n".join(parts)


_STOPPED = (RolloutPhase.PAUSED, RolloutPhase.HALTED, RolloutPhase.ENDING)
