"""From a manifest to an order: where it goes, and whose workers take its steps."""

from __future__ import annotations

from datetime import timedelta

import pytest
import yaml
from temporalio.client import Client

from domain.actor import Actor, Door
from starters.client import ControlPlane
from starters.ordering import place_order, read_orders
from workflows.temporal import queues


@pytest.mark.parametrize(
    ("wanted", "queue"), [("in-region", "cloud-aws-eu-central-1"), ("anywhere", "cloud-aws"), (None, "cloud-aws")]
)
async def test_who_wants_workers_in_the_region_gets_its_queue(
    client: Client, account: str, name: str, wanted: str | None, queue: str
) -> None:
    """`workers: in-region` puts the deployment's region into its site, from which the queue of its steps follows."""
    plane = ControlPlane(client, Actor(name="ada@vendor", door=Door.CLI), timedelta(seconds=30))
    spec = {"account": account, "region": "eu-central-1", "endpoint": {"domain": f"{name}.db.acme.example"}}
    document = {
        "apiVersion": "byoc.dev/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": spec | ({"workers": wanted} if wanted else {}),
    }

    (manifest,) = await read_orders(plane, yaml.safe_dump(document))
    order = await place_order(plane, manifest)

    assert order.site.workers_in == ("eu-central-1" if wanted == "in-region" else "")
    assert queues.site_queue(order.site) == queue
