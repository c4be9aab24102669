"""What happened to an attempt, and what becomes of the job: one pure function, `settle`.

A claim's counters cannot change while its token is valid, so its owner can decide alone. The one thing that can is a
cancel request, and commit order decides that: the statement that writes a settlement turns any of them into
`cancelled` when the request committed first (`store/settle.py`).

What becomes of the job's checkpoint:

- The next attempt goes on at the newest one, whatever ended this one: handed back, evicted, lost, released.
- A failed attempt's is kept where the failure lies outside of what was computed so far
  (`FailureCode.beside_the_render`). After any other failure the next attempt starts over.
- An ended job's row names it until the sweeper has deleted it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import Checkpoint, Claim, Failure, VideoResult
from orchestrator.domain.protocol import Broke, HandedBack, Rendered, Stopped
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.states import JobState, require
from orchestrator.domain.timeline import Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The worker vanished, or hung past its deadline. Counts as a failure."""

    failure: Failure
    gpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """The worker is lost, but its video was complete in S3."""

    result: VideoResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Evicted:
    """The render left a healthy worker without a word from it (it was killed for another). Free, up to a cap.

    What the worker itself hands back ends as `HandedBack`.
    """

    reason: str
    gpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The claim never started: its worker refused it, or never got it. Costs the job nothing."""

    reason: str


Ending = Rendered | Broke | Stopped | HandedBack | Lost | Recovered | Evicted | Released


class AttemptOutcome(StrEnum):
    """How an attempt ended, as the attempts table and the metrics say it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"
    EVICTED = "evicted"
    RELEASED = "released"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """One guarded write: what becomes of a job after an attempt."""

    job_id: UUID
    # The write is valid only while the row still carries it.
    token: UUID
    # Where the job goes, unless a cancel request committed first.
    state: JobState
    outcome: AttemptOutcome
    # The new values of the counters.
    failures: int
    evictions: int
    # How long a queued job waits before it may be claimed again.
    delay_s: float = 0.0
    # What the attempt used.
    gpu_seconds: float = 0.0
    failure: Failure | None = None
    result: VideoResult | None = None
    # Replaces the row's. None keeps that one, which may be newer than what the claim's owner has read.
    checkpoint: Checkpoint | None = None
    # The next attempt goes on from no checkpoint.
    start_over: bool = False
    # The worker may have stored checkpoints that nobody heard of.
    unheard: bool = False
    # Of the worker: empty where its pool has workers of one kind, None where nobody says.
    kind: str | None = None
    # What a GPU second of it costs; None where nobody knows.
    price: float | None = None
    # What its lane pays and limits count (`policy/charge.py`); None is the GPU seconds.
    charge: float | None = None
    # What the attempt went through, in seconds since its claim; None where nobody has seen any of it.
    timeline: Timeline | None = None


def settle(claim: Claim, ending: Ending, policy: RetryPolicy, jitter: float) -> Settlement:
    """Decide what becomes of a job after this ending of its claim.

    `jitter` in [0, 1) comes from the caller, so that equal arguments give an equal settlement.
    """
    match ending:
        case Rendered(result=result) | Recovered(result=result):
            return _settlement(
                claim,
                JobState.SUCCEEDED,
                AttemptOutcome.SUCCEEDED,
                gpu_seconds=result.gpu_seconds,
                result=result,
                unheard=isinstance(ending, Recovered),
            )
        case Stopped(gpu_seconds=gpu_seconds):
            return _stopped(claim, gpu_seconds)
        case Released():
            return _settlement(claim, JobState.QUEUED, AttemptOutcome.RELEASED)
        case HandedBack(checkpoint=checkpoint, gpu_seconds=gpu_seconds):
            return _evicted(claim, checkpoint, gpu_seconds, policy, jitter)
        case Evicted(gpu_seconds=gpu_seconds):
            return _evicted(claim, None, gpu_seconds, policy, jitter)
        case Broke(failure=failure, gpu_seconds=gpu_seconds):
            return _failed(claim, AttemptOutcome.FAILED, failure, gpu_seconds, policy, jitter)
        case Lost(failure=failure, gpu_seconds=gpu_seconds):
            return _failed(claim, AttemptOutcome.LOST, failure, gpu_seconds, policy, jitter)


def blames_worker(failure: Failure) -> bool:
    """True for a failure that neither the request brought along nor what the worker depends on."""
    code = FailureCode.of(failure.code)
    return failure.retryable and not (code is not None and code.beside_the_worker)


def advanced(claim: Claim, checkpoint: Checkpoint | None) -> bool:
    """True when a checkpoint is further than the one that its claim began with."""
    if checkpoint is None:
        return False
    return checkpoint.step > (claim.checkpoint.step if claim.checkpoint is not None else 0)


def _stopped(claim: Claim, gpu_seconds: float) -> Settlement:
    # A worker stops a render only when it is told to. If nobody asked to cancel the job, the job goes on elsewhere.
    if claim.cancel_requested:
        return _settlement(claim, JobState.CANCELLED, AttemptOutcome.CANCELLED, gpu_seconds=gpu_seconds)
    return _settlement(claim, JobState.QUEUED, AttemptOutcome.RELEASED, gpu_seconds=gpu_seconds)


def _evicted(
    claim: Claim, checkpoint: Checkpoint | None, gpu_seconds: float, policy: RetryPolicy, jitter: float
) -> Settlement:
    """Free without limit while the checkpoint moves on, as the steps bound that; else free up to the policy's cap."""
    if not advanced(claim, checkpoint) and claim.evictions >= policy.max_evictions:
        failure = Failure(
            code=FailureCode.EVICTED_TOO_OFTEN, message=f"evicted {claim.evictions} times without moving on"
        )
        return _failed(claim, AttemptOutcome.EVICTED, failure, gpu_seconds, policy, jitter)
    return _settlement(
        claim,
        JobState.QUEUED,
        AttemptOutcome.EVICTED,
        evictions=claim.evictions + (0 if advanced(claim, checkpoint) else 1),
        gpu_seconds=gpu_seconds,
        checkpoint=checkpoint,
        unheard=checkpoint is None,
    )


def _failed(
    claim: Claim, outcome: AttemptOutcome, failure: Failure, gpu_seconds: float, policy: RetryPolicy, jitter: float
) -> Settlement:
    failures, code = claim.failures + 1, FailureCode.of(failure.code)
    again = failure.retryable and failures < claim.max_attempts
    return _settlement(
        claim,
        JobState.QUEUED if again else JobState.FAILED,
        outcome,
        failures=failures,
        delay_s=policy.delay_s(failures, jitter) if again else 0.0,
        gpu_seconds=gpu_seconds,
        failure=failure,
        start_over=code is None or not code.beside_the_render,
        unheard=outcome is not AttemptOutcome.FAILED,
    )


def _settlement(
    claim: Claim,
    state: JobState,
    outcome: AttemptOutcome,
    *,
    failures: int | None = None,
    evictions: int | None = None,
    delay_s: float = 0.0,
    gpu_seconds: float = 0.0,
    failure: Failure | None = None,
    result: VideoResult | None = None,
    checkpoint: Checkpoint | None = None,
    start_over: bool = False,
    unheard: bool = False,
) -> Settlement:
    return Settlement(
        job_id=claim.job_id,
        token=claim.token,
        state=require(JobState.RUNNING, state),
        outcome=outcome,
        failures=claim.failures if failures is None else failures,
        evictions=claim.evictions if evictions is None else evictions,
        delay_s=delay_s,
        gpu_seconds=gpu_seconds,
        failure=failure,
        result=result,
        checkpoint=checkpoint,
        start_over=start_over,
        unheard=unheard,
    )
