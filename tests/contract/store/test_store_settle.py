"""Ending claims: guarded by the token, once, with everything that follows in the same transaction."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import asyncpg
import pytest

from orchestrator.domain.job import Artifact, Checkpoint, Claim, Failure, Incident, Job
from orchestrator.domain.outcome import AttemptOutcome, Ending, Settlement
from orchestrator.domain.protocol import HandedBack
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.states import JobState
from orchestrator.ports import Progress, Settled, SettleResult
from orchestrator.store import Store
from tests.support.builders import a_checkpoint
from tests.support.jobs import CLUSTER, POOL, broke, ending, evicted, lost, new_job, released, success, worker, workers
from tests.support.postgres import Clock

SLOW = RetryPolicy(base_s=60.0, cap_s=60.0)


async def claim_one(store: Store, **changes: object) -> Claim:
    await store.submit(new_job(**changes))
    [claim] = await store.claim(POOL, CLUSTER, [worker()])
    return claim


async def job_of(store: Store, claim: Claim) -> Job:
    job = await store.get(claim.job_id, claim.tenant)
    assert job is not None
    return job


async def settle(store: Store, settlement: Settlement) -> SettleResult:
    [result] = await store.settle([settlement])
    return result


def result(settled: Settled, state: JobState | None) -> SettleResult:
    return SettleResult(settled=settled, state=state)


async def test_a_success_is_published_with_its_token_attempt_usage_and_event(
    store: Store, database: asyncpg.Connection
) -> None:
    claim = await claim_one(store)
    settlement = success(claim, gpu_seconds=12.5)
    assert await settle(store, settlement) == result(Settled.APPLIED, JobState.SUCCEEDED)
    job = await job_of(store, claim)
    assert (job.state, job.result, job.failure, job.stage, job.step) == (
        JobState.SUCCEEDED, settlement.result, None, None, job.steps,
    )  # fmt: skip
    assert await database.fetchval("SELECT token FROM jobs") == claim.token
    attempt = await database.fetchrow("SELECT job_id, number, token, worker, outcome, gpu_seconds FROM attempts")
    assert dict(attempt) == {
        "job_id": claim.job_id, "number": 1, "token": claim.token, "worker": "w0", "outcome": "succeeded",
        "gpu_seconds": 12.5,
    }  # fmt: skip
    assert tuple(await database.fetchrow("SELECT tenant, pool, outcome, gpu_seconds FROM usage")) == (
        "acme", POOL, "succeeded", 12.5,
    )  # fmt: skip
    assert tuple(await database.fetchrow("SELECT job_id, tenant, event FROM outbox")) == (
        claim.job_id, "acme", "job.succeeded",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("how", "outcome", "failures", "evictions"),
    [
        (broke(gpu_seconds=3.0), "failed", 1, 0),
        (lost(), "lost", 1, 0),
        (evicted(), "evicted", 0, 1),
        (released(), "released", 0, 0),
    ],
    ids=["failed", "lost", "evicted", "released"],
)
async def test_an_ending_that_deserves_another_try_queues_the_job_again(
    store: Store, database: asyncpg.Connection, how: Ending, outcome: str, failures: int, evictions: int
) -> None:
    claim = await claim_one(store)
    assert await settle(store, ending(claim, how)) == result(Settled.APPLIED, JobState.QUEUED)
    job = await job_of(store, claim)
    assert (job.state, job.claims, job.failures, job.evictions) == (JobState.QUEUED, 1, failures, evictions)
    assert (job.failure, job.finished_at, job.step) == (None, None, 0)
    assert await database.fetchval("SELECT outcome FROM attempts") == outcome
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0
    assert await database.fetchval("SELECT count(*) FROM usage") == (1 if outcome == "failed" else 0)
    [again] = await store.claim(POOL, CLUSTER, [worker()])
    assert (again.job_id, again.number, again.failures, again.evictions) == (claim.job_id, 2, failures, evictions)


@pytest.mark.parametrize("how", [broke(), lost(), evicted(), released(), None], ids=str)
async def test_what_only_a_render_that_goes_on_has_ends_with_it(
    store: Store, database: asyncpg.Connection, how: Ending | None
) -> None:
    """Its stage, its preview, and, once its job waits again, its place on a worker."""
    claim = await claim_one(store)
    preview = Artifact(key="videos/x/1/preview.webp", size=1, sha256="0" * 64, content_type="image/webp")
    await store.record_progress(
        [Progress(job_id=claim.job_id, token=claim.token, stage="denoising", step=2, preview=preview)]
    )
    assert (await job_of(store, claim)).preview == preview
    settled = await settle(store, success(claim) if how is None else ending(claim, how))
    job = await job_of(store, claim)
    assert (job.stage, job.preview) == (None, None)
    held = await database.fetchrow("SELECT token, cluster, worker, incarnation, claimed_at FROM jobs")
    assert [value is None for value in held] == [settled.state is JobState.QUEUED] * 5


async def test_a_spent_job_fails_with_a_reason_that_its_owner_can_read(
    store: Store, database: asyncpg.Connection
) -> None:
    claim = await claim_one(store, max_attempts=1)
    assert await settle(store, ending(claim, broke())) == result(Settled.APPLIED, JobState.FAILED)
    job = await job_of(store, claim)
    assert (job.state, job.failure, job.result) == (JobState.FAILED, Failure(code="boom", message="it broke"), None)
    assert await database.fetchval("SELECT event FROM outbox") == "job.failed"


async def test_a_retry_waits_out_its_backoff(store: Store, clock: Clock) -> None:
    claim = await claim_one(store)
    settlement = ending(claim, broke(), SLOW)
    await settle(store, settlement)
    await clock.advance(settlement.delay_s - 1)
    assert (await store.wake_due(), await store.claim(POOL, CLUSTER, [worker()])) == (0, [])
    await clock.advance(1)
    assert await store.wake_due() == 1
    assert len(await store.claim(POOL, CLUSTER, [worker()])) == 1


async def test_the_second_of_two_writes_learns_that_the_first_one_counted(store: Store) -> None:
    claim = await claim_one(store)
    await settle(store, success(claim))
    assert await settle(store, success(claim)) == result(Settled.ALREADY, JobState.SUCCEEDED)
    assert await settle(store, ending(claim, lost())) == result(Settled.ALREADY, JobState.SUCCEEDED)


async def test_a_lost_reply_is_recognised_even_when_the_job_runs_again(store: Store) -> None:
    first = await claim_one(store)
    await settle(store, ending(first, evicted()))
    await store.claim(POOL, CLUSTER, [worker()])
    assert await settle(store, ending(first, evicted())) == result(Settled.ALREADY, JobState.RUNNING)


async def test_a_token_that_never_was_the_rows_is_stale(store: Store, database: asyncpg.Connection) -> None:
    claim = await claim_one(store)
    stranger = replace(success(claim), token=uuid4())
    assert await settle(store, stranger) == result(Settled.STALE, JobState.RUNNING)
    nowhere = replace(success(claim), job_id=uuid4(), token=uuid4())
    assert await settle(store, nowhere) == result(Settled.STALE, None)
    assert await database.fetchval("SELECT count(*) FROM attempts") == 0
    assert (await job_of(store, claim)).state is JobState.RUNNING


@pytest.mark.parametrize("how", ["success", "failed", "lost", "evicted", "released"])
async def test_a_cancel_request_that_committed_first_wins_over_every_ending(
    store: Store, database: asyncpg.Connection, how: str
) -> None:
    claim = await claim_one(store)
    await store.request_cancel(claim.job_id, "acme")
    endings = {"failed": broke(), "lost": lost(), "evicted": evicted(), "released": released()}
    settlement = success(claim) if how == "success" else ending(claim, endings[how])
    assert await settle(store, settlement) == result(Settled.APPLIED, JobState.CANCELLED)
    job = await job_of(store, claim)
    assert (job.state, job.result, job.failure) == (JobState.CANCELLED, None, None)
    assert await database.fetchval("SELECT outcome FROM attempts") == AttemptOutcome.CANCELLED
    assert await database.fetchval("SELECT event FROM outbox") == "job.cancelled"


async def test_a_batch_settles_each_claim_by_itself_in_the_order_given(store: Store) -> None:
    for _ in range(4):
        await store.submit(new_job())
    claims = await store.claim(POOL, CLUSTER, workers(4))
    await settle(store, success(claims[2]))
    stale = replace(success(claims[0]), token=uuid4())
    batch = [ending(claims[3], broke()), success(claims[2]), stale, success(claims[0]), ending(claims[0], lost())]
    assert await store.settle(batch) == [
        result(Settled.APPLIED, JobState.QUEUED),
        result(Settled.ALREADY, JobState.SUCCEEDED),
        result(Settled.STALE, JobState.SUCCEEDED),  # the state after the batch
        result(Settled.APPLIED, JobState.SUCCEEDED),
        result(Settled.ALREADY, JobState.SUCCEEDED),
    ]
    assert await store.settle([]) == []


async def test_progress_is_written_only_by_the_owner(store: Store) -> None:
    claim = await claim_one(store)
    await store.record_progress(
        [
            Progress(job_id=claim.job_id, token=claim.token, stage="denoising", step=2),
            Progress(job_id=claim.job_id, token=uuid4(), stage="decoding", step=4),
        ]
    )
    job = await job_of(store, claim)
    assert (job.stage, job.step) == ("denoising", 2)
    await settle(store, success(claim))
    await store.record_progress([Progress(job_id=claim.job_id, token=claim.token, stage="denoising", step=3)])
    job = await job_of(store, claim)
    assert (job.stage, job.step) == (None, 4)


def at(claim: Claim, step: int, checkpoint: Checkpoint | None = None, *incidents: Incident) -> Progress:
    return Progress(
        job_id=claim.job_id, token=claim.token, stage="denoising", step=step, checkpoint=checkpoint, incidents=incidents
    )


async def test_progress_keeps_the_newest_checkpoint_and_what_befell_the_render(store: Store) -> None:
    claim = await claim_one(store)
    await store.record_progress([at(claim, 2, a_checkpoint(2))])
    await store.record_progress([at(claim, 3, None, Incident.PREEMPTED)])
    job = await job_of(store, claim)
    assert (job.step, job.checkpoint, job.incidents) == (3, a_checkpoint(2), (Incident.PREEMPTED,))
    [running] = await store.running(CLUSTER)
    assert running.checkpoint == a_checkpoint(2)
    stranger = replace(at(claim, 4, a_checkpoint(4)), token=uuid4())
    await store.record_progress([stranger])
    assert (await job_of(store, claim)).checkpoint == a_checkpoint(2)


@pytest.mark.parametrize("how", [lost(), evicted(), released()], ids=["lost", "evicted", "released"])
async def test_the_next_claim_goes_on_at_the_newest_checkpoint_with_nothing_said_of_it_yet(
    store: Store, how: Ending
) -> None:
    claim = await claim_one(store)
    await store.record_progress([at(claim, 3, a_checkpoint(2), Incident.PREEMPTED)])
    await settle(store, ending(claim, how))
    job = await job_of(store, claim)
    assert (job.step, job.checkpoint, job.incidents) == (2, a_checkpoint(2), (Incident.PREEMPTED,))
    [again] = await store.claim(POOL, CLUSTER, [worker()])
    assert again.checkpoint == a_checkpoint(2)
    job = await job_of(store, claim)
    assert (job.step, job.incidents) == (2, ())


async def test_what_a_worker_hands_back_replaces_the_checkpoint(store: Store) -> None:
    claim = await claim_one(store)
    await store.record_progress([at(claim, 3, a_checkpoint(2))])
    await settle(store, ending(claim, HandedBack(reason="drain", checkpoint=a_checkpoint(3))))
    [again] = await store.claim(POOL, CLUSTER, [worker()])
    assert (again.checkpoint, again.evictions) == (a_checkpoint(3), 0)


async def test_a_failure_that_the_checkpoint_may_have_caused_lets_the_next_claim_start_over(
    store: Store, database: asyncpg.Connection
) -> None:
    claim = await claim_one(store)
    await store.record_progress([at(claim, 3, a_checkpoint(2))])
    await settle(store, ending(claim, broke()))
    job = await job_of(store, claim)
    assert (job.step, job.checkpoint) == (0, None)
    assert await database.fetchval("SELECT checkpoint IS NOT NULL FROM jobs"), "there are some to sweep"
    [again] = await store.claim(POOL, CLUSTER, [worker()])
    assert again.checkpoint is None


@pytest.mark.parametrize(
    "broken",
    [
        "state = 'paused'",
        "state = 'running'",
        "state = 'succeeded', finished_at = now()",
        "state = 'failed', finished_at = now()",
        "finished_at = now()",
        "token = gen_random_uuid()",
        "state = 'held'",
        "claims = -1",
        "failures = 1",
        "worker = 'w0'",
    ],
)
async def test_the_database_itself_refuses_a_row_that_breaks_an_invariant(
    store: Store, database: asyncpg.Connection, broken: str
) -> None:
    await store.submit(new_job())
    with pytest.raises(asyncpg.CheckViolationError):
        await database.execute(f"UPDATE jobs SET {broken}")


async def test_one_claim_ends_once_in_the_attempts_as_well(store: Store, database: asyncpg.Connection) -> None:
    claim = await claim_one(store)
    await settle(store, success(claim))
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.execute("INSERT INTO attempts SELECT * FROM attempts")
