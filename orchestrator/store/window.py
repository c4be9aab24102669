"""Going through a campaign's rows: which come next, which get jobs, and which of these wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Integer, TextClause, Uuid, bindparam, func, select, text
from sqlalchemy import Row as SqlRow
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.campaign import Campaign, Pass, PassKind, Row, RowError
from orchestrator.domain.errors import LimitExceeded
from orchestrator.domain.states import JobState
from orchestrator.policy.order import place_at
from orchestrator.ports.campaign_values import Found, Hold, Short, Submission, Submitted, WindowJob
from orchestrator.store import admission
from orchestrator.store.campaign_values import a_pass
from orchestrator.store.changes import held
from orchestrator.store.part import Part
from orchestrator.store.row_ends import CLOCK, refuse
from orchestrator.store.spending import Purse, reserve
from orchestrator.store.tables import campaign_passes

# How far behind a cursor that stands still other rows are looked for, and so many at a time.
_AHEAD, _STRETCH = 5_000, 256
# A cursor that has stood still for so long is stuck.
_STUCK = timedelta(hours=1)
# Until a limit that never has room, as it is, is tried again.
_LONGEST_S = 3600.0

# Rows of a pass that have neither a job nor, in this pass, an end.
_FREE = """
    AND NOT EXISTS (SELECT FROM campaign_jobs AS w WHERE w.campaign = r.campaign AND w.place = r.place)"""
_ROW = """r.place, r.line, r.custom_id, r.body, r.reseed, r.input_at, r.input_size,
    CASE WHEN r.result -> 'draft' IS NOT NULL THEN r.result ->> 'profile' END AS profile"""
# Which rows a pass is for, whoever named them. Only what has not come, only what failed; what is promoted already, or
# was from the first rendered so, would come out the same.
_NEW = "r.outcome IS NULL"
_WHICH = {
    PassKind.SAMPLE: _NEW,
    PassKind.MAIN: _NEW,
    PassKind.RETRY: "r.outcome = 'failed' AND r.pass < :pass",
    PassKind.PROMOTE: """(r.outcome = 'succeeded' AND NOT r.result @> :made
                          OR r.outcome = 'failed' AND r.result -> 'draft' IS NOT NULL) AND r.pass < :pass""",
}


# A text for each, so that each has an index that fits: of what failed there are few.
def _text(which: str, stretch: str) -> TextClause:
    found = text(f"""
        SELECT {_ROW} FROM campaign_rows AS r WHERE r.campaign = :number AND {which} {_FREE} AND {stretch}
    """)
    return found.bindparams(bindparam("made", type_=JSONB)) if ":made" in which else found


_AT = {
    kind: _text(which, "r.place = ANY (:places)").bindparams(bindparam("places", type_=ARRAY(Integer)))
    for kind, which in _WHICH.items()
}
_BEHIND = {kind: _text(which, "r.place >= :cursor ORDER BY r.place LIMIT :n") for kind, which in _WHICH.items()}
_SUBMITTED = text("""
    INSERT INTO campaign_jobs (campaign, place, pass, ordinal, version, job_id, reserved, price, day)
    SELECT :number, * FROM jsonb_to_recordset(:batch)
        AS b(place int, pass int, ordinal int, version int, job_id uuid, reserved float8, price float8, day date)
    ON CONFLICT DO NOTHING
""").bindparams(bindparam("batch", type_=JSONB))

_ADVANCE = text("""
    UPDATE campaign_passes SET cursor = :cursor, done = :done,
           put_off_at = CASE WHEN :put_off AND cursor = :cursor THEN coalesce(put_off_at, cogmill_now()) END
    WHERE campaign = :number AND number = :pass
""")

_WINDOW = text("""
    SELECT w.place, w.ordinal, w.job_id, j.state FROM campaign_jobs AS w JOIN jobs AS j ON j.id = w.job_id
    WHERE w.campaign = :number AND j.finished_at IS NULL ORDER BY w.pass, w.ordinal
""")

_TO_HOLD = text("""
    UPDATE jobs SET state = 'held', ready = false WHERE id = ANY (:ids) AND state = 'queued'
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)))
_TO_READY = text("""
    UPDATE jobs SET state = 'queued', ready = run_at <= cogmill_now() WHERE id = ANY (:ids) AND state = 'held'
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)))


class Windows(Part):
    async def open_passes(self, hold: Hold) -> list[Pass]:
        of = campaign_passes.c
        stuck = func.coalesce(of.put_off_at < func.cogmill_now() - _STUCK, False).label("stuck")
        query = select(campaign_passes, stuck).where(of.campaign == hold.campaign.number, ~of.done)
        # What somebody chose comes before all the rest.
        found = await self._database.fetch(query.order_by(of.kind == PassKind.MAIN, of.number))
        return [a_pass(row) for row in found]

    async def find_rows(self, hold: Hold, wanted: Pass, *, limit: int) -> Found:
        if wanted.places is None and wanted.kind is not PassKind.MAIN:
            return await self._behind(hold, wanted, limit)
        total = hold.campaign.counts.rows if wanted.places is None else len(wanted.places)
        free: list[tuple[int, Row]] = []
        upto, stretch = wanted.cursor, limit
        # Nearly always all that come next are free. Where the cursor stands still at one that cannot be had, those
        # behind it have jobs already.
        while upto < min(total, wanted.cursor + _AHEAD) and len(free) < limit:
            free += await self._free(hold, wanted, range(upto, min(total, upto + stretch)), total)
            upto, stretch = min(total, upto + stretch), _STRETCH
        if len(free) > limit:
            upto = free[limit][0]
        return Found(rows=free[:limit], upto=upto, last=upto == total)

    async def _free(self, hold: Hold, wanted: Pass, ordinals: range, total: int) -> list[tuple[int, Row]]:
        """The rows of these ordinals that have neither a job nor an end in this pass."""
        places = [_place(hold.campaign, wanted, ordinal, total) for ordinal in ordinals]
        where = _where(hold, wanted) | {"places": places}
        found = {row.place: _row(row) for row in await self._database.fetch(_AT[wanted.kind], where)}
        return [(ordinal, found[place]) for ordinal, place in zip(ordinals, places, strict=True) if place in found]

    async def _behind(self, hold: Hold, wanted: Pass, limit: int) -> Found:
        """Of a pass through all that ended so: its cursor is a place, and so are its ordinals."""
        where = _where(hold, wanted) | {"cursor": wanted.cursor, "n": limit}
        found = await self._database.fetch(_BEHIND[wanted.kind], where)
        upto = found[-1].place + 1 if found else wanted.cursor
        return Found(rows=[(row.place, _row(row)) for row in found], upto=upto, last=len(found) < limit)

    async def submit_rows(
        self,
        hold: Hold,
        wanted: Pass,
        submissions: Sequence[Submission],
        refusals: Sequence[tuple[Row, RowError]],
        *,
        cursor: int,
        done: bool,
        put_off: bool,
    ) -> Submitted:
        async def turn(connection: AsyncConnection) -> Submitted:
            before = await held(connection, hold)
            now = (await connection.execute(CLOCK)).one()
            purse = await Purse.open(connection, before, now.day)
            afforded = purse.first(submissions)
            chosen = submissions[:afforded]
            short = Short.BUDGET if afforded < len(submissions) else None
            fates = await admission.admit([each.job for each in chosen], self._defaults, connection) if chosen else {}
            taken = [each for each in chosen if not isinstance(fates.get(each.job.id), Exception | None)]
            pause_s = _pause(fates)
            if pause_s is not None and short is None:
                short = Short.QUOTA
            await _insert(connection, before, wanted, taken, now.day)
            await reserve(connection, before, taken, now.day)
            if refusals:
                await refuse(connection, before, wanted, refusals, now)
            waits = {each.ordinal for each in submissions} - {each.ordinal for each in taken}
            # A row that could not be made ready may lie before the first that there was no room for.
            stays = min([cursor, *waits])
            where = {"number": before.number, "pass": wanted.number}
            moved = {"cursor": stays, "done": done and not waits, "put_off": put_off}
            await connection.execute(_ADVANCE, where | moved)
            return Submitted(jobs=len(taken), short=short if waits else None, pause_s=pause_s)

        submitted = await self._database.transact(turn)
        if submitted.jobs:
            self._notifier.announce()
        return submitted

    async def window(self, hold: Hold) -> list[WindowJob]:
        found = await self._database.fetch(_WINDOW, {"number": hold.campaign.number})
        return [
            WindowJob(place=row.place, ordinal=row.ordinal, job_id=row.job_id, state=JobState(row.state))
            for row in found
        ]

    async def rebalance(self, hold: Hold, *, to_hold: Sequence[UUID], to_ready: Sequence[UUID]) -> None:
        async def turn(connection: AsyncConnection) -> None:
            await held(connection, hold)
            await connection.execute(_TO_HOLD, {"ids": sorted(to_hold)})
            await connection.execute(_TO_READY, {"ids": sorted(to_ready)})

        await self._database.transact(turn)
        self._notifier.announce()


def _place(of: Campaign, wanted: Pass, ordinal: int, total: int) -> int:
    return place_at(of.ask.order, ordinal, total) if wanted.places is None else wanted.places[ordinal]


def _where(hold: Hold, wanted: Pass) -> dict[str, Any]:
    where: dict[str, Any] = {"number": hold.campaign.number}
    if wanted.kind in (PassKind.RETRY, PassKind.PROMOTE):
        where["pass"] = wanted.number
    if wanted.kind is PassKind.PROMOTE:
        where["made"] = dict(wanted.overrides)
    return where


def _row(row: SqlRow[Any]) -> Row:
    names = ("place", "line", "custom_id", "body", "reseed", "profile", "input_at", "input_size")
    return Row(**{name: getattr(row, name) for name in names})


def _pause(fates: Mapping[UUID, object]) -> float | None:
    """When to ask again where the tenant's limits have no room now, in seconds; None where they have.

    Also where they never will as they are: a limit is changed more easily than rows that failed for it are mended.
    """
    over = [fate for fate in fates.values() if isinstance(fate, LimitExceeded)]
    return max((_LONGEST_S if fate.retry_after_s is None else fate.retry_after_s for fate in over), default=None)


async def _insert(
    connection: AsyncConnection, of: Campaign, wanted: Pass, taken: Sequence[Submission], day: date
) -> None:
    if not taken:
        return
    batch = [
        {
            "place": each.row.place,
            "pass": wanted.number,
            "ordinal": each.ordinal,
            "version": of.template.version,
            "job_id": str(each.job.id),
            "reserved": each.job.cost,
            "price": each.price,
            "day": day.isoformat(),
        }
        for each in taken
    ]
    await connection.execute(_SUBMITTED, {"number": of.number, "batch": batch})
