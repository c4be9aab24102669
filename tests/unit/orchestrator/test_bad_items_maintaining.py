"""In the maintainer's loops: one item that breaks in a way that nobody foresaw holds up no other."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import pytest

from orchestrator.campaigns.finishing import Finishing
from orchestrator.campaigns.schedules import Scheduler
from orchestrator.capacity.forecasting import Forecasting
from orchestrator.config import RetentionSettings
from orchestrator.dispatch.rescuer import Rescuer
from orchestrator.domain.audit import Actor
from orchestrator.domain.bulk import Verb
from orchestrator.domain.campaign import CampaignState, Counts, Group, Kind
from orchestrator.domain.errors import ObjectsRefused
from orchestrator.domain.job import WorkerRef, public_id
from orchestrator.domain.job_filter import JobFilter
from orchestrator.domain.states import JobState
from orchestrator.intake.bulk import BulkCarrier
from orchestrator.learning.book import Book
from orchestrator.objects.erasing import Eraser
from orchestrator.objects.files import FileSweeper
from orchestrator.objects.inputs import InputSweeper
from orchestrator.objects.manifests import ManifestSweeper
from orchestrator.objects.videos import Retention
from orchestrator.ports import Heartbeat, Sweep
from orchestrator.ports.bulk import Match, Progress, Stretch
from orchestrator.rows.pruning import RowFreer, RowPruner
from tests.support.api import api_settings
from tests.support.api_campaigns import a_campaign
from tests.support.bad_items import BAD, GOOD, Broken, Done, fake
from tests.unit.orchestrator.test_bad_items_dispatching import recover


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


async def free_rows() -> object:
    done = Done()

    async def to_free(**_: object) -> list[Any]:
        return [fake(id=name) for name in (BAD, GOOD)]

    async def free(ended: Any) -> int:
        await done(ended.id)
        return 3

    assert await RowFreer(fake(to_free=to_free, free_rows=free)).run_once() == 3
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

    async def keep(duty: str, token: UUID, outlooks: Sequence[Any], tellings: object, *, lanes: object) -> None:
        kept.extend(outlook.name for outlook in outlooks)

    def told(answer: object) -> Callable[..., Awaitable[object]]:
        async def tell(*_: object, **__: object) -> object:
            return answer

        return tell

    nothing = {"load_by_hour": [], "lanes_waiting": [], "worker_loads": [], "pauses": [], "forecasts": []}
    nothing |= {"batches_waiting": [], "budgets": []}
    nothing |= {"load_since": {}, "weights": {}, "most_urgent": {}, "learned": []}
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


async def erasures() -> object:
    done, due = Done(), [BAD, GOOD]

    async def next_erasure(*, hold_s: float) -> Any:
        return fake(erasure=fake(id=due[0]), name=due.pop(0)) if due else None

    async def over(round_: Any) -> bool:
        return bool(await done(round_.name))

    nothing: Any = None
    eraser = Eraser(fake(next_erasure=next_erasure), nothing, late_s=1, own=nothing, shared=(), sign=nothing)
    eraser.round = over  # type: ignore[method-assign]
    assert await eraser.run_once() == 1
    return done.saw


async def bulk_actions() -> object:
    """One action that breaks, and in the next one a job that does."""
    done, due = Done(), [BAD, GOOD]

    async def take(token: UUID, *, lease_s: float) -> Any:
        actor = Actor(name="nobody")
        return fake(id=due.pop(0), verb=Verb.RETRY, actor=actor, wanted=JobFilter()) if due else None

    async def stretch(bulk: Any, *, limit: int) -> Stretch:
        await Done()(bulk.id)
        ids = [UUID(int=number) for number in (1, 2)]
        matches = [Match(job_id=job_id, tenant="a", state=JobState.FAILED, campaign=None) for job_id in ids]
        return Stretch(matches=matches, cursor=None)

    async def note(bulk: Any, token: UUID, progress: Progress) -> bool:
        assert (progress.done, dict(progress.failed)) == (1, {"internal_error": 1})
        return bool(await done(bulk.id))

    async def retry(tenant: str, video_id: str, **_: object) -> Any:
        if video_id == public_id(UUID(int=1)):
            raise Broken

    store = fake(take_bulk=take, next_of_bulk=stretch, note_bulk=note)
    assert await BulkCarrier(store, fake(retry=retry)).run_once() == 1
    return done.saw


CASES: dict[str, Callable[[], Awaitable[object]]] = {
    "expire": expire,
    "rescue": recover,
    "retention": retention,
    "inputs": lambda: _sweeper(InputSweeper, ("inputs_to_sweep", "inputs_swept"), False),
    "files": lambda: _sweeper(FileSweeper, ("files_to_sweep", "files_swept"), True),
    "input_orphans": lambda: _orphans("inputs/", InputSweeper),
    "file_orphans": lambda: _orphans("files/", FileSweeper),
    "prune_batches": prune_batches,
    "free_rows": free_rows,
    "manifests": manifests,
    "campaign_manifests": campaign_manifests,
    "schedules": schedules,
    "forecasts": forecasts,
    "erasures": erasures,
    "bulk_actions": bulk_actions,
}


@pytest.mark.parametrize("loop", CASES)
async def test_one_bad_item_holds_up_no_other(loop: str) -> None:
    assert GOOD in cast(list[str], await CASES[loop]())
