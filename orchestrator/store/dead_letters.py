"""Dead letters: jobs that failed for the service's fault, until somebody has looked after them."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import func, not_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.ports.any_jobs import Chosen, Fate, JobsPage, LetterEnd, LetterEnds
from orchestrator.store.any_jobs import AnyJobs, letter_of, seeing
from orchestrator.store.tables import dead_letters, jobs


class DeadLetters(AnyJobs):
    async def page_dead_letters(
        self, chosen: Chosen, *, not_codes: Collection[str], limit: int, after: UUID | None = None
    ) -> JobsPage:
        failed = seeing().where(text("jobs.state = 'failed'"), dead_letters.c.job_id.is_(None))
        theirs = jobs.c.failure["code"].astext.in_(list(not_codes))
        return await self._page_of(failed.where(not_(theirs)), chosen, limit, after)

    async def end_letter(self, job_id: UUID, fate: Fate, *, by: str, successor: UUID | None = None) -> LetterEnds:
        async def end(connection: AsyncConnection) -> LetterEnds:
            before = await _end(connection, job_id)
            values = {"fate": fate.value, "successor": successor, "ended_by": by, "ended_at": func.cogmill_now()}
            if before is None or (before.fate, fate) == (Fate.FORGOTTEN, Fate.RELEASED):
                add = insert(dead_letters).values(job_id=job_id, **values)
                open_ = dead_letters.c.successor.is_(None)
                await connection.execute(add.on_conflict_do_update(index_elements=["job_id"], set_=values, where=open_))
            after = await _end(connection, job_id)
            assert after is not None  # it was just written
            return LetterEnds(before=before, after=after)

        return await self._database.transact(end)


async def _end(connection: AsyncConnection, job_id: UUID) -> LetterEnd | None:
    """What was done about it, which stays so until the transaction ends."""
    query = select(dead_letters).where(dead_letters.c.job_id == job_id).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else letter_of(row)
