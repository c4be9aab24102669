"""Every word of a request is shown to moderation, whichever way it comes: what must not be seen, too."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import ModerationSettings, S3Settings, Settings
from orchestrator.domain.campaign import CampaignState
from orchestrator.store import Store
from tests.support.api import Api, api_settings, in_process, serving
from tests.support.batches import a_scene, line
from tests.support.campaigns import a_campaign_scene

BLOOD = "a river of blood"


@pytest.fixture
def moderated(database_url: str, s3_settings: S3Settings) -> Settings:
    """A deployment whose moderator reads what must not be seen, and nothing else."""
    hook = ModerationSettings(entry_point="tests.support.moderators:refuses_blood_that_is_not_to_be_seen")
    return api_settings(database_url, s3_settings).model_copy(update={"moderation": hook})


async def test_a_negative_prompt_is_refused_in_each_dialect(moderated: Settings) -> None:
    async with serving(moderated) as app:
        api = Api(app, moderated, uuid4().hex, in_process(app))
        async with await api.client(api.tenant) as http:
            body: dict[str, Any] = {"model": "tiny-2b", "prompt": "a mill", "negative_prompt": BLOOD}
            refused = (await http.post("/v1/videos", json=body)).json()["error"]
            assert (refused["code"], refused["param"]) == ("content_policy_violation", "negative_prompt")
            refused = (await http.post("/api/paas/v4/videos/generations", json=body)).json()["error"]
            assert (refused["code"], refused["message"].split(":")[0]) == ("1301", "negative_prompt")
            assert await api.rows() == 0
            assert (await http.post("/v1/videos", json=body | {"negative_prompt": "people"})).status_code == 200


async def test_a_line_of_a_batch_is_refused_for_it(store: Store, objects: S3Objects, moderated: Settings) -> None:
    scene = a_scene(store, objects, moderated)
    batch = await scene.finish(await scene.create([line("bad", negative_prompt=BLOOD), line("good")]))
    refused = (await scene.lines(batch.error_file))["bad"]["response"]["body"]["error"]
    assert (refused["code"], refused["param"]) == ("content_policy_violation", "negative_prompt")
    assert set(await scene.lines(batch.output_file)) == {"good"}


async def test_a_row_is_refused_for_what_its_variables_make_of_the_template(
    store: Store, objects: S3Objects, moderated: Settings
) -> None:
    scene = a_campaign_scene(store, objects, moderated)
    rows = f"custom_id,product,scene,avoid\nbad,a mug,a table,{BLOOD}\ngood,a mug,a table,people\n"
    campaign = await scene.create(rows, negative_prompt="{avoid}")
    ended = await scene.until(campaign, CampaignState.COMPLETED, CampaignState.PAUSED)
    assert (ended.counts.succeeded, ended.counts.failed) == (1, 1)
    jobs = (await scene.store.list_jobs(scene.tenant, limit=9)).jobs
    assert [job.spec.negative_prompt for job in jobs] == ["people"]
