"""A signed URL opens its object for as long as the operator says, also in what a batch leaves behind."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings
from orchestrator.store import Store
from tests.support.api import api_settings
from tests.support.batches import a_scene, line


@pytest.mark.parametrize(("own", "lifetime_s"), [(None, 600), (3600, 3600)])
async def test_urls_in_a_batchs_output_live_as_long_as_is_set(
    store: Store, objects: S3Objects, s3_settings: S3Settings, database_url: str, own: int | None, lifetime_s: int
) -> None:
    settings = api_settings(database_url, s3_settings.model_copy(update={"url_lifetime_s": 600}))
    batches = settings.batches.model_copy(update={"url_lifetime_s": own})
    scene = a_scene(store, objects, settings.model_copy(update={"batches": batches}))
    batch = await scene.finish(await scene.create([line("a", "bigmodel")], dialect="bigmodel"))
    (answer,) = (await scene.lines(batch.output_file)).values()
    (links,) = answer["response"]["body"]["video_result"]
    lives = [parse_qs(urlsplit(links[name]).query)["X-Amz-Expires"] for name in ("url", "cover_image_url")]
    assert lives == [[str(lifetime_s)]] * 2
