"""What every component stands on: namespace, priorities, service accounts, policies, the webhook's configuration."""

from __future__ import annotations

from activities.kubernetes.manifests import network
from activities.kubernetes.manifests.clouds import RESTRICTED, CloudManifests
from activities.kubernetes.manifests.desired import Desired
from activities.kubernetes.manifests.identity import RESTORE_ACCOUNT, RESTORE_NAMESPACE, SERVER_NAMESPACE, labels
from activities.kubernetes.objects import (
    CONFIG_MAP,
    NAMESPACE,
    PRIORITY_CLASS,
    SECRET,
    SERVICE_ACCOUNT,
    STORAGE_CLASS,
    Object,
    Reference,
)
from domain.deployment import AuthWebhook, Site
from domain.facts import Key, Roles
from domain.shape import Component

STORAGE_CLASS_NAME = "byoc-encrypted"
WEBHOOK_CONFIGURATION = "auth-webhook"
API_KEYS = "api-keys"
API_KEYS_FILE = "keys.json"
STORE_PRIORITY = "byoc-store"
SERVICES_PRIORITY = "byoc-services"
_PRIORITIES = {
    STORE_PRIORITY: (1_000_000, "The store, which everything else waits for."),
    SERVICES_PRIORITY: (100_000, "The server's components without state."),
}


def storage_class(site: Site, key: Key, cloud: CloudManifests) -> Object:
    """Return the default class of volumes: encrypted, made in the zone of the pod that asks, able to grow."""
    return {
        "apiVersion": STORAGE_CLASS.api_version,
        "kind": STORAGE_CLASS.name,
        "metadata": {
            "name": STORAGE_CLASS_NAME,
            "labels": labels(site, "storage"),
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        **cloud.storage(site, key),
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
        "reclaimPolicy": "Delete",
    }


def foundation(site: Site, webhook: AuthWebhook | None, cloud: CloudManifests, roles: Roles | None = None) -> Desired:
    """Return the server's namespace with all that its components find there, except their API keys."""
    configuration = Reference(CONFIG_MAP, WEBHOOK_CONFIGURATION, SERVER_NAMESPACE)
    always = (
        _namespace(site, SERVER_NAMESPACE, enforced=cloud.pod_security()),
        *(_priority_class(site, name, value, text) for name, (value, text) in _PRIORITIES.items()),
        *(
            _service_account(site, SERVER_NAMESPACE, name, cloud, roles)
            for name in (*Component, *cloud.service_accounts())
        ),
        *network.server_policies(site, cloud),
    )
    if webhook is None:
        return Desired(always, absent=(configuration, network.webhook_policy_reference()))
    return Desired((*always, network.webhook_policy(site, webhook), _webhook_configuration(site, webhook)))


def api_keys_secret(site: Site, document: str) -> Object:
    """Return the secret of the API keys; `document` is the base64 of the keys' JSON."""
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.name,
        "metadata": {"name": API_KEYS, "namespace": SERVER_NAMESPACE, "labels": labels(site, API_KEYS)},
        "type": "Opaque",
        "data": {API_KEYS_FILE: document},
    }


def restore_foundation(
    site: Site, cloud: CloudManifests, annotations: dict[str, str], roles: Roles | None = None
) -> Desired:
    """Return the namespace in which a restore is proven; `annotations` say which."""
    namespace = _namespace(site, RESTORE_NAMESPACE)
    namespace["metadata"]["annotations"] = annotations
    account = _service_account(site, RESTORE_NAMESPACE, RESTORE_ACCOUNT, cloud, roles)
    return Desired((namespace, account, *network.restore_policies(site, cloud)))


def _namespace(site: Site, name: str, *, enforced: str = RESTRICTED) -> Object:
    modes = {"enforce": enforced, "audit": RESTRICTED, "warn": RESTRICTED}
    security = {f"pod-security.kubernetes.io/{mode}": standard for mode, standard in modes.items()}
    return {
        "apiVersion": NAMESPACE.api_version,
        "kind": NAMESPACE.name,
        "metadata": {"name": name, "labels": {**labels(site, name), **security}},
    }


def _priority_class(site: Site, name: str, value: int, description: str) -> Object:
    return {
        "apiVersion": PRIORITY_CLASS.api_version,
        "kind": PRIORITY_CLASS.name,
        "metadata": {"name": name, "labels": labels(site, name)},
        "value": value,
        "globalDefault": False,
        "description": description,
    }


def _service_account(site: Site, namespace: str, name: str, cloud: CloudManifests, roles: Roles | None) -> Object:
    """Return an account that may nothing in the cluster; clouds know it by its namespace and name."""
    annotations = cloud.service_account_annotations(site, name, roles)
    return {
        "apiVersion": SERVICE_ACCOUNT.api_version,
        "kind": SERVICE_ACCOUNT.name,
        "metadata": {
            "name": str(name),
            "namespace": namespace,
            "labels": {**labels(site, name), **cloud.identity_labels(name)},
            **({"annotations": annotations} if annotations else {}),
        },
        "automountServiceAccountToken": False,
    }


def _webhook_configuration(site: Site, webhook: AuthWebhook) -> Object:
    return {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.name,
        "metadata": {
            "name": WEBHOOK_CONFIGURATION,
            "namespace": SERVER_NAMESPACE,
            "labels": labels(site, WEBHOOK_CONFIGURATION),
        },
        "data": {"url": webhook.url, "timeoutSeconds": str(webhook.timeout_seconds)},
    }
