"""Small requests fill neither PostgreSQL nor the bucket: quotas that are on by default, rows without copies.

The attack: six POSTs of 100 bytes name one file of 16 MB as the input of a batch. That took 159 MB in the database, and
cancelling gave none of it back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Sequence
from typing import Any

import asyncpg
import pytest

from orchestrator.config import LimitSettings
from orchestrator.domain.batch import Batch, BatchStatus
from orchestrator.domain.campaign import CampaignState
from orchestrator.domain.errors import LimitExceeded, NotFound
from orchestrator.intake.files import BATCH
from orchestrator.objects.files import FileSweeper
from orchestrator.policy.quotas import QUOTAS, Holding
from orchestrator.rows.pruning import RowFreer
from tests.support.batches import Scene, line
from tests.support.campaigns import CSV, CampaignScene

BATCHES = 6
# Of what the batches name, so much may be in the database while they are open; and after they were cancelled.
OPEN, CANCELLED = 0.25, 0.01

_SIZE = """
    SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""
_ROWS = "SELECT count(*) FROM campaign_rows AS r JOIN campaigns AS c ON c.number = r.campaign WHERE c.tenant = $1"


async def holding(scene: Scene | CampaignScene) -> Holding:
    return (await scene.store.holding_of(scene.tenant))[1]


async def gathered(calls: Sequence[Awaitable[Any]]) -> tuple[list[Any], list[LimitExceeded]]:
    """What came of these at once: what was accepted, and what was refused."""
    ends = await asyncio.gather(*calls, return_exceptions=True)
    refused = [end for end in ends if isinstance(end, LimitExceeded)]
    accepted = [end for end in ends if not isinstance(end, BaseException)]
    assert len(refused) + len(accepted) == len(ends), ends
    return accepted, refused


async def batch_of(scene: Scene, file: str, **changes: Any) -> Batch:
    plain: dict[str, Any] = {"window": None, "metadata": None, "delete_input": False, "output_lifetime_s": None}
    return await scene.batches.create(
        scene.tenant, dialect="openai", endpoint="/v1/videos", input_file=file, **{**plain, **changes}
    )


async def test_six_batches_of_one_file_are_no_six_copies_and_cancelling_them_frees_what_they_took(
    scene: Scene, database: asyncpg.Connection
) -> None:
    letters = random.Random(1)
    prompts = ("".join(letters.choices("abcdefgh ", k=1900)) for _ in range(300))
    data = "\n".join(line(f"row-{n}", prompt=prompt) for n, prompt in enumerate(prompts)).encode()
    file = await scene.upload(data)
    before = await database.fetchval(_SIZE)
    batches = [await batch_of(scene, file) for _ in range(BATCHES)]
    for _ in batches:
        await scene.engine.ingest()
    taken = (await database.fetchval(_SIZE) - before) / (BATCHES * len(data))
    assert (await holding(scene)).waiting_rows == BATCHES * 300
    for batch in batches:
        await scene.batches.cancel(scene.tenant, batch.id)
    await scene.run_once()
    assert {(await scene.batch(batch)).status for batch in batches} == {BatchStatus.CANCELLED}
    assert await RowFreer(scene.store).run_once() == BATCHES * 300
    assert await database.fetchval(_ROWS, scene.tenant) == 0
    now = await holding(scene)
    assert (now.open_batches, now.waiting_rows, now.files) == (0, 0, 1 + BATCHES), "each has said what became of it"
    await database.execute("VACUUM campaign_rows")
    kept = await database.fetchval("SELECT pg_relation_size('campaign_rows')") / (BATCHES * len(data))
    print(f"open: {taken:.3f} of what six batches name, cancelled: {kept:.3f}")
    assert taken < OPEN
    assert kept < CANCELLED


async def test_a_batch_reads_its_lines_when_their_turn_comes_though_its_file_was_deleted(scene: Scene) -> None:
    batch = await scene.create([line("a", seed=1), "", line("b", prompt="une scène", seed=2)])
    await scene.engine.ingest()
    await scene.files.delete(scene.tenant, batch.input_file)
    sweeper = FileSweeper(scene.store, scene.objects)
    assert await sweeper.run_once() == 0
    with pytest.raises(NotFound):
        await scene.files.get(scene.tenant, batch.input_file)
    assert (await holding(scene)).files == 1, "what lies in the bucket counts"
    done = await scene.finish(batch)
    assert (done.status, done.completed) == (BatchStatus.COMPLETED, 2)
    jobs = (await scene.store.list_jobs(scene.tenant, limit=9, order="asc")).jobs
    assert sorted((job.spec.prompt, job.spec.seed) for job in jobs) == [("a mill", 1), ("une scène", 2)]
    assert await sweeper.run_once() == 1
    assert (await holding(scene)).files == 1, "its output"


async def test_a_line_that_another_lies_in_the_place_of_is_not_rendered(scene: Scene) -> None:
    batch = await scene.create([line("a"), line("b")])
    await scene.engine.ingest()
    key = (await scene.files.get(scene.tenant, batch.input_file)).object.key
    scene.objects.put(key, "\n".join([line("c"), line("b")]).encode(), "application/jsonl")
    done = await scene.finish(batch)
    assert (done.completed, done.failed) == (1, 1)
    assert set(await scene.lines(done.error_file)) == {"a"}


async def test_as_many_batches_are_open_as_may_be_however_many_come_at_once(scene: Scene) -> None:
    await scene.store.set_limits(scene.tenant, {"open_batches": 3})
    file = await scene.upload([line("a")])
    made, refused = await gathered([batch_of(scene, file) for _ in range(8)])
    assert len(made) == 3
    assert {(error.limit, error.most, error.used) for error in refused} == {("open_batches", 3, 3)}
    await scene.batches.cancel(scene.tenant, made[0].id)
    await scene.run_once()
    await batch_of(scene, file)


async def test_as_many_campaigns_are_open_as_may_be_and_a_repeated_key_is_none_more(
    campaign_scene: CampaignScene,
) -> None:
    scene = campaign_scene
    await scene.store.set_limits(scene.tenant, {"open_campaigns": 2})
    made, refused = await gathered([scene.create(None, name=f"{n}") for n in range(5)])
    assert (len(made), {error.limit for error in refused}) == (2, {"open_campaigns"})
    await scene.campaigns.cancel(scene.tenant, made[0].id)
    await scene.step()
    assert (await holding(scene)).open_campaigns == 1


async def test_rows_that_are_too_many_fail_their_batch_by_name_and_what_was_there_goes_on(
    scene: Scene, database: asyncpg.Connection
) -> None:
    await scene.store.set_limits(scene.tenant, {"waiting_rows": 5})
    first = await scene.create([line(f"{n}") for n in range(3)])
    await scene.engine.ingest()
    second = await scene.create([line(f"{n}") for n in range(3)])
    await scene.engine.ingest()
    over = await scene.batch(second)
    assert (over.status, [error.code for error in over.errors or ()]) == (BatchStatus.FAILED, ["limit_waiting_rows"])
    assert "3 rows of batches and campaigns that wait are there" in (over.errors or ())[0].message
    await RowFreer(scene.store).run_once()
    assert await database.fetchval(_ROWS, scene.tenant) == 3
    # Who has more than is allowed by now keeps it, and gets no more.
    await scene.store.set_limits(scene.tenant, {"waiting_rows": 2})
    with pytest.raises(LimitExceeded, match="waiting_rows"):
        await scene.create([line("x")])
    assert (await scene.finish(first)).completed == 3
    assert (await holding(scene)).waiting_rows == 0


@pytest.mark.parametrize("limits", [{"waiting_rows": 19}, {"row_bytes": 400}])
async def test_rows_of_a_campaign_that_are_too_many_fail_it_and_go(
    campaign_scene: CampaignScene, database: asyncpg.Connection, limits: dict[str, float]
) -> None:
    scene = campaign_scene
    await scene.store.set_limits(scene.tenant, limits)
    failed = await scene.until(await scene.create(CSV), CampaignState.FAILED)
    assert failed.error is not None
    assert failed.error.code == f"limit_{next(iter(limits))}"
    await RowFreer(scene.store).run_once()
    assert await database.fetchval(_ROWS, scene.tenant) == 0
    assert (await holding(scene)).row_bytes == 0


async def test_what_a_cancelled_campaign_never_rendered_is_emptied_and_still_told_by_name(
    campaign_scene: CampaignScene,
) -> None:
    scene = campaign_scene
    campaign = await scene.create(CSV, max_running=2)
    await scene.until(campaign, CampaignState.RUNNING, render=False)
    said = (await holding(scene)).row_bytes
    assert said > 20 * len('{"vars": {}}')
    await scene.render(most=2)
    await scene.step()
    await scene.campaigns.cancel(scene.tenant, campaign.id)
    ended = await scene.finish(campaign)
    assert ended.counts.succeeded == 2
    never = 20 - ended.counts.ended
    assert await RowFreer(scene.store).run_once() == never
    assert await RowFreer(scene.store).run_once() == 0
    now = await holding(scene)
    assert (now.waiting_rows, now.open_campaigns) == (0, 0)
    assert now.row_bytes < said
    rows = await scene.rows(campaign)
    assert len(rows) == 20
    assert sum("mug" not in row.row.body for row in rows) == never


@pytest.mark.parametrize(("limit", "most"), [("files", 3), ("stored_bytes", 30)])
async def test_files_fit_into_their_quota_however_many_come_at_once_and_are_free_when_deleted(
    scene: Scene, tmp_path: Any, limit: str, most: int
) -> None:
    await scene.store.set_limits(scene.tenant, {limit: most})
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)

    async def add() -> str:
        added = await scene.files.add(
            scene.tenant, path, filename="f", purpose=BATCH, content_type="text/plain", lifetime_s=None
        )
        return added.id

    made, refused = await gathered([add() for _ in range(8)])
    assert len(made) == 3
    assert {(error.limit, error.most) for error in refused} == {(limit, most)}
    assert await holding(scene) == Holding(files=3, stored_bytes=30)
    assert await scene.store.add_up_stored() == 3
    assert await holding(scene) == Holding(files=3, stored_bytes=30)
    await scene.files.delete(scene.tenant, made[0])
    assert await holding(scene) == Holding(files=2, stored_bytes=20)
    await add()
    # Of one too many that came that far, too: nothing is left behind in the bucket.
    await FileSweeper(scene.store, scene.objects).run_once()
    (first, *_) = (await scene.files.list(scene.tenant, limit=9)).files
    assert len(list(scene.objects.list_keys(first.object.key.rpartition("/")[0] + "/"))) == 3
    await scene.store.add_up_stored()
    assert await holding(scene) == Holding(files=3, stored_bytes=30)


def test_every_quota_is_on_unless_it_is_relaxed() -> None:
    defaults = LimitSettings().defaults
    assert all(getattr(defaults, name) for name in QUOTAS)
    # These two would cost a lock at each submit.
    assert not defaults.bounds_queue
    relaxed = LimitSettings.model_validate(dict.fromkeys(QUOTAS, "none")).defaults
    assert {getattr(relaxed, name) for name in QUOTAS} == {None}
