"""Clients for the customers' accounts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr
from temporalio.testing import ActivityEnvironment

from activities.aws.connection import RENEW_BEFORE, AwsConnections
from activities.aws.identity import control_role_arn
from activities.aws.settings import AwsSettings
from domain.account import access_to
from domain.clouds import Purpose
from simulators.control_client import ControlClient
from simulators.endpoints import Endpoints
from simulators.faults import FaultKind
from tests.activities.aws.conftest import Account


class Clock:
    """Says what time it is, as the test wants it."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def __call__(self) -> datetime:
        """Return the time that the test has set."""
        return self.time


@pytest.fixture
def settings(endpoints: Endpoints, control: ControlClient) -> AwsSettings:
    """Settings that lead to the simulators with the vendor's key."""
    vendor = control.vendor()
    return AwsSettings(
        principal=vendor.principal,
        endpoint_url=endpoints.aws_url,
        access_key_id=vendor.access_key_id,
        secret_access_key=SecretStr(vendor.secret_access_key),
    )


def assumptions(account: Account) -> int:
    """Return how often a role of the account was assumed since it was made."""
    return len(account.control.journal(after=account.since, operation="AssumeRole"))


def test_each_purpose_is_another_role(account: Account, settings: AwsSettings) -> None:
    """The caller is the role of the purpose, in a session that names the deployment."""
    connections = AwsConnections(settings)

    for purpose in Purpose:
        arn = connections.client("sts", account.site, purpose).get_caller_identity()["Arn"]
        assert f":assumed-role/byoc-{account.site.account}-{purpose}/byoc-{account.site.deployment}-{purpose}" in arn


def test_a_role_is_assumed_once_and_its_clients_are_shared(account: Account, settings: AwsSettings) -> None:
    """Many threads that ask at once get the same client, made with one assumed role."""
    connections = AwsConnections(settings)

    with ThreadPoolExecutor(8) as threads:
        clients = list(threads.map(lambda _: connections.client("ec2", account.site, Purpose.OBSERVE), range(16)))

    assert len({id(client) for client in clients}) == 1
    assert assumptions(account) == 1


def test_a_cancelled_activity_calls_nobody(account: Account) -> None:
    """It ends before its next call, and is not torn out of one."""
    account.attempt_cancelled("create_roles", account.site)


def test_a_role_is_assumed_again_before_its_credentials_end(account: Account, settings: AwsSettings) -> None:
    """Five minutes before the end of the session, and not earlier."""
    clock = Clock()
    connections = AwsConnections(settings, now=clock)
    first = connections.client("ec2", account.site, Purpose.OBSERVE)

    clock.time += settings.session_duration - RENEW_BEFORE - timedelta(minutes=1)
    assert connections.client("ec2", account.site, Purpose.OBSERVE) is first
    clock.time += timedelta(minutes=2)
    assert connections.client("ec2", account.site, Purpose.OBSERVE) is not first

    assert assumptions(account) == 2


def test_credentials_that_are_refused_are_not_used_again(account: Account, settings: AwsSettings) -> None:
    """A session that AWS has ended is forgotten: the next try assumes the role anew."""
    connections = AwsConnections(settings)
    account.inject(FaultKind.ERROR, "DescribeVpcs", times=1, code="RequestExpired")

    with pytest.raises(ClientError, match="RequestExpired"):
        connections.client("ec2", account.site, Purpose.OBSERVE).describe_vpcs()
    connections.client("ec2", account.site, Purpose.OBSERVE).describe_vpcs()

    assert assumptions(account) == 2


def test_another_external_id_does_not_open_the_account(account: Account, settings: AwsSettings) -> None:
    """Whoever talks us into naming another customer's account does not get in, not even through the cache."""
    connections = AwsConnections(settings)
    connections.client("ec2", account.site, Purpose.OBSERVE)
    stranger = account.site.model_copy(update={"external_id": "guessed"})

    with pytest.raises(ClientError, match="AccessDenied"):
        connections.client("ec2", stranger, Purpose.OBSERVE)


def test_every_call_says_on_whose_behalf_it_is_made(account: Account, settings: AwsSettings) -> None:
    """Two deployments' calls are told apart, in the journal as in CloudTrail."""
    connections = AwsConnections(settings)
    other = account.site.model_copy(update={"deployment": "other", "operation": "deployment/other/retire/2"})

    def look(site: Any) -> None:
        connections.client("ec2", site, Purpose.OBSERVE).describe_vpcs()

    ActivityEnvironment().run(look, account.site)
    look(other)

    first, second = account.control.journal(after=account.since, operation="DescribeVpcs")
    assert f"deployment/{account.site.deployment} operation/{account.site.operation} step/unknown" in first.agent
    assert first.agent.startswith("byoc/")
    assert "deployment/other operation/deployment/other/retire/2 step/-" in second.agent


def test_the_sdk_does_not_retry(account: Account, settings: AwsSettings) -> None:
    """A throttled call is made once: how often it is tried again is Temporal's business."""
    client = AwsConnections(settings).client("ec2", account.site, Purpose.OBSERVE)
    account.inject(FaultKind.THROTTLE, "DescribeVpcs")

    with pytest.raises(ClientError):
        client.describe_vpcs()

    assert len(account.control.journal(after=account.since, operation="DescribeVpcs")) == 1


def test_an_account_is_reached_without_a_deployment(account: Account, settings: AwsSettings) -> None:
    """The look at an account as such uses the default region, unless another is named."""
    connections = AwsConnections(settings)
    access = access_to(account.site)

    assert connections.client("ec2", access, Purpose.OBSERVE).meta.region_name == settings.default_region
    assert connections.client("ec2", access, Purpose.OBSERVE, region="eu-west-1").meta.region_name == "eu-west-1"
    assert control_role_arn(access, Purpose.OBSERVE) == control_role_arn(account.site, Purpose.OBSERVE)
