"""What every worker has in common, whatever it runs."""

from __future__ import annotations

import inspect

import pytest
import temporalio.worker._worker as temporal_worker
from temporalio.activity import _Definition
from temporalio.client import Client

from activities.calling import PRODUCT
from domain.clouds import Cloud
from workers.assembly import cloud_worker, lifecycles_worker, services_worker
from workers.settings import WorkerSettings


async def test_a_worker_without_a_build_names_the_product(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not have every imported module hashed before it begins, and Temporal shows which version it is."""
    monkeypatch.setattr(temporal_worker, "load_default_build_id", _hashed)
    settings = WorkerSettings()

    workers = [
        lifecycles_worker(client, settings),
        services_worker(client, settings),
        cloud_worker(client, settings, Cloud.AWS),
    ]

    assert {worker.config()["build_id"] for worker in workers} == {PRODUCT}


async def test_no_thread_is_interrupted_within_a_call(client: Client) -> None:
    """An exception thrown into a thread may leave a lock of a connection pool taken for ever."""
    settings = WorkerSettings()
    workers = [services_worker(client, settings), *(cloud_worker(client, settings, cloud) for cloud in Cloud)]

    for each in [each for worker in workers for each in worker.config()["activities"]]:
        definition = _Definition.must_from_callable(each)
        assert inspect.iscoroutinefunction(each) or definition.no_thread_cancel_exception, definition.name


def _hashed() -> str:
    raise AssertionError("every imported module would be read and hashed")
