"""Free slots -> claim -> assign, and the small duties around it. Each method is one run of one loop."""

from __future__ import annotations

import asyncio

from orchestrator import logs, metrics
from orchestrator.domain.errors import WorkerLost, WorkerUnreachable
from orchestrator.domain.job import Claim
from orchestrator.domain.outcome import Evicted, Released
from orchestrator.domain.protocol import Answer, Assignment
from orchestrator.watcher import Desk

_log = logs.get("dispatcher")


class Dispatcher:
    """Drives one Ray cluster. The loops of `service.py` call its methods; each may simply be called again."""

    def __init__(self, desk: Desk, pools: tuple[str, ...]) -> None:
        self._desk = desk
        self._pools = pools
        self._empty: set[str] = set()

    def announce(self) -> None:
        """There may be new work: look into every pool's queue again, the ones that were empty included."""
        self._empty.clear()
        self._desk.fleet.changed.set()

    async def run_once(self) -> int:
        """Claim for every free slot and assign; how many jobs were claimed.

        A queue that was found empty is left alone until `announce`, however often its workers report.
        """
        desk = self._desk
        desk.fleet.changed.clear()
        claimed = 0
        for pool in self._pools:
            slots = desk.fleet.slots(pool)
            if not slots or pool in self._empty:
                continue
            self._empty.add(pool)  # before the reading: an announcement while it runs must win
            claims = await desk.store.claim(pool, desk.cluster, slots)
            if len(claims) == len(slots):
                self._empty.discard(pool)
            desk.fleet.hold(claims, desk.clock.monotonic())
            metrics.claims.labels(pool).inc(len(claims))
            for claim in claims:
                metrics.wait_seconds.labels(pool).observe(claim.waited_s)
            await asyncio.gather(*(self._assign(claim) for claim in claims))
            claimed += len(claims)
        return claimed

    async def _assign(self, claim: Claim) -> None:
        desk = self._desk
        try:
            answer = await desk.pool.assign(claim.worker.name, desk.caller, Assignment.of(claim))
        except (WorkerUnreachable, WorkerLost) as error:
            # It may have arrived all the same: the next answer shows it, or the grace for unheld claims ends it.
            _log.warning("assign_unanswered", error=str(error)[:200], **logs.fields(claim))
            return
        _log.info("assigned", answer=answer, **logs.fields(claim))
        if answer is not Answer.ACCEPTED:
            await desk.settler.end([(claim, Released(reason=f"refused: {answer}"))])
            desk.fleet.drop(claim.token)

    async def beat(self) -> int:
        """Renew the leases of the workers that were heard from since their last beat; how many."""
        desk = self._desk
        now = desk.clock.monotonic()
        heard = [
            seat for seat in desk.fleet.seats.values() if seat.registered is not None and seat.heard_at > seat.beaten_at
        ]
        if not heard:
            return 0
        pools = {seat.registered: seat.pool for seat in heard if seat.registered is not None}
        dead = await desk.store.beat(desk.cluster, pools)
        for seat in heard:
            seat.beaten_at = now
            metrics.lease_renewals.labels(seat.pool).inc()
            if seat.registered in dead:
                # Somebody declared it dead while it lived. Its claims are void, so its next answer is treated as new.
                seat.registered = None
        return len(pools) - len(dead)

    async def cancel(self) -> int:
        """Pass on the cancel requests that have come in; how many were new."""
        desk = self._desk
        fresh = desk.fleet.request_cancel(await desk.store.cancel_requests(desk.cluster))
        for claim in fresh:
            try:
                await desk.pool.cancel(claim.worker.name, desk.caller, claim.token)
            except (WorkerUnreachable, WorkerLost) as error:
                # The watcher sees the mark and sends it again with the worker's next answer.
                _log.info("cancel_unanswered", error=str(error)[:200], **logs.fields(claim))
        return len(fresh)

    async def reconcile(self) -> None:
        """Make our claims agree with the database's: adopt what is ours, drop what somebody else has settled."""
        desk = self._desk
        before = set(desk.fleet.claims)
        running = await desk.store.running(desk.cluster)
        desk.fleet.reconcile(before, running, desk.clock.monotonic())

    async def write_progress(self) -> int:
        """Write where renders stand that have moved; how many."""
        moved = self._desk.fleet.unwritten_progress()
        if moved:
            await self._desk.store.record_progress(moved)
            self._desk.fleet.wrote(moved)
        return len(moved)

    async def wake_due(self) -> int:
        """Make jobs claimable whose time has come; how many."""
        due = await self._desk.store.wake_due()
        if due:
            self.announce()
        return due

    async def drain(self, within_s: float) -> int:
        """Stop giving out work, wait for what is held, evict what is left; how many were evicted.

        For a stack that stops its workers with it. A dispatcher that is merely redeployed leaves them rendering.
        """
        desk = self._desk
        for seat in desk.fleet.seats.values():
            seat.draining = True
        deadline = desk.clock.monotonic() + within_s
        while desk.fleet.claims and desk.clock.monotonic() < deadline:
            await desk.clock.sleep(0.05)
        left = list(desk.fleet.claims.values())
        for claim in left:
            try:
                await desk.pool.cancel(claim.worker.name, desk.caller, claim.token)
            except (WorkerUnreachable, WorkerLost):
                continue
        await desk.settler.end([(claim, Evicted(reason="the stack stops")) for claim in left])
        return len(left)
