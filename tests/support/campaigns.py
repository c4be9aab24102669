"""Campaigns on a real database and a real bucket, moved on by hand; jobs end as a dispatcher would end them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from uuid import uuid4

import pytest_asyncio
from sqlalchemy import text

from api.dialects import lines_of, wording_of
from orchestrator.adapters.s3 import S3Objects
from orchestrator.batches.kind import BatchKind
from orchestrator.campaigns.asking import Wish
from orchestrator.campaigns.campaigns import Campaigns
from orchestrator.campaigns.finishing import Finishing
from orchestrator.campaigns.inputs import Inputs
from orchestrator.campaigns.quoting import Quoting, Repricing
from orchestrator.campaigns.requests import Requests
from orchestrator.capacity.forecasting import Admission
from orchestrator.config import S3Settings, Settings
from orchestrator.config.logins import Login
from orchestrator.domain.campaign import Campaign, CampaignState, Kind
from orchestrator.domain.job import Claim, Failure, Job
from orchestrator.domain.objects import file_key
from orchestrator.domain.outcome import settle
from orchestrator.domain.protocol import Broke, Rendered, Stopped
from orchestrator.domain.retry import RetryPolicy
from orchestrator.intake.files import Files, new_file_id
from orchestrator.ports.campaign_values import RowFilter, ShownRow
from orchestrator.ports.files import NewFile
from orchestrator.processes.frontdoor import open_front_door
from orchestrator.processes.maintaining import campaigns_of, finishing_of
from orchestrator.rows.engine import RowEngine
from orchestrator.rows.pruning import RowPruner
from orchestrator.store import Store
from tests.support.api import CLUSTER, POOL, WORKER, api_settings
from tests.support.builders import a_result, prefix_of
from tests.support.logins import acting

FAILS = "this one fails"

# A pause is over for a test that does not want to wait; a lease is not.
_WAKE = text("UPDATE campaigns SET leased_until = NULL WHERE lease IS NULL")

CSV = "custom_id,product,scene\n" + "".join(f"clip-{n},mug {n},table {n % 3}\n" for n in range(20))
PROMPT = "a {product} on a {scene}"

Ending = Callable[[Claim], Any]


@dataclass
class CampaignScene:
    """One tenant's campaigns and what works on them."""

    store: Store
    objects: S3Objects
    settings: Settings
    engine: RowEngine
    finishing: Finishing
    pruner: RowPruner
    files: Files
    campaigns: Campaigns
    tenant: str

    async def upload(self, data: str | bytes, name: str = "in.csv") -> str:
        """An input file that is there, without the way through the API."""
        raw = data.encode() if isinstance(data, str) else data
        file_id = new_file_id()
        artifact = self.objects.put(file_key(self.tenant, file_id), raw, "application/octet-stream")
        file = NewFile(id=file_id, tenant=self.tenant, purpose="batch", filename=name, object=artifact)
        return (await self.store.add_file(file)).id

    async def create(self, data: str | bytes | None = CSV, *, form: str | None = None, **asked: Any) -> Campaign:
        """A campaign of these rows. What is not asked for is the default, but for the prompt and the approval."""
        wished = {"prompt": PROMPT, "approval": False, **asked}
        wish = Wish(said=frozenset(wished), **wished)
        source = None if data is None else await self.upload(data)
        return await self.campaigns.create(self.tenant, wish, source=source, form=form)

    async def now(self, campaign: Campaign) -> Campaign:
        return await self.campaigns.get(self.tenant, campaign.id)

    async def rows(self, campaign: Campaign, **wanted: Any) -> list[ShownRow]:
        """All rows that a filter leaves."""
        found: list[ShownRow] = []
        after = -1
        while True:
            _, page = await self.campaigns.rows(self.tenant, campaign.id, RowFilter(**wanted), after=after, limit=100)
            found += page.rows
            if not page.has_more:
                return found
            after = page.after

    async def jobs(self) -> Sequence[Job]:
        return (await self.store.list_jobs(self.tenant, limit=1000, order="asc")).jobs

    @cached_property
    def dispatching(self) -> Store:
        """The store as a dispatcher has it."""
        found: Store = acting(self.store, Login.DISPATCH)
        return found

    async def render(self, ending: Ending | None = None, *, slots: int = 32, most: int = 10**9) -> int:
        """Claim and end what is in the queue, at most so many; how many jobs. Prompts that say so fail."""
        ended = 0
        while ended < most:
            await self.dispatching.beat(CLUSTER, {WORKER: POOL})
            claims = await self.dispatching.claim(POOL, CLUSTER, [WORKER] * min(slots, most - ended))
            if not claims:
                return ended
            for claim in claims:
                how = (ending or usual)(claim)
                await self.dispatching.settle([settle(claim, how, RetryPolicy(base_s=0.0, cap_s=0.0), 0.0)])
                ended += 1
        return ended

    async def run_once(self) -> int:
        """Whatever is due, until nothing is; how many steps."""
        steps = 0
        while done := await self.engine.ingest() + await self.engine.move() + await self.engine.finish():
            steps += done
        return steps

    async def step(self) -> int:
        """One round of the engine over whatever is due, and over what rests too."""
        await self.store._database.fetch(_WAKE)
        return await self.run_once()

    async def until(
        self,
        campaign: Campaign,
        *states: CampaignState,
        rounds: int = 60,
        render: bool = True,
        ending: Ending | None = None,
    ) -> Campaign:
        """Move on, and render, until the campaign is in one of these states."""
        for _ in range(rounds):
            await self.step()
            found = await self.now(campaign)
            if found.state in states and (not found.state.ended or found.ended_at is not None):
                return found
            if render:
                await self.render(ending)
        raise AssertionError(f"still {found.state} {sorted(found.pauses)} {found.counts} {found.error}")

    async def finish(self, campaign: Campaign, *, rounds: int = 60, ending: Ending | None = None) -> Campaign:
        """Move on and render until the campaign has ended."""
        ends = CampaignState.COMPLETED, CampaignState.CANCELLED, CampaignState.FAILED
        return await self.until(campaign, *ends, rounds=rounds, ending=ending)

    async def manifest(self, campaign: Campaign) -> list[Mapping[str, Any]]:
        """The lines of the newest manifest, its header first."""
        mark = (await self.now(campaign)).manifest
        assert mark is not None
        return [json.loads(line) for line in self.objects.get(mark.key).decode().splitlines()]


def usual(claim: Claim, gpu_seconds: float = 1.0) -> Any:
    """How a claim ends: as it was told to, badly where its prompt says so, else with a video."""
    if claim.cancel_requested:
        return Stopped()
    if FAILS in claim.spec.prompt:
        failure = Failure(code="out_of_memory", message="it did not fit", retryable=False)
        return Broke(failure=failure, gpu_seconds=gpu_seconds)
    return Rendered(result=a_result(prefix_of(claim), gpu_seconds=gpu_seconds))


def fails(claim: Claim) -> Any:
    """Every claim fails for good."""
    return Broke(failure=Failure(code="out_of_memory", message="it did not fit", retryable=False), gpu_seconds=1.0)


def a_campaign_scene(store: Store, objects: S3Objects, settings: Settings, tenant: str | None = None) -> CampaignScene:
    """A tenant of its own on these parts."""
    asked, moved = acting(store, Login.API), acting(store, Login.MAINTAIN)
    back, door = open_front_door(settings, moved, objects), open_front_door(settings, asked, objects)
    finishing = finishing_of(settings, moved, objects)
    kind = campaigns_of(settings, moved, objects, back.jobs, wording_of(settings), finishing)
    lines = lines_of(settings)
    batch = BatchKind(settings, moved, objects, jobs=back.jobs, files=back.files, limits=back.limits, dialects=lines)
    engine = RowEngine(moved, {Kind.CAMPAIGN: kind, Kind.BATCH: batch})
    inputs = Inputs(settings, objects, door.files)
    requests = Requests(settings, wording_of(settings))
    quoting = Quoting(settings, asked, requests, door.book)
    repricing = Repricing(asked, requests)
    admission = Admission(settings, asked, door.book)
    campaigns = Campaigns(settings, asked, inputs, quoting, repricing, admission, door.limits)
    pruner = RowPruner(moved, back.jobs, keep_s=settings.retention.jobs_s)
    name = tenant or uuid4().hex
    return CampaignScene(store, objects, settings, engine, finishing, pruner, door.files, campaigns, name)


def with_campaigns(settings: Settings, **changes: Any) -> Settings:
    """Settings with other `campaigns.*`."""
    return settings.model_copy(update={"campaigns": settings.campaigns.model_copy(update=changes)})


def renamed(wish: Wish, **changes: Any) -> Wish:
    """A wish that also says this."""
    return replace(wish, said=wish.said | set(changes), **changes)


@pytest_asyncio.fixture
async def campaign_scene(store: Store, objects: S3Objects, s3_settings: S3Settings, database_url: str) -> CampaignScene:
    return a_campaign_scene(store, objects, api_settings(database_url, s3_settings))
