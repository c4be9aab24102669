"""In every loop: one item that breaks in a way that nobody foresaw holds up no other. The table walks the loops."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from orchestrator.campaigns.finishing import Finishing
from orchestrator.campaigns.schedules import Scheduler
from orchestrator.capacity.autoscaler import Autoscaler
from orchestrator.capacity.forecasting import Forecasting
from orchestrator.capacity.loads import Loads
from orchestrator.capacity.plans import plans
from orchestrator.capacity.scaler import Scaler
from orchestrator.capacity.swapper import Swapper
from orchestrator.config import RetentionSettings, Settings
from orchestrator.dispatch.claims import Claims
from orchestrator.dispatch.cluster import Cluster
from orchestrator.dispatch.dispatcher import Dispatcher
from orchestrator.dispatch.fleet import Fleet
from orchestrator.dispatch.recovery import Recovery
from orchestrator.dispatch.rescuer import Rescuer
from orchestrator.dispatch.settler import Settler
from orchestrator.domain.campaign import CampaignState, Counts, Group, Kind
from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.errors import ObjectsRefused, StoreUnavailable
from orchestrator.domain.job import WorkerRef
from orchestrator.domain.loading import Trouble, WorkerLoad
from orchestrator.domain.protocol import Stage
from orchestrator.learning.book import Book, Models
from orchestrator.learning.lessons import Lessons
from orchestrator.notify.campaign_feed import CampaignFeed
from orchestrator.notify.feed import Feed
from orchestrator.objects.files import FileSweeper
from orchestrator.objects.inputs import InputSweeper
from orchestrator.objects.manifests import ManifestSweeper
from orchestrator.objects.videos import Retention
from orchestrator.policy.demand import Demand
from orchestrator.policy.guarantees import Standing
from orchestrator.policy.prediction import Lesson
from orchestrator.ports import Heartbeat, Progress, Settled, SettleResult, Sweep
from orchestrator.ports.fleet import QueueLine
from orchestrator.rows.pruning import RowPruner
from orchestrator.store import rows
from orchestrator.telemetry import aside, metrics
from tests.support.api import api_settings
from tests.support.api_campaigns import a_campaign
from tests.support.builders import a_claim, a_render, a_result, a_spec, a_status, prefix_of
from tests.support.control import a_plan, a_settler, hears
from tests.support.scaling import unlearned

ROOT = Path(__file__).parents[3]
BAD, GOOD = "bad", "good"

# These read or write in one statement of their own, and have no items that one could break.
NO_ITEMS = {"beat", "wake_due", "queue_depth", "pauses", "prune_deliveries", "webhook_backlog", "listen", "look"}
NO_ITEMS |= {"campaigns", "worker_time", "learned", "prune_learned"}
# With the database that they need: `tests/contract/orchestrator/test_bad_rows.py`.
ELSEWHERE = {"ingest", "refill", "finish", "adopt_batches", "announce", "deliver"}


class Broken(Exception):
    """Nobody foresaw it."""


def fake(**parts: Any) -> Any:
    return cast(Any, SimpleNamespace(**parts))


class Done:
    """Notes what was done, and breaks at what is bad."""

    def __init__(self, bad: object = BAD) -> None:
        self.bad = bad
        self.saw: list[Any] = []

    async def __call__(self, item: Any, *_: object, **__: object) -> Any:
        if item == self.bad:
            raise Broken(item)
        self.saw.append(item)
        return True


async def expire() -> object:
    done, now = Done(), [0.0]

    async def declare_dead(cluster: str, worker: WorkerRef, beat: int) -> bool:
        return bool(await done(worker.name))

    beats = [
        Heartbeat(cluster="c", worker=WorkerRef(name=name, incarnation="i"), pool="p", beat=1, alive=True)
        for name in (BAD, GOOD)
    ]

    async def heartbeats() -> list[Heartbeat]:
        return beats

    clock = fake(monotonic=lambda: now[0])
    rescuer = Rescuer(fake(heartbeats=heartbeats, declare_dead=declare_dead), fake(), clock, ttl_s=10)
    for now[0] in (0.0, 4.0, 8.0, 12.0):
        await rescuer.expire()
    return done.saw


async def recover() -> object:
    ended: list[str] = []
    bad, good = a_claim(), a_claim()

    async def settle(settlements: Collection[Any]) -> list[SettleResult]:
        if any(each.token == bad.token for each in settlements):
            raise Broken
        return [SettleResult(settled=Settled.APPLIED, state=None) for _ in settlements]

    def get(key: str) -> bytes:
        raise Broken  # whatever it is: then there is no video to be found, and the job is tried again

    settler = a_settler(fake(settle=settle), fake(random=lambda: 0.5))
    recovery = Recovery(settler, fake(get=get), ended=lambda claim: ended.append(GOOD if claim is good else BAD))
    from orchestrator.dispatch.verdict import worker_vanished
    from orchestrator.domain.outcome import Lost

    recovery.add((claim, Lost(failure=worker_vanished(claim))) for claim in (bad, good))
    assert await recovery.run_once() == 1
    return ended


async def retention() -> object:
    jobs = {UUID(int=number): number for number in range(1, 9)}
    gone: list[UUID] = []

    async def due(**_: object) -> list[Sweep]:
        return [Sweep(job_id=job, keep=None) for job in jobs if job not in gone]

    async def swept(sweeps: Collection[Sweep]) -> None:
        gone.extend(sweep.job_id for sweep in sweeps)

    def delete(keys: list[str]) -> None:
        if UUID(int=1).hex in keys[0]:
            raise ObjectsRefused("locked", keys=keys)
        if UUID(int=2).hex in keys[0]:
            raise Broken

    async def nothing(**_: object) -> int:
        return 0

    store = fake(objects_to_sweep=due, swept=swept, prune_history=nothing)
    objects = fake(list_keys=lambda prefix: [f"{prefix}a"], delete=delete)
    await Retention(store, objects, RetentionSettings(), batch=2).run_once()
    assert sorted(jobs[job] for job in gone) == [3, 4, 5, 6, 7, 8]
    return [GOOD]


async def _sweeper(kind: Any, names: tuple[str, str], as_dict: bool) -> object:
    there = {f"{n}": f"{n}" for n in (BAD, "a", "b", GOOD)}

    async def due(*, limit: int, **_: object) -> Any:
        found = dict(list(there.items())[:limit])
        return found if as_dict else list(found)

    async def swept(items: Collection[str]) -> None:
        for item in items:
            del there[item]

    def delete(keys: Collection[str]) -> None:
        if BAD in keys:
            raise ObjectsRefused("locked", keys=[BAD])

    sweeper = kind(fake(**{names[0]: due, names[1]: swept}), fake(delete=delete), batch=1)
    assert await sweeper.run_once() == 3
    assert list(there) == [BAD]
    return [GOOD]


async def _orphans(prefix: str, kind: Any) -> object:
    ids = [f"{0x0190_0000_0000 + n:012x}" + "7" * 20 for n in range(2)]
    keys = [f"inputs/{'ab'}/{i}" for i in ids]
    deleted: list[str] = []

    async def unknown(made: Any, **_: object) -> list[str]:
        return list(made)

    def delete(these: Collection[str]) -> None:
        deleted.extend(key for key in these if key != keys[0])
        if keys[0] in these:
            raise ObjectsRefused("locked", keys=[keys[0]])

    from orchestrator.objects.orphans import sweep_orphans

    objects = fake(list_keys=lambda _: keys, delete=delete)
    assert await sweep_orphans(objects, prefix, re.compile(r"inputs/ab/([0-9a-f]{32})"), unknown) == 1
    assert deleted == keys[1:]
    return [GOOD]


def _cluster(**parts: Any) -> Cluster:
    clock = fake(monotonic=lambda: 100.0)
    known = {"name": "c", "caller": None, "clock": clock, "fleet": Fleet(), "claims": Claims()}
    return cast(Cluster, SimpleNamespace(**{**known, **parts}))


async def scale() -> object:
    done = Done()

    async def list_workers() -> list[str]:
        return []

    async def start(plan: Any) -> None:
        await done(plan.name)

    cluster = _cluster(
        workers=fake(list_workers=list_workers, start=start), recovery=fake(add=lambda lost: list(lost)),
        rules=fake(unheld_grace_s=10),
    )  # fmt: skip
    await Scaler(cluster, {name: a_plan(name) for name in (BAD, GOOD)}).run_once()
    return done.saw


async def dispatch() -> object:
    done = Done()

    async def claim(pool: str, *_: object, **__: object) -> list[Any]:
        await done(pool)
        return []

    cluster = _cluster(store=fake(claim=claim))
    for pool in (BAD, GOOD):
        hears(cluster.fleet, a_status(worker=WorkerRef(name=pool, incarnation="first"), pool=pool))
    await Dispatcher(cluster, (BAD, GOOD)).run_once()
    return done.saw


async def _told(verb: str) -> object:
    bad, good = a_claim(), a_claim()
    done = Done(bad.token)

    async def tell(name: str, caller: object, token: UUID) -> None:
        await done(token)

    async def requests(_: str) -> list[UUID]:
        return [bad.token, good.token]

    async def pauses() -> list[Any]:
        return []

    cluster = _cluster(
        store=fake(cancel_requests=requests, pauses=pauses), workers=fake(cancel=tell, evict=tell),
    )  # fmt: skip
    cluster.claims.hold([bad, good], 100.0)
    hears(cluster.fleet, a_status(*(a_render(claim, stage=Stage.PREEMPTED) for claim in (bad, good)), room=0))
    for idle in ("small-1", "small-2"):
        hears(cluster.fleet, a_status(worker=WorkerRef(name=idle, incarnation="first")))
    dispatcher = Dispatcher(cluster, ("small",))
    dispatcher._exhausted["small"] = float("inf")
    await (dispatcher.cancel() if verb == "cancel" else dispatcher.rebalance())
    assert done.saw == [good.token]
    return [GOOD]


async def give_back() -> object:
    """A pool whose standings cannot be read; one worker of another, which is wanted back."""
    claim = a_claim()
    told: list[str] = []

    async def standings(pool: str) -> list[Standing]:
        if pool == BAD:
            raise Broken
        return [
            Standing(tenant="gold", guaranteed=1, running=0, waiting=1),
            Standing(tenant=claim.tenant, guaranteed=0, running=1),
        ]

    async def pauses() -> list[Any]:
        return []

    async def evict(name: str, caller: object, token: UUID) -> None:
        told.append(GOOD)

    cluster = _cluster(store=fake(standings=standings, pauses=pauses), workers=fake(evict=evict))
    cluster.claims.hold([claim], 100.0)
    hears(cluster.fleet, a_status(a_render(claim, stage=Stage.DENOISING), room=0))
    assert await Dispatcher(cluster, (BAD, "small")).give_back() == 1
    return told


async def progress() -> object:
    moved = [Progress(job_id=uuid4(), token=uuid4(), stage=stage, step=1) for stage in (BAD, GOOD)]
    written: list[str] = []

    async def record(these: Collection[Progress]) -> None:
        if any(each.stage == BAD for each in these):
            raise Broken
        written.extend(each.stage for each in these)

    await Cluster.record_progress(_cluster(store=fake(record_progress=record)), moved)
    return written


async def watch() -> object:
    """What ended on one worker is settled together; the end that cannot be written is given up in the end, aloud."""
    bad, good = a_claim(), a_claim()
    written: list[tuple[UUID, str]] = []

    async def settle(settlements: Collection[Any]) -> list[SettleResult]:
        if any(each.token == bad.token and each.state == "succeeded" for each in settlements):
            raise Broken
        written.extend((each.token, str(each.state)) for each in settlements)
        return [SettleResult(settled=Settled.APPLIED, state=None) for _ in settlements]

    from orchestrator.domain.protocol import Rendered

    settler: Settler = a_settler(fake(settle=settle), fake(random=lambda: 0.5))
    endings = [(claim, Rendered(result=a_result(prefix_of(claim)))) for claim in (bad, good)]
    for _ in range(2):
        with pytest.raises(Broken):
            await settler.end(endings)
        assert written.pop() == (good.token, "succeeded")
    assert len(await settler.end(endings)) == 2
    assert written[0][0] == bad.token
    assert written[0][1] != "succeeded"
    return [GOOD]


async def loads() -> object:
    told: list[list[str]] = []
    cluster = _cluster()
    for name in (BAD, GOOD):
        cluster.fleet.worker(name, "p", 0.0).trouble = Trouble(1, "it breaks", f"{name}\0")

    async def record(_: str, these: Collection[WorkerLoad]) -> None:
        if any("\0" in load.detail for load in these):
            raise Broken
        told.append([load.worker for load in these])

    await Loads(_cluster(fleet=cluster.fleet, store=fake(record_loads=record)), {}).write()
    return told[0]


async def lessons() -> object:
    done = Done()

    async def learn(batch: Collection[Lesson], **_: object) -> None:
        if any(lesson.key.adapter == BAD for lesson in batch):
            raise Broken
        done.saw.extend(lesson.key.adapter for lesson in batch)

    models = Models({"tiny-2b": FAMILIES["tiny-2b"]}, {})
    taken = Lessons(Book(models, fake()), fake(learn=learn))
    for adapter in (BAD, GOOD):
        taken.take(a_claim(spec=a_spec(adapter=adapter)), a_result())
    assert await taken.write() == 2
    assert await taken.write() == 0, "what broke is not tried for ever"
    return done.saw


async def reconcile() -> object:
    row = fake(id=uuid4(), worker="w", spec=None)
    assert rows.claims([row]) == []  # and so for what is claimed, and for what dead workers left
    return [GOOD]


async def feed() -> object:
    bad, good = uuid4(), uuid4()
    asked: list[UUID] = []

    async def snapshots(ids: Collection[UUID]) -> dict[UUID, Any]:
        if bad in ids:
            raise Broken
        asked.extend(ids)
        return {}

    feed = Feed(fake(snapshots=snapshots), watchers=9, watchers_of_tenant=9)
    with feed.watch(fake(id=bad, tenant="a")) as one, feed.watch(fake(id=good, tenant="b")) as other:
        await feed.run_once()
        assert asked == [good]
        assert await other.changed(0.1)
        assert not await one.changed(0.001)  # it was not told that its video is gone
    return [GOOD]


async def campaign_feed() -> object:
    done = Done()

    async def get_campaign(campaign_id: str, tenant: str) -> None:
        await done(campaign_id)

    feed = CampaignFeed(fake(get_campaign=get_campaign), watchers=9, watchers_of_tenant=9)
    with feed.watch(fake(id=BAD, tenant="a")) as one, feed.watch(fake(id=GOOD, tenant="b")) as other:
        await feed.run_once()
        assert await other.changed(0.1)
        assert not await one.changed(0.001)
    return done.saw


async def prune_batches() -> object:
    done = Done()

    async def over(kind: Kind, **_: object) -> list[Any]:
        return [fake(id=name, tenant="a") for name in (BAD, GOOD)] if kind is Kind.BATCH else []

    async def live_of(kept: Any) -> list[UUID]:
        await done(kept.id)
        return []

    async def nothing(*_: object, **__: object) -> Any:
        return 0

    store = fake(over=over, live_of=live_of, forget_rows=nothing, forget_ended=nothing)
    await RowPruner(store, fake(), keep_s=1).run_once()
    return done.saw


async def manifests() -> object:
    done, due = Done(), [BAD, GOOD]

    async def lease_revision() -> Any:
        return fake(id=due.pop(0)) if due else None

    async def write(campaign: Any, *, final: bool) -> Any:
        await done(campaign.id)
        raise Unwritten

    class Unwritten(Exception):
        """Enough of it."""

    finishing = fake(_store=fake(lease_revision=lease_revision), _write=write)
    assert await Finishing.revise(finishing) == 2
    return done.saw


async def campaign_manifests() -> object:
    done = Done()

    async def deleted_campaigns(**_: object) -> list[Any]:
        return [fake(id=name, tenant="a") for name in (BAD, GOOD)]

    async def forget_campaign(kept: Any) -> None:
        await done(kept.id)

    store = fake(deleted_campaigns=deleted_campaigns, forget_campaign=forget_campaign)
    assert await ManifestSweeper(store, fake(list_keys=lambda prefix: []), keep_s=None).run_once() == 1
    return done.saw


async def schedules() -> object:
    done = Done()

    async def due_schedules() -> list[Any]:
        return [fake(id=name, ask=fake(cron=None)) for name in (BAD, GOOD)]

    async def begin(campaign: Any) -> None:
        await done(campaign.id)

    scheduler = Scheduler(fake(due_schedules=due_schedules))
    scheduler._begin = begin  # type: ignore[method-assign]
    assert await scheduler.run_once() == 1
    return done.saw


async def forecasts() -> object:
    kept: list[str] = []
    mill = a_campaign(id=GOOD, state=CampaignState.RUNNING, counts=Counts(rows=9, succeeded=4))
    mill = replace(mill, estimate=(Group(pool="small", model="tiny-2b", rows=9, gpu_seconds=90.0),))
    bad = replace(mill, id=BAD, used="much")  # type: ignore[arg-type]

    async def keep(duty: str, token: UUID, outlooks: Sequence[Any], tellings: object) -> None:
        kept.extend(outlook.name for outlook in outlooks)

    def told(answer: object) -> Callable[..., Awaitable[object]]:
        async def tell(*_: object, **__: object) -> object:
            return answer

        return tell

    nothing = {"load_by_hour": [], "lanes_waiting": [], "worker_loads": [], "pauses": [], "forecasts": []}
    nothing |= {"load_since": {}, "weights": {}, "learned": []}
    store = fake(
        lead=told(True),
        forecast_mark=told("mark"),
        campaigns_going=told([bad, mill]),
        workers_of=told({"small": 1}),
        keep_forecasts=keep,
        **{name: told(answer) for name, answer in nothing.items()},
    )
    settings = api_settings("postgresql://x/y")
    assert await Forecasting(settings, store, Book.of(settings, store)).run_once()
    return kept


async def autoscale() -> object:
    pools = {name: {"model": "small", "kinds": {"spot": {"max": 2}}} for name in (BAD, GOOD)}
    settings = Settings.model_validate(
        {
            "database_url": "postgresql://localhost/x",
            "master_key": "k" * 16,
            "default_model": "small",
            "models": {"small": {"family": "tiny-2b", "path": "/none"}},
            "pools": pools,
        }
    )
    recorded: list[str] = []

    async def demand(*_: object, **__: object) -> dict[str, Any]:
        return {GOOD: Demand(backlog_s=9, jobs=1), BAD: None}  # of which nobody can tell how much it is

    async def record(cluster: str, kinds: Any, decisions: Any) -> None:
        recorded.extend(each.pool for each in decisions)

    async def nothing() -> list[Any]:
        return []

    cluster = _cluster(workers=fake(list_workers=nothing), lessons=unlearned())
    wanted: dict[str, Any] = {}
    await Autoscaler(cluster, settings, fake(demand=demand, pauses=nothing, record_fleet=record), wanted).run_once()
    assert list(wanted) == [f"{GOOD}-spot-0"]
    return recorded


async def swap() -> object:
    """A set of which something cannot be decided keeps what it holds; the others go on."""
    models = {name: {"family": "tiny-2b", "path": f"/{name}"} for name in ("one", "two", "three", "four")}
    settings = Settings.model_validate(
        {
            "database_url": "postgresql://localhost/x",
            "master_key": "k" * 16,
            "default_model": "one",
            "models": models,
            "pools": {name: {"model": name} for name in models},
            "shared": {BAD: {"pools": ["one", "two"], "workers": 1}, GOOD: {"pools": ["three", "four"], "workers": 1}},
        }
    )
    recorded: list[str] = []
    waits = QueueLine(waiting={10: 1e6}, oldest_s=1.0)

    async def lines(*_: object) -> dict[str, Any]:
        return {"one": None, "two": waits, "three": QueueLine(waiting={}, oldest_s=0.0), "four": waits}

    async def record(cluster: str, kinds: Any, decisions: Any) -> None:
        recorded.extend(each.kind for each in decisions if each.change > 0)

    async def nothing() -> list[Any]:
        return []

    cluster = _cluster(workers=fake(list_workers=nothing), lessons=unlearned(), expected_s=lambda claims: {})
    wanted = plans(settings)
    for name, plan in wanted.items():
        ref = WorkerRef(name=name, incarnation="first")
        hears(cluster.fleet, a_status(worker=ref, pool=plan.pool, plan=plan.fingerprint))
    await Swapper(cluster, settings, fake(lines=lines, pauses=nothing, record_fleet=record), wanted).run_once()
    assert wanted[f"{GOOD}-0"].pool == "four"
    assert wanted[f"{BAD}-0"].pool == "one"
    return recorded


CASES: dict[str, Callable[[], Awaitable[object]]] = {
    "expire": expire,
    "rescue": recover,
    "recover": recover,
    "retention": retention,
    "inputs": lambda: _sweeper(InputSweeper, ("inputs_to_sweep", "inputs_swept"), False),
    "files": lambda: _sweeper(FileSweeper, ("files_to_sweep", "files_swept"), True),
    "input_orphans": lambda: _orphans("inputs/", InputSweeper),
    "file_orphans": lambda: _orphans("files/", FileSweeper),
    "scale": scale,
    "autoscale": autoscale,
    "swap": swap,
    "dispatch": dispatch,
    "cancel": lambda: _told("cancel"),
    "rebalance": lambda: _told("rebalance"),
    "give_back": give_back,
    "progress": progress,
    "loads": loads,
    "lessons": lessons,
    "reconcile": reconcile,
    "watch-": watch,
    "feed": feed,
    "campaign_feed": campaign_feed,
    "prune_batches": prune_batches,
    "manifests": manifests,
    "campaign_manifests": campaign_manifests,
    "schedules": schedules,
    "forecasts": forecasts,
}


@pytest.mark.parametrize("loop", CASES)
async def test_one_bad_item_holds_up_no_other(loop: str) -> None:
    assert GOOD in cast(list[str], await CASES[loop]())


def test_every_loop_of_every_process_has_its_case() -> None:
    started = set[str]()
    for source in [*(ROOT / "orchestrator/processes").glob("*.py"), ROOT / "api/app.py"]:
        started |= set(re.findall(r"\b(?:Loop|_several)\(f?\"([a-z_-]+)", source.read_text()))
    assert len(started) > 15
    assert started == set(CASES) | NO_ITEMS | ELSEWHERE


def test_a_part_that_does_not_answer_is_no_items_fault() -> None:
    with pytest.raises(StoreUnavailable), aside.unless_it_breaks("x"):
        raise StoreUnavailable("away")


def test_what_is_put_aside_leaves_evidence_and_is_counted() -> None:
    before = metrics.parked.labels("x")._value.get()
    with aside.unless_it_breaks("x"):
        raise Broken("a\x00b\nc")
    assert metrics.parked.labels("x")._value.get() == before + 1
    with pytest.raises(Broken) as raised:
        raise Broken("a\x00b\nc")
    told = aside.told(raised.value)
    assert re.fullmatch(r"Broken: a\ufffdb c \(test_bad_items\.py:\d+ in test_what_is_\w+\)", told)
