"""What people think of videos: said, undone, listed, carried out. `review_sheets.py` has those of one campaign."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Text, Uuid, bindparam, text
from sqlalchemy import Row as SqlRow
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.campaign import Outcome, Row
from orchestrator.domain.campaign_ids import place_of
from orchestrator.domain.errors import WrongState
from orchestrator.domain.reviews import Entry, EntryKind, Opinion, Remedy, Review, Verdict
from orchestrator.ports.campaign_values import EndedRow
from orchestrator.ports.reviews import Carried, Carry, Met, Promote, Promoted, Reviewed, Undo
from orchestrator.store.changes import apply, owned, read
from orchestrator.store.part import Part

# Words that are kept of one video; and rejections that are carried out at once.
_MOST_WORDS = 100
_AT_ONCE = 9_000

# The columns of a review `v`, which may not be there.
REVIEW = """v.job_id, coalesce(v.version, 0) AS version, v.rating, v.decision, v.reason, v.action, v.reviewer,
    v.decided_at, v.applied_at, v.applied_as,
    CASE WHEN v.held_until > cogmill_now() THEN v.held_by END AS held_by"""

# A job of a batch is a plain one. A row has the video that its result names, and none that was before.
_FIND = text(f"""
    SELECT j.id, c.id AS campaign, c.number, r.place, r.line, r.custom_id, r.body, r.reseed, r.outcome, r.result,
           {REVIEW}
    FROM jobs AS j
    LEFT JOIN campaigns AS c ON c.id = j.campaign AND c.kind = 'campaign' AND c.deleted_at IS NULL
    LEFT JOIN campaign_rows AS r ON r.campaign = c.number AND r.place = :place
    LEFT JOIN reviews AS v ON v.job_id = j.id
    WHERE j.id = :id AND j.tenant = :tenant AND j.deleted_at IS NULL AND j.state = 'succeeded'
""").bindparams(bindparam("place", type_=BigInteger))  # what a made-up id says of a place is no integer's size
_HISTORY = text("""
    SELECT number, kind, version, back_to, rating, decision, reason, action, reviewer, at FROM review_entries
    WHERE job_id = :id AND tenant = :tenant ORDER BY number
""")
_LIST = text(f"""
    SELECT {REVIEW} FROM reviews AS v
    WHERE v.tenant = :tenant AND v.version > 0 AND (CAST(:after AS uuid) IS NULL OR v.job_id < :after)
      AND (CAST(:decision AS text) IS NULL OR v.decision = :decision)
    ORDER BY v.job_id DESC LIMIT :n
""").bindparams(bindparam("after", type_=Uuid), bindparam("decision", type_=Text))

_BEGIN = text("""
    INSERT INTO reviews (job_id, tenant, campaign, place) VALUES (:id, :tenant, :number, :place) ON CONFLICT DO NOTHING
""")
_LOCK = text(f"SELECT {REVIEW} FROM reviews AS v WHERE v.job_id = :id AND v.tenant = :tenant FOR UPDATE")
# Whoever has decided looks at it no more.
_WRITE = text(f"""
    UPDATE reviews AS v
    SET version = version + 1, rating = :rating, decision = :decision, reason = :reason, action = :action,
        reviewer = :reviewer, decided_at = cogmill_now(), held_by = NULL, held_until = NULL
    WHERE job_id = :id RETURNING {REVIEW}
""")
_SAY = text("""
    INSERT INTO review_entries
        (job_id, number, tenant, campaign, kind, version, back_to, rating, decision, reason, action, reviewer)
    SELECT :id, coalesce(max(number), 0) + 1, :tenant, :number, :kind, :version, :back_to, :rating, :decision, :reason,
           :action, :reviewer
    FROM review_entries WHERE job_id = :id
""").bindparams(
    *(bindparam(name, type_=Text) for name in ("kind", "decision", "reason", "action", "reviewer", "tenant"))
)
_TRIM = text("""
    DELETE FROM review_entries WHERE job_id = :id AND number <= (
        SELECT max(number) - :most FROM review_entries WHERE job_id = :id)
""")

# Of a row that is being rendered again nothing is carried out until it has ended.
_DUE = text("""
    SELECT v.job_id, v.place, v.action FROM reviews AS v
    JOIN campaign_rows AS r ON r.campaign = v.campaign AND r.place = v.place
    WHERE v.campaign = :number AND v.decision = 'reject' AND v.applied_at IS NULL AND r.outcome = 'succeeded'
      AND CAST(r.result ->> 'job' AS uuid) = v.job_id
      AND NOT EXISTS (SELECT FROM campaign_jobs AS w WHERE w.campaign = r.campaign AND w.place = r.place)
    ORDER BY v.place LIMIT :n FOR UPDATE OF v
""")
# What a pass that goes on will come to is not asked for twice.
_PROMOTABLE = text("""
    SELECT v.place FROM reviews AS v
    JOIN campaign_rows AS r ON r.campaign = v.campaign AND r.place = v.place
    WHERE v.campaign = :number AND v.decision = 'approve' AND r.outcome = 'succeeded'
      AND CAST(r.result ->> 'job' AS uuid) = v.job_id AND NOT r.result @> :made
      AND NOT EXISTS (SELECT FROM campaign_jobs AS w WHERE w.campaign = r.campaign AND w.place = r.place)
      AND NOT EXISTS (
          SELECT FROM campaign_passes
          WHERE campaign = :number AND kind = 'promote' AND NOT done AND places IS NULL)
      AND v.place NOT IN (
          SELECT unnest(places) FROM campaign_passes
          WHERE campaign = :number AND kind = 'promote' AND NOT done AND places IS NOT NULL)
    ORDER BY v.place
""").bindparams(bindparam("made", type_=JSONB))
_APPLIED = text("""
    WITH done AS (
        UPDATE reviews SET applied_at = cogmill_now(), applied_as = :made
        WHERE job_id = ANY (:ids) AND tenant = :tenant AND applied_at IS NULL
        RETURNING job_id, tenant, campaign, version, rating, decision, reason, action
    )
    INSERT INTO review_entries
        (job_id, number, tenant, campaign, kind, version, rating, decision, reason, action, reviewer)
    SELECT d.job_id, (SELECT coalesce(max(e.number), 0) + 1 FROM review_entries AS e WHERE e.job_id = d.job_id),
           d.tenant, d.campaign, 'applied', d.version, d.rating, d.decision, d.reason, d.action, :reviewer
    FROM done AS d RETURNING job_id
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("made", type_=Uuid), bindparam("reviewer", type_=Text))

# What a review becomes: its opinion, what kind of word that is, and the version that it goes back to.
_Said = tuple[Opinion, EntryKind, int | None]


class Reviews(Part):
    async def find_review(self, job_id: UUID, tenant: str) -> Reviewed | None:
        where = {"id": job_id, "tenant": tenant, "place": place_of(job_id)}
        found = await self._database.fetch(_FIND, where)
        if not found:
            return None
        row = found[0]
        of = review(row, job_id)
        if row.campaign is None:
            return Reviewed(review=of)
        if row.outcome != "succeeded" or UUID(row.result["job"]) != job_id:
            raise WrongState("another video stands in its row's place, or is about to: look at that one")
        return Reviewed(review=of, campaign=row.campaign, number=row.number, row=ended_row(row))

    async def review_history(self, job_id: UUID, tenant: str) -> list[Entry]:
        return [_entry(row) for row in await self._database.fetch(_HISTORY, {"id": job_id, "tenant": tenant})]

    async def decide(self, of: Reviewed, tenant: str, version: int, opinion: Opinion, reviewer: str) -> Met:
        def said(now: Review, _: Sequence[Entry]) -> _Said:
            return opinion, EntryKind.DECIDED, None

        return await self._word(of, tenant, version, opinion, reviewer, said)

    async def undo_review(self, of: Reviewed, tenant: str, version: int, reviewer: str, undo: Undo) -> Met:
        def said(now: Review, entries: Sequence[Entry]) -> _Said:
            back_to, opinion = undo(entries, now.version)
            return opinion, EntryKind.UNDONE, back_to

        return await self._word(of, tenant, version, None, reviewer, said)

    async def _word(
        self,
        of: Reviewed,
        tenant: str,
        version: int,
        meant: Opinion | None,
        reviewer: str,
        said: Callable[[Review, Sequence[Entry]], _Said],
    ) -> Met:
        """Write a word down: it holds where `version` does. What was said already is not said twice."""
        job_id = of.review.job_id
        place = None if of.row is None else of.row.row.place
        where = {"id": job_id, "tenant": tenant, "number": of.number, "place": place}

        async def turn(connection: AsyncConnection) -> Met:
            await connection.execute(_BEGIN, where)
            locked = (await connection.execute(_LOCK, where)).one()
            now = review(locked, job_id)
            if meant is not None and now.version > version and now.opinion == meant:
                return Met(review=now, accepted=True)
            if now.applied_at is not None:
                raise WrongState("what was asked for has been carried out: look at the video that came of it")
            if now.version != version:
                if meant is not None:
                    await _say(connection, where, EntryKind.REFUSED, now.version, meant, reviewer)
                return Met(review=now, accepted=False)
            entries = [_entry(row) for row in await connection.execute(_HISTORY, where)]
            opinion, kind, back_to = said(now, entries)
            written = (await connection.execute(_WRITE, where | _columns(opinion) | {"reviewer": reviewer})).one()
            after = review(written, job_id)
            await _say(connection, where, kind, after.version, opinion, reviewer, back_to)
            return Met(review=after, accepted=True)

        return await self._database.transact(turn)

    async def list_reviews(
        self, tenant: str, *, limit: int, after: UUID | None, decision: Verdict | None
    ) -> list[Review]:
        where = {"tenant": tenant, "after": after, "decision": decision, "n": limit}
        return [review(row, row.job_id) for row in await self._database.fetch(_LIST, where)]

    async def apply_reviews(self, campaign_id: str, tenant: str, carry: Carry, reviewer: str) -> Carried | None:
        async def turn(connection: AsyncConnection) -> Carried | None:
            before = await owned(connection, campaign_id, tenant)
            if before is None:
                return None
            due = (await connection.execute(_DUE, {"number": before.number, "n": _AT_ONCE})).all()
            drops = tuple(row.place for row in due if row.action == Remedy.DROP)
            again = tuple(row.place for row in due if row.action == Remedy.NEW_SEED)
            change = carry(before, drops, again)  # refuses also where there is nothing to do
            if not due:
                return Carried(campaign=before, new_seed=0, drop=0)
            await apply(connection, before, change, rested=False)
            done = {"ids": [row.job_id for row in due], "tenant": tenant, "made": None, "reviewer": reviewer}
            await connection.execute(_APPLIED, done)
            after = await read(connection, campaign_id)
            return Carried(campaign=after, new_seed=len(again), drop=len(drops))

        carried = await self._database.transact(turn)
        if carried is not None:
            self._notifier.announce()
        return carried

    async def promote_reviews(self, campaign_id: str, tenant: str, profile: str, promote: Promote) -> Promoted | None:
        async def turn(connection: AsyncConnection) -> Promoted | None:
            before = await owned(connection, campaign_id, tenant)
            if before is None:
                return None
            where = {"number": before.number, "made": {"profile": profile}}
            places = tuple((await connection.execute(_PROMOTABLE, where)).scalars())
            change = promote(before, places)  # refuses also where there is nothing to do
            if not places:
                return Promoted(campaign=before, rows=0)
            await apply(connection, before, change, rested=False)
            after = await read(connection, campaign_id)
            return Promoted(campaign=after, rows=len(places))

        promoted = await self._database.transact(turn)
        if promoted is not None:
            self._notifier.announce()
        return promoted

    async def note_applied(self, of: Reviewed, tenant: str, version: int, made: UUID | None, reviewer: str) -> bool:
        where = {"ids": [of.review.job_id], "tenant": tenant, "made": made, "reviewer": reviewer}

        async def turn(connection: AsyncConnection) -> bool:
            now = (await connection.execute(_LOCK, {"id": of.review.job_id, "tenant": tenant})).one_or_none()
            if now is None or now.version != version:
                return False
            return bool((await connection.execute(_APPLIED, where)).all())

        return await self._database.transact(turn)


async def _say(
    connection: AsyncConnection,
    where: Mapping[str, Any],
    kind: EntryKind,
    version: int,
    opinion: Opinion,
    reviewer: str,
    back_to: int | None = None,
) -> None:
    told = {"kind": kind, "version": version, "back_to": back_to, "reviewer": reviewer}
    await connection.execute(_SAY, {**where, **_columns(opinion), **told})
    await connection.execute(_TRIM, {"id": where["id"], "most": _MOST_WORDS})


def _columns(opinion: Opinion) -> dict[str, Any]:
    return {name: getattr(opinion, name) for name in ("rating", "decision", "reason", "action")}


def _opinion(row: SqlRow[Any]) -> Opinion:
    return Opinion(
        rating=row.rating,
        decision=None if row.decision is None else Verdict(row.decision),
        reason=row.reason,
        action=None if row.action is None else Remedy(row.action),
    )


def review(row: SqlRow[Any], job_id: UUID) -> Review:
    """A review from the columns of one, perhaps all of them null."""
    return Review(
        job_id=job_id,
        version=row.version,
        opinion=_opinion(row),
        reviewer=row.reviewer,
        decided_at=row.decided_at,
        applied_at=row.applied_at,
        applied_as=row.applied_as,
        held_by=row.held_by,
    )


def ended_row(row: SqlRow[Any]) -> EndedRow:
    """A row that has ended, from its columns."""
    wish = Row(place=row.place, line=row.line, custom_id=row.custom_id, body=row.body, reseed=row.reseed)
    return EndedRow(row=wish, outcome=Outcome(row.outcome), result=row.result)


def _entry(row: SqlRow[Any]) -> Entry:
    return Entry(
        number=row.number,
        kind=EntryKind(row.kind),
        version=row.version,
        opinion=_opinion(row),
        reviewer=row.reviewer,
        at=row.at,
        back_to=row.back_to,
    )
