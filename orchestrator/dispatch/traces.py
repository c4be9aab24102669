"""An attempt as spans of its job's trace, all of them made when it is settled.

Whoever settles an attempt knows from when until when it was held, by the database's clock, and what its worker has said
of it, by the worker's. So a worker needs neither OpenTelemetry nor a way to a collector, one that dies leaves the
stages that it told of, and a dispatcher that starts in the middle of a render makes the same spans as the one before.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from orchestrator.domain.job import Claim
from orchestrator.domain.outcome import AttemptOutcome, Settlement
from orchestrator.domain.timeline import placed
from orchestrator.domain.trace import TraceContext, of_row
from orchestrator.ports import SettleResult
from orchestrator.telemetry import tracing
from orchestrator.telemetry.tracing import Kind, Value

_WELL = frozenset({AttemptOutcome.SUCCEEDED, AttemptOutcome.RELEASED, AttemptOutcome.EVICTED, AttemptOutcome.CANCELLED})


def trace_attempt(claim: Claim, settlement: Settlement, result: SettleResult, took_s: float) -> None:
    """What a claim waited for, went through and ended as. `took_s` are the seconds that writing its end took.

    Nothing where tracing is off, its trace is not recorded, or somebody else has ended it.
    """
    job = of_row(claim.trace) if tracing.active() else None
    if job is None or not job.sampled or result.claimed_at is None or result.ended_at is None:
        return
    began, ended = result.claimed_at, result.ended_at
    names = _names(claim)
    waited = timedelta(seconds=claim.waited_s)
    tracing.record("wait", job, began - waited, began, names)
    error = None if settlement.outcome in _WELL else _code(settlement)
    attempt = tracing.record(
        f"attempt {claim.number}", job, began, ended, names | _end(claim, settlement, result), kind=Kind.CONSUMER,
        error=error,
    )  # fmt: skip
    _stages(attempt, settlement, began, ended, names)
    tracing.record("settlement", attempt, ended, ended + timedelta(seconds=took_s), names)


def _stages(
    attempt: TraceContext, settlement: Settlement, began: datetime, ended: datetime, names: Mapping[str, Value]
) -> None:
    for stage, start, end in placed(settlement.timeline or (), began, ended):
        tracing.record(stage, attempt, start, end, {**names, "cogmill.stage": stage})


def _names(claim: Claim) -> dict[str, Value]:
    return {
        "cogmill.job": claim.job_id.hex,
        "cogmill.tenant": claim.tenant,
        "cogmill.model": claim.spec.model,
        "cogmill.pool": claim.pool,
        "cogmill.attempt": claim.number,
    }


def _end(claim: Claim, settlement: Settlement, result: SettleResult) -> dict[str, Value]:
    # A cancel that committed first turned it into another end.
    cancelled = result.state is not None and result.state is not settlement.state
    return {
        "cogmill.priority": claim.priority,
        "cogmill.worker": claim.worker.name,
        "cogmill.outcome": AttemptOutcome.CANCELLED if cancelled else settlement.outcome,
        "cogmill.state": result.state or settlement.state,
        "cogmill.gpu_seconds": settlement.gpu_seconds,
        "cogmill.resumed_at": 0 if claim.checkpoint is None else claim.checkpoint.step,
    }


def _code(settlement: Settlement) -> str:
    return settlement.outcome.value if settlement.failure is None else settlement.failure.code
