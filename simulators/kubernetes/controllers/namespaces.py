"""What every namespace has without anyone asking: a default service account and the cluster's CA certificate."""

from __future__ import annotations

from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.controller import Controller
from simulators.kubernetes.objects import is_terminating, name_of


class NamespaceController(Controller):
    """Keeps the service account `default` and the ConfigMap `kube-root-ca.crt` in each namespace."""

    name = "serviceaccount-controller"
    watches = (kinds.NAMESPACES, kinds.SERVICE_ACCOUNTS, kinds.CONFIG_MAPS)

    def reconcile(self) -> None:
        """Create what is missing."""
        for namespace in self.store.list(kinds.NAMESPACES):
            if is_terminating(namespace):
                continue
            home = name_of(namespace)
            if self.store.get(kinds.SERVICE_ACCOUNTS, home, "default") is None:
                self.store.create(kinds.SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, home)
            if self.store.get(kinds.CONFIG_MAPS, home, "kube-root-ca.crt") is None:
                content = {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": ""}}
                self.store.create(kinds.CONFIG_MAPS, content, home)
