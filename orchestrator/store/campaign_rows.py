"""The rows of campaigns: taken in by COPY, found again, shown, and read from the first to the last."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from asyncpg import UniqueViolationError
from sqlalchemy import ARRAY, Integer, Text, bindparam, text
from sqlalchemy import Row as SqlRow
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.campaign import Campaign, Outcome, Row
from orchestrator.domain.campaign_rows import BadRow, NewRow
from orchestrator.domain.states import JobState
from orchestrator.ports.campaign_values import EndedRow, Hold, RowFilter, RowPage, ShownRow
from orchestrator.ports.campaigns import Estimate
from orchestrator.store import quotas, rows
from orchestrator.store.campaign_values import variables_of
from orchestrator.store.changes import held
from orchestrator.store.part import Part
from orchestrator.telemetry import aside

_PAGE = 5_000
# Bytes of bodies in a page: of rows with pictures within them there are fewer.
_PAGE_BYTES = 32 * 2**20
# Lines that are no rows, of one input: beyond so many they are counted, and not kept.
_MOST_BAD = 20_000
# A page of rows that a filter leaves few of looks at no more than so many, some at a time.
_LOOK = 5_000
_PIECE = 500

_COLUMNS = ("campaign", "place", "line", "custom_id", "body", "input_at", "input_size")
_BAD_COLUMNS = ("campaign", "line", "custom_id", "field", "code", "reason")

_TAKEN = text("""
    UPDATE campaigns
    SET rows = rows + :rows, bytes = bytes + :bytes, bad = bad + :bad, records = :records, estimate = :estimate
    WHERE number = :number
""").bindparams(bindparam("estimate", type_=JSONB))
_KNOWN = text("""
    SELECT custom_id FROM campaign_rows WHERE campaign = :number AND custom_id = ANY (:names)
""").bindparams(bindparam("names", type_=ARRAY(Text)))
_PLACES = text("""
    SELECT custom_id, place, outcome FROM campaign_rows WHERE campaign = :number AND custom_id = ANY (:names)
""").bindparams(bindparam("names", type_=ARRAY(Text)))
_FAILED = text("""
    SELECT place FROM campaign_rows
    WHERE campaign = :number AND outcome = 'failed' AND result -> 'error' ->> 'code' = :code ORDER BY place LIMIT :n
""")
_THESE = text("""
    SELECT place, line, custom_id, body, reseed FROM campaign_rows
    WHERE campaign = :number AND place = ANY (:places) ORDER BY place
""").bindparams(bindparam("places", type_=ARRAY(Integer)))
_BAD = text("""
    SELECT line, custom_id, field, code, reason FROM campaign_bad_rows
    WHERE campaign = :number AND line > :after ORDER BY line LIMIT :n
""")
# Places have no gaps: a stretch of them is found at once, where a LIMIT sorts all that is behind while nobody has
# analysed the table. How long a body is stands beside it: those beyond the page are not read for that.
_PAGED = """
    SELECT place, line, custom_id, body, reseed, outcome, result FROM (
        SELECT *, sum(octet_length(body)) OVER (ORDER BY place ROWS UNBOUNDED PRECEDING) AS bytes FROM campaign_rows
        WHERE campaign = :number AND place BETWEEN :first AND :last
    ) AS stretch WHERE bytes <= :bytes OR place = :first ORDER BY place
"""
_ALL = text(_PAGED)
_WITH_JOBS = text(f"""
    SELECT r.place, r.line, r.custom_id, r.body, r.reseed, r.outcome, r.result AS row_result,
           {", ".join(f"j.{column.name}" for column in rows.JOB_COLUMNS)}
    FROM ({_PAGED}) AS r LEFT JOIN LATERAL (
        SELECT {", ".join(column.name for column in rows.JOB_COLUMNS)}
        FROM jobs WHERE id = CAST(r.result ->> 'job' AS uuid) AND deleted_at IS NULL LIMIT 1) AS j ON true
    ORDER BY r.place
""")

# Rows with their live jobs, from a stretch that an index gives: by name, by end, by job, or simply the next ones.
_SHOWN = """
    SELECT r.place, r.line, r.custom_id, r.body, r.reseed, r.outcome, r.result AS row_result,
           coalesce(w.pass, r.pass) AS pass_number, w.version,
           {columns}
    FROM ({stretch}) AS r
    LEFT JOIN campaign_jobs AS w ON w.campaign = r.campaign AND w.place = r.place
    LEFT JOIN jobs AS j ON j.id = w.job_id
    ORDER BY r.place
"""
_STRETCHES = {
    "next": """SELECT * FROM campaign_rows WHERE campaign = :number AND place BETWEEN :after + 1 AND :last
               AND CAST(body AS jsonb) -> 'vars' @> CAST(:variables AS jsonb)""",
    "named": "SELECT * FROM campaign_rows WHERE campaign = :number AND custom_id = :custom_id AND place > :after",
    "ended": """SELECT * FROM campaign_rows
                WHERE campaign = :number AND place > :after AND outcome = :outcome ORDER BY place LIMIT :n""",
    "live": """SELECT own.* FROM (
                   SELECT campaign, place FROM campaign_jobs
                   WHERE campaign = :number AND place > :after ORDER BY place LIMIT :n
               ) AS live JOIN campaign_rows AS own USING (campaign, place)""",
}
_JOB = ", ".join(f"j.{column.name}" for column in rows.JOB_COLUMNS)
_SHOWNS = {name: text(_SHOWN.format(columns=_JOB, stretch=stretch)) for name, stretch in _STRETCHES.items()}

_LIVE = ("held", "queued", "running")


class CampaignRows(Part):
    async def add_rows(
        self,
        hold: Hold,
        new: Sequence[NewRow],
        bad: Sequence[BadRow],
        *,
        records: int,
        estimate: Estimate | None = None,
    ) -> int:
        async def turn(connection: AsyncConnection) -> int:
            before = await held(connection, hold)
            if before.records >= records:
                return before.counts.rows
            more = {"waiting_rows": len(new), "row_bytes": _bytes(new)}
            await quotas.check(connection, before.tenant, self._defaults, **more)
            good, repeated = await _copy_rows(connection, before, new)
            wrong = [*bad, *repeated]
            told = {row.line: row for row in reversed(wrong)}  # the first that is wrong with a line
            kept = [told[number] for number in sorted(told)][: max(0, _MOST_BAD - before.counts.bad)]
            await _copy(
                connection,
                "campaign_bad_rows",
                _BAD_COLUMNS,
                [(before.number, row.line, row.custom_id, row.field, row.code, row.reason) for row in kept],
            )
            priced = before.estimate if estimate is None else estimate(before.estimate, good)
            counted = {"rows": len(good), "bytes": _bytes(good), "bad": len(told), "records": records}
            counted["number"] = before.number
            await connection.execute(_TAKEN, counted | {"estimate": list(priced)})
            return before.counts.rows + len(good)

        return await self._database.transact(turn)

    async def places_of(
        self, campaign: Campaign, custom_ids: Sequence[str]
    ) -> Mapping[str, tuple[int, Outcome | None]]:
        found = await self._database.fetch(_PLACES, {"number": campaign.number, "names": list(custom_ids)})
        return {row.custom_id: (row.place, None if row.outcome is None else Outcome(row.outcome)) for row in found}

    async def places_failed(self, campaign: Campaign, code: str, *, limit: int) -> list[int]:
        found = await self._database.fetch(_FAILED, {"number": campaign.number, "code": code, "n": limit})
        return [row.place for row in found]

    async def rows_at(self, campaign: Campaign, places: Sequence[int]) -> list[Row]:
        found = await self._database.fetch(_THESE, {"number": campaign.number, "places": list(places)})
        return [_row(row) for row in found]

    async def show_rows(self, campaign: Campaign, wanted: RowFilter, *, after: int, limit: int) -> RowPage:
        after = min(after, campaign.counts.rows)
        filtered = bool(wanted.reason or wanted.variables or wanted.state)
        piece = _PIECE if filtered else limit + 1
        stretch = _stretch(campaign, wanted)
        chosen: list[ShownRow] = []
        looked = 0
        while looked < _LOOK:
            where = _where(campaign, wanted, stretch, after, piece)
            found = await self._database.fetch(_SHOWNS[stretch], where)
            for row in found:
                if len(chosen) == limit:
                    return RowPage(rows=chosen, has_more=True, after=chosen[-1].row.place)
                shown = _shown(row)
                if _matches(campaign, shown, wanted):
                    chosen.append(shown)
                after = row.place
            after = where.get("last", after)  # a stretch of places is looked at to its end
            if _exhausted(stretch, campaign, after, found=len(found), piece=piece):
                return RowPage(rows=chosen, has_more=False, after=after)
            looked += piece
        return RowPage(rows=chosen, has_more=True, after=after)

    async def bad_rows(self, campaign: Campaign) -> AsyncIterator[Sequence[BadRow]]:
        after = 0
        while True:
            where = {"number": campaign.number, "after": after, "n": _PAGE}
            found = await self._database.fetch(_BAD, where)
            if not found:
                return
            yield [BadRow(**row._mapping) for row in found]
            after = found[-1].line

    async def ended_rows(self, campaign: Campaign, *, with_jobs: bool = False) -> AsyncIterator[Sequence[EndedRow]]:
        page = _PAGE if not with_jobs else _PAGE // 10
        first = 0
        while True:
            where = {"number": campaign.number, "first": first, "last": first + page - 1, "bytes": _PAGE_BYTES}
            found = await self._database.fetch(_WITH_JOBS if with_jobs else _ALL, where)
            if not found:
                return
            first = found[-1].place + 1
            yield [_with_job(row) if with_jobs else _ended(row) for row in found]


async def _copy_rows(
    connection: AsyncConnection, of: Campaign, new: Sequence[NewRow]
) -> tuple[Sequence[NewRow], list[BadRow]]:
    """Append rows; which, and those whose name came before. Names are looked up only where one repeats."""

    def records(some: Sequence[NewRow]) -> list[tuple[Any, ...]]:
        first = of.counts.rows
        return [
            (of.number, first + n, row.line, row.custom_id, row.body, row.at, row.size) for n, row in enumerate(some)
        ]

    try:
        async with connection.begin_nested():
            await _copy(connection, "campaign_rows", _COLUMNS, records(new))
        return new, []
    except UniqueViolationError:
        names = {"number": of.number, "names": [row.custom_id for row in new]}
        seen = {row.custom_id for row in await connection.execute(_KNOWN, names)}
    good: list[NewRow] = []
    repeated: list[BadRow] = []
    for row in new:
        if row.custom_id in seen:
            repeated.append(_repeated(row))
        else:
            seen.add(row.custom_id)
            good.append(row)
    await _copy(connection, "campaign_rows", _COLUMNS, records(good))
    return good, repeated


def _bytes(new: Sequence[NewRow]) -> int:
    """Of what rows say. Where it is ASCII, as most is, that need not be encoded."""
    return sum(len(row.body) if row.body.isascii() else len(row.body.encode()) for row in new)


async def _copy(
    connection: AsyncConnection, table: str, columns: Sequence[str], records: Sequence[tuple[Any, ...]]
) -> None:
    """Write by COPY, the quickest way in, inside the connection's transaction."""
    if not records:
        return
    raw = await connection.get_raw_connection()
    driver: Any = raw.driver_connection
    await driver.copy_records_to_table(table, records=records, columns=columns)


def _repeated(row: NewRow) -> BadRow:
    return BadRow(
        line=row.line,
        custom_id=row.custom_id,
        field="custom_id",
        code="duplicate_custom_id",
        reason="comes twice in this input",
    )


def _stretch(of: Campaign, wanted: RowFilter) -> str:
    if wanted.custom_id is not None:
        return "named"
    if wanted.state in _LIVE:
        return "live"
    if wanted.state == Outcome.CANCELLED and of.ended_at is not None:
        return "next"  # what never began is cancelled, too
    return "ended" if wanted.state in list(Outcome) or wanted.reason is not None else "next"


def _where(campaign: Campaign, wanted: RowFilter, stretch: str, after: int, piece: int) -> dict[str, Any]:
    """The parameters of a stretch of so many rows behind a place."""
    bounds: dict[str, dict[str, Any]] = {
        "named": {"custom_id": wanted.custom_id},
        "next": {"last": after + piece, "variables": json.dumps(dict(wanted.variables))},
        # Only what failed has a reason.
        "ended": {"outcome": Outcome.FAILED if wanted.state is None else wanted.state, "n": piece},
        "live": {"n": piece},
    }
    return {"number": campaign.number, "after": after, **bounds[stretch]}


def _exhausted(stretch: str, campaign: Campaign, after: int, *, found: int, piece: int) -> bool:
    """Whether nothing of a stretch is left behind a place."""
    match stretch:
        case "named":
            return True
        case "next":
            return after >= campaign.counts.rows - 1
        case _:  # it was asked for a piece
            return found < piece


def _matches(of: Campaign, shown: ShownRow, wanted: RowFilter) -> bool:
    if wanted.state is not None and state_of(of, shown) != wanted.state:
        return False
    if wanted.reason is not None and (shown.result.get("error") or {}).get("code") != wanted.reason:
        return False
    if not wanted.variables:
        return True
    variables = variables_of(shown.row.body)
    return all(str(variables.get(name)) == value for name, value in wanted.variables.items())


def state_of(of: Campaign, shown: ShownRow) -> str:
    """The word for where a row stands."""
    if shown.job is not None and not shown.job.state.terminal:
        return shown.job.state
    if shown.version is not None:  # its job has ended, and somebody is about to note how
        return JobState.RUNNING
    return shown.outcome or ("waiting" if of.ended_at is None else Outcome.CANCELLED)


def _shown(row: SqlRow[Any]) -> ShownRow:
    job = rows.job(row) if row.id else None
    return ShownRow(
        row=_row(row),
        outcome=None if row.outcome is None else Outcome(row.outcome),
        result=row.row_result or {},
        job=None if job is None or job.state in (JobState.SUCCEEDED, JobState.FAILED) else job,
        version=row.version,
        pass_number=row.pass_number,
    )


def _ended(row: Sequence[Any]) -> EndedRow:
    place, line, custom_id, body, reseed, outcome, result = row  # by name it takes twice as long, a million times
    return EndedRow(
        row=Row(place=place, line=line, custom_id=custom_id, body=body, reseed=reseed),
        outcome=None if outcome is None else Outcome(outcome),
        result=result or {},
    )


def _with_job(row: SqlRow[Any]) -> EndedRow:
    """A row and its job; what cannot be read of it ends this row alone."""
    outcome = None if row.outcome is None else Outcome(row.outcome)
    try:
        job = rows.job(row) if row.id else None
    except Exception as error:
        aside.put("batch_lines", error, job=row.id.hex)
        broken = {"error": {"code": "internal_error", "message": "this request could not be dealt with"}}
        return EndedRow(row=_row(row), outcome=Outcome.FAILED, result=broken)
    return EndedRow(row=_row(row), outcome=outcome, result=row.row_result or {}, job=job)


def _row(row: SqlRow[Any]) -> Row:
    return Row(place=row.place, line=row.line, custom_id=row.custom_id, body=row.body, reseed=row.reseed)
