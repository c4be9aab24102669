"""Dead letters: jobs that failed for the service's fault, until somebody has looked after them."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import func, not_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Action, Change
from orchestrator.domain.errors import NotFound
from orchestrator.domain.job import public_id
from orchestrator.ports.any_jobs import Chosen, Fate, JobsPage, LetterEnd, LetterEnds
from orchestrator.store.any_jobs import AnyJobs, letter_of, seeing
from orchestrator.store.audit import record
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
            # Which nobody deletes until then, or it would leave its letter behind.
            its = select(jobs.c.tenant).where(jobs.c.id == job_id).with_for_update(read=True, key_share=True)
            tenant = await connection.scalar(its)
            if tenant is None:
                raise NotFound(f"no such job: {job_id}")
            before = await _end(connection, job_id)
            values = {"fate": fate.value, "successor": successor, "ended_by": by, "ended_at": func.cogmill_now()}
            if before is None or (before.fate, fate) == (Fate.FORGOTTEN, Fate.RELEASED):
                add = insert(dead_letters).values(job_id=job_id, **values)
                open_ = dead_letters.c.successor.is_(None)
                await connection.execute(add.on_conflict_do_update(index_elements=["job_id"], set_=values, where=open_))
            after = await _end(connection, job_id)
            assert after is not None  # it was just written
            if after != before:
                await record(connection, _change(job_id, tenant, before, after))
            return LetterEnds(before=before, after=after)

        return await self._database.transact(end)


def _change(job_id: UUID, tenant: str, before: LetterEnd | None, after: LetterEnd) -> Change:
    return Change(
        action=Action.DEAD_LETTER_RELEASE if after.fate is Fate.RELEASED else Action.DEAD_LETTER_FORGET,
        object=f"job:{public_id(job_id)}",
        tenant=tenant,
        before=None if before is None else {"fate": before.fate},
        after={"fate": after.fate, "successor": None if after.successor is None else public_id(after.successor)},
    )


async def _end(connection: AsyncConnection, job_id: UUID) -> LetterEnd | None:
    """What was done about it, which stays so until the transaction ends."""
    query = select(dead_letters).where(dead_letters.c.job_id == job_id).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else letter_of(row)
