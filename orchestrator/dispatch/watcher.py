"""Watches one worker: a long poll, and what follows from each answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from uuid import UUID

from orchestrator.dispatch.cluster import Cluster
from orchestrator.dispatch.fleet import Worker
from orchestrator.dispatch.verdict import Cancel, Death, Disown, Drain, Kill, Rest, Settle, decide, worker_vanished
from orchestrator.domain.errors import ProtocolMismatch, WorkerError, WorkerLost, WorkerUnreachable
from orchestrator.domain.job import Claim
from orchestrator.domain.loading import reason_of
from orchestrator.domain.objects import checkpoint_prefix
from orchestrator.domain.outcome import Lost
from orchestrator.domain.protocol import Rendered, RenderStatus, Stage, WorkerState, WorkerStatus
from orchestrator.domain.request import DEFAULT_PRIORITY
from orchestrator.telemetry import aside, logs, metrics

_log = logs.get("watcher")


class Watcher:
    """One worker's watcher. `run_once` is one poll and its consequences."""

    def __init__(self, cluster: Cluster, worker: Worker) -> None:
        self._cluster = cluster
        self._worker = worker
        self._version = 0

    async def run_once(self) -> None:
        """Poll and act. Raises `StoreUnavailable` (call again: the worker still holds everything) or `StaleEpoch`."""
        cluster, worker = self._cluster, self._worker
        if worker.rests(cluster.clock.monotonic()):
            await cluster.clock.sleep(min(1.0, cluster.poll_s))
            return
        try:
            status = await cluster.workers.poll(
                worker.name, cluster.caller, version=self._version, timeout_s=cluster.poll_s
            )
        except WorkerUnreachable as error:
            await self._unreachable(error)
        except WorkerLost as error:
            await self._vanished(error)
        except ProtocolMismatch as error:
            await self._cannot_talk(error)
        else:
            await self._heard(status)

    async def _heard(self, status: WorkerStatus) -> None:
        cluster, worker = self._cluster, self._worker
        now = cluster.clock.monotonic()
        last = worker.status
        if last is not None and last.state is WorkerState.LOADING and last.worker != status.worker:
            await self._died("Ray started its process again")
            return
        before = cluster.fleet.heard(worker, status, now)
        _count(before, status, cluster.claims.by_token)
        for claim in cluster.claims.aged(_begun(before, status, cluster.claims.by_token), now):
            _count_first_step(claim)
        cluster.claims.heard(status, now)
        if not await self._register(status):
            return
        claims = cluster.claims.aged(cluster.claims.held_by(worker.name), now)
        age_s, expected_s = now - worker.state_since, cluster.expected_s(claims)
        actions = decide(status, age_s, claims, cluster.rules, failed=len(worker.failed), expected_s=expected_s)
        self._version = status.version
        try:
            await self._end(status, [action for action in actions if isinstance(action, Settle)])
            for action in actions:
                match action:
                    case Cancel(token):
                        await cluster.workers.cancel(worker.name, cluster.caller, token)
                    case Disown(render):
                        await self._disown(render)
                    case Kill(reason, detail):
                        _log.error("worker_killed", worker=worker.name, reason=reason, detail=detail)
                        await self._end_life(reason, restart=True)
                    case Rest(reason, detail):
                        await self._rest(reason, detail)
                    case Drain():
                        await self._condemn()
                    case Settle():
                        pass  # ended above, all in one transaction
        except BaseException:
            self._version = 0  # ask again at once: what was not carried out is decided anew
            raise

    async def _register(self, status: WorkerStatus) -> bool:
        """Give a new incarnation its row before it may be given work; False when it was declared dead."""
        cluster, worker = self._cluster, self._worker
        if worker.registered == status.worker:
            return True
        if worker.registered is not None:
            await cluster.expire(worker.registered, Death.VANISHED)
        if status.worker in await cluster.store.beat(cluster.name, {status.worker: status.pool}):
            _log.warning("worker_was_declared_dead", worker=worker.name, incarnation=status.worker.incarnation)
            await self._end_life(Death.SILENT, restart=True)
            return False
        worker.registered = status.worker
        worker.beaten_at = cluster.clock.monotonic()
        cluster.fleet.changed.set()
        return True

    async def _end(self, status: WorkerStatus, ends: Iterable[Settle]) -> None:
        """Settle what has ended, and let the worker forget it. What is lost is first looked for in S3, elsewhere."""
        cluster, worker = self._cluster, self._worker
        if words := cluster.claims.last_words(status):
            # Before the claim ends: the next one goes on at the checkpoint, and the sweeper finds it in the row.
            await cluster.record_progress(words)
        endings = [(end.claim, end.ending) for end in ends]
        cluster.recovery.add((claim, ending) for claim, ending in endings if isinstance(ending, Lost))
        present = [(claim, ending) for claim, ending in endings if not isinstance(ending, Lost)]
        for claim, ending, _ in await cluster.settler.end(present):
            cluster.claims.drop(claim.token)
            worker.judge(claim, ending)
            if isinstance(ending, Rendered):
                cluster.lessons.take(claim, ending.result)
            try:
                await cluster.workers.forget(claim.worker.name, cluster.caller, claim.token)
            except (WorkerUnreachable, WorkerLost) as error:
                # The next poll shows the ended render again, as one that nobody knows, and it is forgotten then.
                _log.info("forget_failed", error=str(error), **logs.fields(claim))

    async def _disown(self, render: RenderStatus) -> None:
        """Stop what the database does not know; what it does know was claimed in our absence and is adopted."""
        cluster, worker = self._cluster, self._worker
        await cluster.reconcile()
        if render.token in cluster.claims.by_token:
            self._version = 0  # decide about it now, not with the worker's next change
        elif render.end is None:
            metrics.unknown_tokens.inc()
            _log.warning("unknown_token", job=render.job_id.hex, attempt=render.claim, worker=worker.name)
            await cluster.workers.cancel(worker.name, cluster.caller, render.token)
        else:
            await cluster.workers.forget(worker.name, cluster.caller, render.token)

    async def _unreachable(self, error: WorkerError) -> None:
        cluster, worker = self._cluster, self._worker
        if worker.awaited:
            await cluster.clock.sleep(min(1.0, cluster.poll_s))
            return
        silent_s = cluster.clock.monotonic() - worker.heard_at
        _log.info("worker_unreachable", worker=worker.name, silent_s=round(silent_s, 1), error=str(error)[:200])
        if silent_s > cluster.ttl_s:
            self._lose_claims()
            await self._end_life(Death.SILENT, restart=True)
            worker.heard_at = cluster.clock.monotonic()
        await cluster.clock.sleep(min(1.0, cluster.poll_s))

    async def _vanished(self, error: WorkerError) -> None:
        cluster, worker = self._cluster, self._worker
        if worker.loading:
            await self._died(str(error))
            return
        _log.warning("worker_vanished", worker=worker.name, error=str(error)[:200])
        self._lose_claims()
        if worker.registered is not None:
            await cluster.expire(worker.registered, Death.VANISHED)
        self._unknown()
        await cluster.clock.sleep(min(1.0, cluster.poll_s))

    async def _rest(self, reason: Death, detail: str) -> None:
        """It cannot load its model: end this life, and have the scaler start the next one later."""
        worker = self._worker
        said = "it is not loaded within watchdog.load_s" if reason is Death.LOADING else reason_of(detail)
        await self._end_life(reason, restart=False)
        worker.trouble = worker.trouble.failed(said, detail, self._cluster.clock.monotonic())
        self._log_trouble()

    async def _died(self, detail: str) -> None:
        """Its process ended before it had loaded its model. Ray would start it again at once, for ever."""
        worker = self._worker
        self._lose_claims()
        await self._end_life(Death.VANISHED, restart=False)
        worker.trouble = worker.trouble.died(detail, self._cluster.clock.monotonic())
        self._log_trouble()

    def _log_trouble(self) -> None:
        trouble = self._worker.trouble
        rest_s = round(trouble.rests_until - self._cluster.clock.monotonic())
        told = {"failures": trouble.failures, "again_in_s": rest_s, "detail": trouble.detail}
        _log.error("worker_cannot_load", worker=self._worker.name, reason=trouble.reason, **told)

    async def _cannot_talk(self, error: WorkerError) -> None:
        """It runs another release: what it holds is lost, and the scaler starts one of its node's present release."""
        _log.error("worker_killed", worker=self._worker.name, reason="protocol", detail=str(error))
        self._lose_claims()
        await self._cluster.workers.kill(self._worker.name, restart=False)
        self._unknown()

    async def _condemn(self) -> None:
        """Too many jobs failed on it: give it no more, and let it hand back what it holds before it is killed."""
        worker = self._worker
        if not worker.condemned:
            worker.condemned = True
            _log.error("worker_quarantined", worker=worker.name, jobs=sorted(job.hex for job in worker.failed))
            metrics.workers_quarantined.labels(worker.pool).inc()
        await self._cluster.workers.drain(worker.name, self._cluster.caller, within_s=0.0)
        life = worker.registered
        if life is not None and not worker.evident:
            with aside.unless_it_breaks("quarantine", worker=worker.name):
                await self._cluster.store.record_quarantine(self._cluster.name, life, worker.pool, worker.failed)
            worker.evident = True

    def _lose_claims(self) -> None:
        held = self._cluster.claims.held_by(self._worker.name)
        self._cluster.recovery.add((claim, Lost(failure=worker_vanished(claim))) for claim in held)

    async def _end_life(self, reason: Death, *, restart: bool) -> None:
        """End this life of the worker, by its row first: what it writes from now on is void."""
        worker = self._worker
        life = worker.status.worker if worker.status is not None else worker.registered
        if life is not None:
            await self._cluster.expire(life, reason)
        await self._cluster.workers.kill(worker.name, restart=restart)
        worker.loading = worker.loading and restart
        self._unknown()

    def _unknown(self) -> None:
        self._worker.status = self._worker.registered = None
        self._version = 0


def _count(before: WorkerStatus | None, status: WorkerStatus, claims: Mapping[UUID, Claim]) -> None:
    """Add what happened since the last answer to the counters, each occurrence once.

    A first answer is a start: others counted its past. What happens between a worker's last answer and its death, or
    begins and ends between two answers (a short wait for another render), is not seen.
    """
    if before is None:
        return
    metrics.gpu_busy_seconds.labels(status.pool).inc(max(0.0, status.gpu_busy_s - before.gpu_busy_s))
    earlier = {render.token: render for render in before.renders}
    for render in status.renders:
        was, claim = earlier.get(render.token), claims.get(render.token)
        _count_render(status.pool, was, render, claim.checkpoint.step if claim and claim.checkpoint else 0)


def _begun(before: WorkerStatus | None, status: WorkerStatus, claims: Mapping[UUID, Claim]) -> list[Claim]:
    """First claims whose first denoise step this answer is the first to tell of. After a start it may not be."""
    if before is None:
        return []
    stepped = {render.token for render in before.renders if render.step}
    fresh = [render.token for render in status.renders if render.step and render.token not in stepped]
    return [claim for token in fresh if (claim := claims.get(token)) is not None and claim.number == 1]


def _count_first_step(claim: Claim) -> None:
    urgency = "interactive" if claim.priority <= DEFAULT_PRIORITY else "bulk"
    metrics.first_step_seconds.labels(claim.pool, urgency).observe(claim.waited_s + claim.age_s)


def _count_render(pool: str, was: RenderStatus | None, render: RenderStatus, resumed_at: int) -> None:
    begun = was is not None and was.stage not in (Stage.ASSIGNED, Stage.ENCODING)
    earlier = was.step if was is not None and begun else resumed_at if render.step >= resumed_at else 0
    metrics.steps.labels(pool).inc(max(0, render.step - earlier))
    if render.stage is Stage.PREEMPTED and (was is None or was.stage is not Stage.PREEMPTED):
        metrics.preemptions.labels(pool).inc()
    if render.checkpoint is not None and (was is None or was.checkpoint != render.checkpoint):
        # One of an earlier claim is where this render was resumed.
        own = render.checkpoint.artifact.key.startswith(checkpoint_prefix(render.job_id, render.claim))
        metrics.checkpoints.labels(pool).inc(int(own))
    for incident, times in (Counter(render.incidents) - Counter(was.incidents if was else ())).items():
        metrics.incidents.labels(pool, incident).inc(times)
