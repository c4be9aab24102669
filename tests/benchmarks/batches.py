"""How fast a batch is taken in, submitted and answered on this machine, and what that costs in memory.

    python -m tests.benchmarks.batches [LINES]

Prints lines per second of each part, and the process's peak of resident memory before and after. Jobs are ended by one
statement, as if rendered: what is measured is the batch, not the queue.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import LogSettings
from orchestrator.domain.batch import BatchStatus
from orchestrator.store import Store, migrate
from orchestrator.telemetry import logs
from tests.support.api import api_settings
from tests.support.batches import Scene, a_scene, line
from tests.support.postgres import Server
from tests.support.s3 import S3Server

_LINES = 50_000
_END = """
    UPDATE jobs SET state = 'failed', ready = false, finished_at = cogmill_now(),
                    failure = '{"code": "measured", "message": "ended by the benchmark", "retryable": false}'
    WHERE state = 'queued'
"""


def main() -> None:
    """Start the parts, measure, stop them."""
    logs.configure(LogSettings(level="error"))
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else _LINES
    database, bucket = Server.create({}, durable=True), S3Server.create()
    try:
        migrate(database.url())
        asyncio.run(_measure(database, bucket, lines))
    finally:
        bucket.remove()
        database.remove()


async def _measure(database: Server, bucket: S3Server, lines: int) -> None:
    settings = api_settings(database.url(), bucket.new_bucket())
    async with Store.open(database.url()) as store:
        scene = a_scene(store, S3Objects(settings.s3), settings)
        data = "\n".join(line(f"shot-{n:06}", prompt="a watermill at dawn, mist " * 8) for n in range(lines)).encode()
        print(f"{lines} lines, {len(data) / 2**20:.1f} MiB")
        batch = await scene.create(data)
        del data
        print(f"peak memory before: {_peak_mib()} MiB")
        await _until(scene, database, batch.id, BatchStatus.IN_PROGRESS, "taken in", lines)
        await _until(scene, database, batch.id, BatchStatus.FINALIZING, "submitted and settled", lines)
        await _until(scene, database, batch.id, BatchStatus.COMPLETED, "answered", lines)
        done = await scene.batch(batch)
        assert (done.total, done.completed + done.failed) == (lines, lines)
        print(f"peak memory after:  {_peak_mib()} MiB")


async def _until(scene: Scene, database: Server, batch_id: str, status: BatchStatus, what: str, lines: int) -> None:
    started = time.perf_counter()
    while (await scene.batches.get(scene.tenant, batch_id)).status is not status:
        if not await scene.engine.ingest() + await scene.engine.move() + await scene.engine.finish():
            await asyncio.to_thread(database.execute, _END, "cogmill")
            await asyncio.to_thread(database.execute, "UPDATE campaigns SET leased_until = NULL", "cogmill")
    seconds = time.perf_counter() - started
    print(f"{what}: {seconds:.1f} s, {lines / seconds:.0f} lines/s")


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
