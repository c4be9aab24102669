"""A million jobs as a deployment has them: most have ended, some wait, a few run; made in SQL, in minutes."""

from __future__ import annotations

import asyncpg

from orchestrator.store.engine import dumps
from tests.support.jobs import SPEC

# Newest last, over sixty days. Of 100 jobs 90 succeeded, 5 failed, 3 were cancelled, 2 wait; and 12 of all run.
_FILL = """
    INSERT INTO jobs (id, tenant, pool, priority, state, ready, cost, max_attempts, claims, failures, created_at,
                      run_at, started_at, finished_at, token, cluster, worker, incarnation, claimed_at, spec,
                      request, failure, result, step)
    SELECT (lpad(to_hex((extract(epoch FROM born) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0')
            || '8' || lpad(to_hex(n), 15, '0'))::uuid,
           CASE WHEN n % 10 < 7 THEN $1 ELSE 'tenant' || n % 40 END, 'small', CASE WHEN n % 20 = 0 THEN 20 ELSE 10 END,
           state, state = 'queued', 90, 3, (had)::int, (state = 'failed')::int, born, born,
           CASE WHEN had THEN born + interval '20 s' END,
           CASE WHEN ended THEN born + interval '3 min' END,
           CASE WHEN had THEN gen_random_uuid() END, CASE WHEN had THEN 'here' END,
           CASE WHEN had THEN 'small-' || n % 8 END, CASE WHEN had THEN 'first' END,
           CASE WHEN had THEN born + interval '20 s' END,
           $2::jsonb || jsonb_build_object('prompt', 'a lighthouse in storm number ' || n, 'seed', n),
           jsonb_build_object('metadata', jsonb_build_object('team', 'team-' || n % 25)),
           CASE WHEN state = 'failed' THEN '{"code": "worker_lost", "message": "the worker vanished",
                                             "retryable": true}'::jsonb END,
           CASE WHEN state = 'succeeded' THEN $3::jsonb END, 0
    FROM (SELECT n, now() - (($4::bigint - n) * interval '60 days' / $4::bigint) AS born, state,
                 state IN ('succeeded', 'failed', 'running') AS had,
                 state IN ('succeeded', 'failed', 'cancelled') AS ended
          FROM (SELECT n, CASE WHEN n > $4::bigint - 12 THEN 'running' WHEN n % 100 < 90 THEN 'succeeded'
                               WHEN n % 100 < 95 THEN 'failed' WHEN n % 100 < 98 THEN 'cancelled'
                               ELSE 'queued' END AS state
                FROM generate_series(1, $4::bigint) AS n) AS numbered) AS s
"""
_LANES = """
    INSERT INTO lanes (pool, priority, tenant, weight) SELECT DISTINCT pool, priority, tenant, 1 FROM jobs
    ON CONFLICT DO NOTHING
"""


async def fill(url: str, tenant: str, count: int, *, result: object) -> None:
    """Make so many jobs, seven of ten this tenant's, whose videos are all `result`; as autovacuum leaves them."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_FILL, tenant, dumps(SPEC), dumps(result), count)
        await connection.execute(_LANES)
        await connection.execute("VACUUM ANALYZE jobs")
        await connection.execute("VACUUM ANALYZE lanes")
    finally:
        await connection.close()
