"""Workflow ids: the one place that knows their format."""

from __future__ import annotations

from domain.operation import OperationKind


def account_id(account: str) -> str:
    """Return the id of an account's workflow, `account/acme-prod`."""
    return f"account/{account}"


def deployment_id(deployment: str) -> str:
    """Return the id of a deployment's workflow, `deployment/acme-prod`."""
    return f"deployment/{deployment}"


def operation_id(kind: OperationKind, number: int) -> str:
    """Return an operation's id within its deployment, `provision/1`."""
    return f"{kind}/{number}"


def operation_workflow_id(deployment: str, operation: str) -> str:
    """Return the id of an operation's workflow, `deployment/acme-prod/provision/1`."""
    return f"{deployment_id(deployment)}/{operation}"


def comparison_id(deployment: str, plan: str, step: str) -> str:
    """Return the id of the comparison of one step, `compare/acme-prod/3f9c1a2b/create_network`.

    Args:
        deployment: The deployment's name.
        plan: What tells one plan's comparisons from another's.
        step: The step's name.
    """
    return f"compare/{deployment}/{plan}/{step}"


def deployment_of(workflow_id: str) -> str:
    """Return the deployment's name from the id of its workflow or of one of its operations."""
    return workflow_id.split("/")[1]


def rollout_id(rollout: str) -> str:
    """Return the id of a rollout's workflow, `rollout/4.12.1`."""
    return f"rollout/{rollout}"


RELEASES = "releases"
"""Id of the one workflow that holds published releases."""
