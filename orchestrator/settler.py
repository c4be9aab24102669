"""Ends claims: decides with `settle`, writes once, counts and logs. Lost claims are first looked for in S3."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from orchestrator import logs, metrics, results
from orchestrator.domain.errors import ObjectsUnavailable
from orchestrator.domain.job import Claim
from orchestrator.domain.outcome import Ending, Lost, Settlement, settle
from orchestrator.domain.protocol import Rendered
from orchestrator.domain.retry import RetryPolicy
from orchestrator.ports import JobStore, ObjectStore, Settled, SettleResult

_log = logs.get("settler")


class Settler:
    """The one way in which a claim ends, whoever noticed that it did."""

    def __init__(self, store: JobStore, objects: ObjectStore, policy: RetryPolicy, jitter: random.Random) -> None:
        self._store = store
        self._objects = objects
        self._policy = policy
        self._jitter = jitter

    async def end(self, endings: Sequence[tuple[Claim, Ending]]) -> list[tuple[Claim, Ending, SettleResult]]:
        """Settle claims; each comes back with what it ended as and what the write found.

        A lost claim whose video is complete in S3 is published from there. While S3 does not answer, lost claims are
        left out of the answer: nobody can tell yet what became of them, and a later call will.

        Raises `StoreUnavailable`; then the same endings may simply be given again.
        """
        known = [pair for pair in [(claim, await self._recover(claim, ending)) for claim, ending in endings] if pair[1]]
        if not known:
            return []
        pairs = [(claim, ending) for claim, ending in known if ending is not None]
        settlements = [settle(claim, ending, self._policy, self._jitter.random()) for claim, ending in pairs]
        found = await self._store.settle(settlements)
        for (claim, ending), settlement, result in zip(pairs, settlements, found, strict=True):
            _account(claim, ending, settlement, result)
        return [(claim, ending, result) for (claim, ending), result in zip(pairs, found, strict=True)]

    async def _recover(self, claim: Claim, ending: Ending) -> Ending | None:
        if not isinstance(ending, Lost):
            return ending
        try:
            result = await asyncio.to_thread(results.recover, self._objects, claim)
        except ObjectsUnavailable as error:
            _log.warning("lost_claim_waits_for_s3", error=str(error), **logs.fields(claim))
            return None
        if result is None:
            return ending
        metrics.recovered.inc()
        _log.info("recovered", **logs.fields(claim))
        return Rendered(result=result)


def _account(claim: Claim, ending: Ending, settlement: Settlement, result: SettleResult) -> None:
    metrics.settle_results.labels(result.settled).inc()
    fields = {**logs.fields(claim), "outcome": settlement.outcome, "state": result.state}
    if result.settled is not Settled.APPLIED:
        _log.warning("settlement_not_applied", settled=result.settled, **fields)
        return
    metrics.attempts.labels(claim.pool, settlement.outcome).inc()
    if result.state is not None and result.state.terminal:
        metrics.jobs_ended.labels(claim.pool, result.state).inc()
    if isinstance(ending, Rendered):
        metrics.render_seconds.labels(claim.pool).observe(ending.result.gpu_seconds)
        for stage, seconds in ending.result.stages.items():
            metrics.stage_seconds.labels(claim.pool, stage).observe(seconds)
    failure = settlement.failure
    _log.info("attempt_ended", failure=failure.code if failure else None, **fields)
