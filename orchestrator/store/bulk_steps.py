"""Actions on all jobs that match, carried on: under a lease, a stretch of jobs at a time.

What matched when it was asked for is known without a copy: jobs that came later are not read, and of each other one its
attempts tell how it stood then. A stretch is done and noted in one transaction, which locks its jobs and no others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Row, Select, Uuid, bindparam, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Action
from orchestrator.domain.bulk import ACTED_ON, BulkState, Verb, passed_over
from orchestrator.domain.job_filter import JobFilter
from orchestrator.domain.states import JobState
from orchestrator.ports.bulk import Bulk, Match, Progress, Stretch
from orchestrator.ports.job_search import WINDOW
from orchestrator.store.audit import record
from orchestrator.store.bulk import KEPT, bulk_of, change_of, end, sums_of
from orchestrator.store.job_matching import as_it_stood, chosen, window
from orchestrator.store.part import Part
from orchestrator.store.tables import bulk_actions, jobs

_EXAMPLES = 20

_TAKE = text("""
    UPDATE bulk_actions SET lease = :token, leased_until = cogmill_now() + make_interval(secs => :lease_s)
    WHERE id = (SELECT id FROM bulk_actions
                WHERE ended_at IS NULL AND coalesce(leased_until, '-infinity') <= cogmill_now()
                ORDER BY leased_until NULLS FIRST, id FOR UPDATE SKIP LOCKED LIMIT 1)
    RETURNING id
""").bindparams(bindparam("token", type_=Uuid))

# In the order of ids, as settlements lock them. Of a campaign's row nobody hears but the campaign.
_CANCEL = text("""
    WITH mine AS MATERIALIZED (
        SELECT id FROM jobs WHERE id = ANY (:ids) AND deleted_at IS NULL AND state IN ('held', 'queued', 'running')
        ORDER BY id FOR UPDATE
    ), changed AS (
        UPDATE jobs AS j
        SET cancel_requested_at = coalesce(cancel_requested_at, cogmill_now()), ready = false,
            state = CASE WHEN state = 'running' THEN state ELSE 'cancelled' END,
            finished_at = CASE WHEN state <> 'running' THEN cogmill_now() END
        FROM mine WHERE j.id = mine.id
        RETURNING j.id, j.tenant, j.pool, j.state, j.quiet, j.request, j.trace
    ), told AS (
        INSERT INTO outbox (job_id, tenant, event, webhook_url, trace)
        SELECT id, tenant, 'job.cancelled', request ->> 'webhook_url', trace FROM changed
        WHERE state = 'cancelled' AND NOT quiet
    )
    SELECT id, pool, state FROM changed
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)))
_URGENT = text("""
    WITH mine AS MATERIALIZED (
        SELECT id FROM jobs WHERE id = ANY (:ids) AND deleted_at IS NULL AND state IN ('held', 'queued')
        ORDER BY id FOR UPDATE
    ), moved AS (
        UPDATE jobs AS j SET priority = :priority FROM mine WHERE j.id = mine.id
        RETURNING j.id, j.pool, j.tenant, j.state
    ), lane AS (
        INSERT INTO lanes (pool, priority, tenant, weight)
        SELECT pool, CAST(:priority AS smallint), tenant,
               coalesce((SELECT weight FROM tenants WHERE name = tenant), 1)
        FROM (SELECT DISTINCT pool, tenant FROM moved ORDER BY pool, tenant) AS needed
        ON CONFLICT DO NOTHING
    )
    SELECT id, pool, state FROM moved
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)))


class BulkSteps(Part):
    async def take_bulk(self, token: UUID, *, lease_s: float) -> Bulk | None:
        taken = await self._database.fetch(_TAKE, {"token": token, "lease_s": lease_s})
        if not taken:
            return None
        found = await self._database.fetch(select(*KEPT).where(bulk_actions.c.id == taken[0].id))
        return bulk_of(found[0]) if found else None

    async def next_of_bulk(self, bulk: Bulk, *, limit: int) -> Stretch:
        wanted = _as_asked(bulk)
        look = partial(window, wanted, after=bulk.cursor, newest_first=False)
        matches = await self._matching(bulk, wanted, look(size=WINDOW), limit)
        if len(matches) == limit:
            return Stretch(matches=matches, cursor=matches[-1].job_id)
        # How far a window goes is known first, and then it is read up to there: where jobs are swept between two looks,
        # the second goes further than the first, and what the first has not seen would be passed by.
        stopped = await self._database.fetch(look(size=1).offset(WINDOW - 1).with_only_columns(jobs.c.id))
        until = stopped[0].id if stopped else None
        whole = look(size=2 * WINDOW)  # more than come between two looks
        matches = await self._matching(bulk, wanted, whole if until is None else whole.where(jobs.c.id <= until), limit)
        return Stretch(matches=matches, cursor=matches[-1].job_id if len(matches) == limit else until)

    async def _matching(self, bulk: Bulk, wanted: JobFilter, among: Select[Any], limit: int) -> list[Match]:
        rows = among.subquery("seen")
        query = (
            select(rows.c.id.label("job_id"), rows.c.tenant, rows.c.state, rows.c.campaign)
            .where(*chosen(wanted, rows.c, states=False))
            .where(as_it_stood(rows.c, bulk.asked_at).in_(sorted(wanted.states)))
            .order_by(rows.c.id)
            .limit(limit)
        )
        found = await self._database.fetch(query)
        return [Match(**{**row._mapping, "state": JobState(row.state)}) for row in found]

    async def carry_bulk(self, bulk: Bulk, token: UUID, stretch: Stretch) -> Progress | None:
        able = [match for match in stretch.matches if _passed(bulk, match) is None]
        statement, values = (_CANCEL, {}) if bulk.verb is Verb.CANCEL else (_URGENT, {"priority": bulk.priority})

        async def carry(connection: AsyncConnection) -> Progress | None:
            row = await _held(connection, bulk, token)
            if row is None:
                return None
            changed = (await connection.execute(statement, {"ids": [match.job_id for match in able], **values})).all()
            reached = {each.id for each in changed}
            skipped = Counter(_passed(bulk, match) for match in stretch.matches if match.job_id not in reached)
            progress = Progress(
                cursor=stretch.cursor,
                matched=len(stretch.matches),
                done=len(reached),
                skipped={reason or "changed_meanwhile": n for reason, n in skipped.items()},
                ended=stretch.cursor is None,
                cancelled=Counter(each.pool for each in changed if each.state == JobState.CANCELLED),
            )
            await _note(connection, row, progress)
            return progress

        done = await self._database.transact(carry)
        if done is not None and bulk.verb is Verb.PRIORITY:
            self._notifier.announce()
        return done

    async def note_bulk(self, bulk: Bulk, token: UUID, progress: Progress) -> bool:
        async def note(connection: AsyncConnection) -> bool:
            row = await _held(connection, bulk, token)
            if row is not None:
                await _note(connection, row, progress)
            return row is not None

        return await self._database.transact(note)


def _as_asked(bulk: Bulk) -> JobFilter:
    """What matched then: jobs that were there, in states in which something can be done."""
    until = bulk.asked_at + timedelta(microseconds=1)
    before = until if bulk.wanted.created_to is None else min(until, bulk.wanted.created_to)
    states = ACTED_ON[bulk.verb] & (bulk.wanted.states or frozenset(JobState))
    return replace(bulk.wanted, created_to=before, states=states)


def _passed(bulk: Bulk, match: Match) -> str | None:
    return passed_over(bulk.verb, match.state, of_campaign=match.campaign is not None)


async def _held(connection: AsyncConnection, bulk: Bulk, token: UUID) -> Row[Any] | None:
    """Its row, locked until the transaction ends; None unless it is still this token's."""
    mine = (bulk_actions.c.id == bulk.id, bulk_actions.c.lease == token, bulk_actions.c.ended_at.is_(None))
    return (await connection.execute(select(*KEPT).where(*mine).with_for_update())).one_or_none()


async def _note(connection: AsyncConnection, row: Row[Any], progress: Progress) -> None:
    rests = func.cogmill_now() + func.make_interval(0, 0, 0, 0, 0, 0, progress.rests_s)
    values = {
        "cursor": progress.cursor if progress.cursor is not None else row.cursor,
        "matched": row.matched + progress.matched,
        "done": row.done + progress.done,
        "skipped": _added(row.skipped, progress.skipped),
        "failed": _added(row.failed, progress.failed),
        "examples": [*row.examples, *map(dict, progress.examples)][:_EXAMPLES],
        "waits_for": progress.waits_for,
        "lease": None,
        # The one that rested longest is the next, so that each has its turn.
        "leased_until": rests,
    }
    await connection.execute(update(bulk_actions).where(bulk_actions.c.id == row.id).values(**values))
    if progress.ended:
        ended = await end(connection, row.id, BulkState.COMPLETED)
        if ended.administrative:
            await record(connection, change_of(Action.BULK_COMPLETE, ended, sums_of(ended)))


def _added(before: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return dict(Counter(before) + Counter(more))
