"""What tenants used, what workers' hours went into, what came to nothing, and what it cost: reports from the ledger."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orchestrator.domain import worker_time
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.usage import By, Prices, Sum, Used, Waste, add_up, wasted
from orchestrator.domain.waste import Wasted, wasted_by_cause
from orchestrator.domain.worker_time import Spell, WorkerHours
from orchestrator.ports.ledger import LedgerStore, UsageQuery

# Where nobody says from when on.
_USUAL = timedelta(days=30)
_LONGEST = timedelta(days=400)
# An hour of each day of a month.
_LONGEST_BY_HOUR = timedelta(days=32)
_MOST_LINES = 100_000
_NOTHING = Used(attempts=0, gpu_seconds=0.0, wasted_gpu_seconds=0.0, money=0.0, charge=0.0)
_NO_TIME = WorkerHours(seconds=dict.fromkeys(Spell, 0.0), money=0.0, unused_money=0.0)
# What workers' hours can be told apart by.
_OF_WORKERS = ("hour", "pool", "kind")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was used in a time, the end of which is not in it."""

    since: datetime
    until: datetime
    by: tuple[By, ...]
    lines: Sequence[Used]
    total: Used
    # GPU seconds that came to nothing, by cause.
    waste: Mapping[Waste, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """What workers' hours went into: of whole hours, those that begin in a time, the end of which is not in it."""

    since: datetime
    until: datetime
    by: tuple[str, ...]
    lines: Sequence[WorkerHours]
    total: WorkerHours


@dataclass(frozen=True, slots=True, kw_only=True)
class WasteReport:
    """What came to nothing in whole hours: those that begin in a time, the end of which is not in it."""

    since: datetime
    until: datetime
    by: tuple[str, ...]
    lines: Sequence[Wasted]
    # What all workers together did then, with or without use.
    worker_seconds: float
    money: float | None


class Reports:
    """What everything costs is what workers cost in an hour, by pool and kind (`Settings.worker_prices`)."""

    def __init__(self, store: LedgerStore, per_hour: Prices) -> None:
        self._store = store
        self._per_hour = per_hour

    async def usage(
        self, tenant: str | None, *, since: str | None, until: str | None, by: str | None, campaign: str | None = None
    ) -> Report:
        """What a tenant, or every one of them (None), used; the arguments are as a caller wrote them.

        Raises `InvalidField` for `from`, `to` and `by` that are none, and for a time that is too long.
        """
        told = read_by(by)
        begins, ends = read_time(since, until, _LONGEST_BY_HOUR if By.HOUR in told else _LONGEST)
        sums = await self._sums(begins, ends, told, tenant=tenant, campaign=campaign)
        totals = add_up(sums, (), self._per_hour)
        return Report(
            since=begins,
            until=ends,
            by=told,
            lines=add_up(sums, told, self._per_hour),
            total=totals[0] if totals else _NOTHING,
            waste=wasted(sums),
        )

    async def workers(self, *, since: str | None, until: str | None, by: str | None) -> WorkerReport:
        """What the hours of all workers went into; the arguments are as a caller wrote them.

        Raises `InvalidField` for `from`, `to` and `by` that are none, and for a time that is too long.
        """
        told = read_names(by, _OF_WORKERS)
        begins, ends = read_time(since, until, _LONGEST)
        spent = await self._store.worker_time(begins, ends)
        totals = worker_time.add_up(spent, (), self._per_hour)
        return WorkerReport(
            since=begins,
            until=ends,
            by=told,
            lines=worker_time.add_up(spent, told, self._per_hour),
            total=totals[0] if totals else _NO_TIME,
        )

    async def waste(self, *, since: str | None, until: str | None, by: str | None) -> WasteReport:
        """What came to nothing, of all tenants' attempts and of all workers; the arguments are as a caller wrote them.

        Raises `InvalidField` for `from`, `to` and `by` that are none, and for a time that is too long.
        """
        told = read_names(by, _OF_WORKERS)
        begins, ends = read_time(since, until, _LONGEST_BY_HOUR if "hour" in told else _LONGEST)
        # Both ledgers over the same hours: workers' time is known by the hour alone.
        begins, ends = _hour_from(begins), _hour_from(ends)
        sums = await self._sums(begins, ends, (By.HOUR,) if "hour" in told else ())
        spent = await self._store.worker_time(begins, ends)
        everything = worker_time.add_up(spent, (), self._per_hour)
        whole = everything[0] if everything else _NO_TIME
        return WasteReport(
            since=begins,
            until=ends,
            by=told,
            lines=wasted_by_cause(sums, spent, told, self._per_hour),
            worker_seconds=sum(whole.seconds.values()),
            money=whole.money,
        )

    async def _sums(
        self,
        since: datetime,
        until: datetime,
        by: Collection[By],
        *,
        tenant: str | None = None,
        campaign: str | None = None,
    ) -> list[Sum]:
        """What attempts used. Raises `InvalidField` where that is told apart too finely for its time."""
        sums: list[Sum] = []
        for begin, end in _pieces(since, until):
            left = _MOST_LINES - len(sums)
            query = UsageQuery(since=begin, until=end, by=by, tenant=tenant, campaign=campaign, most=left)
            sums += await self._store.usage(query)
            if len(sums) > _MOST_LINES:
                raise InvalidField(f"tells more than {_MOST_LINES} lines apart; ask for a shorter time", param="by")
        return sums


def _hour_from(moment: datetime) -> datetime:
    """The first hour of UTC that begins then or later."""
    begun = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return begun if begun == moment else begun + timedelta(hours=1)


def _pieces(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Times short enough that the database adds each up at once, however many millions there are in all."""
    piece = timedelta(days=1) if until - since <= _LONGEST_BY_HOUR else timedelta(days=7)
    while since < until:
        yield since, min(since + piece, until)
        since += piece


def read_by(text: str | None) -> tuple[By, ...]:
    """`campaign,hour`, each once; nothing is the sum of all."""
    return tuple(map(By, read_names(text, [by.value for by in By])))


def read_names(text: str | None, known: Sequence[str]) -> tuple[str, ...]:
    """`hour,pool`: known names, each once."""
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise InvalidField(f"has {name[:80]!r}, which is none of {', '.join(known)}", param="by")
    return tuple(dict.fromkeys(names))


def read_time(since: str | None, until: str | None, longest: timedelta) -> tuple[datetime, datetime]:
    """From when until when; until now, and from 30 days before, where nothing is said."""
    ends = read_moment(until, "to") or datetime.now(UTC)
    begins = read_moment(since, "from") or ends - _USUAL
    if begins >= ends:
        raise InvalidField("must be before 'to'", param="from")
    if ends - begins > longest:
        raise InvalidField(f"must be at most {longest.days} days before 'to'", param="from")
    return begins, ends


def read_moment(text: str | None, param: str) -> datetime | None:
    """Unix seconds, a date (its midnight in UTC) or a time with its zone, as ISO 8601 has them."""
    if not text:
        return None
    try:
        if text.isascii() and text.isdecimal() and len(text) != 8:
            found = datetime.fromtimestamp(int(text), UTC)
        else:
            moment = datetime.fromisoformat(text)
            found = moment.replace(tzinfo=UTC) if _is_date(text) else moment
        if found.tzinfo is not None and 1970 < found.year < 9000:
            return found.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise InvalidField("must be Unix seconds, a date, or a time with its zone: 2026-01-31T18:00:00Z", param=param)


def _is_date(text: str) -> bool:
    return len(text) in (8, 10) and "T" not in text
