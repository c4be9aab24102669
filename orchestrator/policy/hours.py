"""Hours in which a pool renders nothing of campaigns: read from words, and true to wall clocks on every day of a year.

`Mon-Fri 08:00-18:00 Europe/Berlin`; `Sat,Sun 00:00-24:00 UTC`; `Mon-Thu 22:00-06:00 America/New_York` ends on the next
morning. A time that comes twice when clocks go back begins with its first and ends with its last; one that does not
come, as clocks go forward, is the moment of the change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo

from orchestrator.domain.zones import zone_of

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TEXT = re.compile(r"(\S+)\s+(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s+(\S+)")
_DAY_MINUTES = 24 * 60
_WEEK_DAYS = 7
# From one closed period to the next, until it is clear that there is no end to them.
_LOOKS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _Period:
    """One line of closed hours."""

    # On which it begins; Monday is 0.
    days: frozenset[int]
    # Minutes since midnight; the end is on the next day where it is not greater.
    begin: int
    end: int
    zone: ZoneInfo

    def end_if_within(self, moment: datetime) -> datetime | None:
        """When the period that this moment lies in ends; None when it lies in none."""
        today = moment.astimezone(self.zone).date()
        for day in (today - timedelta(days=1), today):
            if day.weekday() not in self.days:
                continue
            begin = _instant(day, self.begin, self.zone, last=False)
            end = _instant(day, self.end + (_DAY_MINUTES if self.end <= self.begin else 0), self.zone, last=True)
            if begin <= moment < end:
                return end
        return None

    def begins_after(self, moment: datetime) -> datetime | None:
        """When it begins next, at this moment or later, in UTC; None where it does not within a week."""
        today = moment.astimezone(self.zone).date()
        for day in (today + timedelta(days=n) for n in range(_WEEK_DAYS + 1)):
            if day.weekday() in self.days and (begin := _instant(day, self.begin, self.zone, last=False)) >= moment:
                return begin
        return None


@dataclass(frozen=True, slots=True)
class ClosedHours:
    """All the closed hours of one pool."""

    periods: tuple[_Period, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Raises `ValueError`, which quotes the line that cannot be read, or when there is no open hour left."""
        hours = cls(tuple(map(_period, texts)))
        hours.opens_at(datetime(2024, 1, 1, tzinfo=UTC))
        return hours

    def closed_at(self, moment: datetime) -> bool:
        """Whether this moment, which has its zone, lies in closed hours."""
        return any(period.end_if_within(moment) is not None for period in self.periods)

    def opens_at(self, moment: datetime) -> datetime:
        """The first moment from this one on that is open, in UTC: this one itself, if it is."""
        at = moment.astimezone(UTC)
        for _ in range(_LOOKS):
            ends = [end for period in self.periods if (end := period.end_if_within(at)) is not None]
            if not ends:
                return at
            at = max(ends)
        raise ValueError("closed hours leave no open hour")

    def stretches(self, begins: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
        """From when to when it is closed, in UTC: all that begins from `begins` on and before `until`.

        Where `begins` itself is closed, the first begins there.
        """
        at = begins.astimezone(UTC)
        while at < until:
            opens = self.opens_at(at)
            if opens > at:
                yield at, opens
            at = min((found for each in self.periods if (found := each.begins_after(opens)) is not None), default=until)


def _period(text: str) -> _Period:
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:80]!r} is not like 'Mon-Fri 08:00-18:00 Europe/Berlin'")
    days, *digits, zone = found.groups()
    begin_hour, begin_minute, end_hour, end_minute = map(int, digits)
    begin, end = begin_hour * 60 + begin_minute, end_hour * 60 + end_minute
    if begin_minute > 59 or end_minute > 59 or begin >= _DAY_MINUTES or end > _DAY_MINUTES:
        raise ValueError(f"{text[:80]!r} has a time that is not from 00:00 to 24:00")
    if begin == end:
        raise ValueError(f"{text[:80]!r} begins when it ends; a whole day is 00:00-24:00")
    return _Period(days=_days(days, text), begin=begin, end=end, zone=zone_of(zone))


def _days(words: str, text: str) -> frozenset[int]:
    """`Mon-Fri`, `Sat,Sun`, `Fri-Mon`."""
    days: set[int] = set()
    for part in words.lower().split(","):
        first, dash, last = part.partition("-")
        if first not in _DAYS or (dash and last not in _DAYS):
            raise ValueError(f"{text[:80]!r} has a day that is none of Mon, Tue, Wed, Thu, Fri, Sat, Sun")
        begin = _DAYS.index(first)
        count = (_DAYS.index(last) - begin) % 7 + 1 if dash else 1
        days |= {(begin + day) % 7 for day in range(count)}
    return frozenset(days)


def _instant(day: date, minutes: int, zone: ZoneInfo, *, last: bool) -> datetime:
    """When the wall clock of a zone shows so many minutes since a day's midnight, in UTC."""
    wall = datetime.combine(day, time()) + timedelta(minutes=minutes)
    found = wall.replace(tzinfo=zone, fold=int(last)).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == wall:
        return found
    # The clock jumps over it. The two readings lie around the jump: halve the time between down to a second.
    low, high = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (1, 0))
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        if middle.astimezone(zone).replace(tzinfo=None) >= wall:
            high = middle
        else:
            low = middle
    return high
