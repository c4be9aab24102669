"""What the console's pages take to show something, with few jobs behind them and with many; and what watching costs.

    python -m tests.benchmarks.console_pages [--jobs 1000000] [--rounds 5] [--pages / /jobs /gallery]

A real Chromium, API and PostgreSQL. **First content** is when a page's heading is there and nothing on it is loading,
in ms from the navigation's begin, of a browser that has the files; the median of the rounds, and the ratio to the same
page with three jobs. **Frames** are those of a table while 1,000 watched rows change five times a second, and of the
same table at rest: the longest, the share of the time in those over 50 ms, and the main thread's own CPU time for one
change of all rows, which others' work on the machine does not stretch.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import CDPSession, Page, async_playwright

from orchestrator.domain.rights import ROLES, USUAL, Role
from orchestrator.store import migrate
from tests.benchmarks.store import load, settle_down
from tests.support.api import Api, api_settings, in_process, listening, serving
from tests.support.console import Console, launch
from tests.support.postgres import Server
from tests.support.s3 import S3Server

PAGES = ("/", "/jobs", "/gallery", "/campaigns", "/fleet", "/usage", "/webhooks")
TENANT = "tenant0000"
WATCHED, CHANGES_PER_S, SECONDS = 1000, 5, 10

_SHOWN = "() => document.querySelector('main h1') && !document.querySelector('main .loading') && performance.now()"
_FRAMES = """seconds => new Promise(done => {
  const frames = [];
  let before = performance.now();
  const begun = before;
  const look = now => {
    frames.push(now - before);
    before = now;
    if (now - begun < seconds * 1000) requestAnimationFrame(look); else done(frames.slice(1));
  };
  requestAnimationFrame(look);
})"""


@asynccontextmanager
async def console(server: Server, s3: S3Server, jobs: int) -> AsyncIterator[Console]:
    """One with so many jobs behind it, all of one tenant's."""
    database = server.new_database()
    url = server.url(database)
    await asyncio.to_thread(migrate, url)
    if jobs:
        await load(url, jobs, 1)
        await settle_down(url)
    settings = api_settings(url, s3.new_bucket())
    async with async_playwright() as playwright, serving(settings) as app, listening(app) as port:
        api = Api(app, settings, tenant=TENANT, http=in_process(app))
        async with api.http, launch(playwright) as browser:
            opened = Console(api, browser, port)
            yield opened
            await opened.close()


async def first_content(opened: Console, path: str, rounds: int) -> float:
    """The median in ms of a page that was opened before."""
    key = await opened.api.key(scopes=ROLES[Role.ADMIN] | USUAL)
    page = await opened.page(path, key=key)
    times = []
    for _ in range(rounds + 1):
        await page.goto("about:blank")
        await page.goto(f"{opened.url}{path}")
        shown = await page.wait_for_function(_SHOWN, timeout=60_000, polling="raf")
        times.append(float(await shown.json_value()))
    return statistics.median(times[1:])


async def frames(opened: Console, query: str) -> str:
    page: Page = await opened.page(f"/parts?{query}", key=await opened.api.key())
    await page.get_by_role("region", name="Rows").wait_for()
    debugger = await page.context.new_cdp_session(page)
    await debugger.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = await cpu_s(debugger)
    found: list[float] = await page.evaluate(_FRAMES, SECONDS)
    changes = sum(found) / 1000 * CHANGES_PER_S
    cpu_ms = 1000 * (await cpu_s(debugger) - before) / changes
    late = sum(frame for frame in found if frame > 50) / sum(found)
    return (
        f"{len(found)} frames, the longest {max(found):.0f} ms, {late:.1%} of the time in frames over 50 ms, "
        f"{cpu_ms:.1f} ms of CPU in a fifth of a second"
    )


async def cpu_s(debugger: CDPSession) -> float:
    found = await debugger.send("Performance.getMetrics")
    return float(next(each["value"] for each in found["metrics"] if each["name"] == "TaskDuration"))


async def measure(asked: argparse.Namespace) -> None:
    server, s3 = Server.create(), S3Server.create()
    found: dict[int, dict[str, float]] = {}
    try:
        for jobs in sorted({3, asked.jobs}):
            async with console(server, s3, jobs) as opened:
                found[jobs] = {path: await first_content(opened, path, asked.rounds) for path in asked.pages}
                if jobs == 3:
                    print(f"{WATCHED} at rest: {await frames(opened, f'rows={WATCHED}')}")
                    print(f"{WATCHED} watched: {await frames(opened, f'rows={WATCHED}&watched=1')}")
        for path in asked.pages:
            few, many = (found[jobs][path] for jobs in (3, asked.jobs))
            print(f"{path}: {few:.0f} ms with 3 jobs, {many:.0f} ms with {asked.jobs}, ratio {many / few:.2f}")
    finally:
        s3.remove()
        server.remove()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pages", nargs="+", default=PAGES)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
