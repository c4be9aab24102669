"""Campaigns for the console's tests: rendered by hand, with pictures that differ, as few or as many as a test needs."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any, cast

import asyncpg
from PIL import Image, ImageDraw

from orchestrator.domain.campaign import CampaignState
from orchestrator.domain.job import Artifact, Claim
from orchestrator.domain.protocol import Broke, Rendered
from tests.support.api import VIDEO, Api
from tests.support.builders import prefix_of
from tests.support.campaigns import FAILS, CampaignScene, a_campaign_scene, usual

HEAD = "custom_id,product,scene\n"
PROMPT = "a {product} on a {scene}, morning light"
_HUES = ("#c2553f", "#3f7cc2", "#4c9a5a", "#b08a2e", "#7b55b5", "#2f9a95", "#8a5a3c", "#5a6b7a")


@dataclass
class Desks:
    """What makes campaigns for the console's tenant."""

    api: Api
    scene: CampaignScene

    @classmethod
    def of(cls, api: Api) -> Desks:
        store, objects = cast(Any, api.services.store), cast(Any, api.services.objects)
        return cls(api, a_campaign_scene(store, objects, api.settings, api.tenant))

    async def create(self, rows: int = 6, *, fails: int = 0, **wish: Any) -> str:
        """A campaign of so many rows, the last of which fail; its rows are read in."""
        body = {"prompt": PROMPT, "approval": "none", "name": "autumn mugs", **wish}
        made = (await self.api.http.post("/v1/campaigns", json=body)).raise_for_status().json()
        lines = [f"clip-{n:04},{FAILS if n >= rows - fails else f'mug {n}'},table {n % 3}\n" for n in range(rows)]
        sent = await self.api.http.put(
            f"/v1/campaigns/{made['id']}/input", content=HEAD + "".join(lines), headers={"content-type": "text/csv"}
        )
        sent.raise_for_status()
        while await self.scene.engine.ingest():
            pass
        return str(made["id"])

    async def until(self, campaign_id: str, *states: CampaignState) -> None:
        """Render until it stands so."""
        campaign = await self.scene.campaigns.get(self.api.tenant, campaign_id)
        await self.scene.until(campaign, *states, ending=self.ending)

    async def done(self, rows: int = 6, **wish: Any) -> str:
        """A campaign that is completed."""
        campaign_id = await self.create(rows, **wish)
        await self.until(campaign_id, CampaignState.COMPLETED)
        return campaign_id

    async def some(self, campaign_id: str, most: int) -> None:
        """Render so many of its rows."""
        await self.scene.step()
        await self.scene.render(self.ending, most=most)
        await self.scene.step()

    def ending(self, claim: Claim) -> Rendered | Broke:
        """As usual, with a picture that tells it from others."""
        end = cast("Rendered | Broke", usual(claim))
        if isinstance(end, Broke):
            return end
        at = prefix_of(claim)
        video = self._put(f"{at}video.mp4", VIDEO, "video/mp4")
        still = self._put(f"{at}thumbnail.webp", picture(claim.spec.seed), "image/webp")
        return replace(end, result=replace(end.result, video=video, thumbnail=still, gpu_seconds=41.5))

    def _put(self, key: str, data: bytes, content_type: str) -> Artifact:
        return self.api.services.objects.put(key, data, content_type)

    async def many(self, campaign_id: str, rows: int) -> None:
        """So many more videos than were rendered: copies of the first row, each with a job of its own."""
        connection = await asyncpg.connect(self.api.settings.database_url)
        try:
            await connection.execute(_MANY, campaign_id, rows)
        finally:
            await connection.close()

    async def hours(self, campaign_id: str) -> None:
        """As if it had gone on for three hours, and would for two more."""
        connection = await asyncpg.connect(self.api.settings.database_url)
        try:
            for statement in _HOURS:
                await connection.execute(statement, campaign_id)
        finally:
            await connection.close()


def picture(seed: int) -> bytes:
    """A still of a video: a mug, in a colour of its own."""
    image = Image.new("RGB", (288, 192), _HUES[seed % len(_HUES)])
    draw = ImageDraw.Draw(image)
    left = 70 + seed % 60
    draw.rectangle((0, 140, 288, 192), fill="#d8c9ac")
    draw.rounded_rectangle((left, 70, left + 80, 160), 12, fill=_HUES[(seed // 8 + 3) % len(_HUES)])
    draw.arc((left + 66, 88, left + 112, 136), 270, 90, fill="#f4efe6", width=9)
    data = io.BytesIO()
    image.save(data, "WEBP")
    return data.getvalue()


_MANY = """
    WITH of AS (SELECT * FROM campaigns WHERE id = $1),
    first AS (SELECT r.* FROM campaign_rows AS r, of WHERE r.campaign = of.number AND r.outcome = 'succeeded' LIMIT 1),
    made AS (SELECT n, gen_random_uuid() AS id FROM generate_series(1, $2) AS n),
    jobs AS (
        INSERT INTO jobs
        SELECT (jsonb_populate_record(j, jsonb_build_object('id', made.id, 'idempotency_key', NULL))).*
        FROM made, first, jobs AS j WHERE j.id = CAST(first.result ->> 'job' AS uuid)
    ),
    rows AS (
        INSERT INTO campaign_rows (campaign, place, line, custom_id, body, outcome, result)
        SELECT first.campaign, of.rows + n - 1, of.rows + n, 'more-' || lpad(n::text, 6, '0'), first.body, 'succeeded',
               first.result || jsonb_build_object('job', replace(made.id::text, '-', ''))
        FROM made, first, of
    )
    UPDATE campaigns SET rows = rows + $2, succeeded = succeeded + $2 WHERE id = $1
"""
_HOURS = (
    "DELETE FROM campaign_progress WHERE campaign = (SELECT number FROM campaigns WHERE id = $1)",
    "UPDATE campaigns SET started_at = cogmill_now() - interval '3 hours', rows = 4000, succeeded = 2280, failed = 61,"
    " used = 95000, told_budget = '{50}', deadline = cogmill_now() + interval '150 minutes', cap = 204000,"
    " history = (SELECT jsonb_agg(jsonb_build_array(extract(epoch FROM cogmill_now()) - 600 * (18 - n),"
    " 130 * n + 45 * sin(n)))"
    " FROM generate_series(0, 18) AS n) WHERE id = $1",
    "INSERT INTO campaign_progress SELECT number, cogmill_now() - make_interval(mins => 180 - n),"
    " (2280 * n / 180.0 + 40 * sin(n / 14.0))::int, (61 * n / 180.0)::int, 0, 95000 * n / 180.0"
    " FROM campaigns, generate_series(1, 179) AS n WHERE id = $1",
)
