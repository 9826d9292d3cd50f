"""The part of a deployment that keeps its HTTP API keys: their records; the keys themselves never travel."""

from __future__ import annotations

from abc import abstractmethod
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from domain.facts import ApiKeyRecord
from domain.operation import OperationKind
from domain.state import ApiKeyChange, ApiKeyChangeKind, OperationAccepted, OperationRequest
from workflows.offers import Offers

MAX_API_KEYS = 100


class ApiKeys(Offers):
    """Keeps the records of the API keys, and queues the operation that makes the server accept exactly those."""

    @workflow.update(description="Create, rotate or revoke an HTTP API key (by its hash; the key itself never travels)")
    def change_api_keys(self, change: ApiKeyChange) -> OperationAccepted:
        """Take the change over into the deployment's keys and queue the operation that applies it."""
        known = self._known(change.request_id)
        if known is None:
            later = self.must_be_approved(OperationKind.RECONFIGURE, change.approvals)
            if not later:
                self._change_keys(change)
            known = self._accept(
                OperationRequest(
                    request_id=change.request_id,
                    kind=OperationKind.RECONFIGURE,
                    actor=change.actor,
                    reason=f"{change.kind} API key {_key_named(change)}",
                    key_change=change if later else None,
                    approvals=change.approvals,
                )
            )
            self.void_stale_plans()
        return self._answer(known)

    @change_api_keys.validator
    def _check_key_change(self, change: ApiKeyChange) -> None:
        if self._known(change.request_id):
            return
        self._refuse_if_over()
        needs_record = change.kind is not ApiKeyChangeKind.REVOKE
        needs_key = change.kind is not ApiKeyChangeKind.CREATE
        if needs_record and change.record is None:
            raise ApplicationError(f"{change.kind} needs the new key's record", type="Invalid")
        asked = self._keys_asked_for()
        if needs_record and len(self._valid_keys()) + len(asked) >= MAX_API_KEYS:
            raise ApplicationError(f"there are {MAX_API_KEYS} valid keys already; revoke one", type="TooMany")
        if change.record and any(key.id == change.record.id for key in (*self.state.api_keys, *asked)):
            raise ApplicationError(f"there is a key {change.record.id} already", type="Exists")
        if needs_key and all(key.id != change.key_id for key in self._valid_keys()):
            raise ApplicationError(f"there is no valid key {change.key_id!r}", type="NotFound")

    def _change_keys(self, change: ApiKeyChange) -> None:
        self.state = self.state.model_copy(update={"api_keys": self._keys_after(change, workflow.now())})

    def _keys_after(self, change: ApiKeyChange, now: datetime) -> tuple[ApiKeyRecord, ...]:
        keys: list[ApiKeyRecord] = []
        for key in self.state.api_keys:
            if key.id == change.key_id and change.kind is ApiKeyChangeKind.REVOKE:
                keys.append(key.model_copy(update={"revoked_at": now}))
            elif key.id == change.key_id:
                ends = min(key.expires_at, now + timedelta(seconds=change.overlap_seconds))
                keys.append(key.model_copy(update={"expires_at": ends}))
            else:
                keys.append(key)
        if change.record is not None:
            keys.append(change.record)
        return tuple(keys)

    def _keys_asked_for(self) -> list[ApiKeyRecord]:
        """Return the keys that somebody has yet to approve."""
        changes = [queued.request.key_change for queued in self.state.queue]
        return [change.record for change in changes if change is not None and change.record is not None]

    def _valid_keys(self) -> tuple[ApiKeyRecord, ...]:
        return valid_keys(self.state.api_keys, workflow.now())

    @abstractmethod
    def _refuse_if_over(self) -> None: ...


def valid_keys(keys: tuple[ApiKeyRecord, ...], now: datetime) -> tuple[ApiKeyRecord, ...]:
    """Return the keys that are neither revoked nor expired."""
    return tuple(key for key in keys if key.revoked_at is None and key.expires_at > now)


def _key_named(change: ApiKeyChange) -> str:
    return change.key_id or (change.record.id if change.record else "")
