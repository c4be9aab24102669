"""The claim: start-time fair queueing over predicted charges, in one statement. `claiming.py` asks it."""

from __future__ import annotations

from sqlalchemy import ARRAY, Boolean, Double, Integer, Text, bindparam, text

from orchestrator.domain.pausing import EVERY
from orchestrator.policy.fair_share import URGENT
from orchestrator.store import rows
from orchestrator.store.lane_costs import CHARGE

# Whether anybody has a cap, or a share of the pool.
_ANY = """(EXISTS (SELECT FROM tenants WHERE running IS NOT NULL)
            OR EXISTS (SELECT FROM shares WHERE pool = :pool))"""

# One claimer per pool at a time, or two would pick the same jobs and one of them get none. Whoever finds the lock taken
# waits for it in a statement of its own, so that the claim's snapshot comes after it.
# A cap over all pools holds among claimers of different pools: `cogmill_room` takes a lock of that tenant alone. Who
# would have to wait for one leaves the tenant to the others; if that leaves slots over, it waits here, in the order of
# names and before it holds any other, so that no two claimers wait for each other.
# The release before this one locks all claimers of all pools out while it counts; the shared lock keeps to that.
WAIT = text(f"""
    SELECT pg_advisory_xact_lock(hashtextextended('cogmill:claim:' || :pool, 0)),
           pg_advisory_xact_lock_shared(hashtextextended('cogmill:claim', 0)),
           (SELECT count(pg_advisory_xact_lock(hashtextextended('cogmill:cap:' || tenant, 0)))
            FROM (SELECT tenant FROM unnest(:busy) AS b(tenant) ORDER BY tenant OFFSET 0) AS named),
           {_ANY} AS shared
""").bindparams(bindparam("busy", type_=ARRAY(Text)))

# A lane's ready jobs after its cursor, or up to it. Behind the cursor lie the dead index entries of what was claimed
# before: few as a rule, but all of them while some transaction is held open. So they are read again only every second,
# or when nothing is left ahead. A job that becomes ready behind the cursor (a retry, an earlier deadline) may thus go a
# second later than its turn, but it is never missed.
#
# A job that failed lately is not for the worker that failed it, as long as there is another one: where all the slots
# are that worker's, it is passed over.
_LINE = """
    j.ready AND j.pool = :pool AND j.priority = {lane}.priority AND j.tenant = {lane}.tenant
    AND (j.deadline, j.id) {side} ({lane}.cursor_deadline, {lane}.cursor_id)
    AND coalesce(NOT j.avoid = ALL (:workers) OR j.avoid_until <= cogmill_now(), true)"""

# What it decides is said in Python in `policy/fair_share.py`: start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM
# 1996). A lane's virtual time is what it has been charged (`policy/charge.py`), divided by its weight; a job's start
# tag is the virtual time at which its lane comes to it. The job with the least start tag goes first.
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
        -- The turn of a paused pool, or of a cluster that retires, comes and gives nothing: it is looked at once, here,
        -- by every claim of every dispatcher.
        SELECT ours, ours AND NOT EXISTS (
            SELECT FROM pauses WHERE pool IN (:pool, '{every}') AND resumed_at IS NULL)
        AND NOT EXISTS (
            SELECT FROM ray_clusters AS r WHERE r.name = :cluster AND r.state IN ('retiring', 'ending')) AS open
        FROM (SELECT pg_try_advisory_xact_lock(hashtextextended('cogmill:claim:' || :pool, 0)){alone} AS ours
              OFFSET 0) AS lock
    ){short}, slot AS MATERIALIZED (
        -- The slots, numbered; a worker that is dead by its row gets nothing.
        SELECT worker, incarnation, shape, adapters, row_number() OVER (ORDER BY place) AS i
        FROM unnest(:workers, :incarnations, :shapes, :adapters) WITH ORDINALITY
            AS s(worker, incarnation, shape, adapters, place)
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
        SELECT priority, tenant, weight, active, start, read_at, deficit, tier,
               CASE WHEN read_at = cursor_at THEN cursor_deadline ELSE '-infinity' END AS cursor_deadline, cursor_id,
               row_number() OVER (ORDER BY tier, priority, start, active, tenant) AS place
        FROM (SELECT *, {tier} AS tier, CASE WHEN active THEN vtime ELSE greatest(vtime, clock) END AS start,
                     CASE WHEN cursor_at > cogmill_now() - interval '1 second' THEN cursor_at
                     ELSE cogmill_now() END AS read_at
              FROM (SELECT *, {deficit} AS deficit, least(max(served) OVER same,
                                    coalesce(min(vtime) FILTER (WHERE active) OVER same, max(vtime) OVER same)) AS clock
                    -- All of it, page by page: an index would lead through every version that a held transaction
                    -- keeps alive.
                    FROM lanes TABLESAMPLE SYSTEM (100)
                    WHERE pool = :pool AND priority < :more_urgent_than AND (SELECT open FROM turn)
                    WINDOW same AS (PARTITION BY priority)) AS timed) AS started
    ), front AS MATERIALIZED (
        -- The first n lanes that have ready jobs. The inner order makes the probes stop at the n-th.
        SELECT ordered.*, head.charge, CASE WHEN ordered.tier = 1 THEN least(allowance.room, deficit)
               ELSE allowance.room END AS room, row_number() OVER (ORDER BY place) AS rank
        FROM (SELECT * FROM lane{passed_over} ORDER BY place) AS ordered
        CROSS JOIN LATERAL (
            (SELECT {charge} AS charge FROM jobs AS j WHERE {ordered_ahead} ORDER BY deadline, id LIMIT 1)
            UNION ALL
            (SELECT {charge} AS charge FROM jobs AS j WHERE {ordered_behind} ORDER BY deadline, id LIMIT 1)
            LIMIT 1) AS head
        CROSS JOIN LATERAL ({room}) AS allowance(room)
        WHERE coalesce(allowance.room <> 0, true)
        LIMIT :n
    ), candidate AS (
        -- For every lane before the k-th some job goes first, so the k-th can win at most n - k + 1 slots; and only
        -- one, if its second job comes after the first job of the n-th lane. A capped tenant with room for r jobs has
        -- so much to give for its first r lanes only: its others would stand in the front for nothing.
        SELECT f.tier, f.priority, f.place, f.tenant, f.room, c.id, c.deadline, c.charge, c.nth, tag
        FROM (SELECT *, row_number() OVER (ORDER BY place) AS k
              FROM (SELECT *, row_number() OVER (PARTITION BY tenant ORDER BY place) AS of_tenant FROM front) AS lanes
              WHERE coalesce(of_tenant <= room, true){deficits_first}) AS f
        LEFT JOIN front AS final ON final.rank = :n
        CROSS JOIN LATERAL (
            SELECT least(f.room, CASE WHEN (f.tier, f.priority) = (final.tier, final.priority)
                                      AND f.start + f.charge / f.weight > final.start
                                 THEN 1 ELSE :n - f.k + 1 END) AS most) AS chances
        CROSS JOIN LATERAL (
            SELECT id, deadline, charge, row_number() OVER line AS nth, sum(charge) OVER line AS total
            FROM ((SELECT 0 AS side, id, deadline, {charge} AS charge FROM jobs AS j WHERE {f_ahead}
                   ORDER BY deadline, id LIMIT most)
                  UNION ALL
                  (SELECT 1, id, deadline, {charge} FROM jobs AS j WHERE {f_behind}
                   ORDER BY deadline, id LIMIT most)
                  LIMIT most) AS first
            WINDOW line AS (ORDER BY side, deadline, id ROWS UNBOUNDED PRECEDING)) AS c
        CROSS JOIN LATERAL (SELECT f.start + (c.total - c.charge) / f.weight AS tag) AS started
        -- A lane that the front has no place for may come before what comes after the first job of the n-th.
        WHERE coalesce((f.tier, f.priority, tag, f.place)
                       <= (final.tier, final.priority, final.start, final.place), true)
    ), picked AS MATERIALIZED (
        SELECT * FROM {candidates} ORDER BY tier, priority, tag, place, nth LIMIT (SELECT count(*) FROM slot)
    ), locked AS MATERIALIZED (
        -- A job that is being cancelled is not waited for; one that was is not ready any more.
        SELECT p.*, CASE WHEN :warm THEN
                   format('%sx%sx%s', j.spec -> 'width', j.spec -> 'height', j.spec -> 'num_frames') END AS shape,
               CASE WHEN :warm THEN j.spec ->> 'adapter' END AS adapter,
               j.avoid, coalesce(j.avoid = ANY (:workers) AND j.avoid_until > cogmill_now(), false) AS shy
        FROM picked AS p JOIN jobs AS j ON j.id = p.id
        WHERE j.state = 'queued'
        FOR UPDATE OF j SKIP LOCKED
    ), dealt AS MATERIALIZED (
        -- Who is shy of a worker chooses first, among those that nobody is shy of; else all sit down in their order.
        SELECT *, row_number() OVER (ORDER BY NOT shy, tier, priority, tag, place, nth) AS i FROM locked
    ), seat AS MATERIALIZED (
        SELECT worker, incarnation, shape, adapters,
               row_number() OVER (ORDER BY worker IN (SELECT avoid FROM locked WHERE shy), i) AS i
        FROM slot
    ), hand AS MATERIALIZED (
        -- The seats behind those of the shy are dealt to whom they are warm for: in order where nobody knows of any
        -- warmth, or there is no choice. `policy/dealing.py` says how.
        SELECT kept, CASE WHEN :warm AND (SELECT count(*) FROM seat) > kept + 1 THEN cogmill_deal(
                   (SELECT array_agg(shape ORDER BY i) FROM dealt WHERE i > kept),
                   (SELECT array_agg(adapter ORDER BY i) FROM dealt WHERE i > kept),
                   (SELECT array_agg(shape ORDER BY i) FROM seat WHERE i > kept),
                   (SELECT array_agg(CAST(adapters AS jsonb) ORDER BY i) FROM seat WHERE i > kept)) END AS seats
        FROM (SELECT count(*) FILTER (WHERE shy)::int AS kept FROM dealt) AS counted
    ), clash AS MATERIALIZED (
        -- Who sits where it is shy of: as many of them as can change places.
        SELECT i, row_number() OVER (ORDER BY avoid, i) - 1 AS k, count(*) OVER () AS many
        FROM dealt JOIN seat USING (i) WHERE shy AND avoid = worker
    ), seated AS MATERIALIZED (
        -- Who still does waits for the next claim, and its lane pays nothing; for the seat there may be another job.
        SELECT d.*, s.worker, s.incarnation
        FROM dealt AS d
        CROSS JOIN hand
        LEFT JOIN clash AS mine ON mine.i = d.i
        LEFT JOIN clash AS other ON other.k = (mine.k + mine.many / 2) % mine.many
        JOIN seat AS s ON s.i = coalesce(other.i, hand.kept + hand.seats[d.i - hand.kept], d.i)
        WHERE NOT (d.shy AND d.avoid = s.worker)
    ), claimed AS (
        UPDATE jobs AS j
        SET state = 'running', ready = false, token = gen_random_uuid(), claims = claims + 1,
            cluster = :cluster, worker = d.worker, incarnation = d.incarnation,
            claimed_at = cogmill_now(), started_at = coalesce(j.started_at, cogmill_now()), stage = 'assigned',
            step = coalesce((j.checkpoint ->> 'step')::int, 0), incidents = NULL
        FROM seated AS d
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
            LEFT JOIN (SELECT DISTINCT ON (place) place, sum(charge) OVER lane AS charge, max(tag) OVER lane AS last,
                              id, deadline
                       FROM seated WINDOW lane AS (PARTITION BY place) ORDER BY place, nth DESC) AS won USING (place)
            WHERE lane.place <= (SELECT CASE WHEN count(*) < :n THEN (SELECT count(*) FROM lane) ELSE max(place) END
                                 FROM front)
            ORDER BY lane.priority, lane.tenant
        ) AS c
        WHERE l.pool = :pool AND l.priority = c.priority AND l.tenant = c.tenant
          AND (l.active IS DISTINCT FROM c.waiting OR c.charge > 0){untouched}
    )
    SELECT claimed.*, ours, (SELECT count(*) FROM dealt) > (SELECT count(*) FROM seated) AS shy_left,
           {busy} AS busy, {shared} AS shared
    FROM turn LEFT JOIN claimed ON true ORDER BY i
"""

# A tenant that runs less than it is guaranteed here goes before the others, after whatever is more urgent than usual;
# with as many jobs as it lacks, and the rest waits for the next look, where it is one among the others.
_SHORT = """, short AS MATERIALIZED (
        SELECT tenant, deficit
        FROM (SELECT tenant, guaranteed - cogmill_running(tenant, :pool) AS deficit FROM shares
              WHERE pool = :pool AND guaranteed > 0 AND (SELECT open FROM turn) OFFSET 0) AS counted
        WHERE deficit > 0
    )"""
_DEFICIT = "(SELECT deficit FROM short WHERE short.tenant = lanes.tenant)"
_TIER = f"CASE WHEN priority < {URGENT} THEN 0 WHEN deficit IS NOT NULL THEN 1 ELSE 2 END"
_DEFICITS_FIRST = """
                AND (tier < 2 OR NOT EXISTS (SELECT FROM front AS f WHERE f.tier = 1))"""
# A capped tenant has room for so many more jobs, over all its lanes; `cogmill_room` says -1 where another pool's
# claimer counts it just now. A lane without room is passed over as if it had no ready jobs, and saves nothing up.
_ROOM = """
            SELECT CASE WHEN head.charge IS NOT NULL AND coalesce(most, here) IS NOT NULL
                   THEN least(:n, cogmill_room(ordered.tenant, :pool, most, here))::int END
            FROM (SELECT nullif(coalesce((SELECT running FROM tenants WHERE name = ordered.tenant), :running),
                                'infinity'),
                         (SELECT running FROM shares WHERE tenant = ordered.tenant AND pool = :pool)
                  OFFSET 0) AS cap(most, here)
            OFFSET 0"""
_WITHIN_ROOM = """(
            SELECT *, row_number() OVER (PARTITION BY tenant ORDER BY tier, priority, tag, place, nth) AS of_tenant
            FROM candidate) AS numbered WHERE coalesce(of_tenant <= room, true)"""
_BUSY = "(SELECT array_agg(DISTINCT tenant) FROM front WHERE room < 0)"
# Above any smallint.
EVERY_PRIORITY = 2**15

_ALONE = f" AND NOT {_ANY}"
_NOT_BESIDE_THE_OLD = """
                     AND pg_try_advisory_xact_lock_shared(hashtextextended('cogmill:claim', 0))"""

_PARTS = {"every": EVERY, "charge": CHARGE, "claim_columns": rows.CLAIM_COLUMNS} | {
    f"{lane}_{where}": _LINE.format(lane=lane, side=side)
    for lane in ("ordered", "f")
    for where, side in (("ahead", ">"), ("behind", "<="))
}
_BIND = (
    bindparam("workers", type_=ARRAY(Text)),
    bindparam("incarnations", type_=ARRAY(Text)),
    bindparam("shapes", type_=ARRAY(Text)),
    bindparam("adapters", type_=ARRAY(Text)),
    bindparam("warm", type_=Boolean),
    bindparam("n", type_=Integer),
    bindparam("more_urgent_than", type_=Integer),
)
_PLAIN = {
    "alone": _ALONE, "short": "", "deficit": "CAST(NULL AS int)", "tier": "0", "deficits_first": "",
    "room": "SELECT CAST(NULL AS int)", "candidates": "candidate", "busy": "CAST(NULL AS text[])", "shared": "false",
    "passed_over": "", "untouched": "",
}  # fmt: skip
_SHARED = {
    "alone": _NOT_BESIDE_THE_OLD, "short": _SHORT, "deficit": _DEFICIT, "tier": _TIER,
    "deficits_first": _DEFICITS_FIRST, "room": _ROOM, "candidates": _WITHIN_ROOM, "busy": _BUSY,
    "shared": _ANY, "passed_over": " WHERE NOT tenant = ANY (:passed)",
    "untouched": "\n          AND NOT l.tenant = ANY (:passed)",
}  # fmt: skip
CLAIM = text(_STATEMENT.format(**_PLAIN, **_PARTS)).bindparams(*_BIND)
CLAIM_SHARED = text(_STATEMENT.format(**_SHARED, **_PARTS)).bindparams(
    *_BIND, bindparam("running", type_=Double), bindparam("passed", type_=ARRAY(Text))
)
