"""The whole stack on this machine: seconds to ready, memory of each part, and the GPU's idle time between renders.

    python tests/benchmarks/stack.py [--renders 30]

Starts its own stack twice in a temporary directory and measures the second start. "Idle between renders" is the wall
time from the first render's start to the last one's end, less the time that the worker held its (logical) GPU busy,
divided by the number of gaps: all that the queue, the dispatcher, Ray and the engine's own loop cost together.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from pathlib import Path

import asyncpg
import httpx
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.stack import Up, data_dirs, wait_for

BODY = {"prompt": "a mill", "size": "96x64", "num_frames": 9, "num_inference_steps": 20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--renders", type=int, default=30)
    renders = parser.parse_args().renders
    with data_dirs() as parent:
        print(f"first start (makes checkpoints, database, bucket): {started(parent)[1]:.1f} s")
        running, seconds = started(parent)
        try:
            print(f"second start, ready to serve: {seconds:.1f} s (goal: 20 s)")
            with running.client() as client:
                wait_for(client, submit(client), within_s=120)
                busy, wall = burn(running, client, renders)
            print(f"{renders} renders back to back: {wall:.2f} s, the worker busy for {busy:.2f} s")
            print(f"idle between two renders: {1000 * (wall - busy) / (renders - 1):.1f} ms (goal: under 50 ms)")
            for part in ("api", "dispatch", "maintain"):
                rss = psutil.Process(running.state.parts[part].pid).memory_info().rss
                print(f"memory of {part}: {rss / 2**20:.0f} MB (goal: under 250 MB)")
        finally:
            running.stop()


def started(parent: Path) -> tuple[Up, float]:
    """A stack, and the seconds until it said that it is ready; an earlier one of this directory is stopped first."""
    begin = time.monotonic()
    running = Up.start(parent / "stack", "--port", "0")
    seconds = time.monotonic() - begin
    if not (parent / "again").exists():
        (parent / "again").touch()
        running.stop()
    return running, seconds


def submit(client: httpx.Client) -> str:
    return str(client.post("/v1/videos", json=BODY).raise_for_status().json()["id"])


def burn(running: Up, client: httpx.Client, renders: int) -> tuple[float, float]:
    """Render many at once; (seconds that the worker was busy, seconds from the first GPU stage to the last)."""
    before = gpu_busy(running)
    videos = [submit(client) for _ in range(renders)]
    for video in videos:
        wait_for(client, video, within_s=300)
    first, last = asyncio.run(span(running, videos))
    return gpu_busy(running) - before, last - first


def gpu_busy(running: Up) -> float:
    """The dispatcher's counter of GPU-busy seconds, of the pool that renders the default model."""
    text = httpx.get(running.ready["metrics"]["dispatch"]).text
    found = re.search(r'cogmill_gpu_busy_seconds_total\{pool="tiny-2b"\} (\S+)', text)
    return float(found[1]) if found else 0.0


async def span(running: Up, videos: list[str]) -> tuple[float, float]:
    """When the first of these was claimed and when the last one's GPU stages ended, as the database's clock has it."""
    connection = await asyncpg.connect(running.ready["database"])
    try:
        row = await connection.fetchrow(
            """
            SELECT extract(epoch FROM min(claimed_at)) AS first,
                   extract(epoch FROM max(finished_at - make_interval(secs =>
                       coalesce((result -> 'stages' ->> 'finishing')::float8, 0)
                       + coalesce((result -> 'stages' ->> 'uploading')::float8, 0)))) AS last
            FROM jobs WHERE id = ANY($1::uuid[])
            """,
            [video.removeprefix("video_") for video in videos],
        )
        assert row is not None
        return float(row["first"]), float(row["last"])
    finally:
        await connection.close()


if __name__ == "__main__":
    main()
