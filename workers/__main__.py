"""Run one worker process: `python -m workers lifecycles`, `… cloud --cloud aws`, `… services`, or `… all` (in one).

`python -m workers template` prints what a customer applies: it is made from the permissions that the activities of the
account's cloud declare, so it belongs to whoever has that cloud's SDK. So does `python -m workers plan`, which
rehearses an operation. `python -m workers check-histories` replays the open workflows of a server: it needs the code of
every workflow, which is wired here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NoReturn
from uuid import uuid4

import structlog
from pydantic import ValidationError
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from activities.contracts import Comparison, ComparisonQuestion, PlanQuestion
from catalog import CatalogueInvalid
from domain.account import AccountAccess
from domain.actor import CONTROL_PLANE
from domain.clouds import Cloud
from domain.permission import TemplateForm
from domain.plan import Plan
from starters.client import ControlPlane, ControlPlaneError, Unreachable
from workers import assembly, telemetry
from workers.clouds import NoSuchForm, NotServed
from workers.histories import check_histories
from workers.rehearsal.planning import Planner
from workers.rehearsal.server import CannotRehearse
from workers.settings import PRINCIPALS, WorkerSettings, read_settings, variable
from workflows.temporal import logs
from workflows.temporal.connection import connect
from workflows.temporal.settings import BadSettings

log = structlog.get_logger()

_PARENT_CHECK_INTERVAL = 0.5
"""Seconds."""
_LAST_MOMENT = timedelta(seconds=5)
"""How long activities that were cancelled at the end of the grace may take to say so."""


class CannotStart(Exception):  # noqa: N818 - it names what happened
    """The worker has nothing to work for; the message says why, in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT, then let what is under way finish (up to the graceful shutdown time).

    A second signal ends it at once. What it leaves behind is done again by another worker.

    What cannot be run is explained in one line on standard error: exit code 2 for a bad setting or a cloud whose SDK
    is not installed, 1 if Temporal does not answer.
    """
    options = _parser().parse_args(arguments)
    try:
        settings = read_settings()
        if options.kind == "template":
            return _print_template(options.region, options.format, settings)
        if options.kind == "plan":
            return _print_plan(settings, profile=options.profile, compare=options.diff)
        logs.configure(level=settings.log_level, as_json=settings.log_json)
        if options.kind == "check-histories":
            return asyncio.run(_check_histories(options, settings))
        tracing = telemetry.start_tracing() if settings.tracing else contextlib.nullcontext()
        # Left open, for its end would wait for threads that are in the middle of a call.
        runner = asyncio.Runner()
        with tracing:
            runner.run(_run(options, settings))
    except (BadSettings, NotServed, NoSuchForm) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except CannotStart as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="byoc worker", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, what in (
        ("lifecycles", "run workflows; needs no credentials"),
        ("cloud", "act in one cloud and in the clusters in it"),
        ("services", "make plans; needs no credentials"),
        ("all", "all of them in one process"),
    ):
        worker = kinds.add_parser(kind, help=what)
        worker.add_argument("--cloud", choices=[*Cloud], help="whose activities to run")
        worker.add_argument("--region", default="", help="poll the queue of this region, for data locality")
        worker.add_argument("--parent", type=int, help="end at once when the process of this id is not the parent")
    template = kinds.add_parser("template", help="print what a customer applies; reads an AccountAccess on stdin")
    template.add_argument("--region", action="append", required=True, help="region of the account; repeatable")
    template.add_argument("--format", choices=[*TemplateForm], help="by default what is usually applied in the cloud")
    plan = kinds.add_parser("plan", help="print what an operation will do; reads a PlanQuestion on stdin")
    plan.add_argument("--diff", action="store_true", help="compare each step with what exists")
    plan.add_argument("--profile", help="with --diff: profile of Temporal's own configuration file")
    check = kinds.add_parser("check-histories", help="replay the open workflows of a server; prints JSON")
    check.add_argument("--query", default="", help="only workflows that this visibility query finds as well")
    check.add_argument("--limit", type=int, required=True, help="how many workflows at most")
    check.add_argument("--profile", help="profile of Temporal's own configuration file")
    return parser


def _print_plan(settings: WorkerSettings, *, profile: str | None, compare: bool) -> int:
    """Print the plan for the question that standard input holds, and return the exit code."""
    # What goes wrong in a rehearsal is said once, as its end.
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)
    try:
        question = PlanQuestion.model_validate_json(sys.stdin.read())
    except ValidationError as error:
        sys.stderr.write(f"standard input is not a question for a plan: {error}\n")
        return 2
    try:
        plan = asyncio.run(_plan(question, settings, profile=profile, compare=compare))
    except Unreachable as error:
        sys.stderr.write(f"{error}\n")
        return 3
    except (CannotRehearse, ControlPlaneError, CatalogueInvalid) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(plan.model_dump_json())
    return 0


async def _plan(question: PlanQuestion, settings: WorkerSettings, *, profile: str | None, compare: bool) -> Plan:
    planner = Planner(settings, assembly.declared_needs)
    if not compare:
        return await planner.plan(question)
    plane = await ControlPlane.open(CONTROL_PLANE, profile=profile or settings.temporal_profile)
    number = uuid4().hex[:8]

    async def ask(step: ComparisonQuestion) -> Comparison:
        return await plane.compare(number, step)

    return await planner.plan(question, compare=ask)


def _print_template(regions: Sequence[str], form: str | None, settings: WorkerSettings) -> int:
    """Print the template for the account that standard input describes, and return the exit code."""
    try:
        access = AccountAccess.model_validate_json(sys.stdin.read())
        sys.stdout.write(assembly.permission_template(access, regions, TemplateForm(form) if form else None, settings))
    except ValidationError as error:
        sys.stderr.write(f"standard input is not an account's access: {error}\n")
        return 2
    except (NotServed, NoSuchForm):
        raise
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


async def _check_histories(options: argparse.Namespace, settings: WorkerSettings) -> int:
    """Print how the open workflows replay, as one line of JSON; the exit code says whether it could be found out."""
    client = await _connect(options.profile or settings.temporal_profile)
    try:
        report = await check_histories(client, assembly.WORKFLOWS, query=options.query, limit=options.limit)
    except RPCError as error:
        raise CannotStart(f"Temporal refuses: {error.message}") from error
    sys.stdout.write(f"{report.model_dump_json()}\n")
    return 0


async def _run(options: argparse.Namespace, settings: WorkerSettings) -> None:
    kind, region = options.kind, options.region
    clouds = _clouds(options, settings)
    watch = asyncio.create_task(_end_without(options.parent)) if options.parent else None
    client = await _connect(
        settings.temporal_profile, tracing=settings.tracing, metrics_address=settings.metrics_address
    )
    stop, stop_now = _signals()
    workers = _workers(kind, clouds, region, client, settings)
    running = asyncio.gather(*(worker.run() for worker in workers))
    served = ", ".join(clouds)
    log.info("worker runs", kind=kind, clouds=served, region=region, build=settings.build_id or "", pid=os.getpid())
    ends: set[asyncio.Future[Any]] = {running, stop}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        log.info("worker stops, finishing what is under way", kind=kind)
        await _stopped(workers, running, at_once=stop_now, grace=settings.graceful_shutdown)
    if not running.done():
        log.warning("worker ends before what was under way; another one will do it again", kind=kind)
        return
    try:
        await running
    except RuntimeError as error:
        raise CannotStart(f"the worker cannot run: {error}") from error
    if watch is not None:
        watch.cancel()


async def _stopped(
    workers: Sequence[Worker], running: asyncio.Future[Any], *, at_once: asyncio.Future[None], grace: timedelta
) -> None:
    """Return when the workers have stopped, or need not be waited for any longer.

    At the end of the grace their activities are cancelled. A thread in the middle of a call hears nothing of that, so
    it is not waited for: its heartbeats end with this process, and so it is taken over.
    """
    stopping = asyncio.gather(*(worker.shutdown() for worker in workers))
    longest = (grace + _LAST_MOMENT).total_seconds()
    ends: set[asyncio.Future[Any]] = {running, at_once}
    await asyncio.wait(ends, timeout=longest, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()


def _signals() -> tuple[asyncio.Future[None], asyncio.Future[None]]:
    """Return what is done after the first SIGTERM or SIGINT, and what is done after the second."""
    loop = asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()

    def came() -> None:
        pending = next((future for future in (first, second) if not future.done()), None)
        if pending is not None:
            pending.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, came)
    return first, second


def _end(code: int) -> NoReturn:
    """End this process at once: the SDK's runtime threads may abort an interpreter that is being torn down."""
    with contextlib.suppress(OSError):  # whoever read our output may be gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


async def _connect(profile: str | None, *, tracing: bool = False, metrics_address: str | None = None) -> Client:
    try:
        runtime = telemetry.sdk_runtime(metrics_address)
    except ValueError as error:
        raise CannotStart(f"metrics cannot be served at {metrics_address}: {error}") from error
    try:
        return await connect(profile=profile, tracing=tracing, runtime=runtime)
    except RuntimeError as error:
        raise CannotStart(f"Temporal does not answer: {error}") from error


async def _end_without(parent: int) -> None:
    """End this process as soon as `parent` is no longer its parent: it ended, or was killed.

    There is no grace: what the parent had running for us, Temporal above all, ends at the same moment.
    """
    while os.getppid() == parent:  # noqa: ASYNC110 - the kernel tells nobody but by this id
        await asyncio.sleep(_PARENT_CHECK_INTERVAL)
    log.warning("worker ends: its parent is gone", parent=parent)
    os._exit(1)


def _clouds(options: argparse.Namespace, settings: WorkerSettings) -> tuple[Cloud, ...]:
    """Return in which clouds the worker acts: the one that is named, else those whose settings are there.

    Raises:
        BadSettings: None is, or a region is given for several.
    """
    if options.kind not in ("cloud", "all"):
        return ()
    if options.cloud:
        return (Cloud(options.cloud),)
    if options.kind == "cloud":
        return (Cloud.AWS,)
    clouds = settings.clouds
    if not clouds:
        names = " or ".join(variable(setting) for setting in PRINCIPALS.values())
        raise BadSettings(f"no cloud has its settings: set {names}, or give --cloud")
    if options.region and len(clouds) > 1:
        served = " and ".join(clouds)
        raise BadSettings(f"--region: {options.region} is of one cloud; there are settings for {served}. Give --cloud")
    return clouds


def _workers(kind: str, clouds: Sequence[Cloud], region: str, client: Client, settings: WorkerSettings) -> list[Worker]:
    workers = []
    if kind in ("lifecycles", "all"):
        workers.append(assembly.lifecycles_worker(client, settings))
    workers += [assembly.cloud_worker(client, settings, cloud, region) for cloud in clouds]
    if kind in ("services", "all"):
        workers.append(assembly.services_worker(client, settings))
    return workers


if __name__ == "__main__":
    _end(main())
