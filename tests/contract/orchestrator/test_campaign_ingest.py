"""What a campaign's rows cost, and how large they may be, on the way from its file into the database."""

from __future__ import annotations

import base64
import json
from typing import Any

import asyncpg
import pytest

from orchestrator.campaigns import ingest
from orchestrator.config import Settings
from orchestrator.config.logins import Login
from orchestrator.domain.campaign import Campaign, CampaignState, Group
from orchestrator.domain.campaign_rows import BadRow
from orchestrator.domain.errors import StoreUnavailable
from orchestrator.objects.manifests import ManifestSweeper
from tests.support.api import POOL
from tests.support.campaigns import CampaignScene, a_campaign_scene
from tests.support.logins import acting

S = CampaignState
KiB = 1024
PROMPT = "a {product}"


@pytest.fixture
def scene(campaign_scene: CampaignScene) -> CampaignScene:
    """Has a model that begins at pictures, too."""
    names = ("tiny-2b", "tiny-5b-i2v")
    models = {name: {"family": name, "source": f"/models/{name}"} for name in names}
    pools = {POOL: {"model": names[0]}, "images": {"model": names[1]}}
    old = campaign_scene
    settings = Settings.model_validate(old.settings.model_dump() | {"models": models, "pools": pools})
    return a_campaign_scene(old.store, old.objects, settings)


def picture(size: int) -> str:
    return f"data:image/png;base64,{base64.b64encode(bytes(size)).decode()}"


def lines_of(*records: dict[str, Any]) -> str:
    return "\n".join(map(json.dumps, records))


async def bad_rows(scene: CampaignScene, campaign: Campaign) -> list[BadRow]:
    return [row async for page in scene.campaigns.bad_rows(campaign) for row in page]


async def estimate_of(scene: CampaignScene, data: str, **asked: Any) -> tuple[Group, ...]:
    campaign = await scene.create(data, prompt=PROMPT, approval=True, **asked)
    return (await scene.until(campaign, S.AWAITING_APPROVAL)).estimate


async def test_a_bad_row_leaves_its_price_to_nobody(scene: CampaignScene) -> None:
    cheap, dear = ({"product": str(steps), "num_inference_steps": steps} for steps in (1, 40))
    # It could be rendered, but not be kept a hundred times.
    large = {"product": "x", "num_inference_steps": 200, "image": picture(700 * KiB)}
    without = await estimate_of(scene, lines_of(cheap, dear), variants=100)
    campaign = await scene.create(lines_of(large, cheap, dear), prompt=PROMPT, approval=True, variants=100)
    campaign = await scene.until(campaign, S.AWAITING_APPROVAL)
    assert [row.code for row in await bad_rows(scene, campaign)] == ["too_large"]
    assert (campaign.counts.rows, campaign.estimate) == (200, without)


async def test_who_is_stopped_behind_a_row_that_came_twice_has_its_price_only_once(
    scene: CampaignScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "_RECORDS", 2)
    rows = [("a", 1), ("b", 1), ("a", 40), ("c", 20), ("d", 1), ("b", 1)]
    once = [{"custom_id": name, "product": name, "num_inference_steps": steps} for name, steps in rows]
    whole = await estimate_of(scene, lines_of(once[0], once[1], once[3], once[4]))
    store = acting(scene.store, Login.MAINTAIN)  # who takes rows in
    add_rows = store.add_rows

    async def lost(*args: Any, records: int, **kwargs: Any) -> Any:
        answer = await add_rows(*args, records=records, **kwargs)
        if records == 4:
            monkeypatch.setattr(store, "add_rows", add_rows)
            raise StoreUnavailable  # the rows are in, and nobody hears of it
        return answer

    monkeypatch.setattr(store, "add_rows", lost)
    campaign = await scene.create(lines_of(*once), prompt=PROMPT, approval=True)
    campaign = await scene.until(campaign, S.AWAITING_APPROVAL)
    assert store.add_rows == add_rows
    assert (campaign.counts.rows, campaign.counts.bad) == (4, 2)
    assert [(group.rows, group.gpu_seconds) for group in campaign.estimate] == [
        (group.rows, pytest.approx(group.gpu_seconds)) for group in whole
    ]


async def test_a_picture_may_be_as_large_as_at_the_door_and_the_rest_of_its_row_as_a_row_may(
    scene: CampaignScene,
) -> None:
    most = scene.settings.fetch.max_image_bytes
    assert scene.settings.campaigns.max_record_bytes == 256 * KiB
    records = (
        {"product": "the largest", "image": picture(most)},
        {"product": "one byte more", "image": picture(most + 1)},
        {"product": "no base64", "image": picture(30) + "A"},
        {"product": "a column of no use", "notes": "x" * 300 * KiB},
        {"product": "the same beside a picture", "notes": "x" * 300 * KiB, "image": picture(300 * KiB)},
        {"product": "more than anything may have", "image": picture(4 * most)},
        {"product": "any other", "notes": "x" * 200 * KiB},
    )
    campaign = await scene.create(lines_of(*records), prompt=PROMPT, approval=True)
    campaign = await scene.until(campaign, S.AWAITING_APPROVAL)
    assert [row.row.line for row in await scene.rows(campaign)] == [1, 7]
    assert [(row.line, row.field, row.code) for row in await bad_rows(scene, campaign)] == [
        (2, "input_reference", "request_too_large"),
        (3, "input_reference", "invalid_value"),
        (4, "notes", "too_long"),
        (5, "notes", "too_long"),
        (6, None, "too_long"),
    ]


async def test_a_deleted_campaign_that_had_only_bad_rows_leaves_none(
    scene: CampaignScene, database: asyncpg.Connection
) -> None:
    campaign = await scene.finish(await scene.create("product,size\nmug,7x7\ncup,8x8\n", prompt=PROMPT))
    kept = await scene.finish(await scene.create("product,size\nmug,7x7\n", prompt=PROMPT))
    assert (campaign.state, campaign.counts.bad) == (S.FAILED, 2)
    await scene.campaigns.delete(scene.tenant, campaign.id)
    await scene.pruner.run_once()
    assert await ManifestSweeper(scene.store, scene.objects, keep_s=None).run_once() == 1
    left = await database.fetch("SELECT campaign FROM campaign_bad_rows")
    assert [row["campaign"] for row in left] == [kept.number]
