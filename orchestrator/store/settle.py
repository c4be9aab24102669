"""Ending claims: every write filtered on its token, and all that follows from it in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ARRAY, Integer, Text, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.domain.outcome import Settlement
from orchestrator.domain.states import JobState
from orchestrator.ports import Progress, Settled, SettleResult
from orchestrator.store.part import Part

# For so long, after its pause, a job that failed waits for another worker than the one that failed it.
_AVOID_S = 15.0

# `held` is the fence: it locks, in the batch's order, the rows that still carry their token, and reads each as it is
# then. A row with a token and without an end is running; `state = 'running'` would say the same and lead the planner to
# the index of running jobs, which it would scan from end to end.
# A cancel request that committed first turns every ending into `cancelled`; one that comes later finds the row ended.
_SETTLE = text(f"""
    WITH batch AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(:batch) AS b(
            job_id uuid, token uuid, state text, outcome text, failures int, evictions int, delay_s float8,
            gpu_seconds float8, failure jsonb, result jsonb, checkpoint jsonb, start_over boolean, unheard boolean,
            kind text, price float8, charge float8, timeline jsonb)
    ), held AS MATERIALIZED (
        SELECT j.id, j.token, j.claims, j.tenant, j.pool, j.priority, b.charge,
               coalesce(b.charge, b.gpu_seconds) - coalesce(j.charge, j.cost) AS owed,
               j.cluster, j.worker, j.incarnation, j.claimed_at, b.gpu_seconds, b.failures, b.evictions, b.delay_s,
               b.failure, b.result, b.kind, b.price, b.timeline, j.trace, j.request ->> 'webhook_url' AS webhook_url,
               j.campaign, j.quiet, j.spec ->> 'model' AS model,
               -- An eviction that costs nothing: the checkpoint moved on.
               b.failures = j.failures AND b.evictions = j.evictions AS moved_on,
               -- JSON's null is none to go on from, though there may be some to sweep once the job ends.
               CASE WHEN b.start_over AND j.checkpoint IS NOT NULL THEN 'null'::jsonb
               ELSE coalesce(b.checkpoint, j.checkpoint, CASE WHEN b.unheard THEN 'null'::jsonb END) END AS checkpoint,
               CASE WHEN j.cancel_requested_at IS NULL THEN b.state ELSE 'cancelled' END AS state,
               CASE WHEN j.cancel_requested_at IS NULL THEN b.outcome ELSE 'cancelled' END AS outcome,
               b.outcome IN ('failed', 'lost') AND EXISTS (
                   SELECT FROM workers AS w WHERE w.pool = j.pool AND w.alive AND w.name <> j.worker) AS failed_here
        FROM batch AS b CROSS JOIN LATERAL (
            SELECT id, token, claims, tenant, pool, priority, cost, charge, cluster, worker, incarnation, claimed_at,
                   request, checkpoint, cancel_requested_at, campaign, quiet, spec, failures, evictions, trace
            FROM jobs WHERE id = b.job_id AND token = b.token AND finished_at IS NULL FOR UPDATE) AS j
    ), ended AS (
        UPDATE jobs AS j
        SET state = h.state,
            ready = h.state = 'queued' AND h.delay_s <= 0,
            run_at = CASE WHEN h.state = 'queued' THEN cogmill_now() + make_interval(secs => h.delay_s)
                     ELSE j.run_at END,
            failures = h.failures, evictions = h.evictions,
            -- Where there is another worker, that one may have it first.
            avoid = CASE WHEN h.state = 'queued' AND h.failed_here THEN h.worker ELSE j.avoid END,
            avoid_until = CASE WHEN h.state = 'queued' AND h.failed_here
                          THEN cogmill_now() + make_interval(secs => h.delay_s + {_AVOID_S}) ELSE j.avoid_until END,
            failure = CASE WHEN h.state = 'failed' THEN h.failure END,
            result = CASE WHEN h.state = 'succeeded' THEN h.result END,
            finished_at = CASE WHEN h.state <> 'queued' THEN cogmill_now() END,
            -- A waiting job belongs to nobody; a finished one keeps the claim that ended it.
            token = CASE WHEN h.state <> 'queued' THEN h.token END,
            cluster = CASE WHEN h.state <> 'queued' THEN h.cluster END,
            worker = CASE WHEN h.state <> 'queued' THEN h.worker END,
            incarnation = CASE WHEN h.state <> 'queued' THEN h.incarnation END,
            claimed_at = CASE WHEN h.state <> 'queued' THEN h.claimed_at END,
            stage = NULL,
            -- Of a render that goes on; what the next one looks like, it will show itself.
            preview = NULL,
            checkpoint = h.checkpoint,
            step = CASE h.state WHEN 'queued' THEN coalesce((h.checkpoint ->> 'step')::int, 0)
                   WHEN 'succeeded' THEN (j.spec ->> 'num_inference_steps')::int ELSE j.step END
        FROM held AS h
        WHERE j.id = h.id
    ), attempt AS (
        INSERT INTO attempts (job_id, number, token, cluster, worker, incarnation, outcome, gpu_seconds, claimed_at,
                              failure, price, timeline)
        SELECT id, claims, token, cluster, worker, incarnation, outcome, gpu_seconds, claimed_at, failure, price,
               timeline
        FROM held
    ), used AS (
        INSERT INTO usage (job_id, claim, tenant, pool, outcome, gpu_seconds, campaign, model, kind, kept,
                           charge)
        SELECT id, claims, tenant, pool, outcome, gpu_seconds, campaign, model, kind,
               CASE WHEN outcome = 'evicted' THEN moved_on END, charge
        FROM held WHERE gpu_seconds > 0
    ), told AS (
        INSERT INTO outbox (job_id, tenant, event, webhook_url, trace)
        SELECT id, tenant, 'job.' || state, webhook_url, trace FROM held
        WHERE state <> 'queued' AND NOT quiet
    ), corrected AS (
        -- The claim charged the prediction; the lane pays what was used, of the GPU or of finishers.
        UPDATE lanes AS l SET vtime = l.vtime + d.owed / l.weight
        FROM (SELECT pool, priority, tenant, sum(owed) AS owed FROM held
              GROUP BY pool, priority, tenant HAVING sum(owed) <> 0 ORDER BY pool, priority, tenant) AS d
        WHERE l.pool = d.pool AND l.priority = d.priority AND l.tenant = d.tenant
    )
    SELECT token, state, claimed_at, cogmill_now() AS ended_at,
           EXISTS (SELECT FROM tenants AS t WHERE t.name = held.tenant AND t.running IS NOT NULL)
           OR EXISTS (SELECT FROM shares AS s WHERE s.tenant = held.tenant AND s.pool = held.pool
                      AND s.running IS NOT NULL) AS capped
    FROM held
""").bindparams(bindparam("batch", type_=JSONB))

# Whoever wrote with this token before left an attempt behind.
_READ_BACK = text("""
    SELECT b.token, j.state, EXISTS (SELECT FROM attempts AS a WHERE a.job_id = b.id AND a.token = b.token) AS mine
    FROM unnest(:ids, :tokens) AS b(id, token) LEFT JOIN jobs AS j ON j.id = b.id
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("tokens", type_=ARRAY(Uuid)))

# One dimension, said aloud: a document may itself be a list.
_DOCUMENTS = ARRAY(JSONB(none_as_null=True), dimensions=1)
_PROGRESS = text("""
    UPDATE jobs AS j
    SET stage = p.stage, step = p.step, preview = coalesce(p.preview, j.preview),
        checkpoint = coalesce(p.checkpoint, j.checkpoint), incidents = p.incidents
    FROM (SELECT b.*, set_config('synchronous_commit', 'off', true)
          FROM unnest(:ids, :tokens, :stages, :steps, :previews, :checkpoints, :incidents)
               AS b(id, token, stage, step, preview, checkpoint, incidents)
          ORDER BY b.id) AS p
    WHERE j.id = p.id AND j.token = p.token AND j.finished_at IS NULL
""").bindparams(
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("tokens", type_=ARRAY(Uuid)),
    bindparam("stages", type_=ARRAY(Text)),
    bindparam("steps", type_=ARRAY(Integer)),
    *(bindparam(name, type_=_DOCUMENTS) for name in ("previews", "checkpoints", "incidents")),
)


class Settlements(Part):
    async def settle(self, settlements: Sequence[Settlement]) -> list[SettleResult]:
        if not settlements:
            return []
        # The first of several with one token is the one that counts.
        first: dict[UUID, Settlement] = {}
        for settlement in settlements:
            first.setdefault(settlement.token, settlement)
        batch = sorted(first.values(), key=lambda settlement: settlement.job_id)
        rows = await self._database.fetch(_SETTLE, {"batch": batch})
        applied = {row.token: JobState(row.state) for row in rows}
        found = {
            row.token: SettleResult(
                settled=Settled.APPLIED,
                state=applied[row.token],
                claimed_at=row.claimed_at,
                ended_at=row.ended_at,
            )
            for row in rows
        }
        found |= await self._read_back([settlement for settlement in batch if settlement.token not in applied])
        # A tenant that may run only so many at once has room for another, in whatever pool.
        if JobState.QUEUED in applied.values() or any(self._defaults.running is not None or row.capped for row in rows):
            self._notifier.announce()
        return [
            found[s.token]
            if first[s.token] is s
            else SettleResult(
                settled=Settled.STALE if found[s.token].settled is Settled.STALE else Settled.ALREADY,
                state=found[s.token].state,
            )
            for s in settlements
        ]

    async def _read_back(self, missed: Sequence[Settlement]) -> dict[UUID, SettleResult]:
        """Zero rows say that the token is not the row's; the attempts say whether it once was and we ended it."""
        if not missed:
            return {}
        rows = await self._database.fetch(
            _READ_BACK, {"ids": [s.job_id for s in missed], "tokens": [s.token for s in missed]}
        )
        return {
            row.token: SettleResult(
                settled=Settled.ALREADY if row.mine else Settled.STALE,
                state=None if row.state is None else JobState(row.state),
            )
            for row in rows
        }

    async def record_progress(self, progress: Sequence[Progress]) -> None:
        if not progress:
            return
        await self._database.fetch(
            _PROGRESS,
            {
                "ids": [p.job_id for p in progress],
                "tokens": [p.token for p in progress],
                "stages": [p.stage for p in progress],
                "steps": [p.step for p in progress],
                "previews": [p.preview for p in progress],
                "checkpoints": [p.checkpoint for p in progress],
                "incidents": [p.incidents or None for p in progress],
            },
        )
