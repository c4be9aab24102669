"""A campaign's videos as reviewers see them: in pages, a few at a time for each, and counted; and how it got on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, Integer, Text, Uuid, bindparam, text
from sqlalchemy import Row as SqlRow

from orchestrator.domain.campaign import Campaign
from orchestrator.ports.reviews import (
    FailureGroup,
    ProgressPoint,
    ReviewCounts,
    Reviewed,
    SheetFilter,
    SheetPage,
)
from orchestrator.store.part import Part
from orchestrator.store.reviews import REVIEW, ended_row, review

# A page that a filter leaves few of looks at no more than so many rows.
_LOOK = 5_000
# So often what others took first is looked for anew; each time somebody else has got something.
_TAKES = 10

# The row's video, where it was not deleted.
_VIDEO = "SELECT id FROM jobs WHERE id = CAST(r.result ->> 'job' AS uuid) AND deleted_at IS NULL LIMIT 1"
# The key of rows gives a stretch of them, what is thought of each is found by its key, and what fits is kept; with how
# far the stretch went, which is told also where nothing fits. LATERAL and LIMIT hold the planner to the key: in
# sessions without the store's settings, as behind some poolers, it would hash the reviews of all tenants for a page.
_STRETCH = text(f"""
    WITH stretch AS MATERIALIZED (
        SELECT place, line, custom_id, body, reseed, outcome, result FROM campaign_rows
        WHERE campaign = :number AND outcome = 'succeeded' AND place > :after ORDER BY place LIMIT :look
    )
    SELECT went.looked, went.last, r.*, {REVIEW}
    FROM (SELECT count(*) AS looked, max(place) AS last FROM stretch) AS went
    LEFT JOIN (stretch AS r LEFT JOIN LATERAL (
        SELECT * FROM reviews WHERE job_id = CAST(r.result ->> 'job' AS uuid) LIMIT 1) AS v ON true
        LEFT JOIN LATERAL ({_VIDEO}) AS j ON :holder IS NOT NULL)
    ON (:decision IS NULL OR v.decision = :decision OR :undecided AND v.decision IS NULL)
       AND (:rating IS NULL OR v.rating = :rating)
       AND (NOT :flagged OR coalesce(r.result -> 'flags', '[]') NOT IN ('[]', 'null'))
       AND (NOT :promoted OR r.result -> 'draft' IS NOT NULL)
       AND (:holder IS NULL OR (v.decision IS NULL AND j.id IS NOT NULL
            AND (v.held_by = :holder OR coalesce(v.held_until <= cogmill_now(), true))))
    ORDER BY r.place LIMIT :n
""").bindparams(
    bindparam("decision", type_=Text),
    bindparam("undecided", type_=Boolean),
    bindparam("rating", type_=Integer),
    bindparam("flagged", type_=Boolean),
    bindparam("promoted", type_=Boolean),
    bindparam("holder", type_=Text),
)
# Whoever comes at the same moment waits, finds those taken, and looks for others.
_HOLD = text("""
    INSERT INTO reviews AS v (job_id, tenant, campaign, place, held_by, held_until)
    SELECT job_id, :tenant, :number, place, :holder, cogmill_now() + make_interval(secs => :hold_s)
    FROM unnest(:ids, :places) AS wanted(job_id, place) ORDER BY place
    ON CONFLICT (job_id) DO UPDATE SET held_by = excluded.held_by, held_until = excluded.held_until
    WHERE v.decision IS NULL AND (v.held_by = excluded.held_by OR coalesce(v.held_until <= cogmill_now(), true))
    RETURNING job_id
""").bindparams(
    bindparam("ids", type_=ARRAY(Uuid)), bindparam("places", type_=ARRAY(Integer)), bindparam("holder", type_=Text)
)
_RELEASE = text("""
    UPDATE reviews SET held_by = NULL, held_until = NULL
    WHERE campaign = :number AND held_by = :holder RETURNING 1
""")
_COUNT = text(f"""
    SELECT count(*) FILTER (WHERE now AND decision = 'approve') AS approved,
           count(*) FILTER (WHERE now AND action = 'new_seed') AS new_seed,
           count(*) FILTER (WHERE now AND action = 'drop') AS drop,
           count(*) FILTER (WHERE now AND rating = 1) AS one, count(*) FILTER (WHERE now AND rating = 2) AS two,
           count(*) FILTER (WHERE now AND rating = 3) AS three, count(*) FILTER (WHERE now AND rating = 4) AS four,
           count(*) FILTER (WHERE now AND rating = 5) AS five,
           count(*) FILTER (WHERE now AND decision IS NULL AND held_until > cogmill_now()) AS held,
           count(*) FILTER (WHERE applied_at IS NOT NULL) AS applied
    FROM (SELECT v.*, r.outcome = 'succeeded' AND j.id = v.job_id AND v.applied_at IS NULL AS now
          FROM reviews AS v CROSS JOIN LATERAL (
              SELECT outcome, result FROM campaign_rows WHERE campaign = v.campaign AND place = v.place LIMIT 1) AS r
          LEFT JOIN LATERAL ({_VIDEO}) AS j ON true
          WHERE v.campaign = :number) AS known
""")
_GONE = text(f"""
    SELECT count(*) AS rows FROM campaign_rows AS r LEFT JOIN LATERAL ({_VIDEO}) AS j ON true
    WHERE r.campaign = :number AND r.outcome = 'succeeded' AND j.id IS NULL
""")
# The last moment of each stretch of time.
_PROGRESS = text("""
    SELECT DISTINCT ON (bin) date_bin(make_interval(secs => width.s), p.at, CAST('epoch' AS timestamptz)) AS bin,
           p.at, p.succeeded, p.failed, p.others, p.gpu_seconds
    FROM campaign_progress AS p, (
        SELECT greatest(60, ceil(coalesce(extract(epoch FROM max(at) - min(at)), 0) / :points / 60) * 60) AS s
        FROM campaign_progress WHERE campaign = :number
    ) AS width
    WHERE p.campaign = :number ORDER BY bin, p.at DESC
""")
_FAILURES = text("""
    SELECT code, count(*) AS rows,
           (array_agg(custom_id ORDER BY place))[1 : :examples] AS names,
           (array_agg(message ORDER BY place))[1 : :examples] AS messages,
           (array_agg(job ORDER BY place))[1 : :examples] AS jobs
    FROM (SELECT place, custom_id, result -> 'error' ->> 'code' AS code,
                 result -> 'error' ->> 'message' AS message, result ->> 'job' AS job
          FROM campaign_rows WHERE campaign = :number AND outcome = 'failed' ORDER BY place LIMIT :most) AS failed
    GROUP BY code ORDER BY rows DESC, code
""").bindparams(bindparam("examples", type_=Integer))


class ReviewSheets(Part):
    async def sheet(self, campaign: Campaign, wanted: SheetFilter, *, after: int, limit: int) -> SheetPage:
        look = limit + 1 if wanted == SheetFilter() else _LOOK
        return await self._looked(campaign, wanted, None, after=after, limit=limit, look=look)

    async def _looked(
        self, campaign: Campaign, wanted: SheetFilter, holder: str | None, *, after: int, limit: int, look: int
    ) -> SheetPage:
        """The next rows that fit, and are free for this holder, of a bounded number that is looked at."""
        where = {"number": campaign.number, "after": after, "look": look, "n": limit + 1, "holder": holder}
        undecided = wanted.decision == "undecided"
        found = await self._database.fetch(_STRETCH, where | asdict(wanted) | {"undecided": undecided})
        fitting = [row for row in found if row.place is not None]
        chosen = [_reviewed(campaign, row) for row in fitting[:limit]]
        if len(fitting) > limit:
            return SheetPage(videos=chosen, after=fitting[limit - 1].place, has_more=True)
        went = found[0]
        behind = after if went.last is None else went.last
        return SheetPage(videos=chosen, after=behind, has_more=went.looked == look)

    async def hold_reviews(
        self, campaign: Campaign, holder: str, *, after: int, limit: int, hold_s: float
    ) -> SheetPage:
        page = SheetPage(videos=[], after=after, has_more=True)
        for _ in range(_TAKES):
            page = await self._looked(campaign, SheetFilter(), holder, after=after, limit=limit, look=_LOOK)
            mine = await self._take(campaign, holder, page.videos, hold_s)
            if len(mine) == len(page.videos):
                return page
            page = SheetPage(videos=mine, after=page.after, has_more=True)
        return page

    async def _take(
        self, campaign: Campaign, holder: str, videos: Sequence[Reviewed], hold_s: float
    ) -> Sequence[Reviewed]:
        """Those of these videos that are the holder's now; another may have been faster."""
        if not videos:
            return []
        where = {
            "tenant": campaign.tenant,
            "number": campaign.number,
            "holder": holder,
            "hold_s": hold_s,
            "ids": [each.review.job_id for each in videos],
            "places": [each.row.row.place for each in videos if each.row is not None],
        }
        taken = {row.job_id for row in await self._database.fetch(_HOLD, where)}
        return [each for each in videos if each.review.job_id in taken]

    async def release_reviews(self, campaign: Campaign, holder: str) -> int:
        return len(await self._database.fetch(_RELEASE, {"number": campaign.number, "holder": holder}))

    async def count_reviews(self, campaign: Campaign) -> ReviewCounts:
        (row,) = await self._database.fetch(_COUNT, {"number": campaign.number})
        (gone,) = await self._database.fetch(_GONE, {"number": campaign.number})
        return ReviewCounts(
            approved=row.approved,
            new_seed=row.new_seed,
            drop=row.drop,
            ratings=(row.one, row.two, row.three, row.four, row.five),
            held=row.held,
            applied=row.applied,
            gone=gone.rows,
        )

    async def progress_of(self, campaign: Campaign, *, points: int) -> list[ProgressPoint]:
        found = await self._database.fetch(_PROGRESS, {"number": campaign.number, "points": points})
        names = ("at", "succeeded", "failed", "others", "gpu_seconds")
        return [ProgressPoint(**{name: getattr(row, name) for name in names}) for row in found]

    async def failures_of(self, campaign: Campaign, *, examples: int, most: int) -> list[FailureGroup]:
        where = {"number": campaign.number, "examples": examples, "most": most}
        return [_group(row) for row in await self._database.fetch(_FAILURES, where)]


def _reviewed(of: Campaign, row: SqlRow[Any]) -> Reviewed:
    return Reviewed(review=review(row, UUID(row.result["job"])), campaign=of.id, number=of.number, row=ended_row(row))


def _group(row: SqlRow[Any]) -> FailureGroup:
    told: Sequence[tuple[str, str | None, str | None]] = list(zip(row.names, row.messages, row.jobs, strict=True))
    examples = [{"custom_id": name, "message": message, "job": job} for name, message, job in told]
    return FailureGroup(code=row.code or "internal_error", rows=row.rows, examples=examples)
