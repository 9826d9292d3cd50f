"""The demo's story: a customer in each cloud, one missing permission, one client, new releases, one goodbye.

Before the work there is a plan, before the goodbye the customer's approval of one, and after it the record of it all.
"""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import requests
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from domain import api_key
from domain.account import AccountAccess, AccountPhase
from domain.actor import CONTROL_PLANE
from domain.appointment import Notices
from domain.approval import ApprovalBook, Side
from domain.audit import AuditKind
from domain.clouds import Purpose
from domain.deployment import FinalBackup
from domain.operation import OperationPhase, OperationProgress, StepState, WaitingFor
from domain.permission import TemplateForm
from domain.plan import Plan
from domain.receipt import render
from domain.shape import Component
from domain.state import AccountState, ApiKeyChange, ApiKeyChangeKind, DeploymentPhase, DeploymentState
from starters.client import ControlPlane
from starters.ordering import place_order, read_orders
from starters.planning import plan_of_manifest
from starters.playground.cast import APPROVER, BRISK, VENDOR, Customer, cast_in
from starters.playground.installation import Installation
from starters.playground.narrator import LONGEST, LOOK, Narrator, StoryBroke
from starters.playground.upkeep import Upkeep
from workflows.temporal.connection import connect

_NO_NOTICE = Notices(routine=timedelta(), long=timedelta(), urgent=timedelta())
"""Upgrades follow at once, where real customers are told days before."""
_LONGEST_HOLD = 60.0
"""Seconds that the story waits for the call whose permission the customer takes away."""
_POLICY_LAG = 30.0
"""Simulated seconds after which a changed policy is in force everywhere."""
_WAIT_SHOWN = 3.0
"""Seconds that the story lets the reader look at a wait before the customer ends it."""

MILESTONES = (
    "check_permissions",
    "create_network",
    "create_egress",
    "create_cluster",
    "create_node_pool/store",
    "create_node_pool/services",
    *(f"install_component/{component}" for component in Component),
    "open_endpoint",
    "smoke_test",
    "prove_restore",
    "back_up",
    "lock_backup",
    "delete_workloads",
    "delete_node_pools",
    "delete_cluster",
    "delete_egress",
    "delete_network",
    "delete_roles",
    "find_leftovers",
)
"""The steps that the story tells of; the Temporal UI has all."""


class Story:
    """Tells the story as it happens, on a console or into a plain log."""

    def __init__(self, playground: Installation, console: Console, speed: float) -> None:
        self._playground = playground
        self._narrator = Narrator(console, playground.check)
        self._speed = speed
        self._cast = cast_in(tuple(playground.vendors))
        self._templates: dict[str, str] = {}
        """What was made for each account, keyed by its name."""

    def tell(self) -> None:
        """Tell it all.

        Raises:
            StoryBroke: Something did not come about in time.
            ChildDied: A process of the playground ended.
        """
        asyncio.run(self._tell())

    async def _tell(self) -> None:
        client = await connect(
            target_host=self._playground.temporal, namespace="default", encryption=self._playground.encryption
        )
        plane = ControlPlane(client, VENDOR, timedelta(seconds=60))
        everybody, leaving, staying = self._cast.everybody, self._cast.leaves, self._cast.stays
        self._narrator.say(f"Everything runs. Simulated clouds go {self._speed:g} times faster than real ones.")
        self._narrator.say(f"Watch along in the Temporal UI: {self._playground.ui_url}")

        self._narrator.chapter(f"1. Customers in {self._clouds()} let us in")
        await asyncio.gather(*(self._connect(plane, customer) for customer in everybody))

        self._narrator.chapter("2. Their deployments, side by side, and a permission that is missing")
        # The call waits in the cloud until its permission is gone: else who is first would depend on this machine.
        await asyncio.to_thread(self._playground.world.hold_next, leaving.account, leaving.cloud.missing_call)
        await self._plan(plane, staying)
        await asyncio.gather(*(self._order(plane, customer) for customer in everybody))
        await asyncio.gather(
            self._lose_and_mend_permission(plane, leaving), *(self._watch(plane, customer) for customer in everybody)
        )
        for customer in everybody:
            self._show_components(customer, await plane.deployment(customer.deployment))

        self._narrator.chapter("3. A client uses the server")
        await self._use(plane, staying)

        upkeep = Upkeep(plane, self._playground.world, self._cast, self._narrator)
        self._narrator.chapter("4. A new release every month, in waves, each deployment in its own maintenance window")
        await upkeep.roll_out()

        self._narrator.chapter("5. A release that is bad, and a patch that cannot wait for the window")
        await upkeep.roll_back()
        await upkeep.patch()

        self._narrator.chapter("6. One customer leaves, and approves the plan of it")
        await self._retire(plane, ControlPlane(client, APPROVER, plane.patience), leaving)

        self._narrator.chapter("7. Who did what, read from Temporal's histories")
        await self._look_back(plane, leaving)

        self._narrator.chapter("What there is now")
        await self._summary(plane)

    # Chapter 1

    async def _connect(self, plane: ControlPlane, customer: Customer) -> None:
        state = await plane.connect_account(customer.spec, pace=BRISK)
        cloud = customer.cloud
        self._narrator.line(
            customer.name,
            f"is invited: {cloud.title} account {customer.account}, workflow [bold]account/{state.spec.name}[/bold]",
        )
        template = await asyncio.to_thread(self._template, state)
        self._narrator.line(customer.name, f"applies {cloud.summary(template)}, only what our steps declare")
        await asyncio.to_thread(self._playground.world.apply_template, state.spec, template)
        state = await self._narrator.until(
            lambda: plane.account(customer.spec.name),
            lambda found: found.phase is AccountPhase.ACTIVE,
            f"account {customer.spec.name} active",
        )
        actions = state.report.checked_actions if state.report else 0
        self._narrator.line(
            customer.name, f"is [green]active[/green]: all {actions} permissions verified by asking {cloud.title}"
        )

    def _template(self, state: AccountState) -> str:
        """Return an account's template as JSON, made by the worker that knows what it needs."""
        access = AccountAccess(
            account=state.spec.name,
            customer=state.spec.customer,
            cloud=state.spec.cloud,
            cloud_account_id=state.spec.cloud_account_id,
            external_id=state.external_id,
        )
        if state.spec.name not in self._templates:
            options = ("--format", TemplateForm.JSON, *(f"--region={name}" for name in state.spec.regions))
            self._templates[state.spec.name] = self._worker("template", access.model_dump_json(), *options)
        return self._templates[state.spec.name]

    def _worker(self, command: str, asked: str, *options: str) -> str:
        """Return what the worker's program prints when it is asked for something."""
        made = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "workers", command, *options],
            input=asked,
            capture_output=True,
            text=True,
            check=False,
            env=self._playground.child_environment,
        )
        if made.returncode:
            raise StoryBroke(f"the {command} cannot be made: {made.stderr.strip()}")
        return made.stdout

    # Chapter 2

    async def _plan(self, plane: ControlPlane, customer: Customer) -> None:
        """Rehearse the provisioning before anything is made, and tell what it will take."""
        (manifest,) = await read_orders(plane, customer.manifest)
        question = await plan_of_manifest(plane, manifest)
        made = await asyncio.to_thread(self._rehearsed, question.model_dump_json())
        actions = {action.action for step in made.steps for action in step.actions}
        dollars = sum(item.monthly_usd for item in made.costs)
        self._narrator.line(
            customer.name,
            f"reads the plan of [bold]{customer.deployment}[/bold]: {len(made.steps)} steps, about "
            f"{made.takes.total_seconds() / 60:.0f} min in a real cloud, {len(actions)} permissions, "
            f"{dollars:,.0f} USD a month by list price",
        )

    def _rehearsed(self, question: str) -> Plan:
        """Return the plan, made by the worker's program as `byoc deployments plan` has it made."""
        return Plan.model_validate_json(self._worker("plan", question))

    async def _order(self, plane: ControlPlane, customer: Customer) -> None:
        (manifest,) = await read_orders(plane, customer.manifest)
        order = await place_order(plane, manifest, pace=BRISK)
        await plane.order(order.model_copy(update={"notices": _NO_NOTICE}))
        spread = "over three zones" if customer.highly_available else "in one copy"
        self._narrator.line(
            customer.name,
            f"orders [bold]{customer.deployment}[/bold]: {customer.shape}, {spread}, release {order.release.version}",
        )

    async def _lose_and_mend_permission(self, plane: ControlPlane, customer: Customer) -> None:
        """Let the customer take a permission away amid the work, and give it back once the wait was seen."""
        world, denied = self._playground.world, customer.cloud.missing
        state = await plane.account(customer.spec.name)

        def changing(change: Callable[..., None]) -> Awaitable[None]:
            return asyncio.to_thread(change, state.spec, Purpose.OPERATE, denied, lambda: self._template(state))

        held = await asyncio.to_thread(world.wait_until_held, _LONGEST_HOLD)
        if not held:
            raise StoryBroke(f"{customer.deployment} did not need {denied} in {_LONGEST_HOLD:.0f} s")
        self._narrator.line(
            customer.name, f"tightens its roles and takes [bold]{denied}[/bold] away, without telling anyone"
        )
        await changing(world.deny)
        await asyncio.sleep(_POLICY_LAG / self._speed)
        await asyncio.to_thread(world.release, held)
        wait = await self._wait_of(plane, customer)
        await asyncio.sleep(_WAIT_SHOWN)
        self._narrator.line(
            customer.name, f"reads who is waited for, and grants [bold]{escape(wait.action or denied)}[/bold] again"
        )
        await changing(world.allow)
        self._narrator.line(customer.name, "nobody has to restart anything: the step tries again by itself")

    async def _wait_of(self, plane: ControlPlane, customer: Customer) -> WaitingFor:
        async def look() -> OperationProgress:
            return await plane.progress(await self._newest(plane, customer))

        progress = await self._narrator.until(
            look,
            lambda found: bool(found.waiting_for) or found.phase is OperationPhase.DONE,
            f"{customer.deployment} waits",
        )
        if not progress.waiting_for:
            raise StoryBroke(f"{customer.deployment} was provisioned without {customer.cloud.missing}, which cannot be")
        return progress.waiting_for[0]

    async def _watch(self, plane: ControlPlane, customer: Customer) -> None:
        """Tell of an operation's milestones and waits until it is over."""
        workflow = await self._newest(plane, customer)
        told: set[tuple[str, str]] = set()
        while True:
            self._narrator.check()
            progress = await plane.progress(workflow)
            self._tell_of(customer, progress, told)
            if progress.phase in (OperationPhase.DONE, OperationPhase.ABORTED):
                break
            if self._narrator.elapsed > LONGEST:
                raise StoryBroke(
                    f"{progress.operation} of {customer.deployment} takes too long: {_open_steps(progress)}"
                )
            await asyncio.sleep(LOOK)
        if progress.phase is not OperationPhase.DONE:
            raise StoryBroke(f"{progress.operation} of {customer.deployment} ended {progress.phase}")

    def _tell_of(self, customer: Customer, progress: OperationProgress, told: set[tuple[str, str]]) -> None:
        for step in progress.steps:
            if step.state is StepState.DONE and step.name in MILESTONES and (step.name, "done") not in told:
                told.add((step.name, "done"))
                self._narrator.line(customer.name, f"[green]✔[/green] {escape(step.summary)}")
        for wait in progress.waiting_for:
            if (wait.step, wait.missing) not in told:
                told.add((wait.step, wait.missing))
                self._narrator.line(
                    customer.name, f"[yellow]⏸ waits for the {wait.party}[/yellow]: {escape(wait.missing)}"
                )

    def _show_components(self, customer: Customer, state: DeploymentState) -> None:
        ready = ", ".join(f"{each.component} {each.ready}/{each.desired}" for each in state.facts.components)
        self._narrator.line(customer.name, f"[green]ready[/green]: {ready}")

    # Chapter 3

    async def _use(self, plane: ControlPlane, customer: Customer) -> None:
        made = api_key.issue(
            "demo", ["read", "write"], now=datetime.now(UTC), lifetime=timedelta(days=1), randomness=secrets.token_bytes
        )
        change = ApiKeyChange(
            request_id=f"key-{uuid4().hex[:12]}", kind=ApiKeyChangeKind.CREATE, actor=VENDOR, record=made.record
        )
        accepted = await plane.change_api_keys(customer.deployment, change)
        await self._narrator.until(
            lambda: plane.deployment(customer.deployment),
            lambda found: any(past.operation_id == accepted.operation_id for past in found.past),
            f"{accepted.operation_id} done",
        )
        self._narrator.line(customer.name, f"gets an API key: {made.key[:12]}…; we keep its hash only")
        domain = (await plane.deployment(customer.deployment)).order.spec.endpoint.domain
        await asyncio.to_thread(self._call, customer, f"https://{domain}", made.key)

    def _call(self, customer: Customer, url: str, key: str) -> None:
        """Use the server as a client on the internet would, and tell what it answers."""
        addresses = self._playground.addresses
        with requests.Session() as http:
            http.trust_env = False
            http.proxies = {"https": addresses.internet_proxy_url}
            http.verify = str(addresses.internet_ca_file)
            document = f"{url}/v1/collections/greetings/documents"
            refused = http.post(document, json={"id": "hello"}, timeout=10)
            self._narrator.line(customer.name, f"POST {document} without a key: {refused.status_code}")
            written = self._with_key(http, document, key)
            self._narrator.line(customer.name, f"POST {document} with the key: {written.status_code}")
            read = http.get(f"{document}/hello", headers={"Authorization": f"Bearer {key}"}, timeout=10)
            self._narrator.line(customer.name, f"GET  …/hello: {read.status_code} {escape(read.text.strip()[:80])}")
        if (refused.status_code, read.status_code) != (401, 200):
            raise StoryBroke(f"{url} answers {refused.status_code} without a key and {read.status_code} with it")

    def _with_key(self, http: requests.Session, document: str, key: str) -> requests.Response:
        """Write a document. The server's pods learn of a new key some seconds after it was applied."""
        deadline = time.monotonic() + 20
        while True:
            written = http.post(
                document,
                json={"id": "hello", "text": "Hello from the demo"},
                headers={"Authorization": f"Bearer {key}"},
                timeout=10,
            )
            if written.status_code != 401 or time.monotonic() > deadline:
                return written
            time.sleep(LOOK)

    # Chapter 4

    async def _retire(self, plane: ControlPlane, approver: ControlPlane, customer: Customer) -> None:
        accepted = await plane.retire(customer.deployment, reason="trial ended", final_backup=FinalBackup.KEEP)
        self._narrator.line(customer.name, f"asks to retire {customer.deployment} and to keep a last backup")
        book = await self._narrator.until(
            lambda: plane.approval(customer.deployment, accepted.operation_id),
            lambda found: found.plan is not None,
            f"{accepted.operation_id} planned",
        )
        await self._approve(approver, customer, book)
        await self._watch(plane, customer)
        state = await self._narrator.until(
            lambda: plane.deployment(customer.deployment),
            lambda found: found.phase is DeploymentPhase.RETIRED,
            f"{customer.deployment} retired",
        )
        if state.receipt is None:
            raise StoryBroke(f"{customer.deployment} is retired without a receipt")
        self._narrator.line(customer.name, "gets the receipt:\n")
        for line in render(state.receipt).splitlines():
            self._narrator.console.print(f"    {line}", markup=False, soft_wrap=True)
        self._narrator.say(
            "\n    The backup's own times are those of the simulated cluster, whose clock runs ahead of this machine's."
        )

    async def _approve(self, approver: ControlPlane, customer: Customer, book: ApprovalBook) -> None:
        """Let the customer approve what will be done, by its hash."""
        plan = book.plan
        if plan is None:
            raise StoryBroke(f"{book.operation_id} has no plan that could be approved")
        self._narrator.line(
            customer.name,
            f"[yellow]⏸ waits for approval by the customer[/yellow]: plan {plan.hash[:12]}, {len(plan.steps)} steps, "
            f"{len(plan.irreversible)} of them cannot be taken back",
        )
        await approver.approve(customer.deployment, book.operation_id, Side.CUSTOMER, plan.hash, "we have our data")
        self._narrator.line(customer.name, f"{approver.actor.name} approves exactly that plan; nothing else will run")

    # Chapter 5

    async def _look_back(self, plane: ControlPlane, customer: Customer) -> None:
        """Tell who asked, approved and was waited for, and how much was done, from the histories alone."""
        told = [line async for line in plane.deployment_history(customer.deployment)]
        for line in told:
            asked = line.kind in {AuditKind.REQUESTED, AuditKind.APPROVED} and line.actor not in {None, CONTROL_PLANE}
            if asked or line.kind is AuditKind.WAITED:
                took = f" ({line.took.total_seconds():.0f} s)" if line.took is not None else ""
                self._narrator.line(customer.name, escape(f"{line.actor}: {line.operation} {line.summary}{took}"))
        calls = sum(len(line.calls) for line in told)
        resources = {resource for line in told for resource in line.resources}
        self._narrator.line(
            customer.name,
            f"{len(told)} lines in all: {calls} calls that changed something, {len(resources)} resources by their ids "
            f"([bold]byoc deployments history {customer.deployment}[/bold])",
        )

    # The end

    async def _summary(self, plane: ControlPlane) -> None:
        table = Table(
            "DEPLOYMENT",
            "CUSTOMER",
            "CLOUD",
            "SHAPE",
            "RELEASE",
            "PHASE",
            "ENDPOINT",
            box=None,
            header_style="bold",
            pad_edge=False,
        )
        for customer in self._cast.everybody:
            state = await plane.deployment(customer.deployment)
            smoke = state.facts.smoke_test
            table.add_row(
                customer.deployment,
                customer.name,
                state.order.site.cloud,
                state.order.spec.shape,
                state.order.spec.release,
                state.phase,
                smoke.url if smoke else "gone",
            )
        self._narrator.console.print(table)
        self._narrator.say(
            f"\nThat took {self._narrator.elapsed:.0f} s. `byoc dev` gives you a playground of your own."
        )

    # How it is told

    def _clouds(self) -> str:
        """Return the names of the clouds, in the order in which their workers were started."""
        *others, last = (cloud.title for cloud in self._playground.vendors)
        return f"{', '.join(others)} and {last}" if others else last

    async def _newest(self, plane: ControlPlane, customer: Customer) -> str:
        """Return the workflow id of the running (else the newest) operation, once there is one that started."""
        state = await self._narrator.until(
            lambda: plane.deployment(customer.deployment),
            lambda found: not found.queue and (found.running is not None or bool(found.past)),
            f"an operation of {customer.deployment} starts",
        )
        return state.running.summary.workflow_id if state.running else state.past[-1].workflow_id


def _open_steps(progress: OperationProgress) -> str:
    under_way = [step.summary for step in progress.steps if step.state in (StepState.RUNNING, StepState.WAITING)]
    waits = [wait.missing for wait in progress.waiting_for]
    return "; ".join([*under_way, *waits]) or "nothing is under way"
