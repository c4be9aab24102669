"""Batches that the release before has begun are taken over where they stand, and end as they would have."""

from __future__ import annotations

import asyncpg

from orchestrator.domain.batch import Batch, BatchStatus
from orchestrator.domain.job import public_id
from tests.support.api import POOL
from tests.support.batches import FAILS, Scene, line
from tests.support.jobs import new_job

NOBODY = "lease = NULL, leased_until = NULL"


async def as_before(scene: Scene, database: asyncpg.Connection, status: str, lines: list[str]) -> Batch:
    """A batch as the release before keeps it: its requests in `batch_items`, nothing in `campaigns`."""
    batch = await scene.create(lines)
    await database.execute("DELETE FROM campaigns WHERE id = $1", batch.id)
    began = ", in_progress_at = now(), total = $2" if status != "validating" else ", total = $2 * 0"
    await database.execute(
        f"UPDATE batches SET {NOBODY}, status = '{status}'{began} WHERE id = $1", batch.id, len(lines)
    )
    return await scene.batch(batch)


async def test_one_that_is_under_way_goes_on_with_the_jobs_that_it_has(
    scene: Scene, database: asyncpg.Connection
) -> None:
    lines = [line("ended"), line("refused"), line("submitted"), line("unnoted"), line("waiting", prompt=FAILS)]
    batch = await as_before(scene, database, "in_progress", lines)
    jobs = [await scene.store.submit(new_job(scene.tenant, priority=20, pool=POOL)) for _ in range(3)]
    await scene.render()
    jobs[1:] = [await scene.store.submit(new_job(scene.tenant, priority=20, pool=POOL)) for _ in range(2)]
    refusal = '{"code": "invalid_value", "message": "must be a size", "param": "size"}'
    spare = new_job(scene.tenant).id
    items = [
        ("ended", jobs[0].id, "ended", None),
        ("refused", spare, "ended", refusal),
        ("submitted", jobs[1].id, "submitted", None),
        ("unnoted", jobs[2].id, "waiting", None),
        ("waiting", new_job(scene.tenant).id, "waiting", None),
    ]
    for number, (name, job, state, error) in enumerate(items, start=1):
        body = '{"prompt": "this one fails", "model": "cogvideox-3"}' if name == "waiting" else '{"prompt": "a mill"}'
        await database.execute(
            "INSERT INTO batch_items (batch_id, line, custom_id, body, job_id, state, error) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7)", batch.id, number, name, body, job, state, error,
        )  # fmt: skip
    assert await scene.store.adopt_batches(priority=20) == 1
    assert await scene.store.adopt_batches(priority=20) == 0
    done = await scene.finish(batch)
    assert (done.status, done.total, done.completed, done.failed) == (BatchStatus.COMPLETED, 5, 3, 2)
    good, bad = await scene.lines(done.output_file), await scene.lines(done.error_file)
    assert (set(good), set(bad)) == ({"ended", "submitted", "unnoted"}, {"refused", "waiting"})
    assert good["submitted"]["response"]["body"]["id"] == public_id(jobs[1].id)
    assert bad["refused"]["response"]["body"]["error"]["param"] == "size"
    assert await database.fetchval("SELECT count(*) FROM batch_items") == 0


async def test_one_that_is_not_read_yet_is_read_by_us(scene: Scene, database: asyncpg.Connection) -> None:
    batch = await as_before(scene, database, "validating", [line("a"), line("b")])
    await scene.store.adopt_batches(priority=20)
    done = await scene.finish(batch)
    assert (done.status, done.completed) == (BatchStatus.COMPLETED, 2)


async def test_one_that_somebody_works_on_is_left_alone_and_one_that_is_ours_never_leased_by_them(
    scene: Scene, database: asyncpg.Connection
) -> None:
    theirs = await as_before(scene, database, "in_progress", [line("a")])
    await database.execute(
        "UPDATE batches SET lease = gen_random_uuid(), leased_until = now() + interval '1 minute' WHERE id = $1",
        theirs.id,
    )
    ours = await scene.create([line("b")])
    assert await scene.store.adopt_batches(priority=20) == 0
    due = "SELECT id FROM batches WHERE leased_until IS NULL OR leased_until <= now()"
    assert await database.fetch(due) == []
    # An API of the release before cancels it as it knows how: seen by whoever moves it on.
    await scene.step()
    await database.execute(
        "UPDATE batches SET status = 'cancelling', cancelling_at = now(), "
        "leased_until = CASE WHEN lease IS NOT NULL THEN leased_until END WHERE id = $1", ours.id,
    )  # fmt: skip
    assert (await scene.finish(ours)).status is BatchStatus.CANCELLED
