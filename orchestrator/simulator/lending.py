"""Guarantees in a simulation: which renders the product has leave (`policy/guarantees.py`).

The rule reads what workers answer and what their dispatcher holds, so both are told here as a real fleet tells them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from orchestrator.domain.delivery import Delivery
from orchestrator.domain.job import Artifact, Checkpoint, Claim, RenderSpec, WorkerRef
from orchestrator.domain.protocol import RenderStatus, Stage, WorkerState, WorkerStatus
from orchestrator.policy.guarantees import GiveBack, Standing, give_back
from orchestrator.simulator.jobs import Job
from orchestrator.simulator.workers import Worker

# As the dispatcher's loop has it.
EVERY_S = 1.0

# What the rule does not read.
_SPEC = RenderSpec(
    model="", prompt="", width=1, height=1, num_frames=1, fps=1, num_inference_steps=1, guidance_scale=1.0, seed=0,
    delivery=Delivery(width=1, height=1, num_frames=1, fps=1),
)  # fmt: skip
_ARTIFACT = Artifact(key="", size=0, sha256="", content_type="")


def leaving(
    standings: Sequence[Standing],
    workers: Iterable[Worker],
    told: Collection[Job],
    now: float,
    *,
    checkpoint_every_s: float,
) -> list[tuple[Worker, list[Job]]]:
    """Workers that are given back, each with its renders that leave; `told` are those that are on their way already."""
    here = {_ref(worker): worker for worker in workers}
    takers = [status_of(worker, now, checkpoint_every_s) for worker in here.values()]
    jobs = {_token(job): job for worker in here.values() for job in worker.held}
    claims = [claim_of(job, worker, now) for worker in here.values() for job in worker.held]
    found: dict[Worker, list[Job]] = {}
    for each in decided(standings, takers, claims, told):
        found.setdefault(here[each.claim.worker], []).append(jobs[each.claim.token])
    return list(found.items())


def decided(
    standings: Sequence[Standing], takers: Collection[WorkerStatus], claims: Collection[Claim], told: Collection[Job]
) -> list[GiveBack]:
    """The product's decision."""
    return give_back(standings, takers, claims, {_token(job) for job in told})


def status_of(worker: Worker, now: float, checkpoint_every_s: float) -> WorkerStatus:
    """What a worker that is ready would answer now."""
    job, speed = worker.job, worker.table.speed
    left_s = sum(parked.left_s for parked in worker.parked) / speed
    return WorkerStatus(
        worker=_ref(worker),
        pool=worker.pool,
        plan="",
        model="",
        state=WorkerState.READY,
        version=worker.version,
        free_in_s=left_s if job is None else left_s + max(0.0, worker.until - now),
        room=1,
        step_s=0.0 if job is None else job.step_s / speed,
        gpu_busy_s=0.0,
        renders=tuple(_render(worker, held, now, checkpoint_every_s) for held in worker.held),
    )


def claim_of(job: Job, worker: Worker, now: float) -> Claim:
    """What its dispatcher would hold of a render."""
    return Claim(
        job_id=_token(job),
        token=_token(job),
        number=1,
        tenant=job.tenant,
        pool=worker.pool,
        priority=job.priority,
        spec=_SPEC,
        cost=job.cost,
        failures=job.failures,
        evictions=0,
        max_attempts=1,
        worker=_ref(worker),
        age_s=now - job.claimed_at,
    )


def _render(worker: Worker, job: Job, now: float, checkpoint_every_s: float) -> RenderStatus:
    ran_s = max(0.0, now - worker.since) * worker.table.speed if job is worker.job else 0.0
    done_s, unsaved_s = job.seconds - job.left_s + ran_s, job.unsaved_s + ran_s
    if checkpoint_every_s:
        unsaved_s %= checkpoint_every_s * worker.table.speed
    stored = int((done_s - unsaved_s) / job.step_s)
    return RenderStatus(
        token=_token(job),
        job_id=_token(job),
        claim=1,
        stage=_stage(worker, job, now),
        step=int(done_s / job.step_s),
        # Its decode counts as so many steps more, as for interruptions.
        steps=max(1, round(job.seconds / job.step_s)),
        progress_age_s=0.0,
        checkpoint=Checkpoint(artifact=_ARTIFACT, step=stored, numerics="") if stored else None,
    )


def _stage(worker: Worker, job: Job, now: float) -> Stage:
    if job is not worker.job:
        return Stage.PREEMPTED
    if now < worker.since:
        return Stage.ASSIGNED
    return Stage.DENOISING if worker.next_step_at(now) is not None else Stage.DECODING


def _ref(worker: Worker) -> WorkerRef:
    return WorkerRef(name=worker.name, incarnation="")


def _token(job: Job) -> UUID:
    return UUID(int=job.number)
