"""What a cluster stands on, for the tests of clusters."""

from __future__ import annotations

from typing import TypeAlias

from activities.contracts import BucketRequest, InNetwork
from tests.activities import ground
from tests.activities.gcp.conftest import REGION, Account
from tests.activities.gcp.test_network import order

ZONES = tuple(f"{REGION}-{letter}" for letter in "abc")
MACHINE, KUBERNETES = "n2-standard-2", "1.34"
Ground: TypeAlias = ground.Ground[Account]


def make_ground(account: Account) -> Ground:
    """Make network, service accounts, key and bucket."""
    network = account.run("create_network", order(account.site))
    firewall = account.run("create_firewall", InNetwork(site=account.site, network=network))
    roles = account.run("create_roles", account.site)
    key = account.run("create_encryption_key", account.site)
    account.run("create_backup_bucket", BucketRequest(site=account.site, key=key))
    return Ground(account, ZONES, MACHINE, KUBERNETES, network, firewall, roles, key)
