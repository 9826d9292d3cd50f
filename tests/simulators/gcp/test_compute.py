"""Compute Engine through its official SDK: networks, addresses, disks, snapshots, quotas and operations."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, Forbidden, GoogleAPICallError, NotFound, PreconditionFailed
from google.cloud import compute_v1

from simulators.faults import FaultKind
from tests.simulators.gcp.customers import PROJECT, REGION, ZONES, Customer, refused

REQUEST_ID = "5b2a9f34-5f1c-4f0e-9d62-0d3f2c1b7a10"
ZONE = ZONES[0]


def reason(error: pytest.ExceptionInfo[GoogleAPICallError]) -> str:
    """Return the legacy reason of an error of Compute Engine."""
    return str(error.value.errors[0]["reason"])


def network(account: Customer, name: str = "byoc", **options: Any) -> Any:
    """Ask for a network and return the operation."""
    wanted = compute_v1.Network(name=name, auto_create_subnetworks=False)
    return account.rest(compute_v1.NetworksClient).insert_unary(
        compute_v1.InsertNetworkRequest(project=PROJECT, network_resource=wanted, **options)
    )


def subnetwork(account: Customer, name: str, cidr: str, region: str = REGION) -> Any:
    """Ask for a subnetwork of the network `byoc` and return the operation."""
    wanted = compute_v1.Subnetwork(name=name, network="global/networks/byoc", ip_cidr_range=cidr)
    client = account.rest(compute_v1.SubnetworksClient)
    return client.insert_unary(project=PROJECT, region=region, subnetwork_resource=wanted)


def disk(account: Customer, name: str = "data", **options: Any) -> Any:
    """Make a disk and return it."""
    client = account.rest(compute_v1.DisksClient)
    wanted = compute_v1.Disk({"name": name, "size_gb": 20, "labels": {"byoc": "managed"}} | options)
    account.done(client.insert_unary(project=PROJECT, zone=ZONE, disk_resource=wanted))
    return client.get(project=PROJECT, zone=ZONE, disk=name)


class TestNetworks:
    """Networks, subnetworks, routers, firewalls and routes."""

    def test_are_made_by_operations(self, slow_account: Customer) -> None:
        """Until the operation is DONE nothing can refer to the network."""
        operation = network(slow_account)
        with pytest.raises(BadRequest) as caught:
            subnetwork(slow_account, "byoc", "10.0.0.0/20")
        done = slow_account.done(operation)
        slow_account.done(subnetwork(slow_account, "byoc", "10.0.0.0/20"))

        assert operation.status.name == "RUNNING"
        assert reason(caught) == "resourceNotReady"
        assert (done.status.name, done.progress) == ("DONE", 100)
        made = slow_account.rest(compute_v1.NetworksClient).get(project=PROJECT, network="byoc")
        assert [entry.rpartition("/")[2] for entry in made.subnetworks] == ["byoc"]

    def test_come_once_for_each_request_id(self, account: Customer) -> None:
        """The same request id brings the same operation; another call for the same name is refused."""
        first = network(account, request_id=REQUEST_ID)
        again = network(account, request_id=REQUEST_ID)
        with refused(Conflict, "already exists"):
            network(account)

        assert again.name == first.name
        assert account.names("compute", changed=True) == ["networks.insert"]

    def test_a_request_id_is_forgotten_after_an_hour(self, slow_account: Customer) -> None:
        """Then it no longer protects from a second attempt."""
        network(slow_account, request_id=REQUEST_ID)
        slow_account.pass_time(3700)

        with refused(Conflict, "already exists"):
            network(slow_account, request_id=REQUEST_ID)

    def test_a_request_id_has_to_be_one(self, account: Customer) -> None:
        """Anything else is refused."""
        with refused(BadRequest, "valid UUID"):
            network(account, request_id="step-1")

    def test_are_kept_by_what_is_in_them(self, account: Customer) -> None:
        """A network with a subnetwork cannot be deleted; without it, it goes, and its routes with it."""
        account.make_network()
        networks, subnetworks = account.rest(compute_v1.NetworksClient), account.rest(compute_v1.SubnetworksClient)
        routes = account.rest(compute_v1.RoutesClient)

        with pytest.raises(BadRequest) as caught:
            networks.delete_unary(project=PROJECT, network="byoc")
        made = len(list(routes.list(project=PROJECT)))
        account.done(subnetworks.delete_unary(project=PROJECT, region=REGION, subnetwork="byoc"))
        account.done(networks.delete_unary(project=PROJECT, network="byoc"))

        assert reason(caught) == "resourceInUseByAnotherResource"
        assert "regions/europe-west4/subnetworks/byoc" in str(caught.value)
        assert (made, list(routes.list(project=PROJECT))) == (2, [])
        assert account.google.inventory(PROJECT) == []

    def test_have_no_overlapping_ranges(self, account: Customer) -> None:
        """Neither with another subnetwork of the network nor with its secondary ranges."""
        account.make_network()

        for cidr in ("10.0.8.0/24", "10.4.1.0/24"):
            with refused(BadRequest, "conflicts with existing subnetwork 'byoc'"):
                subnetwork(account, "second", cidr)

    def test_a_subnetwork_needs_its_network(self, account: Customer) -> None:
        """What does not exist is named."""
        with refused(NotFound, f"projects/{PROJECT}/global/networks/byoc"):
            subnetwork(account, "byoc", "10.0.0.0/20")

    def test_a_router_has_nat_with_reserved_addresses(self, account: Customer) -> None:
        """The addresses are in use by the router, which keeps them from being released."""
        account.make_network()
        addresses, routers = account.rest(compute_v1.AddressesClient), account.rest(compute_v1.RoutersClient)
        wanted = compute_v1.Address(name="nat-1", labels={"byoc": "managed"})
        account.done(addresses.insert_unary(project=PROJECT, region=REGION, address_resource=wanted))
        router = compute_v1.Router(name="byoc", network="global/networks/byoc")
        account.done(routers.insert_unary(project=PROJECT, region=REGION, router_resource=router))
        nat = {
            "name": "nat",
            "nat_ip_allocate_option": "MANUAL_ONLY",
            "nat_ips": [f"regions/{REGION}/addresses/nat-1"],
            "source_subnetwork_ip_ranges_to_nat": "ALL_SUBNETWORKS_ALL_IP_RANGES",
        }

        patch = compute_v1.Router({"nats": [nat]})
        account.done(routers.patch_unary(project=PROJECT, region=REGION, router="byoc", router_resource=patch))

        address = addresses.get(project=PROJECT, region=REGION, address="nat-1")
        assert address.status == "IN_USE"
        assert [user.rpartition("/")[2] for user in address.users] == ["byoc"]
        with refused(BadRequest, "already being used"):
            addresses.delete_unary(project=PROJECT, region=REGION, address="nat-1")
        status = routers.get_router_status(project=PROJECT, region=REGION, router="byoc")
        assert list(status.result.nat_status[0].user_allocated_nat_ips) == [address.address]

    def test_a_firewall_is_patched_only_from_what_it_is_now(self, account: Customer) -> None:
        """Its network cannot change; an equal patch changes nothing."""
        account.make_network()
        firewalls = account.rest(compute_v1.FirewallsClient)
        allowed = [compute_v1.Allowed(I_p_protocol="tcp", ports=["443"])]
        wanted = compute_v1.Firewall(name="byoc", network="global/networks/byoc", allowed=allowed)
        account.done(firewalls.insert_unary(project=PROJECT, firewall_resource=wanted))

        for ranges in (["10.0.0.0/8"], ["10.0.0.0/8"]):
            patch = compute_v1.Firewall(source_ranges=ranges)
            account.done(firewalls.patch_unary(project=PROJECT, firewall="byoc", firewall_resource=patch))

        found = firewalls.get(project=PROJECT, firewall="byoc")
        assert (list(found.source_ranges), found.direction) == (["10.0.0.0/8"], "INGRESS")
        assert account.names("compute", changed=True).count("firewalls.patch") == 1

    def test_need_a_permission_on_the_network_for_what_is_put_into_it(self, account: Customer) -> None:
        """A subnetwork changes the network's policy."""
        network(account)
        credentials = account.member("byoc-operate", "compute.subnetworks.create")
        client = account.rest(compute_v1.SubnetworksClient, credentials)
        wanted = compute_v1.Subnetwork(name="byoc", network="global/networks/byoc", ip_cidr_range="10.0.0.0/20")

        with refused(Forbidden, "'compute.networks.updatePolicy'", reason="IAM_PERMISSION_DENIED"):
            client.insert_unary(project=PROJECT, region=REGION, subnetwork_resource=wanted)


class TestOperations:
    """What a change has started."""

    def test_are_waited_for(self, account: Customer) -> None:
        """`wait` returns once the operation is done."""
        operation = network(account)

        done = account.rest(compute_v1.GlobalOperationsClient).wait(project=PROJECT, operation=operation.name)

        assert done.status.name == "DONE"

    def test_do_not_end_while_they_are_stuck(self, account: Customer) -> None:
        """Until the rule is removed."""
        fault = account.inject(kind=FaultKind.STUCK, operation="networks.insert")
        operation = network(account)

        stuck = account.done(operation)
        account.world.faults.remove(fault.id)

        assert stuck.status.name == "RUNNING"
        assert account.done(operation).status.name == "DONE"

    @pytest.mark.parametrize(
        ("kind", "code", "status"),
        [
            (FaultKind.CAPACITY, "ZONE_RESOURCE_POOL_EXHAUSTED", 503),
            (FaultKind.CRASH, "INTERNAL_ERROR", 500),
        ],
    )
    def test_tell_why_they_failed(self, account: Customer, kind: FaultKind, code: str, status: int) -> None:
        """And what they were to make is not there."""
        account.inject(kind=kind, operation="disks.insert", times=1)
        client = account.rest(compute_v1.DisksClient)

        wanted = compute_v1.Disk(name="data", size_gb=20)
        done = account.done(client.insert_unary(project=PROJECT, zone=ZONE, disk_resource=wanted))

        assert (done.error.errors[0].code, done.http_error_status_code) == (code, status)
        with refused(NotFound):
            client.get(project=PROJECT, zone=ZONE, disk="data")


class TestDisks:
    """Disks and their snapshots."""

    def test_are_found_by_their_labels(self, account: Customer) -> None:
        """In one zone, and in all of them at once."""
        disk(account)
        disk(account, "other", labels={"byoc": "other"})
        client = account.rest(compute_v1.DisksClient)
        wanted = "labels.byoc=managed"

        listed = client.list(compute_v1.ListDisksRequest(project=PROJECT, zone=ZONE, filter=wanted))
        aggregated = client.aggregated_list(compute_v1.AggregatedListDisksRequest(project=PROJECT, filter=wanted))

        assert [entry.name for entry in listed] == ["data"]
        assert {place: [entry.name for entry in found.disks] for place, found in aggregated if found.disks} == {
            f"zones/{ZONE}": ["data"]
        }

    def test_are_encrypted_with_a_key_that_compute_engine_may_use(self, account: Customer) -> None:
        """Without the grant to its service agent the disk is refused."""
        key = account.make_key("byoc", "compute")
        forbidden = account.make_key("other", "storage")

        made = disk(account, disk_encryption_key={"kms_key_name": key})
        with refused(BadRequest, "Cloud KMS error when using key"):
            disk(account, "second", disk_encryption_key={"kms_key_name": forbidden})

        assert made.disk_encryption_key.kms_key_name == f"{key}/cryptoKeyVersions/1"

    def test_grow_and_never_shrink(self, account: Customer) -> None:
        """Resizing down is refused."""
        disk(account)
        client = account.rest(compute_v1.DisksClient)

        for size in (30, 25):
            request = compute_v1.DisksResizeRequest(size_gb=size)
            if size == 30:
                resized = client.resize_unary(
                    project=PROJECT, zone=ZONE, disk="data", disks_resize_request_resource=request
                )
                account.done(resized)
            else:
                with refused(BadRequest, "must be larger"):
                    client.resize_unary(project=PROJECT, zone=ZONE, disk="data", disks_resize_request_resource=request)

        assert client.get(project=PROJECT, zone=ZONE, disk="data").size_gb == 30

    def test_snapshots_outlive_their_disk(self, slow_account: Customer) -> None:
        """A snapshot is made in its time where it was asked for, and stays when the disk goes."""
        disk(slow_account)
        disks, snapshots = slow_account.rest(compute_v1.DisksClient), slow_account.rest(compute_v1.SnapshotsClient)
        wanted = compute_v1.Snapshot(name="backup", labels={"byoc": "managed"}, storage_locations=[REGION])

        operation = disks.create_snapshot_unary(project=PROJECT, zone=ZONE, disk="data", snapshot_resource=wanted)
        creating = snapshots.get(project=PROJECT, snapshot="backup").status
        slow_account.done(operation)
        slow_account.done(disks.delete_unary(project=PROJECT, zone=ZONE, disk="data"))

        found = snapshots.get(project=PROJECT, snapshot="backup")
        assert (creating, found.status) == ("CREATING", "READY")
        assert (list(found.storage_locations), found.disk_size_gb) == ([REGION], 20)

    def test_a_snapshot_is_kept_in_the_multi_region_unless_told(self, account: Customer) -> None:
        """That is where the data would go without a storage location."""
        disk(account)
        wanted = compute_v1.Snapshot(name="backup")

        disks = account.rest(compute_v1.DisksClient)
        account.done(disks.create_snapshot_unary(project=PROJECT, zone=ZONE, disk="data", snapshot_resource=wanted))

        found = account.rest(compute_v1.SnapshotsClient).get(project=PROJECT, snapshot="backup")
        assert list(found.storage_locations) == ["eu"]

    def test_a_disk_is_restored_from_a_snapshot(self, account: Customer) -> None:
        """With at least the snapshot's size."""
        disk(account)
        disks = account.rest(compute_v1.DisksClient)
        wanted = compute_v1.Snapshot(name="backup")
        account.done(disks.create_snapshot_unary(project=PROJECT, zone=ZONE, disk="data", snapshot_resource=wanted))

        with refused(BadRequest, "cannot be smaller than the snapshot"):
            disk(account, "small", size_gb=10, source_snapshot="global/snapshots/backup")
        restored = disk(account, "restored", size_gb=40, source_snapshot="global/snapshots/backup")

        assert restored.source_snapshot.endswith(f"projects/{PROJECT}/global/snapshots/backup")

    def test_labels_change_only_from_what_they_are_now(self, account: Customer) -> None:
        """An old fingerprint is refused."""
        made = disk(account)
        client = account.rest(compute_v1.DisksClient)
        for number, expected in ((1, None), (2, PreconditionFailed)):
            request = compute_v1.ZoneSetLabelsRequest(
                labels={"byoc": f"v{number}"}, label_fingerprint=made.label_fingerprint
            )
            change = {"project": PROJECT, "zone": ZONE, "resource": "data", "zone_set_labels_request_resource": request}
            if expected is None:
                account.done(client.set_labels_unary(**change))
            else:
                with refused(expected, "fingerprint"):
                    client.set_labels_unary(**change)

        assert dict(client.get(project=PROJECT, zone=ZONE, disk="data").labels) == {"byoc": "v1"}

    def test_labels_have_a_permission_of_their_own(self, account: Customer) -> None:
        """Whoever may make a disk may not label it by that alone."""
        client = account.rest(compute_v1.DisksClient, account.member("byoc-operate", "compute.disks.create"))

        with refused(Forbidden, "'compute.disks.setLabels'"):
            client.insert_unary(
                project=PROJECT, zone=ZONE, disk_resource=compute_v1.Disk(name="data", labels={"byoc": "managed"})
            )


class TestOfferings:
    """What there is to order, and how much of it."""

    def test_a_region_has_zones_and_quotas(self, account: Customer) -> None:
        """With what is in use."""
        disk(account)

        found = account.rest(compute_v1.RegionsClient).get(project=PROJECT, region=REGION)

        assert [zone.rpartition("/")[2] for zone in found.zones] == list(ZONES)
        quotas = {quota.metric: (quota.limit, quota.usage) for quota in found.quotas}
        assert quotas["CPUS"] == (200.0, 0.0)
        assert quotas["DISKS_TOTAL_GB"][1] == 20.0

    def test_machine_types_have_their_real_sizes(self, account: Customer) -> None:
        """And those that do not exist are not found."""
        client = account.rest(compute_v1.MachineTypesClient)

        found = client.get(project=PROJECT, zone=ZONE, machine_type="n2-highmem-8")

        assert (found.guest_cpus, found.memory_mb) == (8, 65536)
        with refused(NotFound, "n2-highmem-7"):
            client.get(project=PROJECT, zone=ZONE, machine_type="n2-highmem-7")

    def test_a_quota_ends_what_exceeds_it(self, account: Customer) -> None:
        """The operation fails with the metric and its limit, and the network is not there."""
        account.google.compute.quotas.set_limit(PROJECT, "", "NETWORKS", 1)
        account.done(network(account))

        done = account.done(network(account, "second"))

        assert done.error.errors[0].code == "QUOTA_EXCEEDED"
        assert "'NETWORKS' exceeded.  Limit: 1" in done.error.errors[0].message
        listed = account.rest(compute_v1.NetworksClient).list(project=PROJECT)
        assert [entry.name for entry in listed] == ["byoc"]

    def test_regions_and_zones_have_to_exist(self, account: Customer) -> None:
        """The one that does not is named."""
        client = account.rest(compute_v1.DisksClient)

        with refused(BadRequest, "'europe-west4-z'. Unknown zone"):
            client.insert_unary(
                project=PROJECT, zone="europe-west4-z", disk_resource=compute_v1.Disk(name="data", size_gb=20)
            )

    def test_a_page_is_as_long_as_was_asked(self, account: Customer) -> None:
        """The next one begins where it ended."""
        request = compute_v1.ListRegionsRequest(project=PROJECT, max_results=5)

        pages = list(account.rest(compute_v1.RegionsClient).list(request).pages)

        assert [len(page.items) for page in pages] == [5, 5, 5, 4]

    def test_a_filter_that_cannot_be_read_is_refused(self, account: Customer) -> None:
        """Rather than ignored."""
        request = compute_v1.ListRegionsRequest(project=PROJECT, filter="name = a OR name = b")

        with refused(BadRequest, "Invalid list filter expression"):
            list(account.rest(compute_v1.RegionsClient).list(request))
