"""What the console's page of jobs costs with a million jobs behind it, beside an empty one.

    python -m tests.benchmarks.console_jobs            a million jobs (minutes, most of them to make those)
    python -m tests.benchmarks.console_jobs --small    ten thousand, to see that it runs

It starts its own PostgreSQL and API and a real Chromium. First content is the first row, or what an empty list says,
since the browser began to ask for the page, of a profile that has never been there.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from playwright.async_api import Browser, async_playwright

from orchestrator.domain.job_filter import JobFilter
from orchestrator.domain.states import JobState
from orchestrator.store import migrate
from tests.support.api import Api, api_settings, in_process, listening, serving
from tests.support.builders import a_result
from tests.support.console import Console
from tests.support.many_jobs import fill
from tests.support.postgres import Server
from tests.support.tools import need_chromium

TENANT = "acme"
TIMES = 5
PAGES = {"jobs": "/jobs", "jobs that failed": "/jobs?state=failed", "gallery": "/gallery"}
# Whatever the page shows first of what it is about.
CONTENT = "tbody tr, .still, .empty"


@asynccontextmanager
async def console(url: str, browser: Browser) -> AsyncIterator[Console]:
    async with serving(api_settings(url)) as app, listening(app) as port:
        api = Api(app, app.state.services.settings, tenant=TENANT, http=in_process(app))
        api.http.headers["authorization"] = f"Bearer {await api.key()}"
        async with api.http:
            yield Console(api, browser, port)


async def first_content(opened: Console, path: str) -> float:
    """Seconds until the page shows something, in a new profile."""
    context = await opened.browser.new_context(viewport={"width": 1440, "height": 900})
    await opened.sign_in(context)
    page = await context.new_page()
    started = time.perf_counter()
    await page.goto(f"{opened.url}{path}", wait_until="commit")
    await page.locator(CONTENT).first.wait_for(timeout=60_000)
    taken = time.perf_counter() - started
    await context.close()
    return taken


async def searches(opened: Console) -> None:
    """What single questions cost the API's process and the database."""
    store, now = opened.api.services.store, datetime.now(UTC)
    for name, wanted in {
        "all": JobFilter(tenant=TENANT),
        "running": JobFilter(tenant=TENANT, states=frozenset({JobState.RUNNING})),
        "failed": JobFilter(tenant=TENANT, states=frozenset({JobState.FAILED})),
        "ended in an hour": JobFilter(tenant=TENANT, ended_from=now - timedelta(hours=1)),
        "words that few prompts have": JobFilter(tenant=TENANT, text="number 4711"),
        "words that no prompt has": JobFilter(tenant=TENANT, text="no such words"),
        "metadata": JobFilter(tenant=TENANT, metadata={"team": "team-3"}),
        "any tenant's": JobFilter(),
    }.items():
        taken = []
        for _ in range(TIMES):
            started = time.perf_counter()
            await store.search_jobs(wanted, limit=50)
            taken.append(time.perf_counter() - started)
        started = time.perf_counter()
        await store.count_jobs(wanted)
        counted = time.perf_counter() - started
        print(f"{name:30} page p50 {statistics.median(taken) * 1e3:7.1f} ms   counts {counted * 1e3:7.1f} ms")


async def measure(server: Server, jobs: int, browser: Browser) -> dict[str, float]:
    url = server.url(server.new_database())
    await asyncio.to_thread(migrate, url)
    if jobs:
        await fill(url, TENANT, jobs, result=a_result(f"videos/{uuid4().hex}/1/"))
    async with console(url, browser) as opened:
        if jobs:
            await searches(opened)
        found = {}
        for name, path in PAGES.items():
            taken = [await first_content(opened, path) for _ in range(TIMES)]
            found[name] = statistics.median(taken[1:])
    return found


async def main(jobs: int) -> None:
    server = Server.create({"shared_buffers": "256MB", "max_wal_size": "4GB", "fsync": "off", "max_connections": "50"})
    try:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=need_chromium(), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
            )
            empty = await measure(server, 0, browser)
            full = await measure(server, jobs, browser)
            await browser.close()
        for name in PAGES:
            ratio = full[name] / empty[name]
            print(f"{name:20} empty {empty[name]:.2f} s   {jobs} jobs {full[name]:.2f} s   ratio {ratio:.2f}")
    finally:
        server.remove()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    asyncio.run(main(10_000 if parser.parse_args().small else 1_000_000))
