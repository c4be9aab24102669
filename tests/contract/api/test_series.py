"""How many series there are does not depend on how many tenants there are."""

from __future__ import annotations

import asyncio
import json
import random

import asyncpg
import httpx
import pytest
from prometheus_client import REGISTRY

from orchestrator.capacity.forecasting import backlogs
from orchestrator.capacity.worlds import Worlds
from orchestrator.dispatch.settler import Settler
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import Failure
from orchestrator.domain.protocol import Broke
from orchestrator.domain.retry import RetryPolicy
from orchestrator.telemetry import metrics
from orchestrator.tenants import keys
from tests.support.api import CLUSTER, MASTER_KEY, POOL, WORKER, Api, id_of, in_process
from tests.support.jobs import new_job
from tests.support.promql import ours

pytestmark = pytest.mark.asyncio(loop_scope="module")

TENANTS = 1000
# Requests at the same time, of which each may need a connection; and claims.
AT_ONCE, TOGETHER = 5, 50
BY_HTTP = 60
# Rows like one, but for these two columns.
LIKE = """
    INSERT INTO {table} SELECT (jsonb_populate_record(one, each)).*
    FROM {table} AS one, jsonb_array_elements($2::jsonb) AS each WHERE one.{name} = $1
"""
# Every label that a metric may have. The values of each are set by operators (pools, models, kinds, sets), by the
# source (routes, states, codes, reasons, loops...), or by a standard (methods, statuses).
BOUNDED = {
    "pool", "model", "kind", "set", "route", "method", "status", "state", "outcome", "stage", "reason", "verdict",
    "subject", "settled", "checkpoint", "continuity", "incident", "change", "cause", "loop", "bound", "code", "fault",
    "part", "urgency", "held", "call", "error", "operation", "fate",
}  # fmt: skip


def series() -> set[tuple[str, ...]]:
    """All that this process shows, each by its name and its labels."""
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items())))
        for family in REGISTRY.collect()
        for sample in family.samples
    }


async def keys_of(api: Api, names: list[str]) -> list[str]:
    """A key for each of these new tenants: made as one is, and then like that one."""
    first, *others = names
    whole = [await api.key(first), *(keys.issue(MASTER_KEY, keys.new_id()) for _ in others)]
    connection = await asyncpg.connect(api.settings.database_url)
    try:
        tenants = json.dumps([{"name": name} for name in others])
        await connection.execute(LIKE.format(table="tenants", name="name"), first, tenants)
        rows = [{"id": id_of(key), "tenant": name} for key, name in zip(whole[1:], others, strict=True)]
        await connection.execute(LIKE.format(table="keys", name="id"), id_of(whole[0]), json.dumps(rows))
    finally:
        await connection.close()
    return whole


async def submit(api: Api, client: httpx.AsyncClient, key: str, number: int) -> None:
    """A tenant sends a job; every tenth errs in its key before that."""
    for sent in (f"{id_of(key)}.wrong", key)[number % 10 > 0 :]:
        headers = {"authorization": f"Bearer {sent}"}
        answer = await client.post("/v1/videos", json={"prompt": "a mill"}, headers=headers)
        assert answer.status_code == (200 if sent == key else 401), answer.text


async def life(api: Api, names: list[str]) -> None:
    """All that these tenants do, and what becomes of it: waiting, measured, and of some claimed and failed for good.

    Some come by HTTP, the others without it: it is most of what a job costs here.
    """
    callers, others = names[:BY_HTTP], names[BY_HTTP:]
    whole = await keys_of(api, callers)
    async with in_process(api.app) as client:
        for start in range(0, len(callers), AT_ONCE):
            some = enumerate(whole[start : start + AT_ONCE], start)
            await asyncio.gather(*(submit(api, client, key, number) for number, key in some))
    await asyncio.gather(*(api.services.store.submit(new_job(name, pool=POOL)) for name in others))
    metrics.show_queue(await api.maintaining.queue_depth())
    world = (await Worlds(api.settings, api.maintaining, api.services.book).now()).world
    metrics.show_backlogs(backlogs(world.cohorts))
    settler = Settler(api.dispatching, RetryPolicy(), random.Random(0))
    failure = Failure(code=FailureCode.IMPOSSIBLE_REQUEST, message="no", retryable=False)
    await api.dispatching.beat(CLUSTER, {WORKER: POOL})
    claims = await api.dispatching.claim(POOL, CLUSTER, [WORKER] * len(names[:TOGETHER]))
    assert len(claims) == len(names[:TOGETHER])
    await settler.end([(claim, Broke(failure=failure, gpu_seconds=1.0)) for claim in claims])


async def test_a_thousand_tenants_make_no_series_that_three_have_not_made(api: Api) -> None:
    await life(api, [f"few-{n}" for n in range(3)])
    before = series()

    await life(api, [f"many-{n}" for n in range(TENANTS)])

    assert series() - before == set()
    assert metrics.tenants_waiting.labels(POOL)._value.get() == TENANTS
    assert not [each for each in before if "few-" in " ".join(each)]


async def test_no_metric_has_a_label_that_tenants_could_multiply() -> None:
    assert {label for metric in ours().values() for label in metric._labelnames} == BOUNDED
