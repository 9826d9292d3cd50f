"""What the provider of the Secrets Store driver reads from Key Vault: certificates, as secrets, in somebody's name."""

from __future__ import annotations

from urllib.parse import urlsplit

from cryptography import x509

from simulators.azure.api import Check
from simulators.azure.cloud import Cloud
from simulators.azure.identities import Principal
from simulators.azure.refusals import Refusal
from simulators.azure.vault_certificates import Certificates
from simulators.azure.vaults import VAULT, Vaults

_ACTION = f"{VAULT}/secrets/getSecret/action"


class SecretReader:
    """Reads certificates of vaults."""

    def __init__(self, cloud: Cloud, vaults: Vaults, certificates: Certificates) -> None:
        self._cloud = cloud
        self._vaults = vaults
        self._certificates = certificates

    def names_in(self, principal: Principal, url: str) -> tuple[str, ...]:
        """Return the names that the certificate covers whose URL, as a secret or as a certificate, this is.

        Raises Refusal for what does not exist, is not issued, or may not be read.
        """
        parts = urlsplit(url)
        steps = parts.path.strip("/").split("/")
        if len(steps) < 2:
            raise Refusal(400, "BadParameter", f"uri path contains too few segments: {parts.path}")
        vault = self._vaults.named(parts.netloc.partition(".")[0])
        if vault is None:
            raise Refusal(404, "VaultNotFound", f"dial tcp: lookup {parts.netloc}: no such host")
        check = Check(_ACTION, f"{vault.id.text}/secrets/{steps[1]}", data=True)
        if not self._cloud.access.require(principal, check, vault.id.text.split("/")[2], "aks"):
            message = (
                "Caller is not authorized to perform action on resource. Caller:"
                f" appid={principal.client_id};oid={principal.object_id} Action: '{check.action}' Resource:"
                f" '{check.scope.lower()}'"
            )
            raise Refusal(403, "Forbidden", message)
        certificate = self._certificates.get(vault.id.name, steps[1])
        wanted = certificate.current
        if len(steps) > 2:
            wanted = next((version for version in certificate.versions if version.id == steps[2]), wanted)
        if not wanted.chain:
            raise Refusal(403, "Forbidden", "Operation get is not allowed on a disabled secret.")
        extension = wanted.chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return tuple(extension.value.get_values_for_type(x509.DNSName))
