"""What the benchmark of campaigns is made of: what it starts, its campaigns, and the processes that work on them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg

from orchestrator.adapters.s3 import S3Objects
from orchestrator.campaigns.asking import Wish
from orchestrator.config import S3Settings
from orchestrator.domain.campaign import Campaign
from orchestrator.domain.job import Claim, WorkerRef
from orchestrator.domain.outcome import Settlement, settle
from orchestrator.domain.protocol import Rendered
from orchestrator.domain.retry import RetryPolicy
from orchestrator.processes.maintaining import spare_the_collector
from orchestrator.store import Store, migrate
from tests.benchmarks.store import DURABLE, percentile
from tests.support.api import CLUSTER, POOL, api_settings
from tests.support.builders import a_result, prefix_of
from tests.support.campaigns import CampaignScene, a_campaign_scene
from tests.support.postgres import Server
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, S3Server

PROMPT = "a {product} {scene}, soft morning light, slow camera"
TENANTS, WAITING, WORKERS, BATCH = 200, 20_000, 2_500, 128
DUE = "UPDATE campaigns SET leased_until = NULL WHERE lease IS NULL AND leased_until < 'infinity'"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a process finds what the benchmark has started."""

    url: str
    s3_port: int
    bucket: str
    tenant: str
    campaign: str = ""
    # A directory of flags: the process says `ready`, works while there is `beside`, burns CPU alone while there is
    # `spinning`, and goes when there is `stop`.
    flags: str = ""


@contextmanager
def parts() -> Iterator[tuple[Server, Place]]:
    database, bucket = Server.create(DURABLE, durable=True), S3Server.create()
    try:
        with ThreadPoolExecutor(1) as thread:  # `migrate` runs a loop of its own
            thread.submit(migrate, database.url()).result()
        yield (
            database,
            Place(url=database.url(), s3_port=bucket.port, bucket=bucket.new_bucket().bucket, tenant=uuid4().hex),
        )
    finally:
        bucket.remove()
        database.remove()


def scene_of(store: Store, at: Place) -> CampaignScene:
    s3 = S3Settings(
        endpoint_url=f"http://127.0.0.1:{at.s3_port}", bucket=at.bucket, access_key=ACCESS_KEY, secret_key=SECRET_KEY
    )
    settings = api_settings(at.url, s3, key_cache_s=2)
    return a_campaign_scene(store, S3Objects(s3), settings, at.tenant)


def table_of(rows: int) -> bytes:
    """A CSV of three columns."""
    lines = (f"clip-{n:07},mug of glazed stoneware no {n},on an oak table by window {n % 97}\n" for n in range(rows))
    return ("custom_id,product,scene\n" + "".join(lines)).encode()


def success(claim: Claim) -> Settlement:
    ending = Rendered(result=a_result(prefix_of(claim), gpu_seconds=claim.cost))
    return settle(claim, ending, RetryPolicy(), 0.0)


def say(what: str, figure: str, goal: str = "") -> None:
    print(f"{what:58} {figure}{f'   (goal {goal})' if goal else ''}", flush=True)


def ms(values: list[float], share: float) -> float:
    return percentile(values, share) * 1e3


# ---------------------------------------------------------------- processes of their own


def child(work: str, at: Place) -> subprocess.Popen[bytes]:
    told = json.dumps(asdict(at))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.campaigns", "--child", work, told], stdout=subprocess.PIPE
    )


async def said(process: subprocess.Popen[bytes]) -> dict[str, float]:
    out, _ = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0, "a process of the benchmark has failed"
    return json.loads(out)  # type: ignore[no-any-return]


async def work_in_child(work: str, at: Place) -> None:
    spare_the_collector()
    async with Store.open(at.url) as store:
        scene = scene_of(store, at)
        await store.campaign_states()
        before, cpu, started = _memory("VmRSS"), time.process_time(), time.perf_counter()
        done = await {"ingest": _ingest, "revise": _revise, "run": _run}[work](scene, at)
        print(json.dumps({
            "seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu, "done": done,
            "before": before, "peak": _memory("VmHWM"),
        }))  # fmt: skip


async def _ingest(scene: CampaignScene, at: Place) -> int:
    return await scene.engine.ingest()


async def _revise(scene: CampaignScene, at: Place) -> int:
    return await scene.finishing.revise()


async def _run(scene: CampaignScene, at: Place) -> int:
    """Move campaigns on, and end what is in their pool, whenever the flags say so."""
    ended = 0
    workers = [WorkerRef(name=f"{POOL}-{n}", incarnation="first") for n in range(BATCH)]
    due = asyncio.create_task(_nudged(at))
    flags = Path(at.flags)
    (flags / "ready").touch()
    while not (flags / "stop").exists():
        if (flags / "spinning").exists():
            sum(range(500_000))
            continue
        if not (flags / "beside").exists():
            await asyncio.sleep(0.02)
            continue
        moved = await scene.engine.move()
        claims = await scene.store.claim(POOL, CLUSTER, workers)
        await scene.store.settle([success(claim) for claim in claims])
        ended += len(claims)
        if not moved and not claims:
            await asyncio.sleep(0.01)
    due.cancel()
    return ended


async def _nudged(at: Place) -> None:
    """No-op renders end sooner than anybody would look."""
    connection = await asyncpg.connect(at.url)
    while True:
        await connection.execute(DUE)
        await asyncio.sleep(0.05)


def _memory(name: str) -> float:
    """Megabytes of this process, now (`VmRSS`) or at its peak (`VmHWM`)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


# ---------------------------------------------------------------- campaigns


async def a_campaign(store: Store, at: Place, data: bytes, **asked: Any) -> Campaign:
    scene = scene_of(store, at)
    wished = {"prompt": PROMPT, "approval": False, "progress_every": 0, **asked}
    source = await scene.upload(data)
    return await scene.campaigns.create(at.tenant, Wish(said=frozenset(wished), **wished), source=source)


async def now(store: Store, campaign: Campaign) -> Campaign:
    found = await store.get_campaign(campaign.id, campaign.tenant)
    assert found is not None
    return found


async def fill(scene: CampaignScene, at: Place, campaign: Campaign, workers: int = WORKERS) -> None:
    """Move it on until its window is full, past the slow start, for a large fleet."""
    await scene.store.beat(CLUSTER, {WorkerRef(name=f"{POOL}-{n}", incarnation="first"): POOL for n in range(workers)})
    connection = await asyncpg.connect(at.url)
    await connection.execute(
        "UPDATE campaigns SET fresh_succeeded = 100000, max_running = NULL WHERE id = $1", campaign.id
    )
    queued = -1
    while queued < (queued := (await now(scene.store, campaign)).counts.queued) or queued < 1:
        await connection.execute(DUE)
        for _ in range(20):
            await scene.engine.move()
    await connection.close()
