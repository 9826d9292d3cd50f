"""The sizes of machines among which a deployment's are chosen."""

from __future__ import annotations

from activities.placement import MachineFamilies
from domain.shape import PoolSize

FAMILIES = MachineFamilies(
    names={
        2: ("Standard_F*s_v2",),
        4: ("Standard_D*s_v5", "Standard_D*ds_v5"),
        8: ("Standard_E*s_v5", "Standard_E*ds_v5"),
    },
    sizes={2: "2", 4: "4", 8: "8", 16: "16", 32: "32"},
)

SYSTEM_POOL = PoolSize(cpu=2, memory_gib=8, minimum=1, maximum=1)
"""A machine of the pool that AKS wants of every cluster, for itself; there is one in each zone."""
