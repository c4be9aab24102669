"""Create, read, list and cancel batches: the use-cases behind every dialect."""

from __future__ import annotations

import re
from collections.abc import Mapping

from uuid_utils.compat import uuid7

from orchestrator.domain.batch import DEFAULT_WINDOW, Batch, BatchStatus, window_seconds
from orchestrator.domain.errors import InvalidField, NotFound, WrongState
from orchestrator.domain.texts import check_metadata
from orchestrator.intake.files import BATCH, Files
from orchestrator.ports.batches import BatchPage, BatchStore, NewBatch
from orchestrator.telemetry import acting, tracing
from orchestrator.tenants.rates import TenantLimits

_ID = re.compile(r"batch_[0-9a-f]{32}")


class Batches:
    """A tenant's batches. Every id that is not one of the tenant's own raises `NotFound`, whatever the reason."""

    def __init__(self, store: BatchStore, files: Files, limits: TenantLimits, *, priority: int) -> None:
        self._store = store
        self._files = files
        self._limits = limits
        self._priority = priority

    async def create(
        self,
        tenant: str,
        *,
        dialect: str,
        endpoint: str,
        input_file: str,
        window: str | None,
        metadata: Mapping[str, str] | None,
        delete_input: bool,
        output_lifetime_s: float | None,
    ) -> Batch:
        """Insert a batch of the requests in a file, to be validated; None for `window` is a day."""
        window = DEFAULT_WINDOW if window is None else window
        window_s = window_seconds(window)
        check_metadata(metadata or {})
        try:
            file = await self._files.get(tenant, input_file)
        except NotFound as error:
            raise InvalidField(f"names a file that is not there: {error.message}", param="input_file_id") from None
        if file.purpose != BATCH:
            raise InvalidField(f"must be a file for the purpose {BATCH}, not {file.purpose}", param="input_file_id")
        priority = (await self._limits.of(tenant)).urgency(None, self._priority)
        return await self._store.add_batch(
            NewBatch(
                id=f"batch_{uuid7().hex}",
                tenant=tenant,
                dialect=dialect,
                endpoint=endpoint,
                completion_window=window,
                window_s=window_s,
                input_file=input_file,
                delete_input=delete_input,
                output_lifetime_s=output_lifetime_s,
                metadata=metadata,
                made_by=acting.current().key,
                trace=tracing.kept(),
            ),
            priority=priority,
        )

    async def get(self, tenant: str, batch_id: str) -> Batch:
        """The batch as it stands."""
        return _found(await self._store.get_batch(batch_id, tenant) if _ID.fullmatch(batch_id) else None, batch_id)

    async def list(self, tenant: str, *, limit: int, after: str | None = None) -> BatchPage:
        """A page of batches, newest first, starting behind the batch `after`, which may be gone by now."""
        if after is not None and not _ID.fullmatch(after):
            raise _not_found(after, param="after")
        return await self._store.list_batches(tenant, limit=limit, after=after)

    async def cancel(self, tenant: str, batch_id: str) -> Batch:
        """Ask for the end of a batch. Raises `WrongState` once it is past cancelling."""
        before = await self.get(tenant, batch_id)
        after = _found(await self._store.cancel_batch(before.id, tenant), batch_id)
        if after.status not in (BatchStatus.CANCELLING, BatchStatus.CANCELLED):
            raise WrongState(f"the batch is {after.status}; only one that is validating or in progress is cancelled")
        return after


def _found(batch: Batch | None, batch_id: str) -> Batch:
    if batch is None:
        raise _not_found(batch_id)
    return batch


def _not_found(batch_id: str, param: str | None = None) -> NotFound:
    return NotFound(f"no batch with the id {batch_id[:80]!r}", param=param)
