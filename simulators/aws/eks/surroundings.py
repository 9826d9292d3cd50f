"""What every part of EKS works with."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulators.aws.durations import Durations
from simulators.aws.eks.records import Clusters
from simulators.aws.eks.tokens import RequestTokens
from simulators.aws.quotas import Quotas
from simulators.aws.work import Work
from simulators.clock import Clock
from simulators.kubernetes.simulator import KubernetesSimulator


@dataclass(frozen=True)
class Surroundings:
    """One world's state of EKS, and what EKS needs from outside."""

    work: Work
    clock: Clock
    quotas: Quotas
    durations: Durations
    kubernetes: KubernetesSimulator
    clusters: Clusters = field(default_factory=Clusters)
    tokens: RequestTokens = field(default_factory=RequestTokens)
