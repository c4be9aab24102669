"""What a campaign of a million rows costs: its own steps, its owner's actions, and what everybody else feels of it.

    python -m tests.benchmarks.campaigns             all of it (some eight minutes)
    python -m tests.benchmarks.campaigns --quick     the same with 50,000 rows

It starts its own PostgreSQL with fsync on and its own S3. What takes rows in, writes manifests or moves a campaign on
is the product's own code in a process of its own; jobs end as a dispatcher would end them, at once, without a render.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

import asyncpg
import uvloop

from orchestrator.campaigns.asking import Wish
from orchestrator.config import LogSettings
from orchestrator.domain.campaign import Campaign, CampaignState
from orchestrator.domain.job import WorkerRef
from orchestrator.ports.campaign_values import RowFilter
from orchestrator.store import Store
from orchestrator.telemetry import logs
from tests.benchmarks.campaign_neighbours import report_claims, report_running
from tests.benchmarks.campaign_parts import (
    BATCH,
    DUE,
    PROMPT,
    Place,
    a_campaign,
    child,
    fill,
    now,
    parts,
    said,
    say,
    scene_of,
    success,
    table_of,
    work_in_child,
)
from tests.support.api import CLUSTER, POOL
from tests.support.campaigns import CampaignScene

SECTIONS = ("ingest", "actions", "manifest", "claims", "running", "pass")
# As a render leaves it.
_END_ALL = """
    UPDATE campaign_rows SET outcome = 'succeeded', pass = 1, result = jsonb_build_object(
        'job', replace(gen_random_uuid()::text, '-', ''), 'version', 1, 'gpu_seconds', 91.25, 'attempts', 1,
        'seed', place, 'model', 'tiny-2b', 'profile', 'exact', 'revision', 'cafe0123', 'numerics', 'sm90-cu128',
        'key', 'videos/019ad2c3-7f00-7000-8000-000000000000/1/video.mp4', 'sha256', repeat('ab', 32), 'size', 2345678,
        'cover', 'videos/019ad2c3-7f00-7000-8000-000000000000/1/cover.png', 'continuity', 'whole',
        'incidents', '[]'::jsonb)
    WHERE campaign = $1
"""
_COLUMNS = "campaign, place, line, custom_id, body, reseed, pass"
# ---------------------------------------------------------------- rows in, rows out


async def report_ingest(store: Store, at: Place, rows: int) -> Campaign:
    """Takes a campaign in, and copies what came of it into a table without indexes."""
    campaign = await a_campaign(store, at, table_of(rows))
    told = await said(child("ingest", at))
    campaign = await now(store, campaign)
    assert (campaign.state, campaign.counts.rows) == (CampaignState.PLANNED, rows), campaign.error
    rate = rows / told["seconds"]
    say(
        "taken in: read, tried, priced, stored",
        f"{rate:7.0f} rows/s, {told['cpu'] / told['seconds']:.2f} cores of its own",
    )
    say("  memory before / peak", f"{told['before']:.0f} / {told['peak']:.0f} MB", "under 300 MB")
    for how, copy in (("from Python's tuples", _copy_tuples), ("from a file", _copy_file)):
        copied = rows / statistics.median([await copy(at, campaign.number) for _ in range(3)])
        say(f"bare COPY {how}", f"{copied:7.0f} rows/s; taken in is {rate / copied:.2f}x of it", "0.3x")
    return campaign


async def _copy_tuples(at: Place, number: int) -> float:
    """Seconds of COPY alone, as the store does it, in pieces of 5,000."""
    connection = await asyncpg.connect(at.url)
    await connection.execute("CREATE TABLE bare (LIKE campaign_rows INCLUDING DEFAULTS)")
    taken, after = 0.0, -1
    names = _COLUMNS.split(", ")
    query = f"SELECT {_COLUMNS} FROM campaign_rows WHERE campaign = $1 AND place > $2 ORDER BY place LIMIT 5000"
    while page := [tuple(row) for row in await connection.fetch(query, number, after)]:
        started = time.perf_counter()
        await connection.copy_records_to_table("bare", records=page, columns=names)
        taken += time.perf_counter() - started
        after = page[-1][1]
    await connection.execute("DROP TABLE bare")
    await connection.close()
    return taken


async def _copy_file(at: Place, number: int) -> float:
    connection = await asyncpg.connect(at.url)
    await connection.execute("CREATE TABLE bare (LIKE campaign_rows INCLUDING DEFAULTS)")
    data = io.BytesIO()
    query = f"SELECT {_COLUMNS} FROM campaign_rows WHERE campaign = {number}"
    await connection.copy_from_query(query, output=data)
    data.seek(0)
    started = time.perf_counter()
    await connection.copy_to_table("bare", source=data, columns=_COLUMNS.split(", "))
    taken = time.perf_counter() - started
    await connection.execute("DROP TABLE bare")
    await connection.close()
    return taken


async def report_manifest(store: Store, at: Place, campaign: Campaign) -> None:
    connection = await asyncpg.connect(at.url)
    await connection.execute(_END_ALL, campaign.number)
    rows = campaign.counts.rows
    await connection.execute("UPDATE campaigns SET succeeded = rows, manifest_due = true WHERE id = $1", campaign.id)
    await connection.execute("VACUUM ANALYZE campaign_rows")
    await connection.close()
    told = await said(child("revise", at))
    mark = (await now(store, campaign)).manifest
    assert mark is not None
    assert mark.rows == rows
    say("manifest: read, written, uploaded, signed", f"{rows / told['seconds']:7.0f} rows/s", "20,000")
    say("  memory before / peak", f"{told['before']:.0f} / {told['peak']:.0f} MB", "flat")


# ---------------------------------------------------------------- its owner's actions


async def report_actions(store: Store, at: Place, campaign: Campaign) -> None:
    """Each in turn, five times, on a campaign whose window is full of queued jobs."""
    scene = scene_of(store, at)
    await fill(scene, at, campaign)
    told, ask, mine = scene.campaigns, scene.campaigns.patch, (at.tenant, campaign.id)
    live = (await now(store, campaign)).counts
    print(f"actions on {live.rows} rows, {live.queued} of them queued; median and longest of five")

    def page(**wanted: Any) -> Callable[[int], Awaitable[object]]:
        return lambda _: told.rows(*mine, RowFilter(**wanted), after=-1, limit=100)

    def patch(name: str, value: Callable[[int], Any]) -> Callable[[int], Awaitable[object]]:
        return lambda n: ask(*mine, _wish(**{name: value(n)}))

    for name, action in {
        "get": lambda _: told.get(*mine),
        "plan": lambda _: told.plan(*mine),
        "rows, the first page": page(),
        "rows in a state that none has yet": page(state="failed"),
        "rows that are queued": page(state="queued"),
        "rows that have succeeded": page(state="succeeded"),
        "rows of a custom id": page(custom_id=f"clip-{live.rows // 2:07}"),
        "rows of a variable": page(variables={"scene": "on an oak table by window 5"}),
        "rows of a variable that none has": page(variables={"scene": "nowhere"}),
        "patch priority": patch("priority", lambda n: 30 + n),
        "patch max_running": patch("max_running", lambda n: 100 + n),
    }.items():
        await _timed(name, action)
    ready = partial(_ready, scene, at, campaign)
    await _timed("patch template", patch("prompt", lambda n: f"{PROMPT}, take {n}"), ready, times=3)
    await _timed("pause", lambda _: told.pause(*mine), ready)
    await _timed("resume", lambda _: told.resume(*mine), partial(_paused, scene, at, campaign))
    await ready()
    await _timed("cancel", lambda _: told.cancel(*mine), times=1)


async def _ready(scene: CampaignScene, at: Place, campaign: Campaign) -> None:
    """Running, with a full window."""
    if (await now(scene.store, campaign)).state is CampaignState.PAUSED:
        await scene.campaigns.resume(at.tenant, campaign.id)
    await fill(scene, at, campaign)


async def _paused(scene: CampaignScene, at: Place, campaign: Campaign) -> None:
    """Paused, with a full window that is held."""
    if (await now(scene.store, campaign)).state is not CampaignState.PAUSED:
        await scene.campaigns.pause(at.tenant, campaign.id)


async def _timed(
    name: str,
    action: Callable[[int], Awaitable[object]],
    before: Callable[[], Awaitable[None]] | None = None,
    *,
    times: int = 5,
) -> None:
    taken = []
    for n in range(times):
        if before is not None:
            await before()
        started = time.perf_counter()
        await action(n)
        taken.append(time.perf_counter() - started)
    say(
        f"  {name}",
        f"{statistics.median(taken) * 1e3:7.1f} / {max(taken) * 1e3:.1f} ms",
        "1 s" if name == "cancel" else "",
    )


def _wish(**said: Any) -> Wish:
    return Wish(said=frozenset(said), **said)


# ---------------------------------------------------------------- from end to end


async def report_pass(store: Store, at: Place, rows: int) -> None:
    """One process does it all, one thing after another: so the parts add up to the whole."""
    mine = replace(at, tenant=uuid4().hex)
    scene = scene_of(store, mine)
    campaign = await a_campaign(store, mine, table_of(rows))
    await scene.engine.ingest()
    workers = [WorkerRef(name=f"{POOL}-{n}", incarnation="first") for n in range(BATCH)]
    connection = await asyncpg.connect(at.url)
    await connection.execute("UPDATE campaigns SET leased_until = 'infinity' WHERE id <> $1", campaign.id)
    spent = dict.fromkeys(("moved on", "claimed", "settled"), 0.0)

    async def timed(name: str, action: Awaitable[Any]) -> Any:
        started = time.perf_counter()
        try:
            return await action
        finally:
            spent[name] += time.perf_counter() - started

    while not (found := await now(store, campaign)).drained:
        await store.beat(CLUSTER, dict.fromkeys(workers, POOL))
        await connection.execute(DUE)
        await timed("moved on", scene.engine.move())
        while claims := await timed("claimed", store.claim(POOL, CLUSTER, workers)):
            await timed("settled", store.settle([success(claim) for claim in claims]))
    await connection.close()
    assert found.counts.succeeded == rows, found.counts
    whole = sum(spent.values())
    told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in spent.items())
    say(f"{rows} rows through window, claim and settlement", f"{rows / whole:.0f} rows/s: {told}")


async def report(at: Place, rows: int, only: set[str]) -> None:
    async with Store.open(at.url) as store:
        if only & {"ingest", "actions", "manifest"}:
            campaign = await report_ingest(store, at, rows)
        if "actions" in only:
            await report_actions(store, at, campaign)
        if "manifest" in only:
            await report_manifest(store, at, campaign)
        if "pass" in only:
            await report_pass(store, at, min(rows, 20_000))
        if "claims" in only:
            await report_claims(store, replace(at, tenant="large"), rows)
        if "running" in only:
            await report_running(store, replace(at, tenant="larger"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--child", nargs=2, metavar=("WORK", "PLACE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    logs.configure(LogSettings(level="error"))
    if options.child:
        work, told = options.child
        uvloop.run(work_in_child(work, Place(**json.loads(told))))
        return
    rows = 50_000 if options.quick else options.rows
    print(f"{rows} rows, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start")
    with parts() as (_, at):
        asyncio.run(report(at, rows, set(options.only)))


if __name__ == "__main__":
    main()
