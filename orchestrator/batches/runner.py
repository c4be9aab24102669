"""Moves batches on, one leased step at a time: taken in, submitted, watched, answered. Killed anywhere, it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID

from orchestrator.batches.lines import LineReader, item_error, split_lines
from orchestrator.batches.output import BatchOutput
from orchestrator.config import Settings
from orchestrator.domain import jsontext
from orchestrator.domain.batch import BROKEN, CANCELLED, EXPIRED, BatchStatus, ItemError, LineError, NewItem, Tally
from orchestrator.domain.errors import LeaseLost, LimitExceeded, NotFound, RequestError, Unavailable
from orchestrator.domain.job import public_id
from orchestrator.intake.files import Files
from orchestrator.intake.jobs import Jobs
from orchestrator.ports import ObjectStore
from orchestrator.ports.batches import BatchEnd, BatchStore, Hold, Lines
from orchestrator.telemetry import aside, logs, metrics

_log = logs.get("batches")

LEASE_S = 60.0
# Between two looks at a batch whose jobs are rendering, and after a step that could not be done.
WATCH_S = 1.0
RETRY_S = 5.0
_LONGEST_PAUSE_S = 30.0

_TAKE_LINES, _TAKE_BYTES = 500, 8 * 2**20
_SUBMIT = 64  # at once; as many as share a seat in one INSERT
_CANCEL = 8
_PRUNE = 5_000
_REMEMBER_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Later:
    """A request that cannot be submitted now, and when trying again may help, in seconds."""

    pause_s: float


class BatchRunner:
    """Works on whatever batch is due. Any number may run: every write is filtered on a lease.

    What nobody foresaw ends the one line that it befell, or parks the one batch, and the others go on at once.

    A job's id is fixed before it is submitted, so that submitting it again does nothing.
    """

    def __init__(
        self,
        settings: Settings,
        store: BatchStore,
        objects: ObjectStore,
        *,
        jobs: Jobs,
        files: Files,
        dialects: Mapping[str, Lines],
    ) -> None:
        self._settings = settings
        self._store = store
        self._objects = objects
        self._jobs = jobs
        self._files = files
        self._dialects = dialects
        self._output = BatchOutput(settings, store, objects, dialects)

    async def run_once(self) -> int:
        """A step of every batch that is due; how many. Raises `StoreUnavailable`."""
        steps = 0
        while (hold := await self._store.lease_batch(LEASE_S)) is not None:
            steps += 1
            await self._work(hold)
        return steps

    async def _work(self, hold: Hold) -> None:
        """One step, with the lease renewed meanwhile. What it could not do is tried again after a pause."""
        beating = asyncio.create_task(self._beat(hold))
        pause_s = RETRY_S
        try:
            pause_s = await self._step(hold)
        except LeaseLost as error:
            _log.info("batch_left", batch=hold.batch.id, reason=str(error))
            pause_s = 0
        except Unavailable as error:
            _log.warning("batch_waits", batch=hold.batch.id, status=hold.batch.status, error=str(error))
        except Exception as error:
            await self._store.park_batch(hold, aside.put("batches", error, batch=hold.batch.id))
        finally:
            beating.cancel()
            with suppress(Unavailable):  # then the lease runs out
                await self._store.release_batch(hold, pause_s=pause_s)

    async def _beat(self, hold: Hold) -> None:
        while True:
            await asyncio.sleep(LEASE_S / 4)
            try:
                await self._store.renew_batch(hold, LEASE_S)
            except Unavailable:
                continue
            except LeaseLost:
                return  # the step finds out by its next write

    async def _step(self, hold: Hold) -> float:
        """Move a batch on, by at most one status; the seconds for which nobody needs to look at it."""
        match hold.batch.status:
            case BatchStatus.VALIDATING if hold.overdue:
                await self._end(hold, BatchEnd(status=BatchStatus.EXPIRED))
            case BatchStatus.VALIDATING:
                await self._take_in(hold)
            case BatchStatus.IN_PROGRESS if hold.overdue:
                return await self._wind_up(hold, EXPIRED)
            case BatchStatus.IN_PROGRESS:
                return await self._advance(hold)
            case BatchStatus.CANCELLING if hold.batch.in_progress_at is None:
                await self._end(hold, BatchEnd(status=BatchStatus.CANCELLED))
            case BatchStatus.CANCELLING:
                return await self._wind_up(hold, CANCELLED)
            case _:
                await self._end(hold, await self._output.write(hold))
        return 0

    # ------------------------------------------------------------ validating

    async def _take_in(self, hold: Hold) -> None:
        """Read the file to its end, insert its requests; begin, or fail with what is wrong in it."""
        batch = hold.batch
        try:
            file = await self._files.get(batch.tenant, batch.input_file)
            total, errors = await self._read(hold, file.object.key)
        except NotFound as error:
            total, errors = 0, [LineError(code="file_not_found", message=error.message, param="input_file_id")]
        if errors:
            await self._end(hold, BatchEnd(status=BatchStatus.FAILED, errors=errors))
            return
        await self._store.begin_batch(hold, total=total)
        _log.info("batch_began", batch=batch.id, tenant=batch.tenant, requests=total)

    async def _read(self, hold: Hold, key: str) -> tuple[int, Sequence[LineError]]:
        lines = self._dialects[hold.batch.dialect]
        reader = LineReader(
            lines=split_lines(self._objects.stream(key), max_bytes=self._settings.max_request_bytes),
            endpoint=hold.batch.endpoint,
            check=lines.request,
            max_lines=self._settings.batches.max_lines,
        )
        while items := await asyncio.to_thread(reader.take, lines=_TAKE_LINES, size=_TAKE_BYTES):
            if not reader.errors:
                await self._store.add_items(hold, items)
        return reader.total, reader.finish()

    # ------------------------------------------------------------ in progress

    async def _advance(self, hold: Hold) -> float:
        """Note what has ended, and submit more while there is room ahead."""
        tally = await self._store.settle_items(hold)
        if not tally.waiting and not tally.live:
            await self._store.finalize_batch(hold)
            return 0
        room = self._settings.batches.ahead - tally.live
        if not tally.waiting or room <= 0:
            return WATCH_S
        items = await self._store.waiting_items(hold, limit=min(_SUBMIT, room))
        found = await asyncio.gather(*(self._submit(hold, item) for item in items))
        submitted = [item.line for item, result in zip(items, found, strict=True) if result is None]
        refused = {i.line: result for i, result in zip(items, found, strict=True) if isinstance(result, ItemError)}
        await self._store.record_items(hold, submitted, refused)
        pauses = [result.pause_s for result in found if isinstance(result, _Later)]
        return min(max(pauses), _LONGEST_PAUSE_S) if pauses else 0

    async def _submit(self, hold: Hold, item: NewItem) -> ItemError | _Later | None:
        """Submit one request: None when it has a job now, or had one before."""
        batch = hold.batch
        try:
            request = self._dialects[batch.dialect].request(jsontext.parse(item.body), item.job_id)
            # The line names the request here: a key of its own could only point at another line's job.
            request = replace(request, priority=self._settings.batches.priority, idempotency_key=None)
            await self._jobs.submit(batch.tenant, request, job_id=item.job_id)
        except LimitExceeded as error:
            return item_error(error) if error.retry_after_s is None else _Later(max(error.retry_after_s, WATCH_S))
        except RequestError as error:
            return item_error(error)
        except Unavailable:
            return _Later(RETRY_S)
        except Exception as error:
            aside.put("batch_lines", error, batch=batch.id, line=item.line)
            return BROKEN
        return None

    # ------------------------------------------------------------ expired, cancelled, done

    async def _wind_up(self, hold: Hold, reason: ItemError) -> float:
        """Drop what waits, cancel what lives, and once nothing does, answer."""
        live = await self._store.drop_items(hold, reason)
        await self._cancel(hold.batch.tenant, live)
        tally: Tally = await self._store.settle_items(hold)
        if tally.live:
            return WATCH_S
        if hold.batch.status is BatchStatus.IN_PROGRESS:
            await self._store.finalize_batch(hold)
        else:
            await self._end(hold, await self._output.write(hold))
        return 0

    async def _cancel(self, tenant: str, jobs: Sequence[UUID]) -> None:
        for first in range(0, len(jobs), _CANCEL):
            await asyncio.gather(*(self._cancel_one(tenant, job_id) for job_id in jobs[first : first + _CANCEL]))

    async def _cancel_one(self, tenant: str, job_id: UUID) -> None:
        with suppress(NotFound):  # deleted, and cancelled thereby
            await self._jobs.cancel(tenant, public_id(job_id))

    async def _end(self, hold: Hold, end: BatchEnd) -> None:
        await self._store.end_batch(hold, end)
        metrics.batches_ended.labels(end.status).inc()
        batch = hold.batch
        _log.info("batch_ended", batch=batch.id, tenant=batch.tenant, status=end.status, completed=end.completed)

    # ------------------------------------------------------------ afterwards

    async def prune(self) -> int:
        """Forget the requests of batches that ended an hour ago, and batches as old as videos get; how many batches.

        Who lost a lease unawares may have submitted after the end: such a job ends here.
        """
        done = 0
        for batch_id, tenant in (await self._store.ended_batches(older_than_s=_REMEMBER_S, limit=100)).items():
            with aside.unless_it_breaks("prune_batches", batch=batch_id):
                await self._cancel(tenant, await self._store.live_jobs(batch_id))
                while await self._store.prune_items(batch_id, limit=_PRUNE) == _PRUNE:
                    pass
                done += 1
        return done + await self._store.prune_batches(keep_s=self._settings.retention.jobs_s)
