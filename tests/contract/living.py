"""Living through a deployment's life: undisturbed, and with every trouble that there is."""

from __future__ import annotations

import copy
import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from temporalio.exceptions import ApplicationError

from activities.contracts import ClusterContract
from domain.failure import FailureClass, FailureDetail
from domain.naming import TAG_DEPLOYMENT, TAG_RESOURCE
from simulators.faults import Fault, FaultKind
from simulators.inventory import Resource
from simulators.journal import Call
from tests.contract.life import CREATION, IN_CLUSTER, RETIREMENT, REVOCATION, UPGRADE, Facts, Scene
from tests.contract.record import Encounter, Life, Met, Run, Trouble, Use
from tests.contract.under_test import CloudUnderTest, Stranger, World

_STEP = re.compile(r" step/(\w+)")
_LOOKS_WHILE_STUCK = 3
_MOST_ATTEMPTS = 200
"""More than any activity makes deeds."""
_OF_CLUSTER = ClusterContract.__abstractmethods__
_ANEW = frozenset({"measure", "smoke_test", "validate_node"})
"""Activities that do everything again each time: with every reply lost they would never come to an end."""
_REPORTING = frozenset({"verify_access", "check_permissions", "prove_revoked"})
"""Activities to which a missing permission is an answer; everybody may ask for what they look at."""
_OUTAGE = Trouble(FaultKind.ERROR, FailureClass.TRANSIENT)
_COMMON = (
    Trouble(FaultKind.THROTTLE, FailureClass.THROTTLE),
    _OUTAGE,
    Trouble(FaultKind.REVOKE, FailureClass.PERMISSION),
)
_QUOTA = Trouble(FaultKind.QUOTA, FailureClass.QUOTA)
_CAPACITY = Trouble(FaultKind.CAPACITY, FailureClass.CAPACITY)


class Living:
    """One deployment in a fresh account, played scene by scene."""

    def __init__(self, cloud: CloudUnderTest, world: World, number: int) -> None:
        self._cloud = cloud
        self._control = world.control
        self.tenant = cloud.tenant(world, number)
        self._other = replace(self.tenant, activities=cloud.activities(world))
        """The same account, as another worker acts in it."""
        self.facts = Facts(self.tenant.site)
        self.life = Life()
        self._strangers: list[Resource] = []

    def undisturbed(self) -> Life:
        """Make and upgrade everything, each part twice; meet strangers; delete everything twice.

        Half-way through the upgrade, and after it, everything is converged with what was ordered in the beginning.
        """
        for scene in CREATION:
            self._play(scene)
        for scene in UPGRADE:
            self._play(scene)
            if scene.activity == "upgrade_control_plane":
                self._converge("the control plane is ahead")
        self._converge("everything is ahead")
        self.life.inventory = self._counted()
        self._meet_strangers()
        for scene in RETIREMENT:
            self._play(scene)
        self._end()
        return self.life

    def troubled(self) -> Life:
        """Make, upgrade and delete everything while every call that changes something goes wrong in every way."""
        for scene in (*CREATION, *UPGRADE):
            self._play_in_trouble(scene)
        self.life.inventory = self._counted()
        for scene in RETIREMENT:
            self._play_in_trouble(scene)
        self._end()
        return self.life

    def _end(self) -> None:
        site = self.tenant.site
        self.life.leftovers = self.life.runs["find_leftovers"].answer
        self._cloud.leave(self.tenant)
        self._play(REVOCATION, troubles=False)
        self.life.left = self._counted()
        if self._strangers:
            left = {each.id for each in self._resources()}
            self.life.strangers = sum(each.id in left for each in self._strangers)
        self.life.uses = frozenset(self._uses(site.cloud_account_id))

    def _play(self, scene: Scene, *, troubles: bool = True) -> None:
        run = self._begin(scene)
        question, begun = scene.ask(self.facts), self._control.position()
        if operation := self._cloud.waits.get(scene.name):
            with self._fault(FaultKind.STUCK, scene, operation=operation):
                run.waits, run.naps = self._attempts(scene, question)
        run.answer = self.tenant.run(scene.activity, question)
        run.calls = self._calls(begun)
        self._learn_and_repeat(scene, question, run)
        if troubles and self._is_first(scene):
            met = [self._meet(scene, question, each, operation=self._cloud.looks) for each in _looking(scene)]
            if not run.deeds:
                met += [self._meet(scene, question, each, operation=self._cloud.looks) for each in self._named(scene)]
            run.met = tuple(each for each in met if each)

    def _play_in_trouble(self, scene: Scene) -> None:
        run = self._begin(scene)
        question, begun = scene.ask(self.facts), self._control.position()
        met: list[Met | None] = []
        if self._is_first(scene):
            troubles = [*_COMMON, *self._named(scene), *([] if scene.deletes else [_QUOTA])]
            if operation := self._cloud.machines.get(scene.activity):
                # Whatever comes before the machines loses its replies; that the cloud has none is what is heard.
                met.append(self._meet(scene, question, _OUTAGE, mutating=True, operation=operation))
                met.append(self._meet(scene, question, _CAPACITY, operation=operation))
            met += self._meet_each(scene, question, troubles)
        run.met = tuple(each for each in met if each)
        if scene.activity in _ANEW:
            for deed in itertools.count():
                with self._losing(scene, skip=deed, times=1) as rule:
                    run.answer = self._get_through(scene, question)
                    if not self._hits(rule):
                        break
        else:
            with self._losing(scene):
                run.answer = self._get_through(scene, question)
        run.calls = self._calls(begun)
        if run.deeds:
            self._learn_and_repeat(scene, question, run)
        else:
            self._learn(scene, run)

    def _meet_each(self, scene: Scene, question: object, troubles: Iterable[Trouble]) -> list[Met | None]:
        """Meet each trouble at what the activity changes; one that changes nothing meets none."""
        met: list[Met | None] = []
        for trouble in troubles:
            met.append(self._meet(scene, question, trouble, mutating=True))
            if met[-1] is None:
                break
        return met

    def _converge(self, when: str) -> None:
        """Run again, in another worker, what makes the cluster and its parts, as it was ordered; note what changes."""
        for scene in CREATION:
            if scene.activity in _OF_CLUSTER:
                before = self._control.position()
                self._other.run(scene.activity, scene.ask(self.facts))
                changing = tuple(call.operation for call in self._calls(before) if call.mutating)
                self.life.converged[f"{scene.name}, when {when}"] = changing

    def _begin(self, scene: Scene) -> Run:
        run = self.life.runs[scene.name] = Run(scene.activity)
        return run

    def _is_first(self, scene: Scene) -> bool:
        """Return whether no other scene of the activity was played before."""
        return list(self.life.of(scene.activity)) == [scene.name]

    def _learn(self, scene: Scene, run: Run) -> None:
        if scene.learns:
            setattr(self.facts, scene.learns, run.answer)

    def _learn_and_repeat(self, scene: Scene, question: object, run: Run) -> None:
        self._learn(scene, run)
        before = self._control.position()
        run.again = self._other.run(scene.activity, question)
        run.calls_again = self._calls(before)

    def _named(self, scene: Scene) -> list[Trouble]:
        """Return the refusals that the cloud has words of its own for."""
        if scene.activity in IN_CLUSTER:
            return []
        return [Trouble(FaultKind.ERROR, what, code) for what, code in self._cloud.names.items()]

    def _meet(
        self, scene: Scene, question: object, trouble: Trouble, *, mutating: bool | None = None, operation: str = "*"
    ) -> Met | None:
        """Run the activity while one of its calls goes wrong; None if it makes no such call."""
        # Who is refused for who they are asks for a new token, and is refused again.
        times = None if trouble.becomes is FailureClass.AUTH else 1
        begun = self._control.position()
        fault = {"operation": operation, "mutating": mutating, "code": trouble.code, "times": times}
        # The first rule that fits takes hold: what changes something before or after the trouble loses its reply.
        lost = 0 if scene.activity in _ANEW or mutating is None else None
        with self._fault(trouble.kind, scene, **fault) as rule, self._losing(scene, times=lost):
            failure = self._failure(scene, question, rule)
        hit = [call for call in self._calls(begun) if call.fault == rule.id]
        return Met(trouble, f"{hit[0].service}:{hit[0].operation}", failure) if hit else None

    def _losing(self, scene: Scene, **details: Any) -> AbstractContextManager[Fault]:
        """Lose the reply of every call of the activity that changes something."""
        return self._fault(FaultKind.LOST_REPLY, scene, mutating=True, **details)

    def _failure(self, scene: Scene, question: object, rule: Fault) -> FailureDetail | None:
        """Return how the activity failed once the rule had taken hold; None if it got through."""
        before = 0
        for _ in range(_MOST_ATTEMPTS):
            failure = self.tenant.attempt_once(scene.activity, question)
            if failure is None:
                return None
            hits = self._hits(rule)
            if hits > before and failure.failure is not FailureClass.NOT_READY:
                return failure
            before = hits
            if failure.failure not in {FailureClass.NOT_READY, FailureClass.TRANSIENT, FailureClass.CONFLICT}:
                return failure
            time.sleep(0.01)
        return failure

    def _hits(self, rule: Fault) -> int:
        return next(each.hits for each in self._control.faults() if each.fault.id == rule.id)

    def _get_through(self, scene: Scene, question: object) -> Any:
        for _ in range(_MOST_ATTEMPTS):
            try:
                return self.tenant.run(scene.activity, question)
            except ApplicationError as error:
                if error.type not in {FailureClass.TRANSIENT, FailureClass.CONFLICT}:
                    raise
        raise AssertionError(f"{scene.name} did not get through")

    def _attempts(self, scene: Scene, question: object) -> tuple[tuple[FailureDetail | None, ...], tuple[float, ...]]:
        """Look several times, and return what each look said and how long it slept."""
        said: list[FailureDetail | None] = []
        naps: list[float] = []
        here, sleep = threading.get_ident(), time.sleep

        def nap(seconds: float) -> None:
            # Threads of libraries sleep, too, and are not the activity.
            naps.append(seconds) if threading.get_ident() == here else sleep(seconds)

        for _ in range(_LOOKS_WHILE_STUCK):
            with patch("time.sleep", side_effect=nap):
                said.append(self.tenant.attempt_once(scene.activity, question))
        return tuple(said), tuple(naps)

    @contextmanager
    def _fault(self, kind: FaultKind, scene: Scene, **details: Any) -> Iterator[Fault]:
        account = self.tenant.site.cloud_account_id
        rule = Fault(kind=kind, account=account, agent=f"step/{scene.activity}", **details)
        self._control.inject(rule)
        yield rule
        self._control.remove_fault(rule.id)

    def _calls(self, after: int) -> tuple[Call, ...]:
        calls = self._control.journal(after=after, account=self.tenant.site.cloud_account_id, agent="byoc/")
        return tuple(calls)

    def _meet_strangers(self) -> None:
        """Let all strangers arrive, try to make and to delete what has their names, and see what became of them."""
        ours = {each.id for each in self._resources()}
        met = [(stranger, self._facts_of(stranger)) for stranger in self._cloud.strangers]
        for stranger, facts in met:
            stranger.arrive(self.tenant, facts)
        before = self._resources()
        self.life.encounters = tuple(self._encounter(stranger, facts) for stranger, facts in met)
        after = self._resources()
        self.life.harmed = tuple(str(each) for each in before if each not in after)
        for stranger, facts in met:
            if stranger.leave is not None:
                stranger.leave(self.tenant, facts)
        self._strangers = [each for each in before if each.id not in ours]

    def _facts_of(self, stranger: Stranger) -> Facts:
        """Return the facts of the deployment for which the stranger arrives."""
        facts = copy.copy(self.facts)
        if stranger.namesake:
            name = f"{facts.site.deployment}-{stranger.activity.rpartition('_')[2]}"
            facts.site = facts.site.model_copy(update={"deployment": name})
        return facts

    def _encounter(self, stranger: Stranger, facts: Facts) -> Encounter:
        (scene,) = (
            each for each in (*CREATION, *UPGRADE) if (each.activity, each.about) == (stranger.activity, stranger.about)
        )
        creating = self._outcome(scene.activity, scene.ask(facts))
        deleting = None
        for deletion in (*UPGRADE, *RETIREMENT):
            if deletion.activity == stranger.deletion:
                deleting = self._outcome(deletion.activity, deletion.ask(facts))
        return Encounter(stranger.activity, stranger.deletion, creating, deleting)

    def _outcome(self, activity: str, question: object) -> FailureDetail | None:
        for _ in range(_MOST_ATTEMPTS):
            failure = self.tenant.attempt_once(activity, question)
            if failure is None or failure.failure is not FailureClass.NOT_READY:
                break
            time.sleep(0.01)
        return failure

    def _resources(self) -> list[Resource]:
        return self._control.inventory(self.tenant.site.cloud_account_id)

    def _counted(self) -> Counter[str]:
        """Return what the account holds, without what belongs to a namesake or a stranger."""
        name, theirs = self.tenant.site.deployment, {each.id for each in self._strangers}
        counted: Counter[str] = Counter()
        for each in self._resources():
            if each.id in theirs:
                continue
            tags = {key.replace("-", ":"): value for key, value in each.tags.items()}
            if tags.get(TAG_DEPLOYMENT, name) == name:
                counted[f"{each.service}:{each.type} {tags.get(TAG_RESOURCE, '')}".strip()] += 1
        return counted

    def _uses(self, account: str) -> Iterator[Use]:
        for call in self._control.journal(account=account, agent="byoc/"):
            yield from self._use(call.agent, call.principal, self._cloud.action(call.service, call.operation))
        for entry in self._control.authorizations(account):
            yield from self._use(entry.agent, entry.principal, entry.action)

    def _use(self, agent: str, principal: str, action: str) -> Iterator[Use]:
        step, purpose = _STEP.search(agent), self._cloud.purpose(self.tenant.site, principal)
        if step and purpose and action and not self._cloud.unasked.match(action):
            yield Use(step[1], purpose, action)


def _looking(scene: Scene) -> list[Trouble]:
    """Return what may happen to a look."""
    return [each for each in _COMMON if each.kind is not FaultKind.REVOKE or scene.activity not in _REPORTING]
