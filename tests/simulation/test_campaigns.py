"""Whatever befalls engines, workers and the database, and whatever owners do: every row of a campaign ends once.

Real PostgreSQL and real S3, and the database's clock stopped. Each seed deals campaigns of several tenants and a few
hundred events in an order of its own: engines step side by side, die at any call of the store before or after it or
find it away, workers render, fail, vanish and give back, owners pause, resume, approve, reject, retry, promote, waive,
change and cancel, delete single videos; time passes. After each event the invariants of
`tests/support/campaign_invariants.py` hold; then all is calm, and every campaign comes to the end that it must. Some
events overlap, two at a time, wherever they wait for the database: those replay only roughly.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from orchestrator.adapters.s3 import S3Objects
from orchestrator.campaigns.asking import Wish
from orchestrator.campaigns.campaigns import Chosen
from orchestrator.config import S3Settings, Settings
from orchestrator.domain.campaign import (
    BudgetAction,
    BudgetAsk,
    Campaign,
    CampaignState,
    PassKind,
    PauseReason,
    StopRule,
)
from orchestrator.domain.campaign_ids import row_job_id
from orchestrator.domain.errors import RequestError, StoreUnavailable
from orchestrator.domain.job import Claim
from orchestrator.domain.protocol import Stopped
from orchestrator.domain.retry import RetryPolicy
from orchestrator.ports.campaign_values import Budget
from orchestrator.store import Store
from tests.support.api import CLUSTER, POOL, WORKER, api_settings
from tests.support.campaign_invariants import check_always, check_overshoot, check_reservation, in_order
from tests.support.campaigns import CampaignScene, a_campaign_scene
from tests.support.faulty_store import Fault, FaultyStore, Killed
from tests.support.jobs import broke, ending, evicted, lost, released, rendered
from tests.support.postgres import Clock

Event = Callable[[], Coroutine[None, None, None]]

S = CampaignState
TENANTS = ("acme", "birch", "cedar")
FAULTS: tuple[Fault, ...] = ("killed before", "killed after", "away before", "away after")
PROMPTS = ("a {product}", "the {product}, painted", "{product} at night")
PATIENT = RetryPolicy(base_s=10.0, cap_s=10.0, max_evictions=3)
MODEL = "tiny-2b"
# Of birch a day, in rows of usual cost.
DAILY = 20

_ANY = ("pause", "resume", "approve", "reject", "retry", "waive", "promote", "cancel", "video", "weights", "patch")
# What an owner does in each state, the likelier the more often it is there.
_FITS = {
    S.SAMPLING: ("pause", "retry", "patch", "patch", "approve", "video", "cancel"),
    S.AWAITING_APPROVAL: ("approve", "approve", "approve", "reject", "reject", "patch", "retry", "cancel", "weights"),
    S.RUNNING: ("pause", "retry", "promote", "waive", "patch", "patch", "patch", "video", "cancel", "weights"),
    S.PAUSED: ("resume", "resume", "resume", "approve", "approve", "patch", "patch", "promote", "cancel"),
    S.COMPLETED: ("retry", "promote", "waive"),
}


class World:
    """Everything that may happen, as methods; `chaos` draws from them, `calm` lets all come to its end."""

    def __init__(self, store: Store, objects: S3Objects, settings: Settings, database: Any, seed: int) -> None:
        self.random = random.Random(seed)
        self.store = store
        self.database, self.clock = database, Clock(database)
        # Processes that move campaigns on. One that died is started again when it is its turn.
        faulty: list[Any] = [FaultyStore(store, self._fault, self._answered) for _ in range(3)]
        self.engines = [(each, a_campaign_scene(each, objects, settings, "nobody")) for each in faulty]
        self.scenes = {tenant: a_campaign_scene(store, objects, settings, tenant) for tenant in (*TENANTS, "dune")}
        self.models = settings.models
        self.campaigns: list[Campaign] = []
        self.held: list[Claim] = []
        self.reopened: Counter[str] = Counter()
        self.chaotic = True
        # How many engines work that nothing may befall.
        self.untroubled = 0
        self.cost = 0.0
        # For a second dispatch that is told of the same end.
        self.over: list[Claim] = []

    # ------------------------------------------------------------ engines
    def _fault(self, _: str) -> Fault | None:
        befalls = self.chaotic and not self.untroubled and self.random.random() < 0.03
        return self.random.choice(FAULTS) if befalls else None

    async def _answered(self, name: str, args: tuple[Any, ...], found: Any) -> None:
        if name == "submit_rows" and found.jobs:
            await check_reservation(self.database, args[0].campaign)

    async def engine_works(self) -> None:
        """One of several engines, each a process of its own, which may die."""
        async with self._engine() as engine:
            works = [engine.engine.ingest, engine.engine.move, engine.engine.move, engine.engine.finish]
            with suppress(Killed, StoreUnavailable):
                await asyncio.wait_for(self.random.choice(works)(), 60)

    @asynccontextmanager
    async def _engine(self) -> AsyncIterator[CampaignScene]:
        store, engine = self.engines.pop()
        store.dead = False
        try:
            yield engine
        finally:
            self.engines.insert(0, (store, engine))

    async def engine_comes_back(self) -> None:
        """What rests is looked at, by one that nothing befalls; no campaign has more in the queue than it may."""
        await self.store._database.fetch(text("UPDATE campaigns SET leased_until = NULL WHERE lease IS NULL"))
        self.untroubled += 1
        async with self._engine() as engine:
            await asyncio.wait_for(engine.run_once(), 120)
        self.untroubled -= 1
        over = await self.database.fetch("""
            SELECT c.id, c.max_running, n.* FROM campaigns AS c CROSS JOIN LATERAL (
                SELECT count(*) FILTER (WHERE j.state = 'running') AS running,
                       count(*) FILTER (WHERE j.state = 'queued') AS queued
                FROM campaign_jobs AS w JOIN jobs AS j ON j.id = w.job_id WHERE w.campaign = c.number) AS n
            WHERE c.state IN ('sampling', 'running') AND c.max_running IS NOT NULL AND c.lease IS NULL
              AND n.queued > 0 AND n.running + n.queued > c.max_running""")
        assert not over, [dict(row) for row in over]

    # ------------------------------------------------------------ workers
    async def workers_claim(self) -> None:
        await self.store.beat(CLUSTER, {WORKER: POOL})
        claims = await self.store.claim(POOL, CLUSTER, [WORKER] * self.random.randint(1, 6))
        self.held += claims

    async def worker_ends(self) -> None:
        for _ in range(self.random.randint(1, 4)):
            if self.held:
                await self._end(self.held.pop(self.random.randrange(len(self.held))))

    async def worker_repeats_itself(self) -> None:
        """The answer was lost: the same claim is ended again, perhaps otherwise."""
        if self.over:
            await self.store.settle([ending(self.random.choice(self.over), lost(), PATIENT)])

    async def _end(self, claim: Claim) -> None:
        took = claim.cost * self.random.uniform(0.5, 1.3)
        how: Any = self.random.choices(
            [rendered(claim, took), broke(gpu_seconds=took), broke(retryable=False, gpu_seconds=took), lost(),
             evicted(), released(), Stopped()],
            [11, 2, 3, 1, 1, 1, 0] if self.chaotic else [1, 0, 0, 0, 0, 0, 0],
        )[0]  # fmt: skip
        asked = await self.database.fetchval(
            "SELECT cancel_requested_at IS NOT NULL FROM jobs WHERE id = $1", claim.job_id
        )
        if asked and self.random.random() < 0.8:
            how = Stopped()
        await self.store.settle([ending(claim, how, PATIENT)])
        self.over.append(claim)

    async def time_passes(self) -> None:
        await self.clock.advance(self.random.choice([1, 5, 11, 61, 61, 700]))
        if self.random.random() < 0.03:
            await self.clock.advance(86400)
        await self.store.wake_due()

    # ------------------------------------------------------------ owners
    async def owner_begins(self) -> None:
        tenant = self.random.choice(TENANTS)
        data = "custom_id,product,size\n"
        for n in range(self.random.randint(1, 20)):
            size = "7x7" if self.random.random() < 0.1 else ""
            name = f"r{n if self.random.random() < 0.95 else 0}"
            data += f"{name},mug {n},{size}\n"
        self.campaigns.append(await self.scenes[tenant].create(data, **await self._asked()))

    async def _asked(self) -> dict[str, Any]:
        chance, asked = self.random.random, {"prompt": PROMPTS[0], "approval": self.random.random() < 0.5}
        if chance() < 0.5:
            asked["sample"] = self.random.randint(1, 5)
        if chance() < 0.4:
            asked["max_running"] = self.random.randint(1, 4)
        if chance() < 0.3:
            asked["budget"] = self._budget()
        if chance() < 0.5:
            asked["order"] = "spread"
        if chance() < 0.3:
            asked["defaults"] = {"profile": "draft"}
        if chance() < 0.1:
            asked["strict"] = True
        if chance() < 0.3:
            asked["stop"] = self.random.choice([StopRule(count=2), StopRule(share=0.4, of_first=5)])
        if chance() < 0.15:
            asked["run_at"] = await self.clock.now() + timedelta(seconds=self.random.choice([30, 300]))
        if chance() < 0.15:
            asked["deadline"] = await self.clock.now() + timedelta(seconds=self.random.choice([200, 2000]))
            asked["on_deadline"] = self.random.choice(["stop", "continue"])
        asked["priority"] = self.random.choice([10, 20])
        return asked

    def _budget(self) -> BudgetAsk:
        cost, unit = self.cost, self.random.choice(["gpu_seconds", "money"])
        amount = cost * self.random.uniform(0.5, 20) / (3600 if unit == "money" else 1)
        deeds = self.random.choice([(), ((50, "tell"), (80, "finish")), ((100, "cancel"),), ((30, "tell"),)])
        actions = tuple(BudgetAction(percent=percent, do=do) for percent, do in deeds)
        return BudgetAsk(amount=amount, unit=unit, actions=actions)

    async def owner_commands(self) -> None:
        """Mostly something that fits; whatever does not is refused."""
        found = [await self.scenes[each.tenant].now(each) for each in self.campaigns]
        going_on = [each for each in found if each.ended_at is None]
        now = self.random.choice(going_on if going_on and self.random.random() < 0.8 else found)
        scene, fits = self.scenes[now.tenant], _FITS.get(now.state, _ANY)
        try:
            name = self.random.choice(fits if self.random.random() < 0.8 else _ANY)
            after = await self._command(scene, now, name)
        except RequestError:
            return
        if now.state is S.COMPLETED and after is not None and after.state is S.RUNNING:
            self.reopened[now.id] += 1

    async def _command(self, scene: CampaignScene, now: Campaign, name: str) -> Campaign | None:
        own, tenant, campaign_id = scene.campaigns, scene.tenant, now.id
        rows = [f"r{n}" for n in self.random.sample(range(8), 2)]
        chosen = self.random.choice([Chosen(), Chosen(rows=rows), Chosen(code="boom")])
        match name:
            case "pause":
                return await own.pause(tenant, campaign_id)
            case "resume":
                return await own.resume(tenant, campaign_id)
            case "approve":
                token = now.plan_token if self.random.random() < 0.9 else "plan_of_yesterday"
                return await own.approve(tenant, campaign_id, str(token))
            case "reject":
                return await own.reject(tenant, campaign_id, rows, drop=self.random.random() < 0.5)
            case "retry":
                return await own.retry(tenant, campaign_id, chosen)
            case "waive":
                return await own.waive(tenant, campaign_id, chosen)
            case "promote":
                return await own.promote(tenant, campaign_id, self.random.choice([None, rows]), "exact")
            case "cancel":
                return await own.cancel(tenant, campaign_id) if self.random.random() < 0.2 else None
            case "video":
                return await self._video(scene, now)
            case "weights":
                source = self.random.choice(["/models/first", "/models/second"])
                self.models[MODEL] = self.models[MODEL].model_copy(update={"source": source})
                return None
            case _:
                return await own.patch(tenant, campaign_id, self._patch())

    async def _video(self, scene: CampaignScene, now: Campaign) -> None:
        """A single video of it is cancelled or deleted."""
        jobs = [job for job in await scene.jobs() if job.request["metadata"].get("campaign") == now.id]
        if jobs and self.random.random() < 0.5:
            await self.store.request_cancel(self.random.choice(jobs).id, scene.tenant)
        elif jobs:
            await self.store.delete(self.random.choice(jobs).id, scene.tenant)

    def _patch(self) -> Wish:
        changes: dict[str, Any] = self.random.choice(
            [
                {"prompt": self.random.choice(PROMPTS)},
                {"budget": self._budget()},
                {"budget": None},
                {"max_running": self.random.choice([None, 1, 2, 5])},
                {"priority": self.random.choice([10, 20, 30])},
                {"name": "renamed"},
                {"sample": self.random.randint(0, 4)},
                {"order": self.random.choice(["arrival", "spread"])},
                {"deadline": None},
                {"run_at": None},
            ]
        )
        return Wish(said=frozenset(changes), **changes)

    # ------------------------------------------------------------ the run
    async def chaos(self) -> None:
        await self._probe()
        actions = (BudgetAction(percent=60, do="tell"), BudgetAction(percent=90, do="finish"))
        daily = Budget(
            tenant="birch", period="day", unit="gpu_seconds", amount=DAILY * self.cost,
            actions=self.random.choice([(), actions]),
        )  # fmt: skip
        await self.store.set_budget(daily)
        limits = self.random.choice([{"queued": 5}, {"gpu_seconds_per_day": DAILY * self.cost}])
        await self.store.set_limits("cedar", limits)
        deck = [event for event, count in self._deck().items() for _ in range(count)]
        self.random.shuffle(deck)
        deck += [self.owner_begins] * 3  # these come first
        while deck:
            happening = [deck.pop()]
            if deck and self.random.random() < 0.4:  # two at a time, interleaved wherever they wait
                happening.append(deck.pop())
            came = await asyncio.gather(*(event() for event in happening), return_exceptions=True)
            for error in came:
                if error is not None:
                    raise error
            await check_always(self.database)

    async def _probe(self) -> None:
        """What a row costs."""
        scene = self.scenes["dune"]
        campaign = await scene.create("product\nmug\n", prompt=PROMPTS[0], approval=False)
        await self.engine_comes_back()
        self.cost = (await scene.jobs())[0].cost
        await scene.campaigns.cancel("dune", campaign.id)

    def _deck(self) -> dict[Event, int]:
        return {
            self.engine_works: 90,
            self.engine_comes_back: 20,
            self.workers_claim: 30,
            self.worker_ends: 45,
            self.worker_repeats_itself: 5,
            self.owner_begins: 5,
            self.owner_commands: 80,
            self.time_passes: 25,
        }

    async def calm(self) -> None:
        """Nothing befalls anybody any more, and owners want what they began."""
        self.chaotic = False
        await self._overshoot()
        await self.store.set_budget(Budget(tenant="birch", period="day", unit="gpu_seconds", amount=1e9))
        await self.store.set_limits("cedar", {"queued": None, "gpu_seconds_per_day": None})
        for _ in range(80):
            await self.clock.advance(61)
            await self.store.wake_due()
            await self.engine_comes_back()
            await self.workers_claim()
            while self.held:
                await self._end(self.held.pop())
            await check_always(self.database)
            if all([await self._ended(campaign) for campaign in self.campaigns]):
                return
        pytest.fail(f"still going on: {[await self.scenes[each.tenant].now(each) for each in self.campaigns]}")

    async def _overshoot(self) -> None:
        days = await self.database.fetchval("SELECT count(*) FROM spending")
        await check_overshoot(self.database, "birch", days * DAILY * self.cost)

    async def _ended(self, campaign: Campaign) -> bool:
        scene = self.scenes[campaign.tenant]
        now = await scene.now(campaign)
        if now.ended_at is not None:
            return True
        own, tenant = scene.campaigns, scene.tenant
        if now.state is S.AWAITING_APPROVAL or PauseReason.REVISION in now.pauses:
            await own.approve(tenant, now.id, str(now.plan_token))
        elif PauseReason.BUDGET in now.pauses:
            # What was approved has been used up by attempts that were for nothing: more is asked for.
            now = await own.patch(tenant, now.id, Wish(said=frozenset({"budget"}), budget=None))
            await own.approve(tenant, now.id, str(now.plan_token))
        elif now.pauses & {PauseReason.OWNER, PauseReason.FAILURES}:
            await own.resume(tenant, now.id)
        return False

    # ------------------------------------------------------------ what must have come of it
    async def account(self, campaign: Campaign) -> None:
        scene = self.scenes[campaign.tenant]
        now = await scene.now(campaign)
        rows = await self.database.fetch("SELECT * FROM campaign_rows WHERE campaign = $1 ORDER BY place", now.number)
        if now.state is S.COMPLETED and now.ask.on_deadline == "continue":
            assert now.counts.waiting == 0, now
        await self._manifest(scene, now, rows)
        await self._once(now, rows)
        events = await self.database.fetch("SELECT event, detail FROM outbox WHERE batch_id = $1 ORDER BY id", now.id)
        told = [(row["event"], json.loads(row["detail"] or "null")) for row in events]
        in_order(told, reopened=self.reopened[now.id])
        last = {S.COMPLETED: "campaign.completed", S.CANCELLED: "campaign.cancelled", S.FAILED: "campaign.failed"}
        assert told[-1][0] == last[now.state]

    async def _manifest(self, scene: CampaignScene, now: Campaign, rows: list[asyncpg.Record]) -> None:
        if now.state is S.FAILED:
            assert now.manifest is None
            return
        header, *lines = await scene.manifest(now)
        assert header["final"]
        assert [line["custom_id"] for line in lines] == [row["custom_id"] for row in rows], "each row once"
        assert [line["state"] for line in lines] == [row["outcome"] or "cancelled" for row in rows]
        keys = [line["key"] for line in lines if line["state"] == "succeeded"]
        assert all(keys)
        assert len(set(keys)) == len(keys), "a video of one row is that of another"

    async def _once(self, now: Campaign, rows: list[asyncpg.Record]) -> None:
        """In each pass a row gets one video at most; a row that somebody asked for once is rendered once."""
        passes = await self.database.fetch("SELECT number, kind FROM campaign_passes WHERE campaign = $1", now.number)
        made = await self.database.fetch("SELECT id FROM jobs WHERE campaign = $1 AND state = 'succeeded'", now.id)
        done = {row["id"] for row in made}
        count: defaultdict[tuple[int, int], int] = defaultdict(int)
        known = 0
        for row in rows:
            for number in [each["number"] for each in passes]:
                for generation in range(now.generation + 1):
                    job = row_job_id(now.id, now.created_at, row["place"], number=number, generation=generation)
                    count[row["place"], number] += job in done
                    known += job in done
        assert known == len(done)
        assert max(count.values(), default=0) <= 1, "two videos in one pass"
        if {each["kind"] for each in passes} <= {PassKind.MAIN}:
            assert len(done) <= len(rows)


@pytest.mark.seeds(2)
async def test_every_row_ends_once_whatever_befalls_its_campaign(
    store: Store,
    objects: S3Objects,
    s3_settings: S3Settings,
    database_url: str,
    clock: Clock,
    seed: int,
) -> None:
    async with asyncpg.create_pool(database_url, min_size=1, max_size=4) as database:
        await simulate(store, objects, api_settings(database_url, s3_settings), database, seed)


async def simulate(store: Store, objects: S3Objects, settings: Settings, database: Any, seed: int) -> None:
    priced = {name: pool.model_copy(update={"price_per_gpu_hour": 1.0}) for name, pool in settings.pools.items()}
    world = World(store, objects, settings.model_copy(update={"pools": priced}), database, seed)
    await world.chaos()
    await world.calm()
    for campaign in world.campaigns:
        await world.account(campaign)
    states = {(await world.scenes[campaign.tenant].now(campaign)).state for campaign in world.campaigns}
    assert S.COMPLETED in states
    for scene in world.scenes.values():
        assert all(job.state.terminal for job in await scene.jobs())
