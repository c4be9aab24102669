"""How many workers each pool should have -> that many workers."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from orchestrator import logs
from orchestrator.attempt import worker_vanished
from orchestrator.config import Settings
from orchestrator.domain.errors import WorkerLost, WorkerUnreachable
from orchestrator.domain.outcome import Lost
from orchestrator.fleet import Seat
from orchestrator.ports import WorkerPlan
from orchestrator.watcher import Desk

_log = logs.get("scaler")


def plans(settings: Settings) -> dict[str, WorkerPlan]:
    """The workers that the configuration asks for, by name: `<pool>-<index>`."""
    return {
        f"{name}-{index}": WorkerPlan(
            name=f"{name}-{index}",
            pool=name,
            model=pool.model,
            family=settings.models[pool.model].family,
            path=settings.models[pool.model].path,
            s3=settings.s3,
            gpus=pool.gpus_per_worker,
        )
        for name, pool in settings.pools.items()
        for index in range(pool.workers)
    }


def surplus(existing: Collection[str], wanted: Collection[str]) -> list[str]:
    """Workers that exist and are not wanted, in a stable order."""
    return sorted(set(existing) - set(wanted))


class Scaler:
    """Starts what is missing, ends what is too much once it holds nothing, and the claims of what is gone for good."""

    def __init__(self, desk: Desk, wanted: Mapping[str, WorkerPlan]) -> None:
        self._desk = desk
        self._wanted = wanted

    async def run_once(self) -> list[Seat]:
        """Bring the workers closer to what is wanted; the seats of all that exist now."""
        desk = self._desk
        existing = await desk.pool.list_workers()
        for name in sorted(set(self._wanted) - set(existing)):
            _log.info("worker_started", worker=name)
            await desk.pool.start(self._wanted[name])
        for name in surplus(existing, self._wanted):
            await self._let_go(name)
        names = {*existing, *self._wanted}
        for name in set(desk.fleet.seats) - names:
            desk.fleet.leave(name)
        now = desk.clock.monotonic()
        await self._end_homeless(names, now)
        return [desk.fleet.seat(name, self._pool_of(name), now) for name in sorted(names)]

    async def _end_homeless(self, names: Collection[str], now: float) -> None:
        """End the claims of workers that do not exist and that nobody will start again."""
        desk = self._desk
        homeless = [claim for claim in desk.fleet.all_aged(now) if claim.worker.name not in names]
        late = [claim for claim in homeless if claim.age_s > desk.limits.unheld_grace_s]
        for claim, _, _ in await desk.settler.end([(claim, Lost(failure=worker_vanished(claim))) for claim in late]):
            desk.fleet.drop(claim.token)

    def _pool_of(self, name: str) -> str:
        plan = self._wanted.get(name)
        return plan.pool if plan is not None else name.rpartition("-")[0]

    async def _let_go(self, name: str) -> None:
        desk = self._desk
        seat = desk.fleet.seats.get(name)
        if seat is None or seat.status is None:
            return  # not heard from yet: what it holds is unknown
        try:
            seat.draining = True
            await desk.pool.drain(name, desk.caller)
        except (WorkerUnreachable, WorkerLost) as error:
            _log.info("drain_unanswered", worker=name, error=str(error)[:200])
            return
        if not seat.status.renders and not desk.fleet.held_by(name):
            _log.info("worker_stopped", worker=name)
            await desk.pool.kill(name, restart=False)
