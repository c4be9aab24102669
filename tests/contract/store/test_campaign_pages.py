"""Rows come in pages, bounded by their number and by their bytes; all of them come, once, in their order."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.domain.campaign import CampaignState
from orchestrator.ports.campaign_values import RowFilter
from orchestrator.store import campaign_rows
from tests.support.campaigns import CampaignScene

S = CampaignState
_WAIVE = text("UPDATE campaign_rows SET outcome = 'waived', result = '{}' WHERE place = 1")
_NO_JOB = text("DELETE FROM campaign_jobs WHERE place = 1")


async def pages_of(scene: CampaignScene, rows: str, **kwargs: Any) -> list[list[str]]:
    campaign = await scene.until(await scene.create(rows, prompt="a {product}"), S.RUNNING, render=False)
    return [[row.row.custom_id for row in page] async for page in scene.store.ended_rows(campaign, **kwargs)]


@pytest.mark.parametrize("with_jobs", [False, True])
async def test_a_page_has_no_more_bytes_than_it_may_and_one_row_at_least(
    campaign_scene: CampaignScene, monkeypatch: pytest.MonkeyPatch, with_jobs: bool
) -> None:
    monkeypatch.setattr(campaign_rows, "_PAGE", 60)
    monkeypatch.setattr(campaign_rows, "_PAGE_BYTES", 10_000, raising=False)
    # Some are compressed and kept elsewhere: what counts is what they are read as.
    sizes = [4_000, 4_000, 4_000, 50_000, 4_000, 5_000, 9_990, *[10] * 8]
    rows = "custom_id,product,notes\n" + "".join(f"r{n},mug,{'x' * size}\n" for n, size in enumerate(sizes))
    pages = await pages_of(campaign_scene, rows, with_jobs=with_jobs)
    few = [["r0", "r1"], ["r2"], ["r3"], ["r4", "r5"], ["r6"]]
    rest = [f"r{n}" for n in range(7, 15)]
    assert pages == few + ([rest[:6], rest[6:]] if with_jobs else [rest])


async def test_a_page_of_ordinary_rows_has_as_many_as_it_may(
    campaign_scene: CampaignScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_rows, "_PAGE", 8)
    pages = await pages_of(campaign_scene, "product\n" + "mug\n" * 20)
    assert [len(page) for page in pages] == [8, 8, 4]


@pytest.mark.parametrize(
    ("wanted", "pages"),
    [
        (RowFilter(), [2, 2, 1]),
        (RowFilter(variables={"product": "mug"}), [2, 1]),
        (RowFilter(custom_id="c"), [1]),
        (RowFilter(custom_id="nobody"), [0]),
        (RowFilter(state="queued"), [2, 2]),
        (RowFilter(state="waived"), [1]),
    ],
)
async def test_the_last_page_says_that_it_is_the_last(
    campaign_scene: CampaignScene, wanted: RowFilter, pages: list[int]
) -> None:
    scene = campaign_scene
    rows = "custom_id,product\na,mug\nb,cup\nc,mug\nd,cup\ne,mug\n"
    campaign = await scene.until(await scene.create(rows, prompt="a {product}"), S.RUNNING, render=False)
    for statement in (_WAIVE, _NO_JOB):
        await scene.store._database.fetch(statement)
    found, after = [], -1
    while True:
        page = await scene.store.show_rows(campaign, wanted, after=after, limit=2)
        found.append(len(page.rows))
        after = page.after
        if not page.has_more:
            break
    assert found == pages
