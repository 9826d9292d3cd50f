"""The part of a deployment that keeps upgrades waiting for their windows, and begins, stops and resumes them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError
from temporalio.workflow import ActivityHandle

from activities.contracts import WindowAnswer, WindowContract, WindowQuestion
from activities.upgrade_contracts import RecordContract
from domain import appointment, approval, override, supersession
from domain.actor import CONTROL_PLANE
from domain.appointment import Appointment
from domain.failure import Party
from domain.maintenance import MARGIN, MaintenancePolicy
from domain.operation import OperationKind, OperationPhase
from domain.pending import BrokenWindow, PendingChoice
from domain.state import OperationOrder, OperationOutcome, OperationRequest, QueuedOperation, Reached
from domain.supersession import Relation
from domain.text import instant
from domain.upgrade import Stage, StageKind, UpgradeReport, UpgradeRequest, UpgradeWork
from domain.upgrade_path import NoPath, stages_of
from workflows.approvals import Approvals
from workflows.step_runner import detail_of
from workflows.temporal import queues

BROKEN_WINDOWS = 20

_ATTEMPT = timedelta(minutes=1)
_UNTIL_UNREADABLE = timedelta(minutes=30)
"""How long the record of an upgrade that was ended from outside is asked for."""
_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=60)
)


class Maintenance(Approvals):
    """Keeps upgrades waiting for their windows; `domain.appointment` has the rules.

    An upgrade that waits holds nothing: other operations overtake it. Windows are computed by an activity, again when
    the wait is over, and whenever the policy has changed. One that stops between two stages comes back into the queue
    under the same operation; an urgent one goes before all that is routine, and makes it stop at its next checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self._looking: dict[str, tuple[str, datetime, ActivityHandle[WindowAnswer]]] = {}
        """Windows that are being computed, each with the question's fingerprint and instant; keyed by operation id."""

    @property
    def policy(self) -> MaintenancePolicy:
        """Windows and exclusions as they are now."""
        spec = self.state.order.spec
        return MaintenancePolicy(windows=spec.windows, exclusions=spec.exclusions)

    # Accepting

    def refusal_to_upgrade(self, request: OperationRequest) -> str:
        """Return why an upgrade cannot be queued, in words; an empty string means that it can."""
        if request.upgrade is None:
            return "an upgrade has to say what to"
        if not self._was_active():
            return "the deployment is not provisioned yet"
        try:
            self._stages_of(request.upgrade)
        except NoPath as error:
            return str(error)
        notices = self.state.order.notices
        refusal = override.refusal_to_ask(request.upgrade, request.actor, notices, workflow.now())
        return refusal or self._refusal_beside_others(request.upgrade)

    def _refusal_beside_others(self, upgrade: UpgradeRequest) -> str:
        """Return why an upgrade has no place beside those that are under way or queued."""
        running = [self.state.running] if self.state.running else []
        for other in (*running, *self.state.queue):
            if other.request.upgrade is None:
                continue
            relation = supersession.relation_of(upgrade, other.request.upgrade)
            target = supersession.target_in_words(other.request.upgrade)
            if relation is Relation.CONTAINED:
                return f"{other.summary.operation_id}, to {target}, leads there already"
            if relation is Relation.CONTRADICTS:
                return f"{other.summary.operation_id}, to {target}, contradicts it; ask for what is ahead of both"
        return ""

    def is_reached(self, request: UpgradeRequest) -> bool:
        """Return whether the deployment is where an upgrade leads to already."""
        return self._was_active() and self._left_of(request) is None

    def appointment_of(self, request: OperationRequest) -> Appointment | None:
        """Return the appointment of an upgrade that is accepted; None for any other operation."""
        if request.upgrade is None or request.kind is not OperationKind.UPGRADE:
            return None
        stages = self._stages_of(request.upgrade)
        return appointment.appointed(request.upgrade, stages, self.state.order.notices, workflow.now())

    def supersede_for(self, operation: str, request: OperationRequest) -> None:
        """Take out of the queue what a new upgrade replaces: routine, not begun, and on the way to the new target."""
        for queued, booked in list(self._appointments()):
            if request.upgrade is None or queued.request.upgrade is None or booked.has_begun:
                continue
            relation = supersession.relation_of(request.upgrade, queued.request.upgrade)
            if relation is Relation.REPLACES and not booked.urgent:
                self._put_away(queued, OperationPhase.SUPERSEDED, f"{operation} takes its place")

    def refresh_appointments(self) -> None:
        """Compute anew what is left of each upgrade, from where the deployment stands after another operation."""
        for queued, booked in list(self._appointments()):
            assert queued.request.upgrade is not None, "only upgrades have appointments"
            try:
                stages = self._stages_left(booked, queued.request.upgrade)
            except NoPath as error:
                self._put_away(queued, OperationPhase.SUPERSEDED, f"no path leads there any more: {error}")
                continue
            if all(stage.name in booked.done for stage in stages):
                self._put_away(queued, OperationPhase.DONE, "it is reached already")
            elif stages != booked.stages:
                self._book(queued, booked.model_copy(update={"stages": stages}))

    def _stages_left(self, booked: Appointment, request: UpgradeRequest) -> tuple[Stage, ...]:
        """Return the stages of an upgrade from where things stand; of one that has begun, those of them to be done."""
        if not booked.has_begun:
            left = self._left_of(request)
            return self._stages_of(left) if left is not None else ()
        version = self.state.order.release.version
        unreached = supersession.unreached(booked.left, release=version, kubernetes=self.state.kubernetes)
        return (*(stage for stage in booked.stages if stage.name in booked.done), *unreached)

    def _left_of(self, request: UpgradeRequest) -> UpgradeRequest | None:
        version = self.state.order.release.version
        return supersession.left_of(request, release=version, kubernetes=self.state.kubernetes)

    def _stages_of(self, request: UpgradeRequest) -> tuple[Stage, ...]:
        order = self.state.order
        return stages_of(
            request,
            release=order.release,
            kubernetes=self.state.kubernetes,
            high_availability=order.spec.high_availability,
            nodes=self.state.oldest_nodes,
        )

    # Waiting

    def startable(self) -> QueuedOperation | None:
        """Return the operation whose turn it is: the first that waits neither for approval nor for its window."""
        return next(
            (queued for queued in self.state.queue if self._waits_for_nobody(queued) and self._has_its_time(queued)),
            None,
        )

    def maintenance_due(self) -> bool:
        """Return whether something about windows is to be done now."""
        now = workflow.now()
        if self._overruns(now) or self._reason_to_stop():
            return True
        for queued, booked in self._appointments():
            looking = self._looking.get(queued.summary.operation_id)
            if looking is not None and looking[2].done():
                return True
            if looking is None and appointment.must_look(booked, self.policy, now):
                return True
            if override.override_expired(booked, now) or self._reminder_due(queued, booked, now):
                return True
        return False

    async def attend_to_maintenance(self) -> None:
        """Have windows computed, take what was computed, remind, and make a routine upgrade stop for an urgent one."""
        now = workflow.now()
        if self._overruns(now):
            self._note_overrun()
        if reason := self._reason_to_stop():
            await self.stop_running(reason)
        for queued, booked in list(self._appointments()):
            operation = queued.summary.operation_id
            if override.override_expired(booked, now):
                self._note(f"{operation}: the override has expired; it waits for its window", CONTROL_PLANE)
                self._book(queued, booked.model_copy(update={"override": None}))
            elif operation in self._looking:
                if self._looking[operation][2].done():
                    self._take_opening(queued, booked)
            elif appointment.must_look(booked, self.policy, now):
                self._look(queued, booked)
            elif self._reminder_due(queued, booked, now):
                self._remind(queued, booked)

    def next_maintenance(self) -> datetime | None:
        """Return when a window opens or ends, or somebody is reminded, whichever is first; None if nothing waits."""
        now = workflow.now()
        instants = [appointment.next_instant(booked, self.policy, now) for _, booked in self._appointments()]
        instants += [self._next_reminder(queued, booked) for queued, booked in self._appointments()]
        running = self.state.running.appointment if self.state.running else None
        if running is not None and not running.overran:
            instants.append(running.window_ends)
        return min((each for each in instants if each is not None and each > now), default=None)

    def parties(self) -> Iterator[Party]:
        """Yield who is waited for: who has to approve, and an operator where no window is found or too many parks."""
        yield from super().parties()
        for _, booked in self._appointments():
            if booked.escalated or booked.failure:
                yield Party.OPERATOR
            if booked.override is not None and override.missing_approvers(booked.override):
                yield Party.VENDOR

    def decline_the_rest(self) -> None:
        """Record what still waits for approval or for a window when the deployment is over: it will not run."""
        super().decline_the_rest()
        for queued, _ in list(self._appointments()):
            self._put_away(queued, OperationPhase.DECLINED, f"the deployment is {self.state.phase}")

    def _has_its_time(self, queued: QueuedOperation) -> bool:
        """Whether an operation's time has come; one that is no upgrade may start at any time."""
        booked = queued.appointment
        if booked is None:
            return True
        return appointment.may_start(booked, self.policy, workflow.now()) and not self._is_behind(queued)

    def _is_behind(self, queued: QueuedOperation) -> bool:
        """Whether a routine upgrade waits for the end of one that has begun: they do not mix."""
        booked = queued.appointment
        if booked is None or booked.urgent or booked.has_begun:
            return False
        return any(other.has_begun for _, other in self._appointments())

    def _look(self, queued: QueuedOperation, booked: Appointment) -> None:
        """Have the next window computed. Without a worker the question waits for one."""
        now, operation = workflow.now(), queued.summary.operation_id
        handle = workflow.start_activity_method(
            WindowContract.find_openings,
            WindowQuestion(
                policy=self.policy,
                work=booked.work,
                need=booked.need,
                now=now,
                not_before=appointment.earliest(booked),
                spread_by="" if booked.urgent else self.state.order.site.deployment,
            ),
            task_queue=queues.SERVICES,
            start_to_close_timeout=_ATTEMPT,
            retry_policy=_RETRY,
            summary=f"Find the window of {operation}",
        )
        self._looking[operation] = (appointment.fingerprint(booked, self.policy), now, handle)

    def _take_opening(self, queued: QueuedOperation, booked: Appointment) -> None:
        operation = queued.summary.operation_id
        found_for, found_at, handle = self._looking.pop(operation)
        again = workflow.now() + self.state.order.pace.quota_probe
        try:
            answer: WindowAnswer = handle.result()
        except ActivityError as error:
            changed = appointment.uncomputed(booked, detail_of(error).message, found_for, again)
        else:
            changed = appointment.computed(booked, answer.openings, found_for, found_at, again)
        if changed.failure and changed.failure != booked.failure:
            self._note(f"{operation} has no window: {changed.failure}", CONTROL_PLANE)
        opening, before = changed.opening, booked.opening
        if opening is not None and (before is None or before.end != opening.end):
            span = f"from {instant(opening.at)}, in the window until {instant(opening.end)}"
            self._note(f"notice: {operation} ({changed.next_stage.name}) {span}", CONTROL_PLANE)
        self._book(queued, changed)

    # Reminding

    def _next_reminder(self, queued: QueuedOperation, booked: Appointment) -> datetime | None:
        book = queued.approval
        if book is None or book.plan is None or not approval.missing(book, workflow.now()):
            return None
        return appointment.next_reminder(booked, self.state.order.notices)

    def _reminder_due(self, queued: QueuedOperation, booked: Appointment, now: datetime) -> bool:
        reminder = self._next_reminder(queued, booked)
        return reminder is not None and reminder <= now

    def _remind(self, queued: QueuedOperation, booked: Appointment) -> None:
        now, book = workflow.now(), queued.approval
        assert book is not None, "somebody has to approve"
        opens = instant(booked.opening.at) if booked.opening else "-"
        sides = " and the ".join(approval.missing(book, now))
        what = f"reminder: {book.operation_id} waits for approval by the {sides}; its window opens at {opens}"
        self._note(what, CONTROL_PLANE)
        self._book(queued, booked.model_copy(update={"reminded_at": now}))

    # Beginning, stopping, ending

    def upgrade_work(self, queued: Appointment, request: OperationRequest) -> UpgradeWork:
        """Return what an upgrade would have to do now, without the end of its window."""
        assert request.upgrade is not None, "only upgrades have appointments"
        return UpgradeWork(
            stages=queued.stages,
            done=queued.done,
            verification=request.upgrade.verification,
            margin=MARGIN,
            unsettled=self.state.unsettled,
        )

    def begun(self, queued: QueuedOperation, order: OperationOrder) -> tuple[QueuedOperation, OperationOrder]:
        """Return an upgrade and its order as it starts now: with the end of its window, or a receipt of its break."""
        booked, now, operation = queued.appointment, workflow.now(), queued.summary.operation_id
        if booked is None:
            return queued, order
        ends = booked.opening.end if booked.opening and appointment.is_open(booked, self.policy, now) else None
        work = self.upgrade_work(booked, queued.request).model_copy(update={"window_ends": ends})
        until = f"in the window until {instant(ends)}" if ends else "outside of the windows"
        self._note(f"{operation} starts with {booked.next_stage.name}, {until}", CONTROL_PLANE)
        if ends is None and booked.opt_in is not PendingChoice.IMMEDIATE:
            self._keep_receipt(operation, booked)
        booked = booked.model_copy(update={"window_ends": ends, "overran": False, "stopped": ""})
        return queued.model_copy(update={"appointment": booked}), order.model_copy(update={"upgrade": work})

    async def stop_running(self, reason: str) -> None:
        """Make the running upgrade stop at its next checkpoint."""
        running = self.state.running
        if running is None or running.appointment is None or running.appointment.stopped:
            return
        stopped = running.appointment.model_copy(update={"stopped": reason})
        self.state = self.state.model_copy(update={"running": running.model_copy(update={"appointment": stopped})})
        self._note(f"{running.summary.operation_id} is to stop at its next checkpoint: {reason}", CONTROL_PLANE)
        await self._tell_running("stop_at_checkpoint", reason)

    def upgrade_ended(self, ended: QueuedOperation, outcome: OperationOutcome) -> bool:
        """Take over what an upgrade has reached; return whether it has parked, and is in the queue again."""
        booked = ended.appointment
        if booked is None:
            return False
        report = outcome.upgrade or UpgradeReport()
        self._close_receipt(ended.summary.operation_id, outcome.ended_at)
        self._take_over(report)
        if outcome.upgrade is not None:
            self._keep_unsettled(report.unsettled)
        if outcome.phase is not OperationPhase.PARKED:
            return False
        changed = appointment.parked(booked, report, workflow.now())
        summary = ended.summary.model_copy(update={"phase": OperationPhase.PARKED})
        again = ended.model_copy(update={"summary": summary, "approval": None, "appointment": changed})
        self.state = self.state.model_copy(update={"queue": (again, *self.state.queue)})
        if changed.escalated:
            self._note(f"{summary.operation_id} waits for an operator: {changed.escalated}", CONTROL_PLANE)
        return True

    def _take_over(self, report: UpgradeReport) -> None:
        """Take what runs now into the specification, so that converging moves nothing back."""
        order = self.state.order
        spec = order.spec
        if report.release is not None:
            order = order.model_copy(update={"release": report.release})
            spec = spec.model_copy(update={"release": report.release.version})
        if report.kubernetes:
            spec = spec.model_copy(update={"kubernetes": report.kubernetes})
        if spec != order.spec or order != self.state.order:
            self.state = self.state.model_copy(update={"order": order.model_copy(update={"spec": spec})})
            self._show_versions()

    async def what_was_reached(self, lost: QueuedOperation) -> Reached | None:
        """Return how far an upgrade came whose workflow was ended from outside; None if it is no upgrade.

        If its record cannot be read, and the server was still to be upgraded, two releases may run.
        """
        booked, operation = lost.appointment, lost.summary.operation_id
        if booked is None:
            return None
        try:
            return await workflow.execute_activity_method(
                RecordContract.read_reached,
                lost.summary.workflow_id,
                task_queue=queues.SERVICES,
                start_to_close_timeout=_ATTEMPT,
                schedule_to_close_timeout=_UNTIL_UNREADABLE,
                retry_policy=_RETRY,
                summary=f"Read how far {operation} came",
            )
        except ActivityError:
            unsettled = self.state.unsettled
            if any(stage.kind is StageKind.SERVER for stage in booked.left):
                unsettled = f"how far {operation} came cannot be read"
            report = UpgradeReport(done=booked.done, unsettled=unsettled)
            return Reached(facts=self.state.facts, report=report)

    async def end_of(self, running: QueuedOperation) -> str:
        """Return how the workflow of an operation has ended, in a word, once it has."""
        return await workflow.execute_activity_method(
            RecordContract.await_end,
            running.summary.workflow_id,
            task_queue=queues.SERVICES,
            start_to_close_timeout=_ATTEMPT,
            retry_policy=_RETRY,
            summary=f"Until {running.summary.operation_id} has ended, for which no handle is left",
        )

    def _keep_unsettled(self, unsettled: str) -> None:
        """Keep why pods of two releases may run; what would install the recorded one again does not run then."""
        if unsettled != self.state.unsettled:
            self._note(f"unsettled: {unsettled}" if unsettled else "settled: one release runs", CONTROL_PLANE)
            self.state = self.state.model_copy(update={"unsettled": unsettled})
        for queued in self.state.queue if unsettled else ():
            if queued.request.kind is OperationKind.PROVISION:
                self._put_away(queued, OperationPhase.DECLINED, unsettled)

    def _reason_to_stop(self) -> str:
        """Return why the running upgrade has to stop at its next checkpoint, if it has to."""
        running = self.state.running
        if running is None or running.appointment is None or self.state.is_held:
            return ""
        if running.appointment.urgent or running.appointment.stopped:
            return ""
        for queued, booked in self._appointments():
            if booked.urgent and self._waits_for_nobody(queued) and self._has_its_time(queued):
                return f"{queued.summary.operation_id} is urgent and goes first"
        return ""

    def _overruns(self, now: datetime) -> bool:
        booked = self.state.running.appointment if self.state.running else None
        return (
            booked is not None and not booked.overran and booked.window_ends is not None and booked.window_ends <= now
        )

    def _note_overrun(self) -> None:
        running = self.state.running
        assert running is not None, "it runs"
        assert running.appointment is not None, "it has a window"
        ended = instant(running.appointment.window_ends)
        self._note(f"overrun: {running.summary.operation_id} runs on after its window, until {ended}", CONTROL_PLANE)
        booked = running.appointment.model_copy(update={"overran": True})
        self.state = self.state.model_copy(update={"running": running.model_copy(update={"appointment": booked})})
        self._show()

    def _keep_receipt(self, operation: str, booked: Appointment) -> None:
        now, given = workflow.now(), booked.override
        in_force = given is not None and appointment.overrides(booked, now)
        receipt = BrokenWindow(
            operation_id=operation,
            started_at=now,
            approvers=given.approvers if given and in_force else (),
            reason=given.reason if given and in_force else f"forced at {instant(booked.forced_at)}: what runs expires",
            next_window=booked.opening if booked.opening and booked.opening.end > now else None,
        )
        kept = (*self.state.broken_windows, receipt)[-BROKEN_WINDOWS:]
        self.state = self.state.model_copy(update={"broken_windows": kept})

    def _close_receipt(self, operation: str, ended_at: datetime) -> None:
        receipts = tuple(
            each.model_copy(update={"ended_at": ended_at})
            if each.operation_id == operation and each.ended_at is None
            else each
            for each in self.state.broken_windows
        )
        self.state = self.state.model_copy(update={"broken_windows": receipts})

    # The queue

    def _appointments(self) -> Iterator[tuple[QueuedOperation, Appointment]]:
        for queued in self.state.queue:
            if queued.appointment is not None:
                yield queued, queued.appointment

    def _book(self, queued: QueuedOperation, booked: Appointment) -> None:
        operation = queued.summary.operation_id
        queue = tuple(
            each.model_copy(update={"appointment": booked}) if each.summary.operation_id == operation else each
            for each in self.state.queue
        )
        self.state = self.state.model_copy(update={"queue": queue})
        self._show()

    # What the deployment does for it.

    @abstractmethod
    def _put_away(self, queued: QueuedOperation, phase: OperationPhase, detail: str) -> None:
        """Record a queued operation as one that does not run any more, out of the queue, with the reason."""

    @abstractmethod
    async def _tell_running(self, signal: str, message: str) -> None:
        """Signal the running operation once it has started."""

    @abstractmethod
    def _show_versions(self) -> None:
        """Make the search attributes say which release and which Kubernetes version run."""
