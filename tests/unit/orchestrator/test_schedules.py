"""When a schedule comes next, on days on which clocks change too."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from orchestrator.domain.errors import InvalidField
from orchestrator.kit.schedules import next_run


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("cron", "after", "comes"),
    [
        ("0 18 * * *", "2026-01-16T17:59:59+01:00", "2026-01-16T18:00+01:00"),
        ("0 18 * * *", "2026-01-16T18:00+01:00", "2026-01-17T18:00+01:00"),
        ("0 18 * * MON-FRI", "2026-01-16T18:30+01:00", "2026-01-19T18:00+01:00"),
        ("30 6 L * *", "2026-02-10T00:00+01:00", "2026-02-28T06:30+01:00"),
        ("0 0 29 2 *", "2026-02-10T00:00+01:00", "2028-02-29T00:00+01:00"),
        # The same hour of the wall clock before and after clocks change.
        ("0 18 * * *", "2026-03-28T18:00+01:00", "2026-03-29T18:00+02:00"),
        # 02:30 does not come: it is made up for.
        ("30 2 * * *", "2026-03-28T12:00+01:00", "2026-03-29T03:00+02:00"),
        ("30 2 * * *", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"),
        # 02:30 comes twice, and counts once.
        ("30 2 * * *", "2026-10-24T12:00+02:00", "2026-10-25T02:30+02:00"),
        ("30 2 * * *", "2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"),
        # What comes every hour comes in both.
        ("0 * * * *", "2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"),
    ],
)
def test_a_schedule_comes_by_the_wall_clock_of_its_zone(cron: str, after: str, comes: str) -> None:
    found = next_run(cron, "Europe/Berlin", _at(after))
    assert found == _at(comes)
    assert found.tzinfo is UTC


def test_every_day_of_a_year_has_its_run() -> None:
    runs = [_at("2025-12-31T12:00+00:00")]
    while len(runs) < 366:
        runs.append(next_run("30 1 * * *", "America/New_York", runs[-1]))
    assert all(later > earlier for earlier, later in pairwise(runs))
    assert runs[-1] == _at("2026-12-31T01:30-05:00")


@pytest.mark.parametrize(
    ("cron", "zone", "param"),
    [
        ("0 0 30 2 *", "UTC", "schedule.cron"),
        ("0 0 * 2 MON#5", "Europe/Berlin", None),
        ("", "UTC", "schedule.cron"),
        ("* * * *", "UTC", "schedule.cron"),
        ("* * * * * *", "UTC", "schedule.cron"),
        ("60 * * * *", "UTC", "schedule.cron"),
        ("*/0 * * * *", "UTC", "schedule.cron"),
        ("@daily", "UTC", "schedule.cron"),
        ("0 0 * * MON#9", "UTC", "schedule.cron"),
        ("0 0 1,L/0 * *", "UTC", "schedule.cron"),
        ("0 0 L-3 * *", "UTC", "schedule.cron"),
        ("9" * 5000 + " 0 * * *", "UTC", "schedule.cron"),
        ("0 0 * * *", "Europe/Atlantis", "schedule.time_zone"),
        ("0 0 * * *", "../../etc/localtime", "schedule.time_zone"),
        ("0 0 * * *", "", "schedule.time_zone"),
        ("0 0 * * *", "Europe", "schedule.time_zone"),
    ],
)
def test_what_is_no_schedule_is_refused_by_its_field(cron: str, zone: str, param: str | None) -> None:
    after = _at("2026-01-16T18:00+00:00")
    if param is None:
        assert next_run(cron, zone, after) > after
        return
    with pytest.raises(InvalidField) as refused:
        next_run(cron, zone, after)
    assert refused.value.param == param
