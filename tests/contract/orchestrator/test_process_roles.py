"""Every loop of the maintainer, with the rights of its role alone."""

from __future__ import annotations

import asyncpg
import pytest

from api.dialects import lines_of, wording_of
from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import RetentionSettings, S3Settings
from orchestrator.config.logins import Login
from orchestrator.domain.job import WorkerRef
from orchestrator.processes import maintaining
from orchestrator.store import Store
from tests.support.campaigns import a_campaign_scene
from tests.support.jobs import CLUSTER, POOL
from tests.support.logins import acting
from tests.support.receivers import webhook_settings

# PostgreSQL asks for rights before it reads a row: what has nothing to do shows as much of its statements.
AT_ONCE = RetentionSettings(jobs_s=1e-6, losers_s=1e-6)


async def test_every_loop_of_the_maintainer_may_do_what_it_does(
    store: Store, database: asyncpg.Connection, database_url: str, s3_settings: S3Settings, objects: S3Objects
) -> None:
    settings = webhook_settings(database_url).model_copy(update={"s3": s3_settings, "retention": AT_ONCE})
    # Something for each to do: a campaign that goes on, one that was deleted, a tenant to erase, a dead worker.
    scene = a_campaign_scene(store, objects, settings)
    ended = await scene.finish(await scene.create())
    await scene.create()
    await scene.campaigns.delete(scene.tenant, ended.id)
    await store.add_key("key", "gone", "tests", master=1)
    await store.request_erasure("gone", by="tests", keep_usage=False)
    await scene.dispatching.beat(CLUSTER, {WorkerRef(name="w", incarnation="i"): POOL})
    await database.execute("UPDATE workers SET alive = false, beat_at = beat_at - interval '1 year'")
    mine: Store = acting(store, Login.MAINTAIN)
    async with maintaining.delivery(settings, mine) as deliverer:
        table = maintaining.maintaining(settings, mine, objects, deliverer, lines_of(settings), wording_of(settings))
        for _ in range(2):
            for loop in table:
                try:
                    await loop.run_once()
                except Exception as error:
                    pytest.fail(f"{loop.name}: {error}")
    await mine.check_writes()
