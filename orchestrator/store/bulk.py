"""Actions on all jobs that match: asked for in one row, carried on under a lease, a stretch of jobs at a time.

What matched when it was asked for is known without a copy: jobs that came later are not read, and of each other one its
attempts tell how it stood then. A stretch is done and noted in one transaction, which locks its jobs and no others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Row, Uuid, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Action, Actor, Change
from orchestrator.domain.bulk import ACTED_ON, BulkState, Verb, passed_over
from orchestrator.domain.errors import KeyReused, LimitExceeded
from orchestrator.domain.job_filter import JobFilter
from orchestrator.domain.states import JobState
from orchestrator.ports.bulk import Bulk, BulkPage, Match, NewBulk, Progress, Stretch
from orchestrator.ports.job_search import WINDOW, Count
from orchestrator.store.audit import record
from orchestrator.store.job_matching import as_it_stood, chosen, window
from orchestrator.store.part import Part
from orchestrator.store.tables import bulk_actions, jobs

_KEPT = tuple(
    bulk_actions.c[name]
    for name in (
        "id", "owner", "tenant", "administrative", "action", "filter", "priority", "actor", "asked_by", "asked_at",
        "expected", "about", "state", "cursor", "matched", "done", "skipped", "failed", "examples", "waits_for",
        "ended_at", "request_hash",
    )
)  # fmt: skip
_EXAMPLES = 20

_LOCK_OWNER = text("SELECT pg_advisory_xact_lock(hashtextextended('cogmill:bulk:' || :owner, 0))")
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
        RETURNING j.id, j.tenant, j.pool, j.state, j.quiet, j.request
    ), told AS (
        INSERT INTO outbox (job_id, tenant, event, webhook_url)
        SELECT id, tenant, 'job.cancelled', request ->> 'webhook_url' FROM changed
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


class BulkActions(Part):
    async def add_bulk(self, new: NewBulk, *, most: int) -> Bulk:
        async def add(connection: AsyncConnection) -> Row[Any]:
            await connection.execute(_LOCK_OWNER, {"owner": new.owner})
            earlier = await _repeated(connection, new)
            if earlier is not None:
                return earlier
            running = select(func.count()).where(bulk_actions.c.owner == new.owner, bulk_actions.c.ended_at.is_(None))
            if (now := await connection.scalar(running) or 0) >= most:
                message = f"{now} actions on many jobs are going on; at most {most} may"
                raise LimitExceeded(message, limit="bulk_actions", retry_after_s=10.0, most=most, used=now)
            row = (await connection.execute(insert(bulk_actions).values(**_values(new)).returning(*_KEPT))).one()
            if new.administrative:
                after = {"action": new.verb, "priority": new.priority, "filter": new.wanted.to_dict()}
                await record(connection, _change(Action.BULK_CREATE, _bulk(row), after))
            return row

        return _bulk(await self._database.transact(add))

    async def get_bulk(self, bulk_id: str, owner: str | None) -> Bulk | None:
        found = await self._database.fetch(select(*_KEPT).where(*_owned(bulk_id, owner)))
        return _bulk(found[0]) if found else None

    async def find_bulk(self, owner: str, key: str, *, administrative: bool) -> Bulk | None:
        keyed = (
            bulk_actions.c.owner == owner,
            bulk_actions.c.administrative == administrative,
            bulk_actions.c.idempotency_key == key,
        )
        found = await self._database.fetch(select(*_KEPT).where(*keyed))
        return _bulk(found[0]) if found else None

    async def list_bulk(self, owner: str | None, *, limit: int, after: str | None = None) -> BulkPage:
        query = select(*_KEPT).where(*_of(owner))
        if after is not None:
            query = query.where(bulk_actions.c.id < after)
        found = await self._database.fetch(query.order_by(bulk_actions.c.id.desc()).limit(limit + 1))
        return BulkPage(actions=[_bulk(row) for row in found[:limit]], has_more=len(found) > limit)

    async def cancel_bulk(self, bulk_id: str, owner: str | None) -> Bulk | None:
        async def cancel(connection: AsyncConnection) -> Bulk | None:
            row = (
                await connection.execute(select(*_KEPT).where(*_owned(bulk_id, owner)).with_for_update())
            ).one_or_none()
            if row is None or row.ended_at is not None:
                return None if row is None else _bulk(row)
            ended = await _ended(connection, bulk_id, BulkState.CANCELLED)
            if ended.administrative:
                await record(connection, _change(Action.BULK_CANCEL, ended, _sums(ended)))
            return ended

        return await self._database.transact(cancel)

    async def take_bulk(self, token: UUID, *, lease_s: float) -> Bulk | None:
        taken = await self._database.fetch(_TAKE, {"token": token, "lease_s": lease_s})
        if not taken:
            return None
        found = await self._database.fetch(select(*_KEPT).where(bulk_actions.c.id == taken[0].id))
        return _bulk(found[0]) if found else None

    async def next_of_bulk(self, bulk: Bulk, *, limit: int) -> Stretch:
        wanted = _as_asked(bulk)
        rows = window(wanted, after=bulk.cursor, newest_first=False, size=WINDOW).subquery("seen")
        query = (
            select(rows.c.id.label("job_id"), rows.c.tenant, rows.c.state, rows.c.campaign)
            .where(*chosen(wanted, rows.c, states=False))
            .where(as_it_stood(rows.c, bulk.asked_at).in_(sorted(wanted.states)))
            .order_by(rows.c.id)
            .limit(limit)
        )
        found = await self._database.fetch(query)
        matches = [Match(**{**row._mapping, "state": JobState(row.state)}) for row in found]
        if len(matches) == limit:
            return Stretch(matches=matches, cursor=matches[-1].job_id)
        last = window(wanted, after=bulk.cursor, newest_first=False, size=1).offset(WINDOW - 1)
        stopped = await self._database.fetch(last.with_only_columns(jobs.c.id))
        return Stretch(matches=matches, cursor=stopped[0].id if stopped else None)

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

    async def prune_bulk(self, *, keep_s: float) -> int:
        old = bulk_actions.c.ended_at < func.cogmill_now() - func.make_interval(0, 0, 0, 0, 0, 0, keep_s)
        return len(await self._database.fetch(bulk_actions.delete().where(old).returning(bulk_actions.c.id)))


def _as_asked(bulk: Bulk) -> JobFilter:
    """What matched then: jobs that were there, in states in which something can be done."""
    until = bulk.asked_at + timedelta(microseconds=1)
    before = until if bulk.wanted.created_to is None else min(until, bulk.wanted.created_to)
    states = ACTED_ON[bulk.verb] & (bulk.wanted.states or frozenset(JobState))
    return replace(bulk.wanted, created_to=before, states=states)


def _passed(bulk: Bulk, match: Match) -> str | None:
    return passed_over(bulk.verb, match.state, of_campaign=match.campaign is not None)


async def _repeated(connection: AsyncConnection, new: NewBulk) -> Row[Any] | None:
    if new.idempotency_key is None:
        return None
    keyed = (
        bulk_actions.c.owner == new.owner,
        bulk_actions.c.administrative == new.administrative,
        bulk_actions.c.idempotency_key == new.idempotency_key,
    )
    row = (await connection.execute(select(*_KEPT).where(*keyed))).one_or_none()
    if row is not None and row.request_hash != new.request_hash:
        raise KeyReused("this key came before, with another request", param="idempotency_key")
    return row


async def _held(connection: AsyncConnection, bulk: Bulk, token: UUID) -> Row[Any] | None:
    """Its row, locked until the transaction ends; None unless it is still this token's."""
    mine = (bulk_actions.c.id == bulk.id, bulk_actions.c.lease == token, bulk_actions.c.ended_at.is_(None))
    return (await connection.execute(select(*_KEPT).where(*mine).with_for_update())).one_or_none()


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
        ended = await _ended(connection, row.id, BulkState.COMPLETED)
        if ended.administrative:
            await record(connection, _change(Action.BULK_COMPLETE, ended, _sums(ended)))


async def _ended(connection: AsyncConnection, bulk_id: str, state: BulkState) -> Bulk:
    values = {
        "state": state.value,
        "ended_at": func.cogmill_now(),
        "lease": None,
        "leased_until": None,
        "waits_for": None,
    }
    end = update(bulk_actions).where(bulk_actions.c.id == bulk_id).values(**values).returning(*_KEPT)
    return _bulk((await connection.execute(end)).one())


def _added(before: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return dict(Counter(before) + Counter(more))


def _sums(bulk: Bulk) -> dict[str, Any]:
    return {"matched": bulk.matched, "done": bulk.done, "skipped": dict(bulk.skipped), "failed": dict(bulk.failed)}


def _change(action: Action, bulk: Bulk, after: Mapping[str, Any]) -> Change:
    return Change(action=action, object=f"bulk_action:{bulk.id}", tenant=bulk.wanted.tenant, after=after)


def _of(owner: str | None) -> Sequence[ColumnElement[bool]]:
    if owner is None:
        return (bulk_actions.c.administrative,)
    return bulk_actions.c.owner == owner, ~bulk_actions.c.administrative


def _owned(bulk_id: str, owner: str | None) -> Sequence[ColumnElement[bool]]:
    return bulk_actions.c.id == bulk_id, *_of(owner)


def _values(new: NewBulk) -> dict[str, Any]:
    actor = {name: getattr(new.actor, name) for name in new.actor.__slots__}
    return {
        "id": new.id,
        "owner": new.owner,
        "tenant": new.wanted.tenant,
        "administrative": new.administrative,
        "action": new.verb.value,
        "filter": new.wanted.to_dict(),
        "priority": new.priority,
        "actor": actor,
        "asked_by": new.asked_by,
        "expected": new.expected.count,
        "about": new.expected.about,
        "idempotency_key": new.idempotency_key,
        "request_hash": new.request_hash,
    }


def _bulk(row: Row[Any]) -> Bulk:
    kept = dict(row._mapping)
    for name in ("tenant", "action", "filter", "expected", "about", "state", "actor"):
        del kept[name]
    return Bulk(
        **kept,
        verb=Verb(row.action),
        wanted=JobFilter.from_dict(row.filter),
        expected=Count(row.expected, row.about),
        state=BulkState(row.state),
        actor=Actor(**row.actor),
    )
