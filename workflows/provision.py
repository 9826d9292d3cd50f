"""Provisioning: from an order to a server that answers. Run again, it converges to the same end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.contracts import (
        AddOn,
        AddressQuestion,
        ApiKeysRequest,
        BackupRequest,
        BucketRequest,
        CapacityQuestion,
        CertificateRequest,
        ClusterRequest,
        ComponentRequest,
        DomainRequest,
        EndpointRequest,
        InCluster,
        InNetwork,
        MaintenanceRequest,
        NamespaceRequest,
        NetworkRequest,
        NodePoolRequest,
        PublicationRequest,
        RestoreRequest,
        SmokeTestRequest,
        StorageClassRequest,
        WorkloadIdentityRequest,
    )
    from domain.facts import (
        AddressPlan,
        Bucket,
        Certificate,
        Cluster,
        ComponentStatus,
        Domain,
        Firewall,
        Key,
        LoadBalancer,
        Network,
        NodePool,
        Placement,
        Roles,
    )
    from domain.operation import OperationKind, OperationPhase
    from domain.shape import Component, PoolName
    from domain.state import OperationOrder, OperationOutcome

from workflows import steps
from workflows.operation import Operation
from workflows.step_runner import Aborted


@dataclass(frozen=True)
class Ground:
    """What the cluster stands on."""

    network: Network
    firewall: Firewall
    roles: Roles
    key: Key
    bucket: Bucket


@workflow.defn
class Provision(Operation):
    """Make one deployment run in the customer's account, or leave nothing behind.

    1. Check the permissions
    2. Check the quotas
    3. Choose zones and machine types
    4. Plan the address ranges
    5. Create the roles
    6. Create the encryption key
    7. Create the backup bucket
    8. Create the DNS zone
    9. Create the certificate
    10. Create the network
    11. Create the firewall
    12. Create the NAT gateways
    13. Create private endpoints to the cloud's services
    14. Create the Kubernetes control plane
    15. Grant us, and nobody else, access to the cluster
    16. Give the workloads their identities
    17. Install the network, proxy and identity add-ons
    18. Create the store and services node pools
    19. Install the dns, storage and metrics add-ons
    20. Create the encrypted storage class
    21. Create the server's namespace
    22. Apply the API keys
    23. Install the store, authentication, api, subscription and cdc components
    24. Open the public endpoint
    25. Publish the endpoint's name
    26. Use the server through its public endpoint
    27. Take a backup
    28. Prove that the backup restores
    29. Create the alarms
    30. Switch off the provider's own upgrades

    A deployment that was active before is converged: what is as it should be is left alone, and nothing is written.
    When a step meets something that only the customer, the cloud or an operator can change, the operation waits for
    them and tries again. When an operator aborts it, everything that it made is taken back, newest first.
    """

    kind = OperationKind.PROVISION

    @workflow.init
    def __init__(self, order: OperationOrder) -> None:
        super().__init__(order)

    @workflow.run
    async def run(self, order: OperationOrder) -> OperationOutcome:
        """Provision, and say how it ended."""
        reporter = self.start_reporting()
        try:
            placement, addresses = await self._look_before()
            name = asyncio.create_task(self._name_endpoint())
            ground = asyncio.create_task(self._lay_ground(placement, addresses))
            cluster = asyncio.create_task(self._run_cluster(placement, ground))
            server = asyncio.create_task(self._run_server(ground, cluster))
            await self.steps.together(name, ground, cluster, server, self._go_live(name, ground, cluster, server))
        except Aborted:
            if order.first:
                await self.take_everything_back()
            return await self.finish(OperationPhase.ABORTED, reporter, summary="aborted")
        return await self.finish(OperationPhase.DONE, reporter, summary="the server answers at its endpoint")

    async def _look_before(self) -> tuple[Placement, AddressPlan]:
        """Nothing is made before the account was seen to allow, and to have room for, all of it."""
        room = CapacityQuestion(
            site=self.order.site,
            shape=self.order.shape,
            high_availability=self.order.spec.high_availability,
            network=self.order.spec.network,
        )
        _, _, placement = await self.steps.together(
            self.steps.run(steps.CHECK_PERMISSIONS, self.order.site),
            self.steps.run(steps.CHECK_QUOTAS, room),
            self.steps.run(steps.CHOOSE_PLACEMENT, room),
        )
        addresses = await self.steps.run(
            steps.PLAN_ADDRESSES,
            AddressQuestion(site=self.order.site, network=self.order.spec.network, placement=placement),
        )
        self._learn(placement=placement)
        return placement, addresses

    async def _name_endpoint(self) -> tuple[Domain, Certificate]:
        domain = await self.steps.run(
            steps.CREATE_DOMAIN, DomainRequest(site=self.order.site, domain=self.order.spec.endpoint.domain)
        )
        self._learn(domain=domain)
        certificate = await self.steps.run(
            steps.CREATE_CERTIFICATE, CertificateRequest(site=self.order.site, domain=domain)
        )
        self._learn(certificate=certificate)
        return domain, certificate

    async def _lay_ground(self, placement: Placement, addresses: AddressPlan) -> Ground:
        """Make what the control plane stands on; gateways and private endpoints may take longer than that."""
        roles, (key, bucket), (network, firewall) = await self.steps.together(
            self.steps.run(steps.CREATE_ROLES, self.order.site),
            self._create_key_and_bucket(),
            self._create_network(placement, addresses),
        )
        self._learn(roles=roles, key=key, bucket=bucket, network=network, firewall=firewall)
        return Ground(network=network, firewall=firewall, roles=roles, key=key, bucket=bucket)

    async def _create_key_and_bucket(self) -> tuple[Key, Bucket]:
        key = await self.steps.run(steps.CREATE_KEY, self.order.site)
        bucket = await self.steps.run(steps.CREATE_BUCKET, BucketRequest(site=self.order.site, key=key))
        return key, bucket

    async def _create_network(self, placement: Placement, addresses: AddressPlan) -> tuple[Network, Firewall]:
        network = await self.steps.run(
            steps.CREATE_NETWORK,
            NetworkRequest(
                site=self.order.site, network=self.order.spec.network, placement=placement, addresses=addresses
            ),
        )
        firewall = await self.steps.run(steps.CREATE_FIREWALL, InNetwork(site=self.order.site, network=network))
        return network, firewall

    async def _run_cluster(self, placement: Placement, ground_task: asyncio.Task[Ground]) -> Cluster:
        """Make the control plane while the network's gateways come up, then the nodes and what needs nodes."""
        ground = await ground_task
        inside = InNetwork(site=self.order.site, network=ground.network)
        made = await self.steps.together(
            self._create_control_plane(ground),
            self.steps.run(steps.CREATE_EGRESS, inside),
            self.steps.run(steps.CREATE_PRIVATE_ENDPOINTS, inside),
        )
        cluster: Cluster = made[0]
        pools = await self.steps.together(
            *(self._create_pool(pool, placement, ground, cluster) for pool in (PoolName.STORE, PoolName.SERVICES))
        )
        self._learn(pools=tuple(pools))
        await self.steps.together(
            *(self._add_on(cluster, ground.roles, name) for name in steps.ADD_ONS_ON_NODES),
            self.steps.run(
                steps.CREATE_STORAGE_CLASS,
                StorageClassRequest(site=self.order.site, cluster=cluster, key=ground.key),
            ),
            self._prepare_namespace(cluster, ground.roles),
        )
        return cluster

    async def _create_control_plane(self, ground: Ground) -> Cluster:
        cluster = await self.steps.run(
            steps.CREATE_CLUSTER,
            ClusterRequest(
                site=self.order.site,
                kubernetes=self.order.spec.kubernetes,
                network=ground.network,
                firewall=ground.firewall,
                roles=ground.roles,
                key=ground.key,
            ),
        )
        self._learn(cluster=cluster)
        await self.steps.together(
            self.steps.run(steps.GRANT_ACCESS, InCluster(site=self.order.site, cluster=cluster)),
            self.steps.run(
                steps.CREATE_IDENTITY,
                WorkloadIdentityRequest(site=self.order.site, cluster=cluster, roles=ground.roles),
            ),
            *(self._add_on(cluster, ground.roles, name) for name in steps.ADD_ONS_BEFORE_NODES),
        )
        return cluster

    async def _create_pool(self, pool: PoolName, placement: Placement, ground: Ground, cluster: Cluster) -> NodePool:
        request = NodePoolRequest(
            site=self.order.site,
            cluster=cluster,
            network=ground.network,
            firewall=ground.firewall,
            roles=ground.roles,
            key=ground.key,
            placement=placement,
            pool=pool,
        )
        return await self.steps.run(steps.CREATE_POOL, request, about=pool)

    async def _add_on(self, cluster: Cluster, roles: Roles, name: str) -> None:
        await self.steps.run(
            steps.INSTALL_ADD_ON, AddOn(site=self.order.site, cluster=cluster, roles=roles, name=name), about=name
        )

    async def _prepare_namespace(self, cluster: Cluster, roles: Roles) -> None:
        await self.steps.run(
            steps.CREATE_NAMESPACE,
            NamespaceRequest(
                site=self.order.site, cluster=cluster, auth_webhook=self.order.spec.auth_webhook, roles=roles
            ),
        )
        await self.steps.run(
            steps.APPLY_API_KEYS,
            ApiKeysRequest(site=self.order.site, cluster=cluster, keys=self.order.api_keys),
        )

    async def _run_server(self, ground_task: asyncio.Task[Ground], cluster_task: asyncio.Task[Cluster]) -> None:
        """Install the five components, each after those that it needs."""
        cluster = await cluster_task
        ground = await ground_task
        statuses: list[ComponentStatus] = []
        for tier in (
            (Component.STORE, Component.AUTHENTICATION),
            (Component.API, Component.SUBSCRIPTION),
            (Component.CDC,),
        ):
            statuses += await self.steps.together(
                *(self._install(component, cluster, ground.bucket) for component in tier)
            )
        self._learn(components=tuple(statuses))

    async def _install(self, component: Component, cluster: Cluster, bucket: Bucket) -> ComponentStatus:
        request = ComponentRequest(
            site=self.order.site,
            cluster=cluster,
            component=component,
            release=self.order.release,
            shape=self.order.shape,
            spec=self.order.spec,
            bucket=bucket,
        )
        return await self.steps.run(steps.INSTALL_COMPONENT, request, about=component)

    async def _go_live(
        self,
        name_task: asyncio.Task[tuple[Domain, Certificate]],
        ground_task: asyncio.Task[Ground],
        cluster_task: asyncio.Task[Cluster],
        server_task: asyncio.Task[None],
    ) -> None:
        """Open the endpoint, use it, and prove before anybody relies on it that a backup of it restores."""
        await server_task
        cluster, ground, (domain, certificate) = await cluster_task, await ground_task, await name_task
        balancer = await self.steps.run(
            steps.OPEN_ENDPOINT,
            EndpointRequest(
                site=self.order.site,
                cluster=cluster,
                network=ground.network,
                domain=domain,
                certificate=certificate,
            ),
        )
        self._learn(load_balancer=balancer)
        await self._use_endpoint(cluster, domain, balancer)
        here = InCluster(site=self.order.site, cluster=cluster)
        await self.steps.together(
            self._prove_backup(cluster, ground),
            self.steps.run_or_skip(steps.CREATE_ALARMS, here),
            self.steps.run_or_skip(
                steps.SET_MAINTENANCE_POLICY,
                MaintenanceRequest(
                    site=self.order.site,
                    cluster=cluster,
                    windows=self.order.spec.windows,
                    exclusions=self.order.spec.exclusions,
                ),
            ),
        )

    async def _use_endpoint(self, cluster: Cluster, domain: Domain, balancer: LoadBalancer) -> None:
        await self.steps.run(
            steps.PUBLISH_ENDPOINT,
            PublicationRequest(site=self.order.site, domain=domain, load_balancer=balancer),
        )
        seen = await self.steps.run_or_skip(
            steps.SMOKE_TEST,
            SmokeTestRequest(
                site=self.order.site,
                cluster=cluster,
                domain=domain,
                release=self.order.release,
                read_only=not self.order.first,
            ),
        )
        self._learn(smoke_test=seen)

    async def _prove_backup(self, cluster: Cluster, ground: Ground) -> None:
        """Back up and restore once; a deployment that is converged again has its proof and its own schedule."""
        if not self.order.first and self.facts.restore_proof is not None:
            return
        backup = await self.steps.run_or_skip(
            steps.BACK_UP,
            BackupRequest(
                site=self.order.site,
                cluster=cluster,
                bucket=ground.bucket,
                release=self.order.release,
                name=self.order.operation_id.replace("/", "-"),
            ),
        )
        if backup is None:
            return
        proof = await self.steps.run_or_skip(
            steps.PROVE_RESTORE,
            RestoreRequest(
                site=self.order.site,
                cluster=cluster,
                backup=backup,
                release=self.order.release,
                roles=ground.roles,
            ),
        )
        self._learn(restore_proof=proof)

    def _learn(self, **facts: object) -> None:
        self.facts = self.facts.model_copy(update=facts)
