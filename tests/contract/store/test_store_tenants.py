"""Whoever asks the store as one tenant sees and changes nothing of another's, whichever statement it is.

The walk goes over every method of the store that takes a tenant: one that the table does not know fails its test.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import uuid_utils.compat

from orchestrator.domain.campaign import Ask, Campaign, CampaignState, TemplateVersion
from orchestrator.domain.job import Artifact, Job, public_id
from orchestrator.domain.job_filter import JobFilter
from orchestrator.domain.reviews import Opinion, Remedy, Verdict, before
from orchestrator.domain.rights import Rights
from orchestrator.domain.webhooks import EventType, Fate, Judgement
from orchestrator.policy.limits import Limits
from orchestrator.ports import NewDelivery, NewEndpoint, NewKey
from orchestrator.ports.batches import NewBatch
from orchestrator.ports.campaign_values import NOW, Budget, Change, NewCampaign
from orchestrator.ports.files import NewFile
from orchestrator.ports.notes import NewNote, NewSaved
from orchestrator.ports.reviews import Reviewed
from orchestrator.store import Store
from tests.support.jobs import CLUSTER, POOL, new_job, success, worker

OWNER, STRANGER = "acme", "birch"
KEY = "the-same-key"


@dataclass(frozen=True)
class Things:
    """What the owner has: one of everything that the store keeps for a tenant."""

    waiting: UUID
    ended: UUID
    file: str
    batch: str
    endpoint: str
    delivery: UUID
    campaign: str
    review: Reviewed

    @classmethod
    async def of(cls, store: Store, tenant: str) -> Things:
        await store.add_key(f"key-of-{tenant}", tenant, "tests", master=1)
        await store.set_weight(tenant, 3)
        await store.set_limits(tenant, {"queued": 50})
        await store.beat(CLUSTER, {worker(): POOL})
        ended = await store.submit(new_job(tenant))
        (claim,) = await store.claim(POOL, CLUSTER, [worker()])
        await store.settle([success(claim)])
        waiting = await store.submit(new_job(tenant, idempotency_key=KEY, request_hash="same"))
        file = await store.add_file(a_file(f"file-of-{tenant}", tenant))
        batch = await store.add_batch(a_batch(f"batch-of-{tenant}", tenant, file.id), priority=20)
        endpoint = await store.add_endpoint(an_endpoint(f"endpoint-of-{tenant}", tenant), at_most=1)
        assert endpoint is not None
        delivery = a_delivery(tenant, endpoint.id)
        assert await store.add_delivery(delivery, give_up_s=99)
        (tried,) = await store.lease_deliveries(limit=9, per_host=9, per_tenant=9, lease_s=60)
        await store.record_try(tried, Judgement(fate=Fate.RETRY, error=f"of {tenant}", delay_s=90))
        campaign = await store.add_campaign(a_campaign(f"campaign-of-{tenant}", tenant))
        await store.add_campaign(a_campaign(f"running-of-{tenant}", tenant, CampaignState.RUNNING, "another-key"))
        await store.set_budget(Budget(tenant=tenant, period="day", unit="gpu_seconds", amount=9))
        await store.add_note(a_note(f"note-of-{tenant}", tenant, waiting.id), most_about=9, most=9)
        await store.save_filter(a_filter(tenant), most=9)
        review = await store.find_review(ended.id, tenant)
        assert review is not None
        await store.decide(review, tenant, 0, Opinion(decision=Verdict.REJECT, action=Remedy.DROP), tenant)
        return cls(waiting.id, ended.id, file.id, batch.id, endpoint.id, delivery.id, campaign.id, review)


def a_note(note_id: str, tenant: str, job_id: UUID) -> NewNote:
    return NewNote(
        id=note_id, tenant=tenant, about=public_id(job_id), body=f"of {tenant}", author=tenant, written_by=tenant
    )


def a_filter(tenant: str) -> NewSaved:
    wanted = JobFilter(tenant=tenant)
    return NewSaved(tenant=tenant, name=f"of {tenant}", wanted=wanted, author=tenant, saved_by=tenant)


def a_file(file_id: str, tenant: str) -> NewFile:
    stored = Artifact(key=f"files/{tenant}/{file_id}", size=3, sha256="0" * 64, content_type="application/jsonl")
    return NewFile(id=file_id, tenant=tenant, purpose="batch", filename="in.jsonl", object=stored)


def a_batch(batch_id: str, tenant: str, file_id: str) -> NewBatch:
    return NewBatch(
        id=batch_id,
        tenant=tenant,
        dialect="openai",
        endpoint="/v1/videos",
        completion_window="24h",
        window_s=86400,
        input_file=file_id,
        delete_input=False,
        output_lifetime_s=None,
        metadata=None,
    )


def a_campaign(
    campaign_id: str, tenant: str, state: CampaignState = CampaignState.CANCELLED, key: str = KEY
) -> NewCampaign:
    template = TemplateVersion(version=1, prompt="a mill")
    return NewCampaign(
        id=campaign_id,
        tenant=tenant,
        state=state,
        ask=Ask(),
        template=template,
        priority=20,
        idempotency_key=key,
        request_hash="same",
    )


def promote_nothing(campaign: Campaign, places: tuple[int, ...]) -> Change:
    return Change()


def carry_nothing(campaign: Campaign, drops: tuple[int, ...], again: tuple[int, ...]) -> Change:
    return Change()


async def of_own(store: Store, tenant: str, say: Callable[..., Awaitable[Any]]) -> Any:
    """Say something of a video of the tenant's own."""
    pool = f"of-{tenant}"  # or its claims would be others'
    await store.beat(CLUSTER, {worker(pool): pool})
    job = await store.submit(new_job(tenant, pool=pool))
    await store.settle([success(claim) for claim in await store.claim(pool, CLUSTER, [worker(pool)])])
    found = await store.find_review(job.id, tenant)
    assert found is not None
    await store.decide(found, tenant, 0, Opinion(rating=1), tenant)
    return await say(of=found, tenant=tenant, version=1, reviewer=tenant)


def renamed(campaign: Campaign) -> Change:
    return Change(values={"ask": Ask(name="mine"), "ended_at": NOW})


def an_endpoint(endpoint_id: str, tenant: str) -> NewEndpoint:
    return NewEndpoint(
        id=endpoint_id,
        tenant=tenant,
        name="ends",
        url="http://receiver.example/",
        host="receiver.example:80",
        event_types=[EventType.VIDEO_COMPLETED],
    )


def a_delivery(tenant: str, endpoint_id: str) -> NewDelivery:
    return NewDelivery(
        id=uuid_utils.compat.uuid7(),
        event_id=f"event-of-{tenant}",
        tenant=tenant,
        endpoint_id=endpoint_id,
        url="http://receiver.example/",
        host="receiver.example:80",
        event_type=EventType.VIDEO_COMPLETED,
        body="{}",
    )


Asking = Callable[[Store, Things, str], Awaitable[Any]]

# Of every method that takes a tenant, how to ask it about the owner's things in some tenant's name. In this order: what
# takes a thing away comes last.
ABOUT_THINGS: dict[str, Asking] = {
    "get": lambda store, its, tenant: store.get(its.ended, tenant),
    "list_jobs": lambda store, its, tenant: store.list_jobs(tenant, limit=9),
    "seen_job": lambda store, its, tenant: store.seen_job(its.ended, tenant),
    "queued_lanes": lambda store, its, tenant: store.queued_lanes(tenant),
    "list_notes": lambda store, its, tenant: store.list_notes(tenant, public_id(its.waiting), limit=9),
    "saved_filters": lambda store, its, tenant: store.saved_filters(tenant),
    "find_submitted": lambda store, its, tenant: store.find_submitted(tenant, KEY),
    "get_file": lambda store, its, tenant: store.get_file(its.file, tenant),
    "list_files": lambda store, its, tenant: store.list_files(tenant, limit=9, purpose="batch"),
    "get_batch": lambda store, its, tenant: store.get_batch(its.batch, tenant),
    "list_batches": lambda store, its, tenant: store.list_batches(tenant, limit=9),
    "get_campaign": lambda store, its, tenant: store.get_campaign(its.campaign, tenant),
    "repeated_campaign": lambda store, its, tenant: store.repeated_campaign(tenant, KEY, "same"),
    "list_campaigns": lambda store, its, tenant: store.list_campaigns(tenant, limit=9, after="campaignz"),
    "rivals": lambda store, its, tenant: store.rivals(tenant, 20),
    "budgets_of": lambda store, its, tenant: store.budgets_of(tenant),
    "change_campaign": lambda store, its, tenant: store.change_campaign(its.campaign, tenant, renamed),
    "find_endpoint": lambda store, its, tenant: store.find_endpoint(its.endpoint, tenant),
    "list_endpoints": lambda store, its, tenant: store.list_endpoints(tenant, limit=9, after=None),
    "find_delivery": lambda store, its, tenant: store.find_delivery(its.delivery, tenant),
    "list_deliveries": lambda store, its, tenant: store.list_deliveries(tenant, limit=9, endpoint_id=its.endpoint),
    "list_keys": lambda store, its, tenant: store.list_keys(tenant),
    "page_keys": lambda store, its, tenant: store.page_keys(tenant, limit=9, after=None),
    "update_endpoint": lambda store, its, tenant: store.update_endpoint(
        its.endpoint, tenant, name="mine", url="http://mine.example/", host="mine.example:80", event_types=None
    ),
    "rotate_endpoint": lambda store, its, tenant: store.rotate_endpoint(its.endpoint, tenant, overlap_s=60),
    "resend": lambda store, its, tenant: store.resend(its.delivery, tenant, give_up_s=99),
    "request_cancel": lambda store, its, tenant: store.request_cancel(its.waiting, tenant),
    "cancel_batch": lambda store, its, tenant: store.cancel_batch(its.batch, tenant),
    "find_review": lambda store, its, tenant: store.find_review(its.ended, tenant),
    "review_history": lambda store, its, tenant: store.review_history(its.ended, tenant),
    "list_reviews": lambda store, its, tenant: store.list_reviews(tenant, limit=9, after=None, decision=None),
    "apply_reviews": lambda store, its, tenant: store.apply_reviews(its.campaign, tenant, carry_nothing, tenant),
    "promote_reviews": lambda store, its, tenant: store.promote_reviews(its.campaign, tenant, "exact", promote_nothing),
    "note_applied": lambda store, its, tenant: store.note_applied(its.review, tenant, 1, None, tenant),
    "delete": lambda store, its, tenant: store.delete(its.ended, tenant),
    "disable_endpoint": lambda store, its, tenant: store.disable_endpoint(its.endpoint, tenant),
    "delete_endpoint": lambda store, its, tenant: store.delete_endpoint(its.endpoint, tenant),
    "delete_file": lambda store, its, tenant: store.delete_file(its.file, tenant),
    "delete_campaign": lambda store, its, tenant: store.delete_campaign(its.campaign, tenant),
    "delete_note": lambda store, its, tenant: store.delete_note(f"note-of-{OWNER}", tenant),
    "drop_filter": lambda store, its, tenant: store.drop_filter(tenant, f"of {OWNER}"),
    "drop_budget": lambda store, its, tenant: store.drop_budget(tenant, "day", "gpu_seconds"),
}
# And those that are about the tenant itself, or take what `find_review` has found.
ABOUT_ITSELF: dict[str, Asking] = {
    "decide": lambda store, its, tenant: of_own(store, tenant, partial(store.decide, opinion=Opinion(rating=2))),
    "undo_review": lambda store, its, tenant: of_own(store, tenant, partial(store.undo_review, undo=before)),
    "limits_of": lambda store, its, tenant: store.limits_of(tenant),
    "holding_of": lambda store, its, tenant: store.holding_of(tenant),
    "check_room": lambda store, its, tenant: store.check_room(tenant, files=1, size=1),
    "beside": lambda store, its, tenant: store.beside(tenant, POOL, 10, [its.campaign], most=9),
    "deliveries_of_job": lambda store, its, tenant: store.deliveries_of_job(its.ended, tenant, limit=9),
    "lane_outlook": lambda store, its, tenant: store.lane_outlook(POOL, tenant, 10),
    "lane_outlooks": lambda store, its, tenant: store.lane_outlooks(tenant),
    "not_due": lambda store, its, tenant: store.not_due(tenant),
    "signs": lambda store, its, tenant: store.signs(tenant, not_codes=[]),
    "show_secret": lambda store, its, tenant: store.show_secret(tenant),
    "add_key": lambda store, its, tenant: store.add_key(f"another-of-{tenant}", tenant, "tests", master=1),
    "mint_key": lambda store, its, tenant: store.mint_key(
        f"key-of-{tenant}",
        lambda maker: NewKey(id=f"minted-of-{tenant}", name="", rights=Rights(), master=1),
        at_most=9,
        tenant=tenant,
    ),
    "use_of": lambda store, its, tenant: store.use_of(tenant),
    "set_limits": lambda store, its, tenant: store.set_limits(tenant, {"queued": 7}),
    "set_weight": lambda store, its, tenant: store.set_weight(tenant, 9),
    "rotate_tenant": lambda store, its, tenant: store.rotate_tenant(tenant, overlap_s=60),
    "request_erasure": lambda store, its, tenant: store.request_erasure(tenant, by="tests", keep_usage=False),
}
NOTHING = (None, False)


async def rows_of(database: asyncpg.Connection, tenant: str) -> dict[str, list[str]]:
    """Every row that names the tenant, in whichever table and column, as text."""
    tables = [
        row["tablename"]
        for row in await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    ]
    rows = {table: await database.fetch(f'SELECT t::text FROM "{table}" AS t ORDER BY 1') for table in tables}
    return {table: [row["t"] for row in found if tenant in row["t"]] for table, found in rows.items()}


def test_every_method_that_takes_a_tenant_is_walked() -> None:
    taking = {
        name
        for name, method in inspect.getmembers(Store, inspect.isfunction)
        if not name.startswith("_") and "tenant" in inspect.signature(method).parameters
    }
    assert taking == ABOUT_THINGS.keys() | ABOUT_ITSELF.keys()


async def test_no_method_tells_or_changes_anything_of_another_tenant(
    store: Store, database: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    things = await Things.of(store, OWNER)
    before = await rows_of(database, OWNER)
    for name, ask in (ABOUT_THINGS | ABOUT_ITSELF).items():
        with subtests.test(name):
            told = await ask(store, things, STRANGER)
            assert OWNER not in repr(told)
            assert name not in ABOUT_THINGS or told in NOTHING or _listed(told) == []
            assert await rows_of(database, OWNER) == before


async def test_the_same_methods_tell_a_tenant_of_its_own_and_nothing_beside_it(
    store: Store, subtests: pytest.Subtests
) -> None:
    things = await Things.of(store, OWNER)
    await Things.of(store, STRANGER)
    for name, ask in ABOUT_THINGS.items():
        with subtests.test(name):
            told = await ask(store, things, OWNER)
            assert told not in NOTHING
            assert STRANGER not in repr(told)
            assert _listed(told) != []


def _listed(told: Any) -> list[Any] | None:
    """What a listing lists; None for what is no listing."""
    if isinstance(told, list):
        return told
    if not hasattr(told, "has_more"):
        return None
    (field,) = (name for name in told.__slots__ if name not in ("has_more", "last"))
    return list(getattr(told, field))


@pytest.mark.parametrize("limited", [False, True], ids=["unlimited", "limited"])
async def test_a_key_of_repetition_is_its_tenants_alone(store: Store, limited: bool) -> None:
    if limited:
        for tenant in (OWNER, STRANGER):
            await store.set_limits(tenant, {"queued": 5})
    asked = [new_job(tenant, idempotency_key=KEY, request_hash="same") for tenant in (OWNER, STRANGER, OWNER, STRANGER)]
    together: list[Job] = await asyncio.gather(*(store.submit(job) for job in asked))
    assert [job.tenant for job in together] == [job.tenant for job in asked]
    assert together[0].id == together[2].id != together[1].id == together[3].id
    later = await store.submit(new_job(STRANGER, idempotency_key=KEY, request_hash="same"))
    assert later.id == together[1].id


async def test_another_tenants_jobs_files_and_endpoints_count_against_nobody_else(store: Store) -> None:
    await store.set_limits(STRANGER, {"queued": 1, "gpu_seconds_per_day": 100.0})
    for _ in range(3):
        await store.submit(new_job(OWNER))
    assert await store.add_endpoint(an_endpoint("endpoint-1", OWNER), at_most=1) is not None
    await store.submit(new_job(STRANGER))
    assert await store.add_endpoint(an_endpoint("endpoint-2", STRANGER), at_most=1) is not None
    assert (await store.limits_of(OWNER)) == Limits()
