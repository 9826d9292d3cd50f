"""The clouds under test."""

from __future__ import annotations

from tests.contract import aws, azure, gcp
from tests.contract.under_test import CloudUnderTest

CLOUDS: tuple[CloudUnderTest, ...] = (aws.CLOUD, azure.CLOUD, gcp.CLOUD)
"""A further cloud is a module beside this one, and an entry here."""
