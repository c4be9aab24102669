"""Free slots -> claim -> assign, and the small duties around it. Each method is one run of one loop."""

from __future__ import annotations

import asyncio

from orchestrator import logs, metrics
from orchestrator.cluster import Cluster
from orchestrator.domain.errors import CogmillError, WorkerError
from orchestrator.domain.job import Claim
from orchestrator.domain.outcome import Evicted, Released
from orchestrator.domain.protocol import Answer, Assignment

_log = logs.get("dispatcher")


class Dispatcher:
    """Drives one Ray cluster. The loops of `service.py` call its methods; each may simply be called again."""

    def __init__(self, cluster: Cluster, pools: tuple[str, ...]) -> None:
        self._cluster = cluster
        self._pools = pools
        self._empty: set[str] = set()
        self._assignments: set[asyncio.Task[None]] = set()
        self._claiming = asyncio.Lock()
        self._draining = False

    def announce(self) -> None:
        """There may be new work: look into every pool's queue again, the ones that were empty included."""
        self._empty.clear()
        self._cluster.fleet.changed.set()

    async def run_once(self) -> int:
        """Claim for every free slot and send the assignments off; how many jobs were claimed.

        A queue that was found empty is left alone until `announce`, however often its workers report. No pool waits
        for another's worker to answer.
        """
        self._cluster.fleet.changed.clear()
        claimed = 0
        async with self._claiming:
            for pool in self._pools:
                if not self._draining and pool not in self._empty:
                    claimed += await self._claim(pool)
        return claimed

    async def _claim(self, pool: str) -> int:
        cluster = self._cluster
        slots = cluster.fleet.slots(pool)
        if not slots:
            return 0
        self._empty.add(pool)  # before the reading: an announcement while it runs must win
        claims = await cluster.store.claim(pool, cluster.name, slots)
        if len(claims) == len(slots):
            self._empty.discard(pool)
        cluster.fleet.hold(claims, cluster.clock.monotonic())
        metrics.claims.labels(pool).inc(len(claims))
        for claim in claims:
            metrics.wait_seconds.labels(pool).observe(claim.waited_s)
            task = asyncio.create_task(self._assign(claim))
            self._assignments.add(task)
            task.add_done_callback(self._assignments.discard)
        return len(claims)

    async def assigned(self) -> None:
        """Wait until every assignment that was sent off is answered, or has timed out."""
        await asyncio.gather(*self._assignments)

    async def _assign(self, claim: Claim) -> None:
        cluster = self._cluster
        try:
            answer = await cluster.pool.assign(claim.worker.name, cluster.caller, Assignment.of(claim))
            _log.info("assigned", answer=answer, **logs.fields(claim))
            if answer is not Answer.ACCEPTED:
                await self._refused(claim, answer)
        except CogmillError as error:
            # It may have arrived all the same: the next answer shows it, or the grace for unheld claims ends it.
            _log.warning("assign_unanswered", error=f"{type(error).__name__}: {error}"[:200], **logs.fields(claim))

    async def _refused(self, claim: Claim, answer: Answer) -> None:
        cluster = self._cluster
        worker = cluster.fleet.workers.get(claim.worker.name)
        if worker is not None:
            worker.status = None  # it is not what we took it for: nothing more for it before its next answer
        await cluster.settler.end([(claim, Released(reason=f"refused: {answer}"))])
        cluster.fleet.drop(claim.token)

    async def beat(self) -> int:
        """Renew the leases of the workers that were heard from since their last beat; how many."""
        cluster = self._cluster
        now = cluster.clock.monotonic()
        heard = [
            worker
            for worker in cluster.fleet.workers.values()
            if worker.registered and worker.heard_at > worker.beaten_at
        ]
        if not heard:
            return 0
        pools = {worker.registered: worker.pool for worker in heard if worker.registered is not None}
        dead = await cluster.store.beat(cluster.name, pools)
        for worker in heard:
            worker.beaten_at = now
            if worker.registered in dead:
                # Somebody declared it dead while it lived. Its claims are void, so its next answer is treated as new.
                worker.registered = None
            else:
                metrics.lease_renewals.labels(worker.pool).inc()
        return len(pools) - len(dead)

    async def cancel(self) -> int:
        """Pass on the cancel requests that have come in; how many were new."""
        cluster = self._cluster
        fresh = cluster.fleet.request_cancel(await cluster.store.cancel_requests(cluster.name))
        await asyncio.gather(*(self._stop(claim) for claim in fresh))
        return len(fresh)

    async def _stop(self, claim: Claim) -> None:
        try:
            await self._cluster.pool.cancel(claim.worker.name, self._cluster.caller, claim.token)
        except WorkerError as error:
            # The watcher sees the mark and sends it again with the worker's next answer.
            _log.info("cancel_unanswered", error=str(error)[:200], **logs.fields(claim))

    async def reconcile(self) -> None:
        """Make our claims agree with the database's: adopt what is ours, drop what somebody else has settled."""
        cluster = self._cluster
        with cluster.fleet.reading() as reading:
            reading.reconcile(await cluster.store.running(cluster.name), cluster.clock.monotonic())

    async def write_progress(self) -> int:
        """Write where renders stand that have moved; how many."""
        moved = self._cluster.fleet.unwritten_progress()
        if moved:
            await self._cluster.store.record_progress(moved)
            self._cluster.fleet.wrote(moved)
        return len(moved)

    async def wake_due(self) -> int:
        """Make jobs claimable whose time has come; how many."""
        due = await self._cluster.store.wake_due()
        if due:
            self.announce()
        return due

    async def drain(self, within_s: float) -> int:
        """Stop giving out work, wait for what is held, evict what is left; how many were evicted.

        For a stack that stops its workers with it. A dispatcher that is merely redeployed leaves them rendering.
        """
        cluster = self._cluster
        self._draining = True
        async with self._claiming:  # a claim under way is held when this is ours
            deadline = cluster.clock.monotonic() + within_s
        while cluster.fleet.claims and cluster.clock.monotonic() < deadline:
            await cluster.clock.sleep(0.05)
        left = list(cluster.fleet.claims.values())
        await asyncio.gather(*(self._stop(claim) for claim in left))
        await cluster.settler.end([(claim, Evicted(reason="the stack stops")) for claim in left])
        return len(left)
