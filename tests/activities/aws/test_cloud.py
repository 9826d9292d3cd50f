"""All of AWS together."""

from __future__ import annotations

from collections import Counter

from temporalio import activity

from activities.aws.cloud import AwsCloud, AwsFoundation, AwsKubernetes
from activities.aws.part import AwsPart
from activities.aws.settings import AwsSettings
from activities.contracts import (
    AccountContract,
    ClusterContract,
    FoundationContract,
    NetworkContract,
    PreflightContract,
)

CONTRACTS = (AccountContract, PreflightContract, NetworkContract, FoundationContract, ClusterContract)


def test_every_activity_of_the_contracts_is_there() -> None:
    """Each can be registered under its contract's name, once, and declares what it needs of the account."""
    cloud = AwsCloud(AwsSettings(principal="arn:aws:iam::111111111111:role/control-plane"))

    names = [activity._Definition.must_from_callable(method).name for method in cloud.activities()]

    assert Counter(names) == Counter(name for contract in CONTRACTS for name in contract.__abstractmethods__)
    # Proving a revocation is being refused: it needs no permission. Deleting the server needs to find its cluster.
    assert {need.activity for need in cloud.needs()} == set(names) - {"prove_revoked"} | {"delete_workloads"}


def test_no_part_overrides_another_by_accident() -> None:
    """The parts are one class in the end: a private method of the same name would replace another's."""
    for whole in (AwsFoundation, AwsKubernetes):
        parts = [part for part in whole.__mro__ if issubclass(part, AwsPart) and part not in {AwsPart, whole}]
        defined = Counter(name for part in parts for name in vars(part) if callable(getattr(part, name)))
        assert [name for name, times in defined.items() if times > 1] == []
