"""Jobs as they are looked for: by any filters, in bounded time, and counted, however many there are.

What an index serves is read by it: jobs that have not ended, that ended in a range, or that are rows with one id, as
long as they are few. All else is read in the order of creation, and never more than a window of it: an answer says how
far it has come, and the next one goes on from there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Executable, Select, Uuid, any_, bindparam, func, literal_column, select, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ClauseElement

from orchestrator.domain import jsontext
from orchestrator.domain.job_filter import JobFilter
from orchestrator.domain.states import JobState
from orchestrator.ports.any_jobs import JobSeen
from orchestrator.ports.job_search import MOST_COUNTED, WINDOW, Count, DeliveriesFound, JobsFound, JobWhole, Used
from orchestrator.store.any_jobs import AnyJobs, seeing
from orchestrator.store.delivery_attempts import with_attempts
from orchestrator.store.delivery_log import delivery_columns, delivery_of
from orchestrator.store.job_matching import (
    LIVE,
    OF_ROWS,
    chosen,
    ended_ids,
    first_id,
    live,
    live_ids,
    on_columns,
    on_documents,
    window,
)
from orchestrator.store.tables import deliveries, jobs, outbox

# Ids are made by the clock of whoever announces an end, which is told by the database's.
_CLOCKS_APART = timedelta(minutes=1)

_WHOLE = text("""
    SELECT cogmill_now() AS now, j.run_at, j.claimed_at, j.cancel_requested_at, j.made_by, j.trace,
           (SELECT r.custom_id FROM campaign_rows AS r JOIN campaign_jobs AS w USING (campaign, place)
            WHERE w.job_id = j.id) AS custom_id,
           coalesce((SELECT c.pauses FROM campaigns AS c WHERE c.id = j.campaign), '{}') AS pauses
    FROM jobs AS j WHERE j.id = :id
""").bindparams(bindparam("id", type_=Uuid))
# By its tenant and its time, since `usage` has no index of jobs; and it has no rows before the first attempt.
_USED = text("""
    SELECT u.claim, u.outcome, u.gpu_seconds, u.charge, u.at
    FROM jobs AS j JOIN usage AS u ON u.tenant = j.tenant AND u.at >= j.started_at
        AND u.at <= coalesce(j.finished_at, 'infinity') AND u.job_id = j.id
    WHERE j.id = :id ORDER BY u.claim LIMIT 200
""").bindparams(bindparam("id", type_=Uuid))


class JobSearch(AnyJobs):
    async def search_jobs(
        self, wanted: JobFilter, *, limit: int, after: UUID | None = None, newest_first: bool = True
    ) -> JobsFound:
        ids = await self._narrow(wanted)
        source = window(wanted, after=after, newest_first=newest_first, size=WINDOW) if ids is None else _among(ids)
        rows = source.subquery("seen")
        order = rows.c.id.desc() if newest_first else rows.c.id.asc()
        query = select(rows.c.id).where(*chosen(wanted, rows.c)).order_by(order).limit(limit + 1)
        if ids is not None and after is not None:
            query = query.where(rows.c.id < after if newest_first else rows.c.id > after)
        found: Sequence[UUID] = [row.id for row in await self._database.fetch(query)]
        shown = found[:limit]
        seen = await self._in_order(shown, newest_first)
        if len(found) > limit:
            return JobsFound(jobs=seen, has_more=True, last=shown[-1])
        stopped = None if ids is not None else await self._stopped(wanted, after, newest_first)
        if stopped is None:
            return JobsFound(jobs=seen, has_more=False, last=shown[-1] if shown else None)
        return JobsFound(jobs=seen, has_more=True, last=stopped[0], searched_until=stopped[1])

    async def count_jobs(self, wanted: JobFilter) -> Mapping[JobState, Count]:
        wanted = replace(wanted, states=frozenset())
        ids = await self._narrow(wanted)
        if ids is not None:
            return await self._by_state(_among(ids), wanted)
        seen = await self._by_state(_window(wanted), wanted)
        if await self._stopped(wanted, None, True) is None:
            return seen
        shares = await self._shares(wanted)
        return {state: await self._count(wanted, state, seen[state].count, shares[state]) for state in JobState}

    async def seen_job(self, job_id: UUID, tenant: str | None) -> JobSeen | None:
        query = seeing().where(jobs.c.id == job_id)
        found = await self._seen(query if tenant is None else query.where(jobs.c.tenant == tenant))
        return found[0] if found else None

    async def whole_job(self, job_id: UUID) -> JobWhole | None:
        found = await self._database.fetch(_WHOLE, {"id": job_id})
        if not found:
            return None
        used = [Used(**row._mapping) for row in await self._database.fetch(_USED, {"id": job_id})]
        return JobWhole(**found[0]._mapping, usage=used)

    async def untold_job(self, job_id: UUID) -> bool:
        return bool(await self._database.fetch(select(outbox.c.id).where(outbox.c.job_id == job_id).limit(1)))

    async def deliveries_of_job(self, job_id: UUID, tenant: str, *, limit: int) -> DeliveriesFound:
        over = select(jobs.c.finished_at).where(jobs.c.id == job_id, jobs.c.finished_at.is_not(None))
        ended = await self._database.fetch(over)
        if not ended:
            return DeliveriesFound(deliveries=[], complete=True)
        # Each of its events comes at its end, and goes out soon after; in the order of ids, so is it looked for.
        since = first_id(ended[0].finished_at - _CLOCKS_APART)
        of = select(*delivery_columns()).where(deliveries.c.tenant == tenant, deliveries.c.id >= since)
        rows = of.order_by(deliveries.c.id).limit(WINDOW).subquery("seen")
        its = func.strpos(rows.c.body, f"video_{job_id.hex}") > 0
        found = await self._database.fetch(select(rows).where(its).order_by(rows.c.id).limit(limit))
        complete = bool(found) or not await self._database.fetch(
            select(deliveries.c.id).where(deliveries.c.tenant == tenant, deliveries.c.id >= since)
            .order_by(deliveries.c.id).offset(WINDOW).limit(1)
        )  # fmt: skip
        told = await with_attempts(self._database, [delivery_of(row) for row in reversed(found)])
        return DeliveriesFound(deliveries=told, complete=complete)

    async def _narrow(self, wanted: JobFilter) -> Collection[UUID] | None:
        """The ids of a few jobs among which all that is wanted are; None where an index does not tell, or too many."""
        most = MOST_COUNTED + 1
        if wanted.custom_id is not None:
            which = {"tenant": wanted.tenant, "custom_id": wanted.custom_id, "most": most}
            return [row.id for row in await self._database.fetch(OF_ROWS, which)]
        for applies, query in (
            (live(wanted), live_ids),
            (wanted.ended_from is not None or wanted.ended_to is not None, ended_ids),
        ):
            if applies and len(found := await self._database.fetch(query(wanted, most))) < most:
                return [row.id for row in found]
        return None

    async def _in_order(self, ids: Sequence[UUID], newest_first: bool) -> list[JobSeen]:
        if not ids:
            return []
        found = {each.job.id: each for each in await self._seen(seeing().where(jobs.c.id.in_(ids)))}
        return [found[job_id] for job_id in ids if job_id in found]

    async def _stopped(self, wanted: JobFilter, after: UUID | None, newest_first: bool) -> tuple[UUID, Any] | None:
        """The last row of a full window, and when it was created; None where the window reached the end."""
        rows = window(wanted, after=after, newest_first=newest_first, size=1).offset(WINDOW - 1)
        found = await self._database.fetch(rows.with_only_columns(jobs.c.id, jobs.c.created_at))
        return (found[0].id, found[0].created_at) if found else None

    async def _by_state(self, source: Select[Any], wanted: JobFilter) -> dict[JobState, Count]:
        rows = source.subquery("seen")
        query = select(rows.c.state, func.count().label("n")).where(*chosen(wanted, rows.c)).group_by(rows.c.state)
        found = {row.state: row.n for row in await self._database.fetch(query)}
        return {state: Count(found.get(state, 0)) for state in JobState}

    async def _count(self, wanted: JobFilter, state: JobState, seen: int, share: float) -> Count:
        """Of one state: counted where an index has its jobs alone and they are few, else what the planner expects."""
        of = replace(wanted, states=frozenset({state}))
        if state in LIVE and (ids := await self._narrow(of)) is not None:
            return (await self._by_state(_among(ids), of))[state]
        if state is JobState.FAILED and await self._stopped(of, None, True) is None:
            return (await self._by_state(_window(of), of))[state]
        so = (jobs.c.deleted_at.is_(None), *on_columns(of, jobs.c), jobs.c.state == state.value)
        rows: Select[Any] = select(literal_column("1")).select_from(jobs).where(*so)
        plan = (await self._database.fetch(_Explain(rows)))[0][0]
        rough = jsontext.own(plan) if isinstance(plan, str) else plan
        return Count(max(seen, round(rough[0]["Plan"]["Plan Rows"] * share)), about=True)

    async def _shares(self, wanted: JobFilter) -> Mapping[JobState, float]:
        """Of each state, how many of the newest jobs that the planner can count are as the documents are to be."""
        rows = _window(wanted).subquery("seen")
        documents = on_documents(wanted, rows.c)
        if not documents:
            return dict.fromkeys(JobState, 1.0)
        counted = (rows.c.state, func.count().label("all"), func.count().filter(*documents).label("both"))
        query = select(*counted).where(*on_columns(wanted, rows.c)).group_by(rows.c.state)
        found = {row.state: row.both / row.all for row in await self._database.fetch(query)}
        return {state: float(found.get(state, 0.0)) for state in JobState}


def _window(wanted: JobFilter) -> Select[Any]:
    return window(wanted, after=None, newest_first=True, size=WINDOW)


def _among(ids: Collection[UUID]) -> Select[Any]:
    return select(jobs).where(
        jobs.c.deleted_at.is_(None), jobs.c.id == any_(bindparam(None, list(ids), type_=ARRAY(Uuid), unique=True))
    )


class _Explain(Executable, ClauseElement):
    """What the planner expects of a statement, which is not run."""

    inherit_cache = False

    def __init__(self, of: Select[Any]) -> None:
        self.of = of


@compiles(_Explain)
def _explained(element: _Explain, compiler: Any, **how: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.of, **how)}"
