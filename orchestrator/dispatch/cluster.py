"""Everything that drives one Ray cluster, in one value: what is known of it, and the ports to act on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from orchestrator.dispatch.claims import Claims
from orchestrator.dispatch.fleet import Fleet
from orchestrator.dispatch.recovery import Recovery
from orchestrator.dispatch.settler import Settler
from orchestrator.dispatch.urls import ClaimUrls
from orchestrator.dispatch.verdict import Death, Rules
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.job import Claim, WorkerRef
from orchestrator.domain.protocol import Caller
from orchestrator.learning.lessons import Lessons
from orchestrator.ports import Clock, JobStore, Progress, Workers
from orchestrator.telemetry import aside, logs, metrics

_log = logs.get("cluster")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One cluster and its dispatcher."""

    name: str
    caller: Caller
    fleet: Fleet
    claims: Claims
    store: JobStore
    workers: Workers
    settler: Settler
    recovery: Recovery
    clock: Clock
    rules: Rules
    # Seconds that a poll waits for something new.
    poll_s: float
    # Seconds for which a worker may be silent.
    ttl_s: float
    # What finished renders teach.
    lessons: Lessons
    # What workers without keys of S3 may do.
    urls: ClaimUrls = field(default_factory=ClaimUrls)

    def expected_s(self, claims: Iterable[Claim]) -> dict[UUID, float]:
        """GPU seconds that these claims' renders take, by token and by all that is known now."""
        return {claim.token: self.lessons.book.seconds_of(claim) for claim in claims}

    async def record_progress(self, moved: Sequence[Progress]) -> None:
        """Write where renders stand; what cannot be written of one holds up no other."""
        try:
            await self.store.record_progress(moved)
        except Unavailable:
            raise
        except Exception:
            for one in moved:
                with aside.unless_it_breaks("progress", job=one.job_id.hex):
                    await self.store.record_progress([one])

    async def reconcile(self) -> None:
        """Make our claims agree with the database's: adopt what is ours, drop what somebody else has settled."""
        with self.claims.reading() as reading:
            reading.reconcile(await self.store.running(self.name), self.clock.monotonic())

    async def expire(self, worker: WorkerRef, reason: Death) -> None:
        """End an incarnation's lease for good, and count why."""
        if await self.store.declare_dead(self.name, worker):
            metrics.lease_expiries.labels(reason).inc()
            _log.warning("lease_expired", worker=worker.name, incarnation=worker.incarnation, reason=reason)
