"""How rows end: with their jobs, or without one; what that cost, and what it makes of the campaign's counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import ARRAY, Integer, bindparam, text
from sqlalchemy import Row as SqlRow
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.campaign import Campaign, Kind, Outcome, Pass, Row, RowError
from orchestrator.domain.campaign_results import Ended, ended, followed, refused
from orchestrator.domain.states import JobState
from orchestrator.policy.pace import append
from orchestrator.ports.campaign_values import Hold
from orchestrator.store import rows
from orchestrator.store.campaign_values import COLUMNS, LIVE, campaign
from orchestrator.store.changes import held
from orchestrator.store.part import Part
from orchestrator.store.spending import booked
from orchestrator.telemetry import aside

CLOCK = text("SELECT cogmill_now() AS now, (cogmill_now() AT TIME ZONE 'UTC')::date AS day")

_RESULTS = text("""
    SELECT place, result FROM campaign_rows WHERE campaign = :number AND place = ANY (:places)
""").bindparams(bindparam("places", type_=ARRAY(Integer)))

# Of what attempts used and is not booked yet: each at the price of its kind of worker, as far as it has one of its own.
# What is booked is always the first attempts of a job, each of them whole.
_UNBOOKED = """
    SELECT coalesce(sum(a.gpu_seconds * coalesce(a.price, w.price)), 0)::float8
    FROM (SELECT gpu_seconds, price, sum(gpu_seconds) OVER (ORDER BY number) AS upto
          FROM attempts WHERE job_id = w.job_id) AS a
    WHERE a.upto > w.booked + 1e-6"""

_ENDED = text(f"""
    SELECT w.place, w.pass, w.version, w.job_id, w.reserved, w.price, w.day, w.booked,
           (SELECT coalesce(sum(a.gpu_seconds), 0)::float8 FROM attempts AS a WHERE a.job_id = w.job_id) AS gpu_seconds,
           ({_UNBOOKED}) AS money,
           (SELECT r.result FROM campaign_rows AS r WHERE r.campaign = w.campaign AND r.place = w.place) AS earlier,
           j.deleted_at IS NOT NULL AS deleted, {", ".join(f"j.{column.name}" for column in rows.JOB_COLUMNS)}
    FROM campaign_jobs AS w LEFT JOIN jobs AS j ON j.id = w.job_id
    WHERE w.campaign = :number AND (j.id IS NULL OR j.finished_at IS NOT NULL)
    ORDER BY w.place LIMIT :n
""")

# `old` is how each row stood before: one that is rendered again has been counted. The batch brings the campaign, so
# that rows are looked up by both: where most campaigns are small, a constant has all rows of this one read instead.
_SETTLE = text("""
    WITH batch AS MATERIALIZED (
        SELECT CAST(:number AS bigint) AS campaign, b.*
        FROM jsonb_to_recordset(:batch) AS b(place int, pass int, outcome text, result jsonb, flagged boolean)
    ), old AS MATERIALIZED (
        SELECT r.place, r.outcome, jsonb_array_length(coalesce(r.result -> 'flags', '[]')) > 0 AS flagged
        FROM campaign_rows AS r JOIN batch AS b USING (campaign, place)
    ), written AS (
        UPDATE campaign_rows AS r SET outcome = b.outcome, result = b.result, pass = greatest(r.pass, b.pass)
        FROM batch AS b WHERE r.campaign = b.campaign AND r.place = b.place
    ), gone AS (
        DELETE FROM campaign_jobs WHERE campaign = :number AND place = ANY (ARRAY(SELECT place FROM batch))
    ), counted AS (
    UPDATE campaigns AS c SET
        succeeded = c.succeeded + n.succeeded - o.succeeded, failed = c.failed + n.failed - o.failed,
        cancelled = c.cancelled + n.cancelled - o.cancelled, dropped = c.dropped - o.dropped,
        waived = c.waived - o.waived, flagged = c.flagged + n.flagged - o.flagged,
        fresh_succeeded = c.fresh_succeeded + :fresh_succeeded, fresh_failed = c.fresh_failed + :fresh_failed,
        history = :history, first_failed = c.first_failed + :first_failed,
        reserved = greatest(0, c.reserved - :reserved), used = c.used + :used, spent = c.spent + :spent,
        reserved_money = greatest(0, c.reserved_money - :reserved_money),
        started_at = coalesce(c.started_at, cogmill_now())
    FROM (SELECT count(*) FILTER (WHERE outcome = 'succeeded') AS succeeded,
                 count(*) FILTER (WHERE outcome = 'failed') AS failed,
                 count(*) FILTER (WHERE outcome = 'cancelled') AS cancelled,
                 count(*) FILTER (WHERE flagged) AS flagged FROM batch) AS n,
         (SELECT count(*) FILTER (WHERE outcome = 'succeeded') AS succeeded,
                 count(*) FILTER (WHERE outcome = 'failed') AS failed,
                 count(*) FILTER (WHERE outcome = 'cancelled') AS cancelled,
                 count(*) FILTER (WHERE outcome = 'dropped') AS dropped,
                 count(*) FILTER (WHERE outcome = 'waived') AS waived,
                 count(*) FILTER (WHERE outcome = 'succeeded' AND flagged) AS flagged FROM old) AS o
    WHERE number = :number
    RETURNING c.number, c.kind, c.succeeded, c.failed, c.cancelled + c.dropped + c.waived AS others, c.used
    )
    INSERT INTO campaign_progress AS p (campaign, at, succeeded, failed, others, gpu_seconds)
    SELECT number, date_trunc('minute', cogmill_now()), succeeded, failed, others, used FROM counted
    WHERE kind = 'campaign'
    ON CONFLICT (campaign, at) DO UPDATE
    SET succeeded = excluded.succeeded, failed = excluded.failed, others = excluded.others,
        gpu_seconds = excluded.gpu_seconds
""").bindparams(bindparam("batch", type_=JSONB), bindparam("history", type_=JSONB))

# Of jobs that went back into the queue: what their attempts used is charged, and what is reserved is for the next one.
_BOOKED = text(f"""
    WITH more AS MATERIALIZED (
        SELECT w.place, w.day, used.gpu_seconds, used.gpu_seconds - w.booked AS charge, ({_UNBOOKED}) AS money
        FROM campaign_jobs AS w JOIN jobs AS j ON j.id = w.job_id
        CROSS JOIN LATERAL (
            SELECT sum(a.gpu_seconds) AS gpu_seconds FROM attempts AS a WHERE a.job_id = w.job_id) AS used
        WHERE w.campaign = :number AND j.finished_at IS NULL AND j.claims > 0 AND used.gpu_seconds > w.booked
    ), noted AS (
        UPDATE campaign_jobs AS w SET booked = m.gpu_seconds FROM more AS m
        WHERE w.campaign = :number AND w.place = m.place
    ), charged AS (
        UPDATE campaigns SET used = used + n.charge, spent = spent + n.money
        FROM (SELECT coalesce(sum(charge), 0) AS charge, coalesce(sum(money), 0) AS money FROM more) AS n
        WHERE number = :number AND n.charge > 0
    )
    SELECT day, charge, money FROM more
""")

_SHOW_BATCH = text("""
    UPDATE batches AS b SET completed = c.succeeded, failed = c.failed + c.cancelled
    FROM campaigns AS c WHERE c.id = :id AND b.id = c.id
""")

_READ = text(f"SELECT {COLUMNS}, live.* FROM campaigns AS c, {LIVE} WHERE c.number = :number")


class RowEnds(Part):
    async def settle_rows(self, hold: Hold, *, limit: int) -> Campaign:
        async def turn(connection: AsyncConnection) -> Campaign:
            before = await held(connection, hold)
            where = {"number": before.number}
            found = (await connection.execute(_ENDED, where | {"n": limit})).all()
            if found:
                now = (await connection.execute(CLOCK)).one()
                await _settle(connection, before, [_of_job(row) for row in found], now)
            more = (await connection.execute(_BOOKED, where)).all()
            await booked(connection, before.tenant, [(row.day, 0.0, 0.0, row.charge, row.money) for row in more])
            return campaign((await connection.execute(_READ, where)).one())

        return await self._database.transact(turn)


async def refuse(
    connection: AsyncConnection,
    of: Campaign,
    wanted: Pass,
    never: Sequence[tuple[Row, RowError]],
    now: SqlRow[Any],
) -> None:
    """End rows that get no job."""
    await _settle(connection, of, await _refusals(connection, of, wanted, never), now)


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """A row's end and what was spoken for on its behalf."""

    ended: Ended
    # The pass that ends it.
    number: int
    # GPU seconds that were spoken for, and those that are to be charged now.
    reserved: float = 0.0
    charge: float = 0.0
    # Money for each of those that were spoken for, and for all that are to be charged.
    price: float = 0.0
    money: float = 0.0
    # None where nothing was spoken for.
    day: date | None = None


def _of_job(row: SqlRow[Any]) -> _End:
    try:
        job = rows.job(row) if row.id and not row.deleted else None
    except Exception as error:  # a row that cannot be read ends this one alone
        aside.put("campaign_rows", error, job=row.job_id.hex)
        job = None
    attempts = 0 if job is None else job.failures + (job.state is JobState.SUCCEEDED)
    end = ended(row.place, row.job_id, job, version=row.version, gpu_seconds=row.gpu_seconds, attempts=attempts)
    charge = end.gpu_seconds - row.booked
    return _End(
        ended=followed(row.earlier, end),
        number=getattr(row, "pass"),
        reserved=row.reserved,
        charge=charge,
        price=row.price,
        money=row.money if charge > 0 else charge * row.price,
        day=row.day,
    )


async def _refusals(
    connection: AsyncConnection, of: Campaign, wanted: Pass, never: Sequence[tuple[Row, RowError]]
) -> list[_End]:
    """The ends of rows that get no job; what was rendered of them before stays known."""
    where = {"number": of.number, "places": [row.place for row, _ in never]}
    earlier = {row.place: row.result for row in await connection.execute(_RESULTS, where)}
    ends = []
    for row, error in never:
        end = Ended(place=row.place, outcome=Outcome.FAILED, result=refused(error), gpu_seconds=0.0)
        ends.append(_End(ended=followed(earlier.get(row.place), end), number=wanted.number))
    return ends


async def _settle(connection: AsyncConnection, before: Campaign, ends: Sequence[_End], now: SqlRow[Any]) -> None:
    now_version = before.template.version
    batch = [
        {
            "place": end.ended.place,
            "pass": end.number,
            "outcome": end.ended.outcome,
            "result": end.ended.result,
            "flagged": end.ended.flagged,
        }
        for end in ends
    ]
    # Of the template as it is now: what an earlier version made says nothing of it.
    fresh = [end.ended.outcome for end in ends if end.ended.result.get("version", now_version) == now_version]
    first = max(0, (before.ask.stop.of_first or 0) - before.fresh_succeeded - before.fresh_failed)
    # Of ends, and not of rows that have ended: those of rows that are rendered again count, too.
    done = len(ends) + (before.history[-1][1] if before.history else 0)
    await connection.execute(
        _SETTLE,
        {
            "number": before.number,
            "batch": batch,
            "history": append(before.history, now.now.timestamp(), done),
            "first_failed": sum(outcome is Outcome.FAILED for outcome in fresh[:first]),
            "fresh_succeeded": fresh.count(Outcome.SUCCEEDED),
            "fresh_failed": fresh.count(Outcome.FAILED),
            "reserved": sum(end.reserved for end in ends),
            "reserved_money": sum(end.reserved * end.price for end in ends),
            "used": sum(end.charge for end in ends),
            "spent": sum(end.money for end in ends),
        },
    )
    if before.kind is Kind.BATCH:
        await connection.execute(_SHOW_BATCH, {"id": before.id})
    await booked(
        connection,
        before.tenant,
        [
            (end.day, end.reserved, end.reserved * end.price, end.charge, end.money)
            for end in ends
            if end.day is not None
        ],
    )
