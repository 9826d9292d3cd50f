"""Completes ministack: the services that it lacks, and those that it does too easily, behind one `install`."""

from __future__ import annotations

from dataclasses import dataclass

from ministack import app as ministack_app

from simulators.aws import emulator, keys
from simulators.aws.certificates import Certificates
from simulators.aws.durations import Durations
from simulators.aws.ec2.service import Ec2Service
from simulators.aws.eks.service import EksService
from simulators.aws.kubernetes_provider import AwsProvider
from simulators.aws.load_balancers import LoadBalancers
from simulators.aws.names import Names
from simulators.aws.quotas import Quotas, ServiceQuotas
from simulators.aws.tagging import TaggingApi, Tags
from simulators.aws.work import Work
from simulators.kubernetes.simulator import KubernetesSimulator
from simulators.world import World


@dataclass(frozen=True)
class Overlay:
    """The parts of one world's AWS that are not ministack's."""

    work: Work
    quotas: Quotas
    service_quotas: ServiceQuotas
    eks: EksService
    ec2: Ec2Service
    provider: AwsProvider
    certificates: Certificates
    names: Names

    def forget(self) -> None:
        """Forget everything in every account."""
        self.work.forget()
        self.eks.forget()
        self.ec2.forget()
        self.provider.forget()
        self.certificates.forget()
        self.service_quotas.forget()


_installed: Overlay | None = None


def install(world: World, kubernetes: KubernetesSimulator, durations: Durations | None = None) -> Names:
    """Let ministack answer through the overlay of `world`; an earlier world's overlay is replaced.

    Clusters of EKS are made in `kubernetes`. The result tells where public names lead.
    """
    global _installed  # noqa: PLW0603 - as ministack, which it completes, there is one in a process
    times = durations or Durations()
    work, quotas = Work(world), Quotas()
    eks = EksService(world, work, quotas, kubernetes, times)
    balancers = LoadBalancers(work, world.clock, times)
    provider = AwsProvider(eks, balancers, work=work, clock=world.clock, kubernetes=kubernetes, durations=times)
    eks.control_planes.provider = provider
    names = Names(provider, work)
    certificates = Certificates(work, world.clock, times)
    service_quotas = ServiceQuotas(quotas, work, world.clock, times)
    ec2 = Ec2Service(work, world.clock, quotas, times, eks.node_groups.lose_instance)
    tags = Tags(eks)
    tags.install()
    balancers.install()
    ministack_app.SERVICE_HANDLERS.update(
        eks=eks.handle,
        ec2=ec2.handle,
        acm=certificates.handle,
        kms=keys.handle,
        tagging=TaggingApi(tags, work).handle,
    )
    emulator.add_service("servicequotas", service_quotas.handle, target_prefix=ServiceQuotas.TARGET_PREFIX)
    if _installed is None:
        emulator.on_reset(reset)
    _installed = Overlay(work, quotas, service_quotas, eks, ec2, provider, certificates, names)
    return names


def installed() -> Overlay:
    """Return the overlay in force; there must be one."""
    if _installed is None:
        raise RuntimeError("no overlay is installed")
    return _installed


def reset() -> None:
    """Forget everything in every account; without an overlay there is nothing to forget."""
    if _installed is not None:
        _installed.forget()
