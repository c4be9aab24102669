"""The files that a batch leaves behind: one line for each request, written to the disk, then to S3."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from orchestrator.config import Settings
from orchestrator.domain.batch import (
    BROKEN,
    EXPIRED,
    Answered,
    Batch,
    Item,
    LineEnd,
    Rejected,
    end_of,
    final_status,
    succeeded,
)
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.job import Artifact, Job
from orchestrator.domain.objects import file_key
from orchestrator.intake.files import BATCH_OUTPUT, new_file_id
from orchestrator.kit.scratch import Scratch, scratch
from orchestrator.ports import ObjectStore
from orchestrator.ports.batches import BatchEnd, BatchStore, Hold, Lines
from orchestrator.ports.files import NewFile
from orchestrator.telemetry import aside

_CHUNK = 500
_JSONL = "application/jsonl"
# S3's own bound for signed URLs. What is older is signed afresh when its owner asks for the video by its id.
_LONGEST_URL_S = 7 * 24 * 3600


@dataclass(slots=True)
class _Counts:
    completed: int = 0
    failed: int = 0
    expired: int = 0


class BatchOutput:
    """Writes the lines of batches whose jobs have all ended."""

    def __init__(
        self, settings: Settings, store: BatchStore, objects: ObjectStore, dialects: Mapping[str, Lines]
    ) -> None:
        self._settings = settings
        self._store = store
        self._objects = objects
        self._dialects = dialects
        self._url_lifetime_s = min(_LONGEST_URL_S, max(1, int(settings.retention.jobs_s)))

    async def write(self, hold: Hold) -> BatchEnd:
        """Upload both files, under keys that nobody had before; how the batch ends. Raises `Unavailable`.

        Until that is written down, the objects are nobody's: who comes next writes others, and the sweeper finds these.
        """
        counts = _Counts()
        with scratch() as good, scratch() as bad:
            after = 0
            while ends := await self._store.ended_items(hold, after=after, limit=_CHUNK):
                await asyncio.to_thread(self._add, hold.batch, ends, good.file, bad.file, counts)
                after = ends[-1][0].line
            output = await self._upload(hold.batch, good, "output") if counts.completed else None
            errors = await self._upload(hold.batch, bad, "error") if counts.failed else None
        return BatchEnd(
            status=final_status(hold.batch.status, expired=counts.expired),
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
