"""Ends claims: decides with `settle`, writes once, counts and logs."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

from orchestrator.dispatch.traces import trace_attempt
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import Claim, Continuity, Failure
from orchestrator.domain.outcome import AttemptOutcome, Ending, Evicted, Lost, Recovered, Settlement, advanced, settle
from orchestrator.domain.protocol import Broke, HandedBack, Rendered
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.states import JobState
from orchestrator.domain.timeline import Timeline
from orchestrator.policy import charge
from orchestrator.ports import JobStore, Settled, SettleResult
from orchestrator.telemetry import aside, logs, metrics

_TRIES = 3

_log = logs.get("settler")


class Settler:
    """The one way in which a claim ends, whoever noticed that it did.

    `used` is what is known of the GPU seconds of a claim that cannot say so itself any more, `finishing_s` what is
    known of its seconds of a finisher, `timeline` of what it went through. For the ledger, `kind_of(pool, worker)` is a
    worker's kind, and `price_of(pool, kind)` what a GPU second of it costs.
    """

    def __init__(
        self,
        store: JobStore,
        policy: RetryPolicy,
        jitter: random.Random,
        used: Callable[[UUID], float] = lambda token: 0.0,
        kind_of: Callable[[str, str], str] = lambda pool, worker: "",
        price_of: Callable[[str, str], float | None] = lambda pool, kind: None,
        finishing_s: Callable[[UUID], float] = lambda token: 0.0,
        timeline: Callable[[UUID], Timeline] = lambda token: (),
    ) -> None:
        self._store = store
        self._policy = policy
        self._jitter = jitter
        self._used = used
        self._kind_of = kind_of
        self._price_of = price_of
        self._finishing_s = finishing_s
        self._timeline = timeline
        # Claims whose ending could not be written, and how often that was tried.
        self._broken: Counter[UUID] = Counter()

    async def end(self, endings: Sequence[tuple[Claim, Ending]]) -> list[tuple[Claim, Ending, SettleResult]]:
        """Settle claims in one transaction; each comes back with what the write found.

        Raises `StoreUnavailable`, or what broke one of them; then the same endings may simply be given again.
        """
        if not endings:
            return []
        try:
            return await self._end(endings)
        except Unavailable:
            raise
        except Exception:
            return await self._end_each(endings)

    async def _end_each(self, endings: Sequence[tuple[Claim, Ending]]) -> list[tuple[Claim, Ending, SettleResult]]:
        """One ending breaks the writing of all: each by itself. The one that does is raised, the others are written.

        How it ended cannot be written then, so after some tries it is written that it cannot: a job must not run for
        ever.
        """
        settled, broken = [], None
        for claim, ending in endings:
            try:
                settled += await self._end([(claim, ending)])
                self._broken.pop(claim.token, None)
            except Unavailable:
                raise
            except Exception as error:
                evidence = aside.put("settle", error, **logs.fields(claim))
                self._broken[claim.token] += 1
                if self._broken[claim.token] < _TRIES:
                    broken = error
                    continue
                del self._broken[claim.token]
                failure = Failure(code=FailureCode.RENDER_ERROR, message=f"its end cannot be written: {evidence}")
                settled += await self._end([(claim, Broke(failure=failure, gpu_seconds=self._used(claim.token)))])
        if broken is not None:
            raise broken  # those that are written come back, and are found to be
        return settled

    async def _end(self, endings: Sequence[tuple[Claim, Ending]]) -> list[tuple[Claim, Ending, SettleResult]]:
        endings = [(claim, self._booked(claim, ending)) for claim, ending in endings]
        settlements = [self._settlement(claim, ending) for claim, ending in endings]
        began = time.monotonic()
        found = await self._store.settle(settlements)
        took_s = time.monotonic() - began
        settled = []
        for (claim, ending), settlement, result in zip(endings, settlements, found, strict=True):
            _account(claim, ending, settlement, result)
            trace_attempt(claim, settlement, result, took_s)
            settled.append((claim, ending, result))
        return settled

    def _settlement(self, claim: Claim, ending: Ending) -> Settlement:
        kind = self._kind_of(claim.pool, claim.worker.name)
        settlement = settle(claim, ending, self._policy, self._jitter.random())
        charged = charge.charge(settlement.gpu_seconds, self._finished_s(claim, ending))
        charged_beyond = charge.beyond(charged, settlement.gpu_seconds)
        price, seen = self._price_of(claim.pool, kind), self._timeline(claim.token) or None
        return replace(settlement, kind=kind, price=price, charge=charged_beyond, timeline=seen)

    def _finished_s(self, claim: Claim, ending: Ending) -> float:
        """Seconds of a finisher: what a video came about with, else what its worker has said."""
        if isinstance(ending, Rendered | Recovered):
            return charge.finishing_s(ending.result.stages)
        return self._finishing_s(claim.token)

    def _booked(self, claim: Claim, ending: Ending) -> Ending:
        """The ending with what its worker last said that it cost, where nobody is left to say it."""
        if isinstance(ending, Lost | Evicted) and ending.gpu_seconds == 0:
            return replace(ending, gpu_seconds=self._used(claim.token))
        return ending


def _account(claim: Claim, ending: Ending, settlement: Settlement, result: SettleResult) -> None:
    metrics.settle_results.labels(result.settled).inc()
    fields = {**logs.fields(claim), "outcome": settlement.outcome, "state": result.state}
    if result.settled is not Settled.APPLIED:
        _log.warning("settlement_not_applied", settled=result.settled, **fields)
        return
    metrics.attempts.labels(claim.pool, settlement.outcome).inc()
    if result.state is not None and result.state.terminal:
        metrics.jobs_ended.labels(claim.pool, result.state).inc()
    if result.state is JobState.FAILED and settlement.failure is not None:
        code = FailureCode.of(settlement.failure.code)
        fault = "request" if code is not None and code.of_the_request else "service"
        metrics.jobs_failed.labels(claim.pool, code or "other", fault).inc()
    if settlement.outcome is AttemptOutcome.EVICTED:
        moved = isinstance(ending, HandedBack) and advanced(claim, ending.checkpoint)
        metrics.evictions.labels(claim.pool, "advanced" if moved else "stood_still").inc()
    if isinstance(ending, Rendered | Recovered):
        if ending.result.continuity is not Continuity.WHOLE:
            metrics.resumes.labels(claim.pool, ending.result.continuity).inc()
        metrics.render_seconds.labels(claim.pool).observe(ending.result.gpu_seconds)
        for stage, seconds in ending.result.stages.items():
            metrics.stage_seconds.labels(claim.pool, stage).observe(seconds)
    failure = settlement.failure
    _log.info("attempt_ended", failure=failure.code if failure else None, **fields)
