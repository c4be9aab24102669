"""The ledger adds up what attempts used, by what is asked for, on real PostgreSQL."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from orchestrator.domain.errors import InvalidField
from orchestrator.domain.outcome import AttemptOutcome
from orchestrator.domain.protocol import HandedBack
from orchestrator.domain.usage import By, Waste
from orchestrator.ports.ledger import UsageQuery
from orchestrator.store import Store
from orchestrator.tenants.ledger import Reports
from tests.support.builders import a_checkpoint
from tests.support.jobs import CLUSTER, POOL, broke, ending, new_job, rendered, workers
from tests.support.postgres import Clock

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
ROWS = [
    # tenant, campaign, model, pool, outcome, kept, seconds, minutes after noon
    ("acme", "campaign_1", "5b", "big", "succeeded", None, 100.0, 0),
    ("acme", "campaign_1", "5b", "big", "succeeded", None, 50.0, 59),
    ("acme", "campaign_1", "5b", "big", "failed", None, 10.0, 60),
    ("acme", "campaign_1", "2b", "small", "evicted", True, 8.0, 61),
    ("acme", "campaign_1", "2b", "small", "evicted", False, 4.0, 61),
    ("acme", None, "2b", "small", "cancelled", None, 2.0, 61),
    ("acme", None, None, "small", "evicted", None, 1.0, 61),
    ("birch", "batch_1", "2b", "small", "lost", None, 7.0, 30),
    ("birch", None, "2b", "small", "released", None, 3.0, 24 * 60),
]


@pytest.fixture
async def filled(store: Store, database: asyncpg.Connection) -> Store:
    await database.executemany(
        "INSERT INTO usage (job_id, claim, tenant, campaign, model, pool, outcome, kept, gpu_seconds, at) "
        "VALUES (gen_random_uuid(), 1, $1, $2, $3, $4, $5, $6, $7, $8)",
        [(*row[:7], NOON + timedelta(minutes=row[7])) for row in ROWS],
    )
    return store


def a_report(store: Store, **prices: float | None) -> Reports:
    per_hour = {"big": 36.0, "small": 3.6, **prices}
    return Reports(store, {(pool, ""): price for pool, price in per_hour.items()})


async def test_each_tenant_reads_its_own_and_the_end_of_the_time_is_not_in_it(filled: Store) -> None:
    reports = a_report(filled)
    noon = {"since": "2030-01-01", "until": "2030-01-02T12:00:00Z", "by": None}
    acme = await reports.usage("acme", **noon)
    assert acme.total.gpu_seconds == pytest.approx(175.0)
    assert acme.total.attempts == 7
    assert acme.total.money == pytest.approx(1.6 + 0.015)
    assert (await reports.usage("birch", **noon)).total.gpu_seconds == 7.0
    everybody = await reports.usage(None, since="2030-01-01", until="2030-01-03", by="tenant")
    assert [(line.tenant, line.gpu_seconds) for line in everybody.lines] == [("acme", 175.0), ("birch", 10.0)]
    nobody = await reports.usage("cedar", **noon)
    assert (list(nobody.lines), nobody.total.gpu_seconds, nobody.total.money) == ([], 0.0, 0.0)


async def test_lines_are_told_apart_by_what_is_asked_for_and_sum_to_the_whole(filled: Store) -> None:
    for by in ("", "hour", "campaign,outcome", "tenant,campaign,model,pool,outcome,hour"):
        report = await a_report(filled).usage(None, since="2030-01-01", until="2030-01-03", by=by)
        assert sum(line.gpu_seconds for line in report.lines) == pytest.approx(sum(row[6] for row in ROWS))
        assert sum(line.attempts for line in report.lines) == len(ROWS)
        assert sum(line.money or 0 for line in report.lines) == pytest.approx(report.total.money)
    hours = await a_report(filled).usage("acme", since="2030-01-01", until="2030-01-02", by="hour,campaign")
    assert [(line.hour, line.campaign, line.gpu_seconds) for line in hours.lines] == [
        (NOON, "campaign_1", 150.0),
        (NOON + timedelta(hours=1), None, 3.0),
        (NOON + timedelta(hours=1), "campaign_1", 22.0),
    ]
    one = await a_report(filled).usage(None, since="2030-01-01", until="2030-01-03", by="model", campaign="campaign_1")
    assert [(line.model, line.gpu_seconds) for line in one.lines] == [("2b", 12.0), ("5b", 160.0)]


async def test_a_time_of_many_days_is_added_up_as_one(filled: Store) -> None:
    for since in ("2029-12-31T05:00:00Z", "2029-06-01"):
        report = await a_report(filled).usage(None, since=since, until="2030-01-02T23:30:00Z", by="tenant")
        assert [(line.tenant, line.gpu_seconds) for line in report.lines] == [("acme", 175.0), ("birch", 10.0)]
        assert (report.lines[0].attempts, report.total.attempts) == (7, len(ROWS))


async def test_waste_has_its_causes_and_what_left_a_checkpoint_is_none(filled: Store) -> None:
    report = await a_report(filled).usage(None, since="2030-01-01", until="2030-01-03", by="outcome")
    assert report.waste == {
        Waste.CANCELLED: 2.0, Waste.FAILED: 10.0, Waste.LOST: 7.0, Waste.EVICTED: 4.0, Waste.RELEASED: 3.0,
    }  # fmt: skip
    assert report.total.wasted_gpu_seconds == pytest.approx(sum(report.waste.values()))
    assert {line.outcome: line.wasted_gpu_seconds for line in report.lines}[AttemptOutcome.EVICTED] == 4.0


async def test_attempts_cost_what_their_kind_does_and_an_earlier_releases_the_dearest(
    filled: Store, database: asyncpg.Connection
) -> None:
    await database.execute(
        "UPDATE usage SET kind = CASE WHEN gpu_seconds = 100 THEN 'spot' ELSE 'firm' END "
        "WHERE pool = 'big' AND gpu_seconds > 10"
    )
    prices = {("big", ""): 36.0, ("big", "spot"): 9.0, ("big", "firm"): 36.0, ("small", ""): 3.6}
    day = {"since": "2030-01-01", "until": "2030-01-02"}
    report = await Reports(filled, prices).usage("acme", **day, by="pool,kind")
    assert [(line.pool, line.kind, line.gpu_seconds, line.money) for line in report.lines] == [
        ("big", None, 10.0, pytest.approx(0.1)),
        ("big", "firm", 50.0, pytest.approx(0.5)),
        ("big", "spot", 100.0, pytest.approx(0.25)),
        ("small", None, 15.0, pytest.approx(0.015)),
    ]
    assert report.total.money == pytest.approx(0.865)


async def test_what_came_to_nothing_is_told_by_cause_over_the_same_whole_hours_of_both_ledgers(
    filled: Store, database: asyncpg.Connection
) -> None:
    await database.executemany(
        "INSERT INTO worker_time (hour, pool, kind, spell, seconds) VALUES ($1, 'small', '', $2, $3)",
        [(NOON, "busy", 600.0), (NOON, "idle", 1200.0), (NOON + timedelta(hours=1), "loading", 30.0)],
    )
    reports = a_report(filled)
    report = await reports.waste(since="2030-01-01T11:30:00Z", until="2030-01-01T12:01:00Z", by="hour,pool")
    assert (report.since, report.until) == (NOON, NOON + timedelta(hours=1))
    assert [(line.hour, line.pool, line.cause, line.seconds) for line in report.lines] == [
        (NOON, "small", "lost", 7.0), (NOON, "small", "idle", 1200.0),
    ]  # fmt: skip
    assert (report.worker_seconds, report.money) == (1800.0, pytest.approx(1.8))
    whole = await reports.waste(since="2030-01-01", until="2030-01-03", by=None)
    assert {line.cause: line.seconds for line in whole.lines} == {
        "cancelled": 2.0, "failed": 10.0, "lost": 7.0, "evicted": 4.0, "released": 3.0, "idle": 1200.0, "loading": 30.0,
    }  # fmt: skip


async def test_money_is_unknown_where_a_price_is(filled: Store) -> None:
    report = await a_report(filled, small=None).usage("acme", since="2030-01-01", until="2030-01-02", by="pool")
    assert [(line.pool, line.money) for line in report.lines] == [("big", pytest.approx(1.6)), ("small", None)]
    assert report.total.money is None


async def test_what_claims_leave_behind_is_in_the_ledger(
    store: Store, database: asyncpg.Connection, clock: Clock
) -> None:
    for _ in range(4):
        await store.submit(new_job())
    claims = await store.claim(POOL, CLUSTER, workers(4))
    moved_on = HandedBack(reason="drain", checkpoint=a_checkpoint(3), gpu_seconds=5.0)
    stood_still = HandedBack(reason="drain", checkpoint=None, gpu_seconds=6.0)
    ends = [rendered(claims[0], 80.0), broke(gpu_seconds=7.0), moved_on, stood_still]
    await store.settle([ending(claim, end) for claim, end in zip(claims, ends, strict=True)])
    now = await clock.now()
    query = UsageQuery(since=now, until=now + timedelta(seconds=1), by=(By.MODEL, By.HOUR), tenant="acme", most=10)
    found = {(each.outcome, each.kept): each.gpu_seconds for each in await store.usage(query)}
    assert found == {
        (AttemptOutcome.SUCCEEDED, None): 80.0,
        (AttemptOutcome.FAILED, None): 7.0,
        (AttemptOutcome.EVICTED, True): 5.0,
        (AttemptOutcome.EVICTED, False): 6.0,
    }
    assert {each.model for each in await store.usage(query)} == {new_job().spec.model}


async def test_no_report_reads_more_of_the_ledger_than_its_time(filled: Store, database: asyncpg.Connection) -> None:
    await database.execute("""
        INSERT INTO usage (job_id, claim, tenant, pool, outcome, gpu_seconds, at)
        SELECT gen_random_uuid(), 1, 'tenant' || n % 50, 'small', 'succeeded', 90,
               '2029-01-01'::timestamptz + n * '1 min'::interval
        FROM generate_series(1, 200000) AS n
    """)
    await database.execute("ANALYZE usage")
    for whose in ("", "tenant = 'tenant7' AND"):
        plan = await database.fetch(
            f"EXPLAIN SELECT pool, sum(gpu_seconds) FROM usage WHERE {whose} at >= '2029-03-01' AND at < '2029-03-02' "
            "GROUP BY pool"
        )
        assert not re.search("Seq Scan", "\n".join(row[0] for row in plan)), plan


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"since": "2030-01-02", "until": "2030-01-01", "by": None}, "from"),
        ({"since": "2028-01-01", "until": "2030-01-01", "by": None}, "from"),
        ({"since": "2029-11-01", "until": "2030-01-01", "by": "hour"}, "from"),
        ({"since": None, "until": None, "by": "hour,colour"}, "by"),
    ],
)
async def test_a_report_that_cannot_be_is_refused_by_its_field(store: Store, asked: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidField) as refused:
        await a_report(store).usage("acme", **asked)
    assert refused.value.param == param
