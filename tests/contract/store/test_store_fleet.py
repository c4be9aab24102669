"""What a fleet has to do, as the rows say; how it stands, and what was decided, for whoever asks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from orchestrator.ports.fleet import KindState, ScaleDecision
from orchestrator.store import Store
from tests.support.jobs import CLUSTER, POOL, new_job, worker
from tests.support.scaling import a_decision

CAMPAIGN = """
    INSERT INTO campaigns (id, kind, tenant, state, ask, templates, priority, rows, succeeded, deadline, estimate)
    VALUES ($1, 'campaign', 'a', $2, '{}', '[]', 20, 100, 40, cogmill_now() + make_interval(secs => $3),
            jsonb_build_array(jsonb_build_object('pool', $4::text, 'model', 'm', 'rows', 100, 'gpu_seconds', 1000)))
"""
SPOT = KindState(
    cluster=CLUSTER, pool=POOL, kind="spot", wanted=3, requested=1, starting=1, ready=1, draining=2, why="due"
)


async def test_what_waits_and_what_is_left_of_what_runs_is_the_backlog(
    store: Store, database: asyncpg.Connection
) -> None:
    await store.beat(CLUSTER, {worker(): POOL})
    for priority in (0, 10, 10):
        await store.submit(replace(new_job("a"), priority=priority))
    (claim,) = await store.claim(POOL, CLUSTER, [worker()])
    steps = claim.spec.num_inference_steps
    await database.execute(
        "UPDATE jobs SET cost = 8, step = CASE WHEN state = 'running' THEN $1 ELSE 0 END", steps // 2
    )
    found = await store.demand({POOL: 1.0, "other": 1.0}, urgent_priority=5)
    assert (found["other"].backlog_s, found["other"].jobs) == (0, 0)
    assert (found[POOL].jobs, found[POOL].due_s, found[POOL].required_rate) == (3, 0, 0)
    assert found[POOL].backlog_s == pytest.approx(16 + 8 * (1 - steps // 2 / steps))
    assert found[POOL].urgent_s == pytest.approx(8 * (1 - steps // 2 / steps))


async def test_rows_without_a_job_count_and_the_deadline_says_at_what_rate(
    store: Store, database: asyncpg.Connection
) -> None:
    await database.execute(CAMPAIGN, "running", "running", 6000.0, POOL)
    for state in ("planned", "awaiting_approval", "finishing"):
        await database.execute(CAMPAIGN, state, state, 60.0, POOL)
    found = (await store.demand({POOL: 1.0}, urgent_priority=5))[POOL]
    assert (found.jobs, found.backlog_s, found.due_s) == (60, 600, 600)
    assert found.required_rate == pytest.approx(0.1, rel=0.01)
    assert found.due_in_s == pytest.approx(6000, rel=0.01)
    # A row that has a job is counted as that, with its campaign's deadline.
    job = await store.submit(new_job("a"))
    await database.execute("UPDATE jobs SET campaign = 'running', cost = 30")
    await database.execute(
        "INSERT INTO campaign_jobs (campaign, place, pass, ordinal, version, job_id, reserved, day) "
        "SELECT number, 0, 1, 0, 1, $1, 1, '2026-01-01' FROM campaigns WHERE id = 'running'", job.id,
    )  # fmt: skip
    found = (await store.demand({POOL: 1.0}, urgent_priority=0))[POOL]
    assert (found.jobs, found.backlog_s, found.due_s) == (60, 620, 620)


async def test_each_part_of_a_lane_is_due_when_it_is_due(store: Store, database: asyncpg.Connection) -> None:
    await database.execute(CAMPAIGN, "running", "running", 6000.0, POOL)
    now = await database.fetchval("SELECT cogmill_now()")
    jobs = [await store.submit(new_job("a")) for _ in range(4)]
    jobs.append(await store.submit(replace(new_job("a"), deadline=now + timedelta(hours=9))))
    await database.execute("UPDATE jobs SET cost = CASE WHEN id = ANY($1) THEN 30 ELSE 7 END", [j.id for j in jobs[:2]])
    for place, job in enumerate(jobs[:2]):
        await database.execute("UPDATE jobs SET campaign = 'running' WHERE id = $1", job.id)
        await database.execute(
            "INSERT INTO campaign_jobs (campaign, place, pass, ordinal, version, job_id, reserved, day) "
            "SELECT number, $2, 1, 0, 1, $1, 1, '2026-01-01' FROM campaigns WHERE id = 'running'", job.id, place,
        )  # fmt: skip
    found = (await store.demand({POOL: 1.0}, urgent_priority=100))[POOL]
    # Beside 58 rows without a job: two of the campaign's, two for whenever, and one that is due later.
    assert (found.jobs, found.backlog_s, found.due_s) == (63, 580 + 60 + 14 + 7, 580 + 60 + 7)
    assert found.urgent_s == pytest.approx(60 + 14 + 7)


async def test_a_long_lane_costs_as_much_a_job_as_the_first_of_it(store: Store, database: asyncpg.Connection) -> None:
    for _ in range(60):
        await store.submit(new_job("a"))
    for tenant in ("b", "b"):
        await store.submit(new_job(tenant))
    await database.execute(
        "UPDATE jobs SET cost = CASE WHEN tenant = 'b' THEN 9 ELSE 2 END, "
        "created_at = created_at - interval '5 min', run_at = run_at - interval '5 min'"
    )
    await database.execute(
        "UPDATE jobs SET cost = 1000 WHERE id = (SELECT max(id::text)::uuid FROM jobs WHERE tenant = 'a')"
    )
    (demand, line) = (await store.demand({POOL: 1.0}, urgent_priority=0))[POOL], (await store.lines({POOL: 1.0}))[POOL]
    assert (demand.jobs, demand.backlog_s) == (62, 60 * 2 + 2 * 9)
    assert sum(line.waiting.values()) == 60 * 2 + 2 * 9
    assert line.oldest_s == pytest.approx(300, abs=60)


async def test_a_fleet_is_what_its_dispatcher_said_last(store: Store, database: asyncpg.Connection) -> None:
    firm = replace(SPOT, kind="firm", failures=2, rests_s=120.0)
    elsewhere = replace(SPOT, cluster="elsewhere")
    await store.record_fleet("elsewhere", [elsewhere], [])
    await store.record_fleet(CLUSTER, [SPOT, firm], [])
    assert await store.fleet() == [elsewhere, firm, SPOT]
    await store.record_fleet(CLUSTER, [replace(firm, wanted=9)], [])
    assert await store.fleet() == [elsewhere, replace(firm, wanted=9)]
    # Whoever tells of other pools forgets nothing of these.
    other = replace(SPOT, pool="other")
    await store.record_fleet(CLUSTER, [other], [])
    told = await store.fleet()
    assert len(told) == 3
    assert all(each in told for each in (other, elsewhere, replace(firm, wanted=9)))
    await database.execute("UPDATE fleet_kinds SET told_at = told_at - interval '11 minutes'")
    assert await store.fleet() == []


async def test_a_decision_is_read_with_what_it_was_based_on(store: Store) -> None:
    decision = a_decision(POOL, "spot")
    await store.record_fleet(CLUSTER, [SPOT], [replace(decision, basis=None), decision])
    newest, before = await store.scale_decisions(limit=2)
    assert replace(newest, at=None) == decision
    assert before.basis is None


async def test_decisions_are_kept_newest_first_and_not_for_ever(store: Store) -> None:
    first = ScaleDecision(pool=POOL, kind="spot", change=3, why="due")
    await store.record_fleet("elsewhere", [], [first])
    for number in range(3):
        await store.record_fleet(CLUSTER, [SPOT], [replace(first, change=number + 1)] * 500)
    told = await store.scale_decisions(limit=2)
    assert [each.change for each in told] == [3, 3]
    assert told[0].at is not None
    kept = await store.scale_decisions(limit=5000)
    # The oldest go with the next that come.
    assert 1000 <= len(kept) <= 1501
    assert kept[-1].change == 3


async def test_lines_tell_what_waits_by_priority_and_for_how_long(store: Store, database: asyncpg.Connection) -> None:
    await store.beat(CLUSTER, {worker(): POOL})
    for priority in (0, 10, 10):
        await store.submit(replace(new_job("a"), priority=priority))
    await store.claim(POOL, CLUSTER, [worker()])
    await database.execute(
        "UPDATE jobs SET cost = 8, created_at = created_at - interval '90 s', run_at = run_at - interval '1 h'"
    )
    await store.submit(replace(new_job("a"), priority=20, cost=5.0))
    await database.execute(CAMPAIGN, "running", "running", 6000.0, POOL)
    found = await store.lines({POOL: 2.0, "other": 1.0})
    assert (found["other"].waiting, found["other"].oldest_s) == ({}, 0.0)
    # What runs does not wait; rows without a job are in the catalogue's seconds, jobs in learned ones.
    assert found[POOL].waiting == {10: 16.0, 20: 5.0 + 2 * 600.0}
    assert found[POOL].oldest_s == pytest.approx(90, abs=30)
