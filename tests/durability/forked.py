"""What the worker processes of these tests are forked from: everything is imported, and slow beginnings are over.

Pydantic asks of each type whether it is a mapping, which with the SDKs of all clouds loaded takes most of a second
until Python remembers the answers. The largest models of AWS's SDK take as long to read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from activities.aws.connection import shared_loader
from workers.__main__ import main
from workers.settings import WorkerSettings

for model in ("endpoints", "partitions"):
    shared_loader().load_data(model)
for service in ("ec2", "eks", "iam", "s3", "sts"):
    shared_loader().load_service_model(service, "service-2")
with contextlib.suppress(ValueError):
    WorkerSettings()


def work(environment: Mapping[str, str], log: str) -> None:
    """Be a worker process: the same code as `byoc worker all`."""
    os.environ.update(environment)
    with Path(log).open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    main(["all"])
