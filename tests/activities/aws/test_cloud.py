"""All of AWS together."""

from __future__ import annotations

from collections import Counter

from activities.aws.cloud import AwsFoundation, AwsKubernetes
from activities.aws.part import AwsPart
from activities.contracts import (
    AccountContract,
    ClusterContract,
    FoundationContract,
    NetworkContract,
    PreflightContract,
)

CONTRACTS = (AccountContract, PreflightContract, NetworkContract, FoundationContract, ClusterContract)


def test_no_part_overrides_another_by_accident() -> None:
    """The parts are one class in the end: a private method of the same name would replace another's."""
    for whole in (AwsFoundation, AwsKubernetes):
        parts = [part for part in whole.__mro__ if issubclass(part, AwsPart) and part not in {AwsPart, whole}]
        defined = Counter(name for part in parts for name in vars(part) if callable(getattr(part, name)))
        assert [name for name, times in defined.items() if times > 1] == []
