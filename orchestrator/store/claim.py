"""Claiming: start-time fair queueing over predicted GPU seconds, in one statement.

Where some tenant may only run so many jobs at once, it is a transaction: what runs must be counted, and nobody else may
claim between the count and the claim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ARRAY, Double, Integer, Row, Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.job import Claim, WorkerRef
from orchestrator.domain.pausing import EVERY
from orchestrator.store import rows
from orchestrator.store.part import Part

# One claimer per pool at a time, or two would pick the same jobs and one of them get none. Whoever finds the lock taken
# waits for it in a statement of its own, so that the claim's snapshot comes after it.
# While any tenant is capped, which its result says, there is one claimer of all pools at a time: caps hold over pools.
_WAIT = text("""
    SELECT pg_advisory_xact_lock(hashtextextended('cogmill:claim:' || :pool, 0)),
           CASE WHEN :running IS NOT NULL OR EXISTS (SELECT FROM tenants WHERE running IS NOT NULL)
           THEN (SELECT true FROM pg_advisory_xact_lock(hashtextextended('cogmill:claim', 0))) ELSE false END AS capped
""").bindparams(bindparam("running", type_=Double))

# A lane's ready jobs after its cursor, or up to it. Behind the cursor lie the dead index entries of what was claimed
# before: few as a rule, but all of them while some transaction is held open. So they are read again only every second,
# or when nothing is left ahead. A job that becomes ready behind the cursor (a retry, an earlier deadline) may thus go a
# second later than its turn, but it is never missed.
_LINE = """
    j.ready AND j.pool = :pool AND j.priority = {lane}.priority AND j.tenant = {lane}.tenant
    AND (j.deadline, j.id) {side} ({lane}.cursor_deadline, {lane}.cursor_id)"""

# What it decides is said in Python in `policy/fair_share.py`: start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM
# 1996). A lane's virtual time is the GPU seconds that it has been charged, divided by its weight; a job's start tag is
# the virtual time at which its lane comes to it. The job with the least start tag goes first.
#
# An example: four slots, three lanes of one priority. `tests/simulation/test_fair_share.py` carries it out.
#
#   lane   weight   vtime   served   active   its jobs   their start tags      vtime afterwards
#   acme        1     130      100   yes      60 60      130*  190                  190
#   gold        2     110       80   yes      60 60 60   110*  140*  170            170
#   idle        1      20       20   no       90 90      100*  190                  190
#
# The clock stands at 100: the start tag that was served last, and no active lane is behind it. `idle` wakes up there
# and not at 20, so its sleep has saved nothing up. The slots go to idle (100), gold (110), acme (130) and gold (140):
# with twice the weight, 60 GPU seconds take `gold` only 30 further. Each lane pays for what it won, at once. Of the
# next two slots the first is gold's (170); acme and idle are equal (190), both active, and acme comes first by name.
#
# Safety rests on row locks and tokens, not on the advisory lock. The commit waits for the disk: a claim that a crash
# forgot would give out its number again, and two workers would write to the same keys.
_STATEMENT = """
    WITH turn AS MATERIALIZED (
        -- A paused pool's turn comes and gives nothing: it is looked at once, here, by every claim of every dispatcher.
        SELECT ours, ours AND NOT EXISTS (
            SELECT FROM pauses WHERE pool IN (:pool, '{every}') AND resumed_at IS NULL) AS open
        FROM (SELECT pg_try_advisory_xact_lock(hashtextextended('cogmill:claim:' || :pool, 0)){alone} AS ours
              OFFSET 0) AS lock
    ), slot AS MATERIALIZED (
        -- The slots, numbered; a worker that is dead by its row gets nothing.
        SELECT worker, incarnation, row_number() OVER (ORDER BY place) AS i
        FROM unnest(:workers, :incarnations) WITH ORDINALITY AS s(worker, incarnation, place)
        WHERE coalesce((SELECT w.alive FROM workers AS w WHERE w.cluster = :cluster AND w.name = s.worker
                        AND w.incarnation = s.incarnation), true)
          AND (SELECT open FROM turn)
    ), registered AS (
        -- No claim without a worker's row: else it would be an orphan before the worker's first beat.
        INSERT INTO workers (cluster, name, incarnation, pool)
        SELECT :cluster, worker, incarnation, :pool FROM slot
        ON CONFLICT DO NOTHING
    ), lane AS MATERIALIZED (
        -- A lane that wakes up starts at the clock, so idling saves nothing up. The clock is the start tag that was
        -- served last, or less where finishes gave time back: the least time of an active lane.
        -- Among equals the woken lane goes first: busy lanes that keep reaching the clock must not hold it up for ever.
        SELECT priority, tenant, weight, active, start, read_at,
               CASE WHEN read_at = cursor_at THEN cursor_deadline ELSE '-infinity' END AS cursor_deadline, cursor_id,
               row_number() OVER (ORDER BY priority, start, active, tenant) AS place
        FROM (SELECT *, CASE WHEN active THEN vtime ELSE greatest(vtime, clock) END AS start,
                     CASE WHEN cursor_at > cogmill_now() - interval '1 second' THEN cursor_at
                     ELSE cogmill_now() END AS read_at
              FROM (SELECT *, least(max(served) OVER same,
                                    coalesce(min(vtime) FILTER (WHERE active) OVER same, max(vtime) OVER same)) AS clock
                    -- All of it, page by page: an index would lead through every version that a held transaction
                    -- keeps alive.
                    FROM lanes TABLESAMPLE SYSTEM (100)
                    WHERE pool = :pool AND priority < :more_urgent_than AND (SELECT open FROM turn)
                    WINDOW same AS (PARTITION BY priority)) AS timed) AS started
    ), front AS MATERIALIZED (
        -- The first n lanes that have ready jobs. The inner order makes the probes stop at the n-th.
        SELECT ordered.*, head.cost, allowance.room, row_number() OVER (ORDER BY place) AS rank
        FROM (SELECT * FROM lane ORDER BY place) AS ordered
        CROSS JOIN LATERAL ({room}) AS allowance(room)
        CROSS JOIN LATERAL (
            (SELECT cost FROM jobs AS j WHERE {ordered_ahead} ORDER BY deadline, id LIMIT 1)
            UNION ALL
            (SELECT cost FROM jobs AS j WHERE {ordered_behind} ORDER BY deadline, id LIMIT 1)
            LIMIT 1) AS head
        WHERE coalesce(allowance.room > 0, true)
        LIMIT :n
    ), candidate AS (
        -- For every lane before the k-th some job goes first, so the k-th can win at most n - k + 1 slots; and only
        -- one, if its second job comes after the first job of the n-th lane. A capped tenant with room for r jobs has
        -- so much to give for its first r lanes only: its others would stand in the front for nothing.
        SELECT f.priority, f.place, f.tenant, f.room, c.id, c.deadline, c.cost, c.nth, tag
        FROM (SELECT *, row_number() OVER (ORDER BY place) AS k
              FROM (SELECT *, row_number() OVER (PARTITION BY tenant ORDER BY place) AS of_tenant FROM front) AS lanes
              WHERE coalesce(of_tenant <= room, true)) AS f
        LEFT JOIN front AS final ON final.rank = :n
        CROSS JOIN LATERAL (
            SELECT least(f.room, CASE WHEN f.priority = final.priority AND f.start + f.cost / f.weight > final.start
                                 THEN 1 ELSE :n - f.k + 1 END) AS most) AS chances
        CROSS JOIN LATERAL (
            SELECT id, deadline, cost, row_number() OVER line AS nth, sum(cost) OVER line AS total
            FROM ((SELECT 0 AS side, id, deadline, cost FROM jobs AS j WHERE {f_ahead}
                   ORDER BY deadline, id LIMIT most)
                  UNION ALL
                  (SELECT 1, id, deadline, cost FROM jobs AS j WHERE {f_behind}
                   ORDER BY deadline, id LIMIT most)
                  LIMIT most) AS first
            WINDOW line AS (ORDER BY side, deadline, id ROWS UNBOUNDED PRECEDING)) AS c
        CROSS JOIN LATERAL (SELECT f.start + (c.total - c.cost) / f.weight AS tag) AS started
        -- A lane that the front has no place for may come before what comes after the first job of the n-th.
        WHERE coalesce((f.priority, tag, f.place) <= (final.priority, final.start, final.place), true)
    ), picked AS MATERIALIZED (
        SELECT * FROM {candidates} ORDER BY priority, tag, place, nth LIMIT (SELECT count(*) FROM slot)
    ), locked AS MATERIALIZED (
        -- A job that is being cancelled is not waited for; one that was is not ready any more.
        SELECT p.* FROM picked AS p JOIN jobs AS j ON j.id = p.id
        WHERE j.state = 'queued'
        FOR UPDATE OF j SKIP LOCKED
    ), dealt AS MATERIALIZED (
        SELECT *, row_number() OVER (ORDER BY priority, tag, place, nth) AS i FROM locked
    ), claimed AS (
        UPDATE jobs AS j
        SET state = 'running', ready = false, token = gen_random_uuid(), claims = claims + 1,
            cluster = :cluster, worker = s.worker, incarnation = s.incarnation,
            claimed_at = cogmill_now(), started_at = coalesce(j.started_at, cogmill_now()), stage = 'assigned',
            step = coalesce((j.checkpoint ->> 'step')::int, 0), incidents = NULL
        FROM dealt AS d JOIN slot AS s USING (i)
        WHERE j.id = d.id
        RETURNING {claim_columns}, d.i
    ), charged AS (
        -- Relative to the row as it is now: a finish may have corrected it since our snapshot.
        UPDATE lanes AS l
        SET vtime = CASE WHEN l.active THEN l.vtime ELSE c.start END + c.charge / l.weight,
            served = greatest(l.served, c.last), active = c.waiting,
            cursor_deadline = coalesce(c.deadline, l.cursor_deadline), cursor_id = coalesce(c.id, l.cursor_id),
            cursor_at = coalesce(c.read_at, l.cursor_at)
        FROM (
            SELECT lane.priority, lane.tenant, lane.start, front.place IS NOT NULL AS waiting,
                   coalesce(won.charge, 0) AS charge, won.last, won.id, won.deadline,
                   CASE WHEN won.id IS NOT NULL THEN lane.read_at END AS read_at
            FROM lane LEFT JOIN front USING (place)
            LEFT JOIN (SELECT DISTINCT ON (place) place, sum(cost) OVER lane AS charge, max(tag) OVER lane AS last,
                              id, deadline
                       FROM dealt WINDOW lane AS (PARTITION BY place) ORDER BY place, nth DESC) AS won USING (place)
            WHERE lane.place <= (SELECT CASE WHEN count(*) < :n THEN (SELECT count(*) FROM lane) ELSE max(place) END
                                 FROM front)
            ORDER BY lane.priority, lane.tenant
        ) AS c
        WHERE l.pool = :pool AND l.priority = c.priority AND l.tenant = c.tenant
          AND (l.active IS DISTINCT FROM c.waiting OR c.charge > 0)
    )
    SELECT claimed.*, ours FROM turn LEFT JOIN claimed ON true ORDER BY i
"""

# A capped tenant has room for so many more jobs, over all its lanes. A lane without room is passed over as if it had no
# ready jobs, so that it saves nothing up. Of a live job's states only `running` sorts behind `queued`; to ask for
# it by name would lead the planner to the index of all that runs. OFFSET 0 keeps it from counting twice.
_ROOM = """
            SELECT CASE WHEN most IS NOT NULL THEN least(:n, most - (
                SELECT count(*) FROM jobs AS r
                WHERE r.tenant = ordered.tenant AND coalesce(r.finished_at, 'infinity') = 'infinity'
                  AND r.state > 'queued'))::int END
            FROM (SELECT coalesce((SELECT running FROM tenants WHERE name = ordered.tenant), :running) OFFSET 0
                 ) AS cap(most)
            OFFSET 0"""
_WITHIN_ROOM = """(
            SELECT *, row_number() OVER (PARTITION BY tenant ORDER BY priority, tag, place, nth) AS of_tenant
            FROM candidate) AS numbered WHERE coalesce(of_tenant <= room, true)"""
# Above any smallint.
_EVERY_PRIORITY = 2**15

_ALONE = " AND NOT EXISTS (SELECT FROM tenants WHERE running IS NOT NULL)"

_PARTS = {"every": EVERY, "claim_columns": rows.CLAIM_COLUMNS} | {
    f"{lane}_{where}": _LINE.format(lane=lane, side=side)
    for lane in ("ordered", "f")
    for where, side in (("ahead", ">"), ("behind", "<="))
}
_BIND = (
    bindparam("workers", type_=ARRAY(Text)),
    bindparam("incarnations", type_=ARRAY(Text)),
    bindparam("n", type_=Integer),
    bindparam("more_urgent_than", type_=Integer),
)
_CLAIM = text(
    _STATEMENT.format(alone=_ALONE, room="SELECT CAST(NULL AS int)", candidates="candidate", **_PARTS)
).bindparams(*_BIND)
_CLAIM_CAPPED = text(_STATEMENT.format(alone="", room=_ROOM, candidates=_WITHIN_ROOM, **_PARTS)).bindparams(
    *_BIND, bindparam("running", type_=Double)
)


class Claims(Part):
    async def claim(
        self, pool: str, cluster: str, slots: Sequence[WorkerRef], *, more_urgent_than: int | None = None
    ) -> list[Claim]:
        if not slots:
            return []
        which = {
            "pool": pool,
            "cluster": cluster,
            "more_urgent_than": _EVERY_PRIORITY if more_urgent_than is None else more_urgent_than,
        }
        if self._defaults.running is None:
            found = await self._database.fetch(_CLAIM, which | _dealt(slots))
            if found[0].ours:
                return _claims(found)
        return await self._database.transact(partial(self._in_turn, which, slots))

    async def _in_turn(
        self, which: Mapping[str, Any], slots: Sequence[WorkerRef], connection: AsyncConnection
    ) -> list[Claim]:
        """Claim in a transaction that waits for its turn, and counts what runs where somebody is capped."""
        capped = {"running": self._defaults.running}
        turn = (await connection.execute(_WAIT, {"pool": which["pool"], **capped})).one()
        if not turn.capped:
            return _claims((await connection.execute(_CLAIM, {**which, **_dealt(slots)})).all())
        claims: list[Claim] = []
        free = list(slots)
        # What one tenant may not take is the others': look again until nothing is found for what is left.
        while free:
            found = _claims((await connection.execute(_CLAIM_CAPPED, {**which, **capped, **_dealt(free)})).all())
            if not found:
                break
            claims += found
            for claim in found:
                free.remove(claim.worker)
        return claims


def _dealt(slots: Sequence[WorkerRef]) -> dict[str, Any]:
    return {
        "workers": [slot.name for slot in slots],
        "incarnations": [slot.incarnation for slot in slots],
        "n": len(slots),
    }


def _claims(found: Sequence[Row[Any]]) -> list[Claim]:
    return rows.claims(row for row in found if row.id is not None)
