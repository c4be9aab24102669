"""In the dispatcher's loops: one item that breaks in a way that nobody foresaw holds up no other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from orchestrator.capacity.autoscaler import Autoscaler
from orchestrator.capacity.leftovers import GRACE_S, Leftovers
from orchestrator.capacity.loads import Loads
from orchestrator.capacity.plans import plans
from orchestrator.capacity.scaler import Scaler
from orchestrator.capacity.swapper import Swapper
from orchestrator.capacity.yielding import Yielding
from orchestrator.config import Settings
from orchestrator.dispatch.claims import Claims
from orchestrator.dispatch.cluster import Cluster
from orchestrator.dispatch.dispatcher import Dispatcher
from orchestrator.dispatch.fleet import Fleet
from orchestrator.dispatch.recovery import Recovery
from orchestrator.dispatch.retirement import Retirement
from orchestrator.dispatch.settler import Settler
from orchestrator.dispatch.urls import ClaimUrls
from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.clusters import Wish
from orchestrator.domain.job import WorkerRef
from orchestrator.domain.loading import Trouble, WorkerLoad
from orchestrator.domain.protocol import Answer, Assignment, Stage
from orchestrator.learning.book import Book, Models
from orchestrator.learning.lessons import Lessons
from orchestrator.policy.demand import Demand
from orchestrator.policy.guarantees import Standing
from orchestrator.policy.prediction import Lesson
from orchestrator.ports import Progress, Settled, SettleResult
from orchestrator.ports.fleet import QueueLine
from orchestrator.ports.objects import Signed
from orchestrator.store import rows
from tests.support.bad_items import BAD, GOOD, Broken, Done, fake
from tests.support.builders import a_claim, a_render, a_result, a_spec, a_status, prefix_of
from tests.support.control import a_plan, a_settler, hears
from tests.support.scaling import unlearned


def _cluster(**parts: Any) -> Cluster:
    clock = fake(monotonic=lambda: 100.0)
    known = {"name": "c", "caller": None, "clock": clock, "fleet": Fleet(), "claims": Claims()}
    return cast(Cluster, SimpleNamespace(**{**known, **parts}))


async def scale() -> object:
    assert GOOD in await _given_up()
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


async def autoscale() -> object:
    pools = {name: {"model": "small", "kinds": {"spot": {"max": 2}}} for name in (BAD, GOOD)}
    settings = Settings.model_validate(
        {
            "database_url": "postgresql://localhost/x",
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


async def leftovers() -> object:
    async def held() -> list[str]:
        return [BAD, GOOD]

    done, now = Done(), [0.0]
    cluster = _cluster(workers=fake(leftovers=held, kill=done), clock=fake(monotonic=lambda: now[0]))
    loop = Leftovers(cluster, {})
    await loop.run_once()
    now[0] = GRACE_S
    return await loop.run_once()


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


async def renew_urls() -> object:
    """A claim that cannot be signed for, or whose worker breaks, keeps no other from newer URLs."""
    unsigned, bad, good = (a_claim() for _ in range(3))
    done = Done(bad.token)

    def sign(reads: Collection[str], writes: Collection[str]) -> Signed:
        if any(unsigned.job_id.hex in key for key in writes):
            raise RuntimeError(BAD)
        return Signed(dict.fromkeys(reads, "url"), dict.fromkeys(writes, "url"), 60.0)

    async def assign(name: str, caller: object, assignment: Assignment) -> Answer:
        assert assignment.renews
        await done(assignment.token)
        return Answer.ACCEPTED

    cluster = _cluster(workers=fake(assign=assign), urls=ClaimUrls(sign))
    cluster.claims.hold([unsigned, bad, good], 100.0)
    dispatcher = Dispatcher(cluster, ("small",))
    assert await dispatcher.renew_urls() == 1
    assert done.saw == [good.token]
    assert await dispatcher.renew_urls() == 0, "the others are tried again, and it is not"
    return [GOOD]


async def retire() -> object:
    """A worker that breaks when it is asked to hand back keeps no other from being asked."""
    bad, good = a_claim(), a_claim()
    done = Done(bad.token)

    async def tell(name: str, caller: object, token: UUID) -> None:
        await done(token)

    async def wish(name: str) -> Wish:
        return Wish(retires=True, left_s=0.0, version=1)

    async def obeys(name: str, version: int) -> bool:
        return True

    cluster = _cluster(workers=fake(evict=tell), expected_s=lambda claims: {})
    cluster.claims.hold([bad, good], 100.0)
    hears(cluster.fleet, a_status(*(a_render(claim, stage=Stage.DENOISING) for claim in (bad, good)), room=0))
    await Retirement(cluster, Dispatcher(cluster, ()), fake(cluster_wish=wish, cluster_obeys=obeys)).run_once()
    assert done.saw == [good.token]
    return [GOOD]


async def _given_up() -> list[Any]:
    """A worker without a host that breaks when it is ended keeps no other of a cluster that yields from being."""
    done = Done()

    async def wish(name: str) -> Wish:
        return Wish(retires=False, left_s=0.0, version=1, yields=True)

    async def hosts() -> dict[str, list[str]]:
        return {}

    async def kill(name: str, *, restart: bool) -> None:
        await done(name)

    async def tell(name: str, told: object) -> bool:
        return True

    cluster = _cluster(workers=fake(hosts=hosts, kill=kill))
    wanted = {name: a_plan(name) for name in (BAD, GOOD)}
    await Yielding(cluster, fake(cluster_wish=wish, tell_hosts=tell), wanted).run_once()
    return done.saw


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


CASES: dict[str, Callable[[], Awaitable[object]]] = {
    "scale": scale,
    "autoscale": autoscale,
    "swap": swap,
    "leftovers": leftovers,
    "dispatch": dispatch,
    "cancel": lambda: _told("cancel"),
    "rebalance": lambda: _told("rebalance"),
    "renew_urls": renew_urls,
    "retire": retire,
    "give_back": give_back,
    "progress": progress,
    "loads": loads,
    "lessons": lessons,
    "reconcile": reconcile,
    "watch-": watch,
    "recover": recover,
}


@pytest.mark.parametrize("loop", CASES)
async def test_one_bad_item_holds_up_no_other(loop: str) -> None:
    assert GOOD in cast(list[str], await CASES[loop]())
