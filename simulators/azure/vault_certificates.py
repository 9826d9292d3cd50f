"""The certificates in key vaults: their keys never leave but as the secret that goes with a certificate."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from simulators.azure.refusals import Json, Refusal, conflict, invalid

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_PEM = serialization.Encoding.PEM
_CURVES: Mapping[str, type[ec.EllipticCurve]] = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1}


@dataclass
class Version:
    """One version: first a key, and a certificate once an authority's is merged."""

    id: str
    key: PrivateKey
    created: int
    chain: tuple[x509.Certificate, ...] = ()

    def secret(self) -> str:
        """Return key and chain in PEM."""
        private = self.key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return (private + b"".join(entry.public_bytes(_PEM) for entry in self.chain)).decode()


@dataclass
class Certificate:
    """One certificate with all of its versions."""

    name: str
    policy: Json
    tags: dict[str, str]
    versions: list[Version] = field(default_factory=list)
    csr: bytes = b""
    """DER of the last request; empty if there was none, or it was cancelled."""
    pending: bool = False
    """Whether the last request still has to be signed."""

    @property
    def current(self) -> Version:
        """The newest version that is whole, or the first one while it is not."""
        return next((version for version in reversed(self.versions) if version.chain), self.versions[0])


@dataclass
class Deleted:
    """A certificate in the days in which it can be recovered."""

    certificate: Certificate
    deleted: int
    until: int


class Certificates:
    """The certificates of every vault, keyed by the vault's name in lower case and then by theirs."""

    def __init__(self) -> None:
        self._certificates: dict[str, dict[str, Certificate]] = {}
        self._deleted: dict[str, dict[str, Deleted]] = {}

    def of(self, vault: str) -> list[Certificate]:
        """Return the certificates in a vault."""
        return list(self._certificates.get(vault.lower(), {}).values())

    def all(self) -> Iterator[tuple[str, Certificate]]:
        """Yield every certificate with the name of its vault."""
        for vault, found in self._certificates.items():
            yield from ((vault, certificate) for certificate in found.values())

    def get(self, vault: str, name: str) -> Certificate:
        """Return a certificate, or refuse."""
        found = self._certificates.get(vault.lower(), {}).get(name.lower())
        if found is None:
            raise Refusal(
                404,
                "CertificateNotFound",
                f"A certificate with (name/id) {name} was not found in this key vault. If you recently deleted this"
                " certificate you may be able to recover it using the correct recovery command.",
            )
        return found

    def operation(self, vault: str, name: str) -> Certificate:
        """Return a certificate with its last operation, which may be completed, or refuse."""
        found = self._certificates.get(vault.lower(), {}).get(name.lower())
        if found is None or not found.csr:
            raise Refusal(404, "PendingCertificateNotFound", f"Pending certificate not found: {name}")
        return found

    def create(self, vault: str, name: str, policy: Json, tags: dict[str, str], now: int) -> Certificate:
        """Make a new version's key and its request; somebody outside has to sign it."""
        if (policy.get("issuer") or {}).get("name", "").lower() != "unknown":
            raise invalid("BadParameter", "Only the issuer 'Unknown' is simulated: an authority outside the vault.")
        if name.lower() in self._deleted.get(vault.lower(), {}):
            raise conflict(
                "Conflict",
                f"Certificate {name} is currently in a deleted but recoverable state, and its name cannot be reused;"
                " in this state, the certificate can only be recovered or purged.",
            )
        found = self._certificates.setdefault(vault.lower(), {}).get(name.lower())
        if found is not None and found.pending:
            message = f"There is a pending operation for the certificate {name}; it has to be completed or deleted."
            raise conflict("Conflict", message)
        if found is None:
            found = self._certificates[vault.lower()][name.lower()] = Certificate(name, policy, tags)
        found.policy, found.tags = policy, tags
        key = _new_key(policy.get("key_props") or {})
        found.versions.append(Version(secrets.token_hex(16), key, now))
        found.csr, found.pending = _request(policy.get("x509_props") or {}, key), True
        return found

    def cancel(self, vault: str, name: str) -> Certificate:
        """Delete the operation that is pending, and the version that it would have completed."""
        found = self.operation(vault, name)
        if found.pending:
            found.versions.pop()
        found.csr, found.pending = b"", False
        if not found.versions:
            del self._certificates[vault.lower()][name.lower()]
        return found

    def merge(self, vault: str, name: str, chain: list[str]) -> Certificate:
        """Complete the version that is pending with what an authority has signed."""
        found = self.operation(vault, name)
        if not found.pending:
            raise Refusal(404, "PendingCertificateNotFound", f"Pending certificate not found: {name}")
        try:
            signed = tuple(x509.load_der_x509_certificate(base64.b64decode(entry)) for entry in chain)
        except ValueError as error:
            raise invalid("BadParameter", "Property x5c has invalid value: it is no X.509 certificate.") from error
        version = found.versions[-1]
        if not signed or _public(signed[0].public_key()) != _public(version.key.public_key()):
            raise invalid(
                "BadParameter",
                "The public key of the end-entity certificate in the specified X.509 certificate content does not match"
                " the public part of the specified private key. Please check if certificate is valid.",
            )
        version.chain = signed
        found.pending = False
        return found

    def delete(self, vault: str, name: str, now: int, until: int) -> Deleted:
        """Put a certificate away."""
        found = self.get(vault, name)
        del self._certificates[vault.lower()][name.lower()]
        away = Deleted(found, now, until)
        self._deleted.setdefault(vault.lower(), {})[name.lower()] = away
        return away

    def deleted(self, vault: str, name: str) -> Deleted:
        """Return a certificate that was deleted, or refuse."""
        found = self._deleted.get(vault.lower(), {}).get(name.lower())
        if found is None:
            raise Refusal(404, "CertificateNotFound", f"Deleted Certificate not found: {name}")
        return found

    def purge(self, vault: str, name: str) -> None:
        """Let a deleted certificate be gone for good."""
        self.deleted(vault, name)
        del self._deleted[vault.lower()][name.lower()]

    def recover(self, vault: str, name: str) -> Certificate:
        """Bring a deleted certificate back."""
        found = self.deleted(vault, name).certificate
        self.purge(vault, name)
        self._certificates.setdefault(vault.lower(), {})[name.lower()] = found
        return found

    def forget_vaults_but(self, existing: set[str]) -> None:
        """Forget what was in vaults that are gone for good; `existing` are names in lower case."""
        for memory in (self._certificates, self._deleted):
            for vault in [vault for vault in memory if vault not in existing]:
                del memory[vault]

    def forget(self) -> None:
        """Forget every certificate."""
        self._certificates.clear()
        self._deleted.clear()


def covers(certificate: x509.Certificate, hostname: str) -> bool:
    """Return whether clients accept a certificate for a name."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    wildcard = f"*.{hostname.lower().partition('.')[2]}"
    return any(name.lower() in (hostname.lower(), wildcard) for name in names.get_values_for_type(x509.DNSName))


def _new_key(properties: Json) -> PrivateKey:
    if str(properties.get("kty", "RSA")).startswith("EC"):
        return ec.generate_private_key(_CURVES[properties.get("crv") or "P-256"]())
    return rsa.generate_private_key(public_exponent=65537, key_size=int(properties.get("key_size") or 2048))


def _request(properties: Json, key: PrivateKey) -> bytes:
    """Return the DER of a signing request for what a policy asks for."""
    names = [str(name) for name in (properties.get("sans") or {}).get("dns_names") or ()]
    subject = str(properties.get("subject") or "").removeprefix("CN=") or (names[0] if names else "")
    if not subject:
        raise invalid("BadParameter", "A certificate needs a subject or a subject alternative name.")
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if len(subject) <= 64 else [])
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(map(x509.DNSName, names)), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _public(key: Any) -> bytes:  # noqa: ANN401 - any kind of public key
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded
