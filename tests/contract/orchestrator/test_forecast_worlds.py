"""What forecasts are made from, on a real database: campaigns, batches, jobs, budgets, workers and usual load."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from orchestrator.capacity.plans import kinds_of
from orchestrator.capacity.worlds import Worlds, closed_periods, costs_in, crews_in, crews_of, lent, usual_load
from orchestrator.config import Settings
from orchestrator.domain.campaign import Campaign, CampaignState
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.learning.book import Book, Models
from orchestrator.policy.affinity import LOAD_S
from orchestrator.policy.forecast import forecast, hopeless
from orchestrator.policy.hours import ClosedHours
from orchestrator.policy.prediction import Key, Past, Predictions
from orchestrator.policy.supply import Crew
from orchestrator.ports import Share
from orchestrator.ports.campaign_values import Budget
from orchestrator.ports.forecasts import LoadHour
from orchestrator.store import Store
from tests.support.api import CLUSTER, POOL, WORKER, api_settings
from tests.support.builders import a_spec
from tests.support.campaigns import CampaignScene
from tests.support.jobs import new_job

NOW = datetime(2026, 11, 29, 18, 20, tzinfo=UTC)
ROWS = "custom_id,product,scene\n" + "".join(f"clip-{n},mug {n},table\n" for n in range(20))


@pytest.fixture
def scene(campaign_scene: CampaignScene) -> CampaignScene:
    return campaign_scene


async def running(scene: CampaignScene, **asked: Any) -> Campaign:
    made = await scene.create(ROWS, approval=False, **asked)
    return await scene.until(made, CampaignState.RUNNING)


async def test_jobs_that_wait_are_counted_once_and_a_campaigns_rows_with_their_campaign(scene: CampaignScene) -> None:
    campaign = await running(scene)
    for _ in range(3):
        await scene.store.submit(new_job("birch", pool=POOL, priority=5))
    world = (await Worlds(scene.settings, scene.store, Book.of(scene.settings, scene.store)).now()).world
    subjects = {cohort.subject: cohort for cohort in world.cohorts}
    assert set(subjects) == {campaign.id, "jobs of birch at 5"}
    assert subjects["jobs of birch at 5"].rows == 3
    assert subjects[campaign.id].rows == 20


async def test_a_batchs_rows_that_have_no_jobs_yet_are_work_too(
    scene: CampaignScene, database: asyncpg.Connection
) -> None:
    for _ in range(2):
        job = await scene.store.submit(new_job("birch", pool=POOL, priority=30))
        await database.execute(
            """
            WITH batch AS (
                INSERT INTO campaigns (id, kind, tenant, state, ask, templates, priority, rows, succeeded)
                VALUES ('batch_1', 'batch', 'birch', 'running', '{}', '[]', 30, 100, 10)
                ON CONFLICT (id) DO UPDATE SET state = excluded.state RETURNING number)
            INSERT INTO campaign_jobs (campaign, place, pass, ordinal, version, job_id, reserved, day)
            SELECT number, count, 1, count, 1, $1, 90, '2026-01-01'
            FROM batch, (SELECT count(*)::int AS count FROM campaign_jobs) AS so_far
            """,
            job.id,
        )
    (work,) = await scene.store.batches_waiting()
    assert (work.batch, work.pool, work.waiting, work.typical) == ("batch_1", POOL, 88, 90)
    world = (await Worlds(scene.settings, scene.store, Book.of(scene.settings, scene.store)).now()).world
    found = {cohort.subject: (cohort.rows, cohort.seconds, cohort.single) for cohort in world.cohorts}
    assert found == {"jobs of birch at 30": (2, 180, True), "rows of batch_1": (88, 88 * 90, False)}
    await database.execute("UPDATE campaigns SET state = 'cancelled' WHERE id = 'batch_1'")
    assert await scene.store.batches_waiting() == []


async def test_a_lane_has_no_more_workers_than_its_tenant_may(scene: CampaignScene) -> None:
    for tenant in ("birch", "oak"):
        await scene.store.submit(new_job(tenant, pool=POOL, priority=5))
    await scene.store.set_share(Share(tenant="birch", pool=POOL, guaranteed=0, running=3))
    world = (await Worlds(scene.settings, scene.store, Book.of(scene.settings, scene.store)).now()).world
    found = {cohort.tenant: (cohort.max_running, cohort.single) for cohort in world.cohorts}
    assert found == {"birch": (3, True), "oak": (None, True)}


async def test_a_tenants_budget_of_the_day_bounds_all_its_campaigns_and_batches(scene: CampaignScene) -> None:
    campaign = await running(scene)
    for tenant, amount in ((scene.tenant, 500.0), ("somebody else", 1.0)):
        await scene.store.set_budget(Budget(tenant=tenant, period="day", unit="gpu_seconds", amount=amount))
    world = (await Worlds(scene.settings, scene.store, Book.of(scene.settings, scene.store)).now()).world
    (found,) = world.allowances
    assert (found.subjects, found.words) == ({campaign.id}, "its tenant's budget of the day")
    assert found.room == 500
    assert 0 < found.renewals[0] <= 86_400


async def test_a_pool_that_shares_workers_has_one_once_it_has_waited_for_as_long_as_it_may(
    scene: CampaignScene,
) -> None:
    plain = scene.settings.model_dump()
    pools = {POOL: {"model": "tiny-2b", "price_per_gpu_hour": 2.0}, "other": {"model": "tiny-2b"}}
    shared = {"both": {"pools": [POOL, "other"], "workers": 2, "cold_wait_s": 300.0}}
    settings = Settings.model_validate(plain | {"pools": pools, "shared": shared})
    none, two = [Crew(workers=0)], [Crew(workers=2)]
    assert lent(settings, {POOL: none, "other": none}) == lent(settings, {POOL: two, "other": two}) == {}
    ((pool, (crew,)),) = lent(settings, {POOL: none, "other": two}).items()
    assert (pool, crew.workers, crew.ready_in_s) == (POOL, 1, 300 + LOAD_S)

    campaign = await running(scene)
    await scene.store.beat(CLUSTER, {WORKER: "other"})
    known = await Worlds(settings, scene.store, Book.of(settings, scene.store)).now()
    outlook = forecast(known.world).subjects[campaign.id]
    assert outlook.likely_s is not None
    assert outlook.likely_s > 300 + LOAD_S
    assert not hopeless(outlook, 86_400)


async def test_the_load_of_single_jobs_is_read_by_the_hour_of_the_week(
    store: Store, database: asyncpg.Connection
) -> None:
    await database.execute("""
        INSERT INTO usage (job_id, claim, tenant, pool, outcome, gpu_seconds, at, campaign)
        SELECT gen_random_uuid(), 1, 'a', 'main', 'succeeded', 90, cogmill_now() - n * interval '1 hour',
               CASE WHEN n % 2 = 0 THEN 'campaign_1' END
        FROM generate_series(1, 48) AS n
    """)
    hours = await store.load_by_hour(weeks=4)
    assert len(hours) == 24
    assert {each.gpu_seconds for each in hours} == {90.0}
    assert await store.load_since(hours=3.5) == {"main": 180.0}


def test_usual_load_is_told_by_the_hour_once_there_is_a_week_of_it() -> None:
    def hours(days: float) -> list[LoadHour]:
        return [LoadHour(pool="main", hour=30, gpu_seconds=7200, since=NOW - timedelta(days=days))]

    assert usual_load([], NOW) == {} == usual_load(hours(0.5), NOW)
    assert usual_load(hours(2), NOW)["main"][:2] == pytest.approx([7200 / 172_800] * 2)
    told = usual_load(hours(14), NOW)["main"]
    assert (told[30], told[31]) == (1.0, 0.0)


def test_workers_that_load_come_soon_and_broken_ones_do_not() -> None:
    def a_load(state: LoadState) -> WorkerLoad:
        return WorkerLoad(worker=state, pool="main", model="m", state=state)

    assert [crew.workers for crew in crews_of(3, [])] == [3]
    ready, coming = crews_of(3, [a_load(state) for state in LoadState])
    assert (ready.workers, coming.workers) == (1, 2)
    assert coming.ready_in_s > 0


def test_workers_of_kinds_do_what_their_kind_does() -> None:
    plain = api_settings("postgresql://x/y").model_dump()
    spot = {"max": 9, "speed": 2.0, "start_s": 400, "may_vanish": True}
    pools = {POOL: {"model": "tiny-2b", "kinds": {"spot": spot, "firm": {"max": 2}}}}
    settings = Settings.model_validate(plain | {"pools": pools})

    def a_load(worker: str, state: LoadState = LoadState.LOADED) -> WorkerLoad:
        return WorkerLoad(worker=f"{POOL}-{worker}", pool=POOL, model="tiny-2b", state=state)

    loads = [a_load("spot-0"), a_load("spot-1"), a_load("spot-2", LoadState.STARTING), a_load("firm-0")]
    found = {(crew.kind, crew.ready_in_s > 0): crew for crew in crews_in(settings, POOL, 9, loads) if crew.workers}
    assert {key: (crew.workers, crew.speed) for key, crew in found.items()} == {
        ("spot", False): (2, 2.0), ("spot", True): (1, 2.0), ("firm", False): (1, 1.0),
    }  # fmt: skip
    assert found["spot", True].ready_in_s == 400
    assert found["spot", False].lost_per_hour > 0 == found["firm", False].lost_per_hour
    assert [crew.workers for crew in crews_in(settings, POOL, 3, [])] == [3]
    learned = Predictions(
        [
            Past(key=Key.of(a_spec(), kind=f"{POOL}/{kind}"), ratios=[ratio] * 9, seen=[0.0] * 9)
            for kind, ratio in (("spot", 3.0), ("firm", 1.5))
        ],
        kinds=Models.of(settings).kinds,
    )
    faster = crews_in(settings, POOL, 9, loads, learned)
    assert {crew.kind: crew.speed for crew in faster} == {"spot": pytest.approx(0.5), "firm": 1.0}
    assert {kind.name: kind.speed for kind in kinds_of(settings, POOL)} == {"spot": 2.0, "firm": 1.0}
    assert {kind.name: kind.speed for kind in kinds_of(settings, POOL, learned)} == {
        "spot": pytest.approx(0.5), "firm": 1.0,
    }  # fmt: skip


def test_work_costs_what_it_does_on_the_workers_that_are_there() -> None:
    plain = api_settings("postgresql://x/y").model_dump()
    spot = {"max": 9, "price_per_gpu_hour": 1.0}
    firm = {"max": 9, "price_per_gpu_hour": 3.0, "speed": 2.0}
    dear = {"max": 9, "price_per_gpu_hour": 9.0}
    pools = {POOL: {"model": "tiny-2b", "kinds": {"spot": spot, "firm": firm, "dear": dear}}}
    settings = Settings.model_validate(plain | {"pools": pools})

    def costs(*crews: Crew) -> tuple[float, float]:
        found = costs_in(settings, {POOL: crews})
        return found.prices[POOL] * 3600, found.seconds[POOL]

    assert costs(Crew(kind="spot", workers=2), Crew(kind="dear", workers=0)) == (pytest.approx(1.0), 1.0)
    assert costs(Crew(kind="firm", workers=2, speed=2.0)) == (pytest.approx(1.5), 0.5)
    # In a second three of them do four seconds of work, for five.
    mixed = Crew(kind="spot", workers=2), Crew(kind="firm", workers=1, speed=2.0)
    assert costs(*mixed) == (pytest.approx(5 / 4), pytest.approx(3 / 4))
    assert costs() == (pytest.approx(9.0), 1.0) == costs(Crew(kind="of no price", workers=1))


def test_closed_hours_are_seconds_from_now() -> None:
    nightly = ClosedHours.parse(["Mon-Sun 20:00-22:00 UTC"])
    first, second, *_ = closed_periods(nightly, NOW)
    assert first == (100 * 60, 220 * 60)
    assert second == (first[0] + 86_400, first[1] + 86_400)
    assert closed_periods(nightly, NOW + timedelta(hours=2))[0] == (0, 100 * 60)
    assert closed_periods(ClosedHours(), NOW) == []
