"""The files that a batch leaves behind: one line for each request, written to the disk, then to S3."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO
from uuid import UUID

from orchestrator.config import Settings
from orchestrator.domain.batch import (
    BROKEN,
    CANCELLED,
    EXPIRED,
    Answered,
    Batch,
    BatchStatus,
    Item,
    ItemError,
    LineEnd,
    Rejected,
    end_of,
    final_status,
    succeeded,
)
from orchestrator.domain.campaign import Campaign
from orchestrator.domain.campaign_ids import row_job_id
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.job import Artifact, Job
from orchestrator.domain.objects import file_key
from orchestrator.domain.states import JobState
from orchestrator.intake.files import BATCH_OUTPUT, new_file_id
from orchestrator.kit.scratch import Scratch, scratch
from orchestrator.ports import ObjectStore
from orchestrator.ports.batches import BatchEnd, Lines
from orchestrator.ports.campaign_values import EndedRow, Hold
from orchestrator.ports.campaigns import CampaignStore
from orchestrator.ports.files import NewFile
from orchestrator.telemetry import aside

_JSONL = "application/jsonl"


@dataclass(slots=True)
class _Counts:
    completed: int = 0
    failed: int = 0
    expired: int = 0


class BatchOutput:
    """Writes the lines of batches whose jobs have all ended."""

    def __init__(
        self, settings: Settings, store: CampaignStore, objects: ObjectStore, dialects: Mapping[str, Lines]
    ) -> None:
        self._settings = settings
        self._store = store
        self._objects = objects
        self._dialects = dialects
        # What is older is signed afresh when its owner asks for the video by its id.
        own = settings.batches.url_lifetime_s
        self._url_lifetime_s = settings.s3.url_lifetime_s if own is None else own

    async def write(self, hold: Hold) -> BatchEnd:
        """Upload both files, under keys that nobody had before; how the batch ends. Raises `Unavailable`.

        Until that is written down, the objects are nobody's: who comes next writes others, and the sweeper finds these.
        """
        counts = _Counts()
        batch = hold.batch
        assert batch is not None, "only a batch has these files"
        with scratch() as good, scratch() as bad:
            async for page in self._store.ended_rows(hold.campaign, with_jobs=True):
                ends = [(item_of(hold.campaign, batch, row), row.job) for row in page]
                await asyncio.to_thread(self._add, batch, ends, good.file, bad.file, counts)
            output = await self._upload(batch, good, "output") if counts.completed else None
            errors = await self._upload(batch, bad, "error") if counts.failed else None
        return BatchEnd(
            status=final_status(batch.status, expired=counts.expired),
            completed=counts.completed,
            failed=counts.failed,
            output=output,
            error_output=errors,
        )

    def _add(
        self,
        batch: Batch,
        items: Sequence[tuple[Item, Job | None]],
        good: IO[bytes],
        bad: IO[bytes],
        counts: _Counts,
    ) -> None:
        for item, job in items:
            end = end_of(item, job)
            try:
                line = json.dumps(self._line(batch, item, end))
            except Unavailable:
                raise
            except Exception as error:
                aside.put("batch_lines", error, batch=batch.id, line=item.line)
                end = Rejected(error=BROKEN)
                line = json.dumps(self._line(batch, item, end))
            won = succeeded(end)
            (good if won else bad).write(line.encode() + b"\n")
            counts.completed += won
            counts.failed += not won
            counts.expired += not isinstance(end, Answered) and end.error.code == EXPIRED.code

    def _line(self, batch: Batch, item: Item, end: LineEnd) -> Mapping[str, object]:
        lines = self._dialects[batch.dialect]
        match end:
            case Answered(job=job):
                return lines.answer(batch, item, job, self._sign)
            case Rejected(error=error):
                return lines.refusal(batch, item, error)
            case _:
                return lines.undone(batch, item, end.error)

    def _sign(self, artifact: Artifact, filename: str | None) -> str:
        return self._objects.presign(artifact.key, lifetime_s=self._url_lifetime_s, filename=filename)

    async def _upload(self, batch: Batch, lines: Scratch, kind: str) -> NewFile:
        file_id = new_file_id()
        await asyncio.to_thread(lines.file.flush)
        key = file_key(batch.tenant, file_id)
        lifetime_s = batch.output_lifetime_s
        return NewFile(
            id=file_id,
            tenant=batch.tenant,
            purpose=BATCH_OUTPUT,
            filename=f"{batch.id}_{kind}.jsonl",
            object=await asyncio.to_thread(self._objects.upload, key, lines.path, _JSONL),
            lifetime_s=self._settings.retention.jobs_s if lifetime_s is None else lifetime_s,
        )


def item_of(campaign: Campaign, batch: Batch, row: EndedRow) -> Item:
    """A row as its dialect answers it: with the job that it had, or would have had."""
    known = row.result.get("job")
    job_id = row_job_id(campaign.id, campaign.created_at, row.row.place, number=1, generation=0)
    return Item(
        line=row.row.line,
        custom_id=row.row.custom_id,
        job_id=UUID(hex=known) if known else job_id,
        error=_error(batch, row),
    )


def _error(batch: Batch, row: EndedRow) -> ItemError | None:
    """Why there is no job, or why it was not rendered to an end: since the batch was over before it."""
    over = CANCELLED if batch.status is BatchStatus.CANCELLING else EXPIRED
    since = batch.cancelling_at if batch.status is BatchStatus.CANCELLING else batch.expires_at
    if row.outcome is None:
        return over
    if row.job is not None:
        ended, late = row.job.finished_at, row.job.state is JobState.CANCELLED
        return over if late and ended is not None and since is not None and ended >= since else None
    return ItemError(**row.result["error"]) if "job" not in row.result else None
