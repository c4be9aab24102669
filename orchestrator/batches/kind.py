"""A batch as a kind of rows: taken in, moved on, answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from orchestrator.batches.input import DEADLINE_S, InputLines
from orchestrator.batches.lines import Check, LineReader, parse_line, split_lines
from orchestrator.batches.output import BatchOutput
from orchestrator.config import Settings
from orchestrator.domain import jsontext
from orchestrator.domain.batch import Batch, BatchStatus, LineError
from orchestrator.domain.campaign import CampaignState, Input, Pass, PassKind, Row
from orchestrator.domain.errors import IntegrityError, LimitExceeded, NotFound
from orchestrator.domain.job import Artifact, NewJob
from orchestrator.intake.files import Files
from orchestrator.intake.jobs import Jobs
from orchestrator.kit.threads import Threads
from orchestrator.policy.limits import Limits
from orchestrator.ports import ObjectStore
from orchestrator.ports.batches import BatchEnd, BatchStore, Lines
from orchestrator.ports.campaign_values import Change, Hold, NewPass, Window
from orchestrator.ports.campaigns import CampaignStore
from orchestrator.rows.engine import WATCH_S
from orchestrator.rows.refill import Refill
from orchestrator.telemetry import logs, metrics
from orchestrator.tenants.rates import TenantLimits

_log = logs.get("batches")

_TAKE_LINES, _TAKE_BYTES = 500, 8 * 2**20
_SETTLE = 1_000
# Reads of files at a time, whatever batches these belong to.
_READERS = 4


class BatchRows(BatchStore, CampaignStore, Protocol):
    """What batches ask of the store."""


class BatchKind:
    """The plainest user of the row engine: no template, no plan, no budget of its own; a window of time, and two files.

    What it costs counts against its tenant's budgets, and where those have no room it waits, as for a limit.
    """

    def __init__(
        self,
        settings: Settings,
        store: BatchRows,
        objects: ObjectStore,
        *,
        jobs: Jobs,
        files: Files,
        limits: TenantLimits,
        dialects: Mapping[str, Lines],
    ) -> None:
        self._settings = settings
        self._store = store
        self._objects = objects
        self._jobs = jobs
        self._files = files
        self._limits = limits
        self._dialects = dialects
        self._refill = Refill(store, settings.prices)
        self._output = BatchOutput(settings, store, objects, dialects)
        self._threads = Threads("s3-batch-lines", count=_READERS, deadline_s=DEADLINE_S)

    # ------------------------------------------------------------ validating

    async def take_in(self, hold: Hold) -> float:
        """Read the file to its end, insert its requests; begin, or fail with what is wrong in it."""
        batch = _batch(hold)
        if hold.overdue:
            await self._end(hold, BatchEnd(status=BatchStatus.EXPIRED))
            return 0
        try:
            file = await self._files.get(batch.tenant, batch.input_file)
            hold = await self._found(hold, file.object)
            total, errors = await self._read(hold, batch, file.object.key)
        except NotFound as error:
            total, errors = 0, [LineError(code="file_not_found", message=error.message, param="input_file_id")]
        except LimitExceeded as error:
            total, errors = 0, [LineError(code=f"limit_{error.limit}", message=error.message, param="input_file_id")]
        if errors:
            await self._end(hold, BatchEnd(status=BatchStatus.FAILED, errors=errors))
            return 0
        begun = {"status": BatchStatus.IN_PROGRESS, "total": total}
        begin = Change(state=CampaignState.RUNNING, face=begun, passes=[NewPass(kind=PassKind.MAIN)])
        await self._store.change_held(hold, begin)
        _log.info("batch_began", batch=batch.id, tenant=batch.tenant, requests=total)
        return 0

    async def _found(self, hold: Hold, file: Artifact) -> Hold:
        """Say where its rows will point before there are any: releases that read copies leave it alone from now on."""
        found = Input(source=_batch(hold).input_file, key=file.key, size=file.size, sha256=file.sha256)
        if hold.campaign.input == found:
            return hold
        return replace(hold, campaign=await self._store.change_held(hold, Change(values={"input": found})))

    async def _read(self, hold: Hold, batch: Batch, key: str) -> tuple[int, Sequence[LineError]]:
        reader = LineReader(
            lines=split_lines(self._objects.stream(key), max_bytes=self._settings.max_request_bytes),
            endpoint=batch.endpoint,
            check=self._checked(batch, await self._limits.of(batch.tenant)),
            max_lines=self._settings.batches.max_lines,
        )
        while rows := await asyncio.to_thread(reader.take, lines=_TAKE_LINES, size=_TAKE_BYTES):
            if not reader.errors:
                await self._store.add_rows(hold, rows, (), records=reader.total)
        return reader.total, reader.finish()

    def _checked(self, batch: Batch, limits: Limits) -> Check:
        """Raises for a body that cannot be meant, and for one that wants to be more urgent than its tenant may be."""
        dialect, usual = self._dialects[batch.dialect], self._settings.batches.priority

        def check(body: Mapping[str, Any], job_id: UUID) -> None:
            limits.urgency(dialect.request(body, job_id).priority, usual)

        return check

    # ------------------------------------------------------------ in progress

    async def move(self, hold: Hold) -> float:
        """Note what has ended, and submit more while there is room ahead, or wind up."""
        batch = _batch(hold)
        cancelled = hold.campaign.state is CampaignState.CANCELLED
        if not cancelled and batch.status is BatchStatus.CANCELLING:  # an API of the release before has asked for it
            await self._store.change_held(hold, Change(state=CampaignState.CANCELLED))
            return 0
        campaign = await self._store.settle_rows(hold, limit=_SETTLE)
        hold = replace(hold, campaign=campaign)
        live = campaign.counts.live
        if cancelled or hold.overdue:
            return await self._wind_up(hold, live)
        room = self._settings.batches.ahead - live
        lines = InputLines(self._objects, self._threads)
        prepare = partial(self._prepare, lines)
        filled = await self._refill.fill(hold, room=room, seats=room, prepare=prepare, load=lines.load)
        if filled.through and not live:
            await self._finalize(hold)
            return 0
        return filled.pause_s

    async def _prepare(self, lines: InputLines, hold: Hold, wanted: Pass, row: Row, job_id: UUID) -> NewJob:
        batch = _batch(hold)
        request = self._dialects[batch.dialect].request(_asked(batch, row, lines), job_id)
        # The line names the request here: a key of its own could only point at another line's job.
        usual = self._settings.batches.priority
        request = replace(request, priority=None, usual_priority=usual, idempotency_key=None)
        return await self._jobs.prepare(batch.tenant, request, job_id)

    # ------------------------------------------------------------ expired, cancelled, done

    async def _wind_up(self, hold: Hold, live: int) -> float:
        """Cancel what lives, and once nothing does, answer. What waits is left where it is."""
        if live:
            await self._store.change_held(hold, Change(window=Window.CANCEL))
            return WATCH_S
        if hold.campaign.state is CampaignState.RUNNING:
            await self._finalize(hold)
        elif _batch(hold).in_progress_at is None:
            await self._end(hold, BatchEnd(status=BatchStatus.CANCELLED))
        else:
            await self._store.change_held(hold, Change(values={"drained": True}))
        return 0

    async def _finalize(self, hold: Hold) -> None:
        face = {"status": BatchStatus.FINALIZING}
        over = Change(state=CampaignState.FINISHING, values={"drained": True}, face=face)
        await self._store.change_held(hold, over)

    async def finish(self, hold: Hold) -> float:
        """Write both files, and end."""
        await self._end(hold, await self._output.write(hold))
        return 0

    async def _end(self, hold: Hold, end: BatchEnd) -> None:
        await self._store.end_batch(hold, end)
        metrics.batches_ended.labels(end.status).inc()
        batch = _batch(hold)
        _log.info("batch_ended", batch=batch.id, tenant=batch.tenant, status=end.status, completed=end.completed)


def _asked(batch: Batch, row: Row, lines: InputLines) -> Mapping[str, Any]:
    """The body of a row's line: as it lies in the file, or, of a batch that an earlier release has taken in, its copy.

    Raises `IntegrityError` where another line lies there.
    """
    if row.input_at is None:
        copied: Mapping[str, Any] = jsontext.parse(row.body)
        return copied
    line = parse_line(lines.of(row), batch.endpoint)
    if line.custom_id != row.custom_id:
        raise IntegrityError(f"line {row.line} of {batch.input_file} is not the one that was taken in")
    return line.body


def _batch(hold: Hold) -> Batch:
    assert hold.batch is not None, "only batches come here"
    return hold.batch
