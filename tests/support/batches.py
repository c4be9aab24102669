"""Batches on a real database and a real bucket, moved on by hand; jobs end as a dispatcher would end them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import uuid4

import pytest_asyncio
from sqlalchemy import text

from api.dialects import DIALECTS, lines_of
from api.shared.dialect import Dialect
from orchestrator.adapters.s3 import S3Objects
from orchestrator.batches.batches import Batches
from orchestrator.batches.kind import BatchKind
from orchestrator.config import S3Settings, Settings
from orchestrator.config.logins import Login
from orchestrator.domain.batch import Batch
from orchestrator.domain.campaign import Kind
from orchestrator.domain.errors import LeaseLost, Unavailable
from orchestrator.domain.job import Failure
from orchestrator.domain.objects import file_key
from orchestrator.domain.outcome import settle
from orchestrator.domain.protocol import Broke, Rendered, Stopped
from orchestrator.domain.retry import RetryPolicy
from orchestrator.intake.files import BATCH, Files, new_file_id
from orchestrator.ports.files import NewFile
from orchestrator.processes.frontdoor import open_front_door
from orchestrator.rows.engine import RowEngine
from orchestrator.rows.pruning import RowPruner
from orchestrator.store import Store
from tests.support import third_dialect
from tests.support.api import CLUSTER, POOL, WORKER, api_settings
from tests.support.builders import a_result, prefix_of
from tests.support.logins import acting

ENDPOINTS = {"openai": "/v1/videos", "bigmodel": "/v4/videos/generations", "films": third_dialect.ENDPOINT}
FAILS = "this one fails"

# A pause is over for a test that does not want to wait; a lease is not.
_WAKE = text("UPDATE campaigns SET leased_until = NULL WHERE lease IS NULL")


def line(custom_id: str, dialect: str = "openai", **body: Any) -> str:
    """One request as a caller writes it."""
    asked = {"model": "cogvideox-3", "prompt": "a mill", **body}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": ENDPOINTS[dialect], "body": asked})


@dataclass
class Scene:
    """One tenant's batches and what works on them."""

    store: Store
    objects: S3Objects
    kind: BatchKind
    engine: RowEngine
    pruner: RowPruner
    files: Files
    batches: Batches
    settings: Settings
    tenant: str

    async def upload(self, lines: Sequence[str] | bytes) -> str:
        """An input file that is there, without the way through the API."""
        data = lines if isinstance(lines, bytes) else "\n".join(lines).encode()
        file_id = new_file_id()
        artifact = self.objects.put(file_key(self.tenant, file_id), data, "application/jsonl")
        file = NewFile(id=file_id, tenant=self.tenant, purpose=BATCH, filename="in.jsonl", object=artifact)
        return (await self.store.add_file(file)).id

    async def create(self, lines: Sequence[str] | bytes, *, dialect: str = "openai", **changes: Any) -> Batch:
        options: dict[str, Any] = {"window": None, "metadata": None, "delete_input": False, "output_lifetime_s": None}
        return await self.batches.create(
            self.tenant,
            dialect=dialect,
            endpoint=ENDPOINTS[dialect],
            input_file=await self.upload(lines),
            **{**options, **changes},
        )

    async def batch(self, batch: Batch) -> Batch:
        return await self.batches.get(self.tenant, batch.id)

    @cached_property
    def dispatching(self) -> Store:
        """The store as a dispatcher has it."""
        found: Store = acting(self.store, Login.DISPATCH)
        return found

    async def render(self) -> int:
        """Claim and end everything in the queue; how many jobs. Prompts that say so fail."""
        ended = 0
        while True:
            await self.dispatching.beat(CLUSTER, {WORKER: POOL})
            claims = await self.dispatching.claim(POOL, CLUSTER, [WORKER] * 32)
            if not claims:
                return ended
            for claim in claims:
                failure = Failure(code="out_of_memory", message="it did not fit", retryable=False)
                ending = (
                    Stopped()
                    if claim.cancel_requested
                    else Broke(failure=failure)
                    if claim.spec.prompt == FAILS
                    else Rendered(result=a_result(prefix_of(claim)))
                )
                await self.dispatching.settle([settle(claim, ending, RetryPolicy(), 0.0)])
                ended += 1

    async def step(self) -> None:
        """One round of the runner over whatever is due, and over what rests too."""
        await self.store._database.fetch(_WAKE)
        await self.run_once()

    async def run_once(self) -> int:
        """Whatever is due, until nothing is; how many steps."""
        steps = 0
        while done := await self.engine.ingest() + await self.engine.move() + await self.engine.finish():
            steps += done
        return steps

    async def finish(self, batch: Batch, *, rounds: int = 60) -> Batch:
        """Move on and render until the batch has ended."""
        for _ in range(rounds):
            await self.step()
            await self.render()
            found = await self.batch(batch)
            if found.status.terminal:
                return found
        raise AssertionError(f"still {found.status}: {found}")

    async def lines(self, file_id: str | None) -> dict[str, Mapping[str, Any]]:
        """An output or error file, by the callers' names."""
        if file_id is None:
            return {}
        data = await self.files.read(self.tenant, file_id, max_bytes=10**9)
        answers = [json.loads(text) for text in data.splitlines()]
        assert len({answer["custom_id"] for answer in answers}) == len(answers)
        return {answer["custom_id"]: answer for answer in answers}


async def ended_in_spite_of(scene: Scene, batch: Batch, *, rounds: int = 60) -> Batch:
    """`finish`, with a runner that is started again whenever it dies."""
    for _ in range(rounds):
        try:
            return await scene.finish(batch, rounds=1)
        except (AssertionError, RuntimeError, Unavailable, LeaseLost):
            continue
    raise AssertionError(f"still {await scene.batch(batch)}")


def a_scene(store: Store, objects: S3Objects, settings: Settings, dialects: Sequence[Dialect] = DIALECTS) -> Scene:
    """A tenant of its own on these parts."""
    asked, moved = acting(store, Login.API), acting(store, Login.MAINTAIN)
    back, door = open_front_door(settings, moved, objects), open_front_door(settings, asked, objects)
    lines = lines_of(settings, dialects)
    kind = BatchKind(settings, moved, objects, jobs=back.jobs, files=back.files, limits=back.limits, dialects=lines)
    engine = RowEngine(moved, {Kind.BATCH: kind})
    batches = Batches(asked, door.files, door.limits, priority=settings.batches.priority)
    pruner = RowPruner(moved, back.jobs, keep_s=settings.retention.jobs_s)
    return Scene(store, objects, kind, engine, pruner, door.files, batches, settings, uuid4().hex)


@pytest_asyncio.fixture
async def scene(store: Store, objects: S3Objects, s3_settings: S3Settings, database_url: str) -> Scene:
    return a_scene(store, objects, api_settings(database_url, s3_settings))
