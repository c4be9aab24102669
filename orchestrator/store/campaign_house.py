"""What goes of campaigns and batches, and when: their rows first, a bounded number at a time, then themselves."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Text, TextClause, bindparam, text

from orchestrator.domain.campaign import Kind
from orchestrator.ports.campaign_values import Kept
from orchestrator.store.part import Part

_CHUNK = 5_000

_OVER = text("""
    SELECT c.id, c.number, c.tenant, c.kind FROM campaigns AS c
    WHERE c.ended_at <= cogmill_now() - make_interval(secs => :older_than_s) AND c.kind = :kind
      AND (:whole OR c.deleted_at IS NOT NULL)
      AND EXISTS (SELECT FROM campaign_rows AS r WHERE r.campaign = c.number)
    ORDER BY c.ended_at LIMIT :n
""").bindparams(bindparam("kind", type_=Text))

_LIVE = text("""
    SELECT j.id FROM campaign_jobs AS w JOIN jobs AS j ON j.id = w.job_id
    WHERE w.campaign = :number AND j.finished_at IS NULL
""")

_ROWS = text("""
    DELETE FROM campaign_rows WHERE campaign = :number AND place IN (
        SELECT place FROM campaign_rows WHERE campaign = :number ORDER BY place LIMIT :n)
    RETURNING 1
""")
_BAD = text("""
    DELETE FROM campaign_bad_rows WHERE campaign = :number AND line IN (
        SELECT line FROM campaign_bad_rows WHERE campaign = :number ORDER BY line LIMIT :n)
    RETURNING 1
""")
_REVIEWS = text("""
    DELETE FROM reviews WHERE job_id IN (SELECT job_id FROM reviews WHERE campaign = :number LIMIT :n) RETURNING 1
""")
_WORDS = text("""
    DELETE FROM review_entries WHERE (job_id, number) IN (
        SELECT job_id, number FROM review_entries WHERE campaign = :number LIMIT :n)
    RETURNING 1
""")
_REST = (
    text("DELETE FROM campaign_progress WHERE campaign = :number"),
    text("DELETE FROM campaign_jobs WHERE campaign = :number"),
    text("DELETE FROM campaign_passes WHERE campaign = :number"),
)

_FACES = text("""
    DELETE FROM batches AS b
    WHERE ended_at <= cogmill_now() - make_interval(secs => :keep_s)
      AND NOT EXISTS (SELECT FROM batch_items AS i WHERE i.batch_id = b.id)
      AND NOT EXISTS (SELECT FROM campaign_rows AS r JOIN campaigns AS c ON c.number = r.campaign WHERE c.id = b.id)
    RETURNING 1
""")
_BATCHES = text("""
    DELETE FROM campaigns AS c
    WHERE c.ended_at <= cogmill_now() - make_interval(secs => :keep_s) AND c.kind = 'batch'
      AND NOT EXISTS (SELECT FROM campaign_rows AS r WHERE r.campaign = c.number)
    RETURNING c.id
""")
_DELETED = text("""
    SELECT c.id, c.number, c.tenant FROM campaigns AS c
    WHERE c.deleted_at IS NOT NULL AND NOT EXISTS (SELECT FROM campaign_rows AS r WHERE r.campaign = c.number)
    ORDER BY c.deleted_at LIMIT :n
""")
_FORGET = text("DELETE FROM campaigns WHERE number = :number AND deleted_at IS NOT NULL")
_AGE = text("""
    UPDATE campaigns SET deleted_at = cogmill_now(), next_run_at = NULL, idempotency_key = NULL
    WHERE kind = 'campaign' AND deleted_at IS NULL AND next_run_at IS NULL
      AND ended_at <= cogmill_now() - make_interval(secs => :older_than_s)
""")


class CampaignHouse(Part):
    async def over(self, kind: Kind, *, older_than_s: float, limit: int) -> list[Kept]:
        where = {"kind": kind, "older_than_s": older_than_s, "n": limit, "whole": kind is Kind.BATCH}
        found = await self._database.fetch(_OVER, where)
        return [Kept(id=row.id, number=row.number, tenant=row.tenant) for row in found]

    async def live_of(self, kept: Kept) -> list[UUID]:
        return [row.id for row in await self._database.fetch(_LIVE, {"number": kept.number})]

    async def forget_rows(self, kept: Kept) -> None:
        await self._forget_all(_ROWS, kept)
        for statement in (_BAD, _REVIEWS, _WORDS):
            await self._forget_all(statement, kept)
        for statement in _REST:
            await self._database.fetch(statement, {"number": kept.number})

    async def _forget_all(self, statement: TextClause, kept: Kept) -> None:
        while len(await self._database.fetch(statement, {"number": kept.number, "n": _CHUNK})) == _CHUNK:
            pass

    async def forget_ended(self, *, keep_s: float) -> int:
        faces = await self._database.fetch(_FACES, {"keep_s": keep_s})
        return len(faces) + len(await self._database.fetch(_BATCHES, {"keep_s": keep_s}))

    async def delete_ended(self, *, older_than_s: float) -> None:
        await self._database.fetch(_AGE, {"older_than_s": older_than_s})

    async def deleted_campaigns(self, *, limit: int) -> list[Kept]:
        found = await self._database.fetch(_DELETED, {"n": limit})
        return [Kept(id=row.id, number=row.number, tenant=row.tenant) for row in found]

    async def forget_campaign(self, kept: Kept) -> None:
        await self._forget_all(_BAD, kept)  # who has no good row has not come by `forget_rows`
        await self._database.fetch(_FORGET, {"number": kept.number})
