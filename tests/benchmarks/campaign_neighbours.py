"""What other tenants feel of a large campaign, for the benchmark of campaigns: claims, refills, submits, webhooks."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import asyncpg

from orchestrator.domain.campaign import Campaign, Kind
from orchestrator.notify.outbox import Announcer
from orchestrator.ports.campaign_values import Hold
from orchestrator.store import Store
from tests.benchmarks.campaign_parts import (
    TENANTS,
    WAITING,
    Place,
    a_campaign,
    child,
    fill,
    ms,
    now,
    said,
    say,
    scene_of,
    success,
    table_of,
)
from tests.benchmarks.store import load
from tests.support.api import CLUSTER
from tests.support.jobs import POOL as OTHERS
from tests.support.jobs import new_job
from tests.support.jobs import workers as some_workers
from tests.support.receivers import happen

# ---------------------------------------------------------------- what others feel


# So many that the large campaign's window is some hundred jobs.
WORKERS = 400
# A large campaign that renders nothing takes a core: the second says what of it all that alone costs.
CONDITIONS = ("alone", "spinning", "beside")


async def report_claims(store: Store, at: Place, rows: int) -> None:
    """Claims of other tenants while a campaign is taken in, and before and after it."""
    await load(at.url, WAITING, TENANTS)
    quiet = await claims_until(store, None)
    await a_campaign(store, at, table_of(rows))
    process = child("ingest", at)
    beside = await claims_until(store, process)
    await said(process)
    quiet += await claims_until(store, None)
    for share in (0.5, 0.99):
        without, meanwhile = ms(quiet, share), ms(beside, share)
        what = f"claim of 8, p{share * 100:.0f}: alone / while rows come in"
        say(what, f"{without:.2f} / {meanwhile:.2f} ms, {meanwhile / without:.2f}x", "1.2x")


async def claims_until(store: Store, process: subprocess.Popen[bytes] | None, samples: int = 400) -> list[float]:
    """Seconds of each claim, at a steady pace, until the process has ended."""
    taken: list[float] = []
    slots = some_workers(8)
    await store.beat(CLUSTER, dict.fromkeys(slots, OTHERS))
    await asyncio.sleep(1.5 if process else 0)  # it starts
    while process.poll() is None if process else len(taken) < samples:
        started = time.perf_counter()
        claims = await store.claim(OTHERS, CLUSTER, slots)
        taken.append(time.perf_counter() - started)
        await store.settle([success(claim) for claim in claims])
    return taken


async def report_running(store: Store, at: Place, rows: int, rounds: int = 4, seconds: float = 4.0) -> None:
    """Another tenant's refill, submits and webhooks, while the large campaign runs and while not, in turns."""
    large = await a_campaign(store, at, table_of(rows))
    await said(child("ingest", at))
    await fill(scene_of(store, at), at, large, WORKERS)
    other = replace(at, tenant=uuid4().hex)
    scene = scene_of(store, other)
    small = await a_campaign(store, other, table_of(min(rows, 20_000)))
    await scene.engine.ingest()
    figures: dict[str, dict[str, list[float]]] = {what: {} for what in CONDITIONS}
    with tempfile.TemporaryDirectory() as directory:
        flags = Path(directory)
        process = child("run", replace(at, flags=directory))
        while not (flags / "ready").exists():  # noqa: ASYNC110 (another process says so)
            await asyncio.sleep(0.1)
        for what in CONDITIONS * rounds:
            (flags / what).touch()
            await asyncio.sleep(1.0)
            await _others(store, other, small, figures[what], seconds)
            (flags / what).unlink()
        (flags / "stop").touch()
        ended = (await said(process))["done"]
    say("  rows of the large campaign ended meanwhile", f"{ended:.0f}")
    for name in figures["alone"]:
        for share in (0.5, 0.99):
            alone, spinning, beside = (ms(figures[what][name], share) for what in CONDITIONS)
            figure = f"{alone:.1f} / {spinning:.1f} / {beside:.1f} ms: {spinning / alone:.2f}x / {beside / alone:.2f}x"
            say(f"{name}, p{share * 100:.0f}: alone / beside a busy loop / beside", figure)


async def _others(store: Store, other: Place, small: Campaign, figures: dict[str, list[float]], seconds: float) -> None:
    scene = scene_of(store, other)
    announcer = Announcer(store, scene.settings)
    connection = await asyncpg.connect(other.url)
    ends = time.perf_counter() + seconds

    async def timed(name: str, action: Awaitable[object]) -> None:
        started = time.perf_counter()
        await action
        figures.setdefault(name, []).append(time.perf_counter() - started)

    while time.perf_counter() < ends:
        hold = await _hold(connection, store, small)
        await timed("refill of 64 rows", scene.engine._kinds[Kind.CAMPAIGN].move(hold))
        for _ in range(10):
            await timed("submit", store.submit(new_job(other.tenant)))
        await happen(connection, 200, tenant=other.tenant, url="https://example.com/")
        await timed("fan-out of 200 events", announcer.run_once())
    await connection.close()


async def _hold(connection: asyncpg.Connection, store: Store, campaign: Campaign) -> Hold:
    """A lease of just this one, which begins anew when its window is full."""
    token = uuid4()
    await connection.execute(
        "DELETE FROM jobs WHERE id IN (SELECT job_id FROM campaign_jobs WHERE campaign = $1)", campaign.number
    )
    await connection.execute("DELETE FROM campaign_jobs WHERE campaign = $1", campaign.number)
    await connection.execute(
        "UPDATE campaigns SET lease = $2, leased_until = 'infinity', fresh_succeeded = 100000 WHERE id = $1",
        campaign.id, token,
    )  # fmt: skip
    return Hold(campaign=await now(store, campaign), token=token, overdue=False, due=True)
