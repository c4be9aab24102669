"""Free slots -> claim -> assign, and the small duties around it. Each method is one run of one loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from orchestrator.dispatch.cluster import Cluster
from orchestrator.domain.errors import CogmillError, WorkerError
from orchestrator.domain.job import Claim, WorkerRef
from orchestrator.domain.outcome import Evicted, Released
from orchestrator.domain.pausing import pause_over
from orchestrator.domain.protocol import Answer
from orchestrator.policy import placement
from orchestrator.policy.guarantees import Standing, give_back
from orchestrator.telemetry import aside, logs, metrics

_log = logs.get("dispatcher")

# What a render needs to leave a worker that stops: a step, a copy to the CPU, an upload, and an answer.
HANDOVER_S = 5.0


class Dispatcher:
    """Drives one Ray cluster. `processes/dispatching.py` calls its methods; each may simply be called again."""

    def __init__(self, cluster: Cluster, pools: tuple[str, ...]) -> None:
        self._cluster = cluster
        self._pools = pools
        # Of each pool's queue, the priority number below which nothing waits in it; infinity when it is empty.
        self._exhausted: dict[str, float] = {}
        # Pools whose queue has nothing for workers that are crowded by these tenants.
        self._nothing_beside: set[tuple[str, tuple[str, ...]]] = set()
        self._assignments: set[asyncio.Task[None]] = set()
        self._claiming = asyncio.Lock()
        self._draining = False
        self._retires = False

    def announce(self) -> None:
        """There may be new work: look into every pool's queue again, the ones that were empty included."""
        self._exhausted.clear()
        self._nothing_beside.clear()
        self._cluster.fleet.changed.set()

    async def run_once(self) -> int:
        """Claim for every free slot, then for every worker that something more urgent may interrupt; how many jobs.

        A queue that was found empty, or without anything so urgent, is left alone until `announce`, however often its
        workers report. No pool waits for another's worker to answer.
        """
        fleet, held = self._cluster.fleet, self._cluster.claims.by_token
        fleet.changed.clear()
        claimed = 0
        async with self._claiming:
            for pool in self._pools:
                if self._draining or self._retires or self._exhausted.get(pool) == math.inf:
                    continue
                with aside.unless_it_breaks("dispatch", pool=pool):
                    for crowded, workers in placement.by_crowds(fleet.takers(pool), held.values()):
                        claimed += await self._claim_beside(pool, workers, crowded)
                    for priority, workers in placement.interruptible(fleet.takers(pool), held.values()):
                        claimed += await self._claim(pool, workers, more_urgent_than=priority)
        return claimed

    async def _claim(self, pool: str, slots: Sequence[WorkerRef], *, more_urgent_than: int | None = None) -> int:
        bound = math.inf if more_urgent_than is None else more_urgent_than
        before = self._exhausted.get(pool, -math.inf)
        if not slots or bound <= before:
            return 0
        self._exhausted[pool] = bound  # before the reading: an announcement while it runs must win
        claims = await self._take(pool, slots, more_urgent_than=more_urgent_than)
        if len(claims) == len(slots) and pool in self._exhausted:
            self._exhausted[pool] = before
        return len(claims)

    async def _claim_beside(self, pool: str, slots: Sequence[WorkerRef], crowded: tuple[str, ...]) -> int:
        """Claim for workers that have room for all but these tenants: what is not found says nothing of theirs."""
        if not crowded:
            return await self._claim(pool, slots)
        if (pool, crowded) in self._nothing_beside:
            return 0
        self._nothing_beside.add((pool, crowded))
        claims = await self._take(pool, slots, without=crowded)
        if len(claims) == len(slots):
            self._nothing_beside.discard((pool, crowded))
        return len(claims)

    async def _take(self, pool: str, slots: Sequence[WorkerRef], **which: Any) -> list[Claim]:
        """Claim for these slots and send the claims to their workers."""
        cluster = self._cluster
        warm = cluster.fleet.warmth(slots)
        asked = cluster.clock.monotonic()
        claims = await cluster.store.claim(pool, cluster.name, slots, warm=warm, **which)
        cluster.fleet.given(claims)
        cluster.claims.hold(claims, now := cluster.clock.monotonic())
        cluster.claims.claimed(claims, now - asked)
        metrics.claims.labels(pool).inc(len(claims))
        for claim in claims:
            metrics.wait_seconds.labels(pool).observe(claim.waited_s)
            task = asyncio.create_task(self._assign(claim))
            self._assignments.add(task)
            task.add_done_callback(self._assignments.discard)
        return claims

    async def assigned(self) -> None:
        """Wait until every assignment that was sent off is answered, or has timed out."""
        await asyncio.gather(*self._assignments)

    async def _assign(self, claim: Claim) -> None:
        cluster = self._cluster
        try:
            sent_s = cluster.claims.age_s(claim.token, cluster.clock.monotonic())
            assignment = await cluster.urls.assignment(claim, cluster.clock.monotonic())
            answer = await cluster.workers.assign(claim.worker.name, cluster.caller, assignment)
            took_s = cluster.claims.age_s(claim.token, cluster.clock.monotonic()) - sent_s
            cluster.claims.assigned(claim.token, sent_s, took_s)
            _log.info("assigned", answer=answer, **logs.fields(claim))
            if answer is not Answer.ACCEPTED:
                await self._refused(claim, answer)
        except CogmillError as error:
            # It may have arrived all the same: the next answer shows it, or the grace for unheld claims ends it.
            _log.warning("assign_unanswered", error=f"{type(error).__name__}: {error}"[:200], **logs.fields(claim))
        except Exception as error:
            aside.put("dispatch", error, **logs.fields(claim))

    async def _refused(self, claim: Claim, answer: Answer) -> None:
        cluster = self._cluster
        worker = cluster.fleet.workers.get(claim.worker.name)
        if worker is not None:
            worker.status = None  # it is not what we took it for: nothing more for it before its next answer
        await cluster.settler.end([(claim, Released(reason=f"refused: {answer}"))])
        cluster.claims.drop(claim.token)

    async def renew_urls(self) -> int:
        """Send workers without keys of S3 newer URLs for what they hold, before those that they have end; how many."""
        cluster = self._cluster
        due = cluster.urls.due(cluster.claims.by_token.values(), cluster.clock.monotonic())
        return sum(await asyncio.gather(*(self._renew(claim) for claim in due)))

    async def _renew(self, claim: Claim) -> bool:
        cluster = self._cluster
        try:
            assignment = await cluster.urls.assignment(claim, cluster.clock.monotonic())
            renewed = replace(assignment, renews=True)
            # Whatever it answers: the watcher sees what it holds.
            await cluster.workers.assign(claim.worker.name, cluster.caller, renewed)
        except CogmillError as error:
            cluster.urls.missed(claim.token)
            _log.warning("renewal_unanswered", error=f"{type(error).__name__}: {error}"[:200], **logs.fields(claim))
            return False
        except Exception as error:
            cluster.urls.missed(claim.token)
            aside.put("renew_urls", error, **logs.fields(claim))
            return False
        return True

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
                # What was claimed for it came to nothing, which looked like an empty queue.
                worker.registered = None
                self._exhausted.pop(worker.pool, None)
                self._nothing_beside = {each for each in self._nothing_beside if each[0] != worker.pool}
                cluster.fleet.changed.set()
            else:
                metrics.lease_renewals.labels(worker.pool).inc()
        return len(pools) - len(dead)

    async def cancel(self) -> int:
        """Pass on the cancel requests that have come in; how many were new."""
        cluster = self._cluster
        fresh = cluster.claims.request_cancel(await cluster.store.cancel_requests(cluster.name))
        await asyncio.gather(*(self._stop(claim) for claim in fresh))
        return len(fresh)

    async def _stop(self, claim: Claim) -> None:
        try:
            await self._cluster.workers.cancel(claim.worker.name, self._cluster.caller, claim.token)
        except WorkerError as error:
            # The watcher sees the mark and sends it again with the worker's next answer.
            _log.info("cancel_unanswered", error=str(error)[:200], **logs.fields(claim))
        except Exception as error:
            aside.put("cancel", error, **logs.fields(claim))

    async def write_progress(self) -> int:
        """Write where renders stand that have moved; how many."""
        cluster = self._cluster
        moved = cluster.claims.unwritten_progress(cluster.fleet.statuses())
        if moved:
            await cluster.record_progress(moved)
            cluster.claims.wrote(moved)
        return len(moved)

    async def wake_due(self) -> int:
        """Make jobs claimable whose time has come; how many."""
        due = await self._cluster.store.wake_due()
        if due:
            self.announce()
        return due

    async def rebalance(self) -> int:
        """Hand preempted renders back that idle workers could go on with, now that their queue is empty; how many."""
        empty = [pool for pool in self._pools if self._exhausted.get(pool) == math.inf]
        misplaced = [claim for pool in empty for claim in self._misplaced(pool)]
        if misplaced:
            # A paused pool only looks empty: what it hands back nobody would claim, and what runs must go on.
            pauses = await self._cluster.store.pauses()
            misplaced = [claim for claim in misplaced if pause_over(claim.pool, pauses) is None]
        return len(await self._evict(misplaced))

    def _misplaced(self, pool: str) -> list[Claim]:
        fleet = self._cluster.fleet
        return placement.misplaced(
            fleet.takers(pool), fleet.statuses(pool), self._of(pool), self._cluster.claims.leaving
        )

    def _of(self, pool: str) -> list[Claim]:
        """Our claims of a pool, each with its age."""
        claims = self._cluster.claims
        ours = [claim for claim in claims.by_token.values() if claim.pool == pool]
        return claims.aged(ours, self._cluster.clock.monotonic())

    async def give_back(self) -> int:
        """Have renders leave that were begun on workers which their tenants lack by now; how many."""
        given = 0
        for pool in self._pools:
            with aside.unless_it_breaks("give_back", pool=pool):
                standings = await self._cluster.store.standings(pool)
                metrics.guarantees_short.labels(pool).set(sum(standing.lacks for standing in standings))
                # A paused pool gives what leaves to nobody.
                if standings and pause_over(pool, await self._cluster.store.pauses()) is None:
                    given += await self._give_back(pool, standings)
        return given

    async def _give_back(self, pool: str, standings: Sequence[Standing]) -> int:
        fleet, claims = self._cluster.fleet, self._cluster.claims
        found = give_back(standings, fleet.takers(pool), self._of(pool), claims.leaving)
        for each in found:
            _log.info("giving_back", to=each.to, why=each.why, **logs.fields(each.claim))
        return len(await self._evict([each.claim for each in found]))

    async def _evict(self, claims: Sequence[Claim]) -> set[UUID]:
        """Ask workers to hand these renders back; those that will have heard it."""
        heard = await asyncio.gather(*(self._ask_back(claim) for claim in claims))
        return {claim.token for claim, yes in zip(claims, heard, strict=True) if yes}

    async def _ask_back(self, claim: Claim) -> bool:
        cluster = self._cluster
        cluster.claims.told_to_leave(claim.token)
        try:
            await cluster.workers.evict(claim.worker.name, cluster.caller, claim.token)
        except WorkerError as error:
            cluster.claims.may_stay(claim.token)
            _log.info("evict_unanswered", error=str(error)[:200], **logs.fields(claim))
            return False
        except Exception as error:
            cluster.claims.may_stay(claim.token)
            aside.put("rebalance", error, **logs.fields(claim))
            return False
        _log.info("evicting", **logs.fields(claim))
        return True

    @property
    def retires(self) -> bool:
        """Whether it gives out nothing more until `go_on`."""
        return self._retires

    async def hold_back(self) -> None:
        """Give out nothing more. No claim is under way when this returns."""
        self._retires = True
        async with self._claiming:
            pass

    def go_on(self) -> None:
        """Give out work again."""
        self._retires = False
        self.announce()

    async def hand_back(self, within_s: float) -> int:
        """Have renders leave that will not end in time, with their checkpoints, as far as workers answer; how many."""
        known = {status.worker for status in self._cluster.fleet.statuses()}
        late = self._late([it for it in self._cluster.claims.by_token.values() if it.worker in known], within_s)
        return len(await self._evict(late))

    def _late(self, claims: Sequence[Claim], within_s: float) -> list[Claim]:
        """Those that are predicted to end later than a handover before that, and have not been told to leave."""
        cluster = self._cluster
        within_s = max(0.0, within_s - HANDOVER_S)
        expected_s = cluster.expected_s(claims)
        return placement.unfinished(cluster.fleet.statuses(), claims, cluster.claims.leaving, expected_s, within_s)

    async def drain(self, within_s: float) -> int:
        """Stop giving out work and wait for what will be done in time; have the rest handed back; how many went.

        What is still held at the end is evicted without its worker's word, and loses what came after its checkpoint.
        For a stack that stops its workers with it. A dispatcher that is merely redeployed leaves them rendering.
        """
        cluster, claims = self._cluster, self._cluster.claims
        self._draining = True
        async with self._claiming:  # a claim under way is held when this is ours
            deadline = cluster.clock.monotonic() + within_s
        gone: set[UUID] = set()
        while claims.by_token and (left_s := deadline - cluster.clock.monotonic()) > 0:
            gone |= await self._evict(self._late(list(claims.by_token.values()), left_s))
            await cluster.clock.sleep(0.05)
        left = list(claims.by_token.values())
        await asyncio.gather(*(self._stop(claim) for claim in left))
        await cluster.settler.end([(claim, Evicted(reason="the stack stops")) for claim in left])
        return len(gone | {claim.token for claim in left})
