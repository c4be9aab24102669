"""From rows to domain values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row

from orchestrator.domain.job import (
    Artifact,
    Checkpoint,
    Claim,
    Failure,
    Incident,
    Job,
    RenderSpec,
    VideoResult,
    WorkerRef,
)
from orchestrator.domain.states import JobState
from orchestrator.store.tables import jobs
from orchestrator.telemetry import aside

JOB_COLUMNS = (
    jobs.c.id, jobs.c.tenant, jobs.c.pool, jobs.c.priority, jobs.c.state, jobs.c.spec, jobs.c.cost, jobs.c.request,
    jobs.c.created_at, jobs.c.started_at, jobs.c.finished_at, jobs.c.claims, jobs.c.failures, jobs.c.evictions,
    jobs.c.max_attempts, jobs.c.cancel_requested_at, jobs.c.stage, jobs.c.step, jobs.c.failure, jobs.c.result,
    jobs.c.preview, jobs.c.checkpoint, jobs.c.incidents, jobs.c.ready, jobs.c.charge,
)  # fmt: skip

# A claim's, of `jobs AS j`: for SELECT, and for the RETURNING of the claim, whose `age_s` is thus 0.
CLAIM_COLUMNS = """
    j.id, j.token, j.claims, j.tenant, j.pool, j.priority, j.spec, j.cost, j.failures, j.evictions, j.max_attempts,
    j.worker, j.incarnation, j.checkpoint, extract(epoch FROM cogmill_now() - j.claimed_at)::float8 AS age_s,
    greatest(0, extract(epoch FROM j.claimed_at - j.run_at))::float8 AS waited_s,
    j.cancel_requested_at IS NOT NULL AS cancel_requested, j.trace"""


def job(row: Row[Any]) -> Job:
    """A job from a row of `JOB_COLUMNS`."""
    return Job(
        id=row.id,
        tenant=row.tenant,
        pool=row.pool,
        priority=row.priority,
        state=JobState(row.state),
        spec=RenderSpec.from_dict(row.spec),
        cost=row.cost,
        request=row.request,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        claims=row.claims,
        failures=row.failures,
        evictions=row.evictions,
        max_attempts=row.max_attempts,
        cancel_requested=row.cancel_requested_at is not None,
        stage=row.stage,
        step=row.step,
        failure=None if row.failure is None else Failure(**row.failure),
        result=None if row.result is None else VideoResult.from_dict(row.result),
        preview=None if row.preview is None else Artifact(**row.preview),
        checkpoint=_checkpoint(row),
        incidents=Incident.known(row.incidents or ()),
        ready=row.ready,
        charge=row.charge,
    )


def claim(row: Row[Any]) -> Claim:
    """A claim from a row of `CLAIM_COLUMNS`."""
    return Claim(
        job_id=row.id,
        token=row.token,
        number=row.claims,
        tenant=row.tenant,
        pool=row.pool,
        priority=row.priority,
        spec=RenderSpec.from_dict(row.spec),
        cost=row.cost,
        failures=row.failures,
        evictions=row.evictions,
        max_attempts=row.max_attempts,
        worker=WorkerRef(name=row.worker, incarnation=row.incarnation),
        age_s=row.age_s,
        waited_s=row.waited_s,
        cancel_requested=row.cancel_requested,
        checkpoint=_checkpoint(row),
        trace=row.trace,
    )


def claims(found: Iterable[Row[Any]]) -> list[Claim]:
    """Claims of such rows. One that cannot be read is left out, so that it holds up no other."""
    read = []
    for row in found:
        with aside.unless_it_breaks("claims", job=row.id.hex, worker=row.worker):
            read.append(claim(row))
    return read


def _checkpoint(row: Row[Any]) -> Checkpoint | None:
    return None if row.checkpoint is None else Checkpoint.from_dict(row.checkpoint)
