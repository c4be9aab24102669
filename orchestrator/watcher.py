"""Watches one worker: a long poll, and what follows from each answer."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator import logs, metrics
from orchestrator.attempt import Action, Cancel, Disown, End, Kill, Rules, decide, worker_vanished
from orchestrator.domain.errors import WorkerError, WorkerLost, WorkerUnreachable
from orchestrator.domain.job import Claim
from orchestrator.domain.outcome import Ending, Lost
from orchestrator.domain.protocol import Caller, Rendered, RenderStatus, WorkerStatus
from orchestrator.domain.watchdog import Patience
from orchestrator.fleet import Fleet, Seat
from orchestrator.ports import Clock, JobStore, WorkerPool
from orchestrator.settler import Settler

_log = logs.get("watcher")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds: how long a poll waits, how long silence may last, and what `attempt.decide` goes by."""

    poll_s: float
    ttl_s: float
    patience: Patience
    unheld_grace_s: float
    load_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What every watcher of a dispatcher works with."""

    cluster: str
    caller: Caller
    fleet: Fleet
    store: JobStore
    pool: WorkerPool
    settler: Settler
    clock: Clock
    limits: Limits


class Watcher:
    """One worker's watcher. `run_once` is one poll and its consequences."""

    def __init__(self, desk: Desk, seat: Seat) -> None:
        self._desk = desk
        self._seat = seat
        self._version = 0

    async def run_once(self) -> None:
        """Poll and act. Raises `StoreUnavailable` (call again: the worker still holds everything) or `StaleEpoch`."""
        desk, seat = self._desk, self._seat
        try:
            status = await desk.pool.poll(seat.name, desk.caller, version=self._version, timeout_s=desk.limits.poll_s)
        except WorkerUnreachable as error:
            await self._unreachable(error)
            return
        except WorkerLost as error:
            await self._vanished(error)
            return
        now = desk.clock.monotonic()
        before = desk.fleet.heard(seat, status, now)
        _count(before, status)
        if not await self._registered(status):
            return
        rules = Rules(
            patience=desk.limits.patience,
            unheld_grace_s=desk.limits.unheld_grace_s,
            load_s=desk.limits.load_s,
            speed=desk.fleet.speed(seat.pool).factor,
        )
        actions = decide(status, now - seat.state_since, desk.fleet.aged(seat.name, now), rules)
        self._version = status.version
        try:
            await self._carry_out(actions)
        except BaseException:
            self._version = 0  # ask again at once: what was not carried out is decided anew
            raise

    async def _registered(self, status: WorkerStatus) -> bool:
        """Give a new incarnation its row before it may be given work; False when it was declared dead."""
        desk, seat = self._desk, self._seat
        if seat.registered == status.worker:
            return True
        if status.worker in await desk.store.beat(desk.cluster, {status.worker: status.pool}):
            _log.warning("worker_was_declared_dead", worker=seat.name, incarnation=status.worker.incarnation)
            await self._kill()
            return False
        seat.registered = status.worker
        seat.beaten_at = desk.clock.monotonic()
        desk.fleet.changed.set()
        return True

    async def _carry_out(self, actions: list[Action]) -> None:
        desk, seat = self._desk, self._seat
        for action in actions:
            match action:
                case Kill(reason):
                    _log.error("worker_killed", worker=seat.name, reason=reason)
                    metrics.lease_expiries.labels("hung").inc()
                    await self._kill()
                case Cancel(token):
                    await desk.pool.cancel(seat.name, desk.caller, token)
                case Disown(render):
                    await self._disown(render)
                case End():
                    pass
        await self._end([(action.claim, action.ending) for action in actions if isinstance(action, End)])

    async def _end(self, endings: list[tuple[Claim, Ending]]) -> None:
        desk = self._desk
        for claim, ending, _ in await desk.settler.end(endings):
            desk.fleet.drop(claim.token)
            if isinstance(ending, Rendered):
                desk.fleet.learn(claim, ending.result.gpu_seconds)
            try:
                await desk.pool.forget(claim.worker.name, desk.caller, claim.token)
            except (WorkerUnreachable, WorkerLost) as error:
                # The next poll shows the ended render again, as one that nobody knows, and it is forgotten then.
                _log.info("forget_failed", error=str(error), **logs.fields(claim))

    async def _disown(self, render: RenderStatus) -> None:
        """Stop what the database does not know; what it does know was claimed in our absence and is adopted."""
        desk, seat = self._desk, self._seat
        before = set(desk.fleet.claims)
        running = await desk.store.running(desk.cluster)
        desk.fleet.reconcile(before, running, desk.clock.monotonic())
        if render.token in desk.fleet.claims:
            return
        if render.end is None:
            metrics.unknown_tokens.inc()
            _log.warning("unknown_token", job=render.job_id.hex, attempt=render.claim, worker=seat.name)
            await desk.pool.cancel(seat.name, desk.caller, render.token)
        else:
            await desk.pool.forget(seat.name, desk.caller, render.token)

    async def _unreachable(self, error: WorkerError) -> None:
        desk, seat = self._desk, self._seat
        silent_s = desk.clock.monotonic() - seat.heard_at
        _log.info("worker_unreachable", worker=seat.name, silent_s=round(silent_s, 1), error=str(error)[:200])
        if silent_s > desk.limits.ttl_s:
            _log.error("worker_killed", worker=seat.name, reason=f"silent for {silent_s:.0f} s")
            await self._kill()
            await self._lost("silent")
            seat.heard_at = desk.clock.monotonic()
        await desk.clock.sleep(min(1.0, desk.limits.poll_s))

    async def _vanished(self, error: WorkerError) -> None:
        _log.warning("worker_vanished", worker=self._seat.name, error=str(error)[:200])
        await self._lost("vanished")
        await self._desk.clock.sleep(min(1.0, self._desk.limits.poll_s))

    async def _lost(self, reason: str) -> None:
        """The incarnation is gone: say so in its row, then end what it held."""
        desk, seat = self._desk, self._seat
        claims = desk.fleet.held_by(seat.name)
        for ref in {claim.worker for claim in claims} | ({seat.registered} if seat.registered else set()):
            if await desk.store.declare_dead(desk.cluster, ref):
                metrics.lease_expiries.labels(reason).inc()
        seat.status = seat.registered = None
        self._version = 0
        await self._end([(claim, Lost(failure=worker_vanished(claim))) for claim in claims])

    async def _kill(self) -> None:
        await self._desk.pool.kill(self._seat.name, restart=True)
        self._seat.status = self._seat.registered = None
        self._version = 0


def _count(before: WorkerStatus | None, status: WorkerStatus) -> None:
    """Add what happened since the last answer to the counters."""
    busy = status.gpu_busy_s - (before.gpu_busy_s if before else 0.0)
    metrics.gpu_busy_seconds.labels(status.pool).inc(max(0.0, busy))
    earlier = {render.token: render.step for render in before.renders} if before else {}
    fresh = sum(max(0, render.step - earlier.get(render.token, 0)) for render in status.renders)
    metrics.steps.labels(status.pool).inc(fresh)
