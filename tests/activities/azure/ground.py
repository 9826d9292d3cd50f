"""What a cluster stands on, for the tests of clusters."""

from __future__ import annotations

from typing import TypeAlias

from activities.azure.encryption import AzureEncryption
from activities.azure.network import AzureNetwork
from activities.azure.part import AzurePart
from activities.azure.roles import AzureRoles
from activities.contracts import InNetwork
from tests.activities import ground
from tests.activities.azure.conftest import Account
from tests.activities.azure.networks import order

ZONES = ("1", "2", "3")
MACHINE, KUBERNETES = "Standard_D2s_v5", "1.34"
PODS, SERVICES = "10.244.0.0/16", "10.245.0.0/16"
GROUND: tuple[type[AzurePart], ...] = (AzureNetwork, AzureRoles, AzureEncryption)
"""Whose activities make it."""
Ground: TypeAlias = ground.Ground[Account]


def make_ground(account: Account, *, gateway: bool = True) -> Ground:
    """Make network (with its way out, unless told otherwise), identities, key and encryption set."""
    site = account.site
    network = account.run("create_network", order(site))
    inside = InNetwork(site=site, network=network)
    firewall = account.run("create_firewall", inside)
    if gateway:
        account.run("create_egress", inside)
    roles = account.run("create_roles", site)
    key = account.run("create_encryption_key", site)
    return Ground(account, ZONES, MACHINE, KUBERNETES, network, firewall, roles, key)
