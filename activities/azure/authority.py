"""The authority that signs certificates, by ACME (RFC 8555): it believes whoever puts a record into a domain's zone.

Nothing of an order is kept between attempts of an activity: whoever comes again orders anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import requests
from acme import challenges, client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from josepy import ES256, JWKEC, JWKRSA, RS256

from activities.azure.settings import AzureSettings
from activities.calling import agent, place_of_caller
from activities.cloud_call import CloudCall
from activities.failures import failure
from domain.audit import Resource
from domain.failure import FailureClass, FailureDetail

Publish = Callable[[str, str], None]
"""Puts a TXT record into the public DNS, given its full name and its value, and returns once it can be seen."""
_ERROR = "urn:ietf:params:acme:error:"
_CLASSES = {
    "rateLimited": FailureClass.THROTTLE,
    "serverInternal": FailureClass.TRANSIENT,
    "badNonce": FailureClass.TRANSIENT,
    "caa": FailureClass.POLICY,
}
"""Keyed by what the protocol calls an error; anything else is a defect of ours, or of the account's key."""


class NotProvenError(Exception):
    """The authority has not seen the record: the domain does not lead to the zone, or does not yet."""


class Authority:
    """Signs the requests of one worker's deployments, as the vendor's account.

    Making the account agrees to the authority's terms of service in the vendor's name.
    """

    def __init__(self, settings: AzureSettings) -> None:
        self._settings = settings

    def sign(self, domain: str, csr: bytes, publish: Publish) -> Sequence[bytes]:
        """Return the chain of a certificate for a signing request (DER), each in DER, the certificate itself first.

        Raises:
            NotProvenError: Asked, the authority did not find the record that was published.
            ApplicationError: THROTTLE, TRANSIENT, POLICY (the domain's CAA records forbid it), CONFIG.
        """
        call = CloudCall("acme", "order", changes=True, resources=(Resource(kind="acme:certificates", id=domain),))
        begun = call.begin()
        with _failures_named(domain):
            chain = self._signed(x509.load_der_x509_csr(csr).public_bytes(Encoding.PEM), publish)
        begun.answered()
        return [entry.public_bytes(Encoding.DER) for entry in chain]

    def _signed(self, csr: bytes, publish: Publish) -> Sequence[x509.Certificate]:
        authority, key = self._connected()
        order = authority.new_order(csr)
        for authorization in order.authorizations:
            if authorization.body.status == messages.STATUS_VALID:
                continue
            challenge = _dns_challenge(authorization)
            response, validation = challenge.response_and_validation(key)
            publish(challenge.chall.validation_domain_name(authorization.body.identifier.value), validation)
            authority.answer_challenge(challenge, response)
        # The library compares with the local time, without a zone.
        deadline = datetime.now() + self._settings.issuance_wait  # noqa: DTZ005
        try:
            order = authority.poll_authorizations(order, deadline)
        except errors.ValidationError as error:
            raise NotProvenError(_reason(error)) from error
        order = authority.finalize_order(order, deadline)
        return x509.load_pem_x509_certificates(order.fullchain_pem.encode())

    def _connected(self) -> tuple[client.ClientV2, JWKRSA | JWKEC]:
        """Return a client that has the vendor's account, which is made at its first use."""
        key, algorithm = _account_key(Path(self._settings.acme_account_key_file))
        network = client.ClientNetwork(
            key,
            alg=algorithm,
            # requests takes a file of certificates where the library speaks of a switch.
            verify_ssl=self._settings.acme_ca_file or True,
            user_agent=agent(place_of_caller.get()),
            timeout=int(self._settings.timeout.total_seconds()),
        )
        directory = client.ClientV2.get_directory(self._settings.acme_directory_url, network)
        authority = client.ClientV2(directory, network)
        wanted = messages.NewRegistration.from_data(terms_of_service_agreed=True)
        try:
            authority.new_account(wanted)
        except errors.ConflictError as known:
            network.account = messages.RegistrationResource(uri=known.location, body=messages.Registration())
        return authority, key


def _account_key(file: Path) -> tuple[JWKRSA | JWKEC, Any]:
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        message = f"the control plane has no key of its account at the certificates' authority in {str(file)!r}"
        detail = FailureDetail(failure=FailureClass.CONFIG, message=message, code=type(error).__name__)
        raise failure(detail) from error
    if isinstance(key, rsa.RSAPrivateKey):
        return JWKRSA(key=key), RS256
    assert isinstance(key, ec.EllipticCurvePrivateKey), f"{file} holds a key of a kind that the protocol does not know"
    return JWKEC(key=key), ES256


def _dns_challenge(authorization: messages.AuthorizationResource) -> messages.ChallengeBody:
    return next(each for each in authorization.body.challenges if isinstance(each.chall, challenges.DNS01))


def _reason(error: errors.ValidationError) -> str:
    """Return what the authority says it saw instead."""
    problems = [each.error for failed in error.failed_authzrs for each in failed.body.challenges if each.error]
    return "; ".join(str(problem.detail) for problem in problems) or "the record was not found"


@contextmanager
def _failures_named(domain: str) -> Iterator[None]:
    """Let any error of the protocol leave the block as the domain's failure."""
    try:
        yield
    except messages.Error as error:
        code = str(error.typ or "").removeprefix(_ERROR)
        found = _CLASSES.get(code, FailureClass.CONFIG)
        raise _failed(found, f"answers {code}: {error.detail}", domain, code) from error
    except errors.IssuanceError as error:
        code = str(error.error.typ or "").removeprefix(_ERROR)
        raise _failed(_CLASSES.get(code, FailureClass.TRANSIENT), str(error), domain, code) from error
    except (errors.Error, requests.RequestException) as error:
        raise _failed(FailureClass.TRANSIENT, f"did not answer: {error!r}", domain, type(error).__name__) from error


def _failed(found: FailureClass, what: str, domain: str, code: str) -> Exception:
    message = f"The authority for the certificate of {domain} {what}"
    return failure(FailureDetail(failure=found, message=message, code=code, resource=domain))
