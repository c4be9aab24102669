"""Workers whose heartbeat stood still for a time-to-live -> dead; claims of dead workers -> recovered or lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.dispatch.recovery import Recovery
from orchestrator.dispatch.verdict import Death, worker_vanished
from orchestrator.domain.outcome import Lost
from orchestrator.ports import Clock, Heartbeat, JobStore
from orchestrator.telemetry import aside, logs, metrics

_log = logs.get("rescuer")

_Key = tuple[str, str, str]


@dataclass(slots=True)
class Silence:
    """For how long each heartbeat has been seen unchanged, on our own monotonic clock and no other.

    A clock step on the database's host, or a database that was down, moves nothing here: only readings count.
    """

    _seen: dict[_Key, tuple[int, float]] = field(default_factory=dict)
    _last_look: float | None = None

    def expired(self, beats: Sequence[Heartbeat], now: float, ttl_s: float) -> list[Heartbeat]:
        """Heartbeats unchanged for `ttl_s`. A gap between looks of over half of that starts every count anew."""
        if self._last_look is not None and now - self._last_look > ttl_s / 2:
            self._seen.clear()
        self._last_look = now
        seen: dict[_Key, tuple[int, float]] = {}
        for beat in beats:
            key = (beat.cluster, beat.worker.name, beat.worker.incarnation)
            earlier = self._seen.get(key)
            seen[key] = earlier if earlier is not None and earlier[0] == beat.beat else (beat.beat, now)
        self._seen = seen
        return [
            beat for beat in beats if now - seen[beat.cluster, beat.worker.name, beat.worker.incarnation][1] >= ttl_s
        ]


class Rescuer:
    """Ends what dead owners left. Several may run at once: every write is fenced."""

    def __init__(self, store: JobStore, recovery: Recovery, clock: Clock, ttl_s: float) -> None:
        self._store = store
        self._recovery = recovery
        self._clock = clock
        self._ttl_s = ttl_s
        self._silence = Silence()

    async def expire(self) -> int:
        """Declare silent workers dead; how many. Waits for nothing but the database, so that it looks often enough."""
        beats = await self._store.heartbeats()
        expired = 0
        for beat in self._silence.expired(beats, self._clock.monotonic(), self._ttl_s):
            with aside.unless_it_breaks("expire", worker=beat.worker.name):
                if await self._store.declare_dead(beat.cluster, beat.worker, beat=beat.beat):
                    expired += 1
                    metrics.lease_expiries.labels(Death.SILENT).inc()
                    _log.error("lease_expired", worker=beat.worker.name, cluster=beat.cluster, reason=Death.SILENT)
        return expired

    async def rescue(self) -> int:
        """End every claim of a dead worker; how many. May wait for S3."""
        orphans = await self._store.orphaned()
        self._recovery.add((claim, Lost(failure=worker_vanished(claim))) for claim in orphans)
        return await self._recovery.run_once()
