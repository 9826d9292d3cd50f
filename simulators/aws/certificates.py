"""ACM: certificates that are issued once their validation records can be found, and not deleted while in use."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

import functools
import hashlib
import json
from typing import Any

from ministack.core.responses import error_response_json, json_response
from ministack.services import acm, alb

from simulators.aws import scope
from simulators.aws.context import report_no_effect
from simulators.aws.durations import Durations
from simulators.aws.names import public_records
from simulators.aws.scope import Scope
from simulators.aws.work import Work
from simulators.clock import Clock

_PENDING = "PENDING_VALIDATION"
_VALIDITY = 395 * 86_400.0
"""Seconds: thirteen months."""


class Certificates:
    """Stands between ministack's ACM and its callers."""

    def __init__(self, work: Work, clock: Clock, durations: Durations) -> None:
        self._work = work
        self._clock = clock
        self._durations = durations
        self._tokens: dict[tuple[Scope, str], tuple[str, str]] = {}
        """What was asked for and the ARN, keyed by idempotency token."""
        self._being_issued: set[str] = set()
        self._ministack = acm.handle_request

    async def handle(
        self, method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
    ) -> object:
        """Answer one authorized request."""
        self._work.settle()
        self.validate_all()
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        parameters = json.loads(body or b"{}")
        match operation:
            case "RequestCertificate":
                return self._request(parameters)
            case "DescribeCertificate":
                return self._describe(parameters)
            case "DeleteCertificate" if users := users_of(parameters.get("CertificateArn", "")):
                message = f"Certificate {parameters['CertificateArn']} in account {users[0].split(':')[4]} is in use."
                return error_response_json("ResourceInUseException", message, 400)
        return await self._ministack(method, path, headers, body, query)

    def _request(self, parameters: dict[str, Any]) -> object:
        here, token = scope.current(), parameters.get("IdempotencyToken")
        asked = json.dumps(parameters, sort_keys=True)
        if token and (here, token) in self._tokens:
            first_asked, arn = self._tokens[here, token]
            if arn in acm._certificates and first_asked == asked:
                report_no_effect()
                return json_response({"CertificateArn": arn})
        reply = acm._request_certificate(parameters)
        if reply[0] != 200:
            return reply
        arn = json.loads(reply[2])["CertificateArn"]
        certificate = acm._certificates[arn]
        certificate["Status"] = _PENDING
        for member in ("IssuedAt", "NotBefore", "NotAfter"):
            certificate.pop(member, None)
        certificate["CreatedAt"] = self._clock.time()
        certificate["DomainValidationOptions"] = [
            _validation(here, name) for name in certificate["SubjectAlternativeNames"]
        ]
        if token:
            self._tokens[here, token] = (asked, arn)
        return reply

    def _describe(self, parameters: dict[str, Any]) -> object:
        certificate = acm._get_local_certificate(parameters.get("CertificateArn", ""))
        if certificate is None:
            return acm._certificate_not_found(parameters.get("CertificateArn", ""))
        shape = acm._cert_shape(certificate)
        if certificate["Status"] == _PENDING:
            for member in ("IssuedAt", "NotBefore", "NotAfter"):
                shape.pop(member, None)
        shape["InUseBy"] = users_of(certificate["CertificateArn"])
        return json_response({"Certificate": shape})

    def validate_all(self) -> None:
        """Start issuing every certificate of which all validation records are published."""
        for (account, region, arn), certificate in list(acm._certificates._data.items()):
            if certificate["Status"] != _PENDING or arn in self._being_issued:
                continue
            if all(_is_published(option["ResourceRecord"]) for option in certificate["DomainValidationOptions"]):
                self._being_issued.add(arn)
                with scope.inside(Scope(account, region)):
                    self._work.start(self._durations.certificate, functools.partial(self._issue, certificate))

    def _issue(self, certificate: dict[str, Any]) -> None:
        self._being_issued.discard(certificate["CertificateArn"])
        now = self._clock.time()
        certificate.update(Status="ISSUED", IssuedAt=now, NotBefore=now, NotAfter=now + _VALIDITY)
        for option in certificate["DomainValidationOptions"]:
            option["ValidationStatus"] = "SUCCESS"

    def forget(self) -> None:
        """Forget every token."""
        self._tokens.clear()
        self._being_issued.clear()


def users_of(arn: str) -> list[str]:
    """Return the ARNs of the load balancers that present a certificate."""
    users = (
        listener["LoadBalancerArn"]
        for listener in alb._listeners._data.values()
        if arn in listener.get("Certificates", ())
    )
    return list(dict.fromkeys(users))


def _validation(here: Scope, name: str) -> dict[str, Any]:
    """Return the record by which a domain is validated; it stays the same for one account and domain, as in ACM."""
    base = name.removeprefix("*.")
    digest = hashlib.sha256(f"{here.account}/{base}".encode()).hexdigest()
    record = {"Name": f"_{digest[:32]}.{base}.", "Type": "CNAME", "Value": f"_{digest[32:]}.acm-validations.aws."}
    return {
        "DomainName": name,
        "ValidationDomain": base,
        "ValidationMethod": "DNS",
        "ValidationStatus": _PENDING,
        "ResourceRecord": record,
    }


def _is_published(record: dict[str, str]) -> bool:
    return any(
        entry["Type"] == "CNAME"
        and record["Value"].rstrip(".") in [value.rstrip(".") for value in entry["ResourceRecords"]]
        for entry in public_records(record["Name"])
    )
