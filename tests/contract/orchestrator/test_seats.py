"""One tenant's campaigns and single videos share what the claim gives them: nobody waits until another is through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from orchestrator.campaigns import seats
from orchestrator.domain.campaign import Campaign, CampaignState
from orchestrator.domain.job import Claim, WorkerRef
from orchestrator.domain.outcome import settle
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.states import JobState
from tests.support.api import CLUSTER, POOL
from tests.support.campaigns import CampaignScene, usual
from tests.support.jobs import new_job, workers

# Renders last for longer than the second in which claims do not look behind what they have claimed.
_LATER = text("UPDATE lanes SET cursor_at = '-infinity' RETURNING tenant")
ROWS = "custom_id,product,scene\n" + "".join(f"clip-{n},mug,table {n}\n" for n in range(60))
WORKERS = workers(6)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each step sees what the one before has done."""
    monkeypatch.setattr(seats, "FRESH_S", 0.0)
    return


class Fleet:
    """Six workers that render one job each and end the oldest first."""

    def __init__(self, scene: CampaignScene) -> None:
        self.scene = scene
        self.held: list[Claim] = []
        # GPU seconds that each takes.
        self.row_s = 1.0

    async def claim(self) -> None:
        await self.scene.store.beat(CLUSTER, dict.fromkeys(WORKERS, POOL))
        free: list[WorkerRef] = [each for each in WORKERS if each not in {claim.worker for claim in self.held}]
        if free:
            await self.scene.store._database.fetch(_LATER)
            self.held += await self.scene.store.claim(POOL, CLUSTER, free)

    async def turn(self) -> None:
        """One render ends, the engine looks, and whoever is free takes the next."""
        if self.held:
            claim = self.held.pop(0)
            await self.scene.store.settle(
                [settle(claim, usual(claim, self.row_s), RetryPolicy(base_s=0.0, cap_s=0.0), 0.0)]
            )
        await self.scene.step()
        await self.claim()
        assert len(self.held) == len(WORKERS), "a worker is idle while rows wait"

    async def of(self) -> Counter[str]:
        """How many render for whom: a campaign's id, or nothing for single videos."""
        jobs = {job.id: job for job in await self.scene.jobs()}
        asked = [jobs[claim.job_id].request.get("metadata") or {} for claim in self.held]
        return Counter(str(metadata.get("campaign", "")) for metadata in asked)


async def started(scene: CampaignScene, **asked: object) -> Campaign:
    campaign = await scene.create(ROWS, **asked)
    await scene.step()
    await scene.step()
    assert (await scene.now(campaign)).state is CampaignState.RUNNING
    return campaign


@pytest.fixture
async def fleet(campaign_scene: CampaignScene) -> Fleet:
    found = Fleet(campaign_scene)
    await found.claim()
    return found


async def test_a_campaign_that_comes_later_gets_its_half_and_no_worker_is_idle(fleet: Fleet) -> None:
    first = await started(fleet.scene)
    await fleet.claim()
    assert await fleet.of() == {first.id: 6}
    second = await started(fleet.scene)
    for _ in range(12):
        await fleet.turn()
    shares = Counter[str]()
    for _ in range(6):
        await fleet.turn()
        shares += await fleet.of()
    assert abs(shares[first.id] - shares[second.id]) <= 8, shares  # of 36


async def test_single_videos_of_the_same_priority_do_not_wait_for_a_campaign_to_end(fleet: Fleet) -> None:
    campaign = await started(fleet.scene)
    await fleet.claim()
    singles = [
        await fleet.scene.store.submit(new_job(fleet.scene.tenant, pool=POOL, priority=campaign.priority))
        for _ in range(3)
    ]
    for _ in range(20):
        await fleet.turn()
    ended = [job for job in await fleet.scene.jobs() if job.id in {each.id for each in singles}]
    assert [job.state for job in ended] == [JobState.SUCCEEDED] * 3


async def test_a_campaign_that_needs_workers_for_its_deadline_has_them_first(fleet: Fleet) -> None:
    first = await started(fleet.scene)
    await fleet.claim()
    # Rows that take so long that the time of this test makes no difference.
    fleet.row_s = 600.0
    pressed = await started(fleet.scene, deadline=datetime.now(UTC) + timedelta(seconds=60 * fleet.row_s / 5))
    for _ in range(18):
        await fleet.turn()
    shares = await fleet.of()
    assert shares[pressed.id] > shares[first.id] >= 1, shares


async def test_what_is_beyond_its_seats_is_held_until_it_is_alone_again(fleet: Fleet) -> None:
    first = await started(fleet.scene)
    await fleet.claim()
    second = await started(fleet.scene)
    for _ in range(8):
        await fleet.turn()
    counts = (await fleet.scene.now(first)).counts
    assert counts.held > 0
    assert counts.running + counts.queued < 6
    await fleet.scene.campaigns.cancel(fleet.scene.tenant, second.id)
    await fleet.scene.step()
    await fleet.scene.step()
    assert (await fleet.scene.now(first)).counts.held == 0
