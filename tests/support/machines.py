"""A queue, a fleet and hours that are over, written straight into the tables: for pages that show what is there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from uuid import uuid4

import asyncpg

from tests.support.api import POOL, Api

_TABLES = (
    "jobs", "lanes", "attempts", "usage", "flow_samples", "gpu_samples", "flow_clock", "quarantines", "workers",
    "worker_loads", "worker_orders", "worker_time", "fleet_kinds", "scale_decisions", "pauses", "forecasts",
)  # fmt: skip
_STAGES = ("denoising", "denoising", "preempted", "decoding", "encoding", "denoising", "uploading")


@dataclass(frozen=True)
class Machines:
    """What a test asked for."""

    api: Api
    database: asyncpg.Connection

    @classmethod
    async def none(cls, api: Api) -> Machines:
        """Nothing is there, whatever a test before left behind."""
        database = await asyncpg.connect(api.settings.database_url)
        await database.execute(f"TRUNCATE {', '.join(_TABLES)} CASCADE")
        return cls(api, database)

    async def waiting(self, count: int, *, tenants: int = 3) -> None:
        """Jobs of the tenant and of others that wait, the oldest for an hour."""
        await self.database.execute(
            "INSERT INTO jobs (id, tenant, pool, priority, state, ready, cost, max_attempts, spec, request, run_at) "
            "SELECT gen_random_uuid(), CASE WHEN n % $2 = 0 THEN $1 ELSE 'tenant-' || n % $2 END, $3, "
            "CASE WHEN n % 5 = 0 THEN 10 ELSE 20 END, 'queued', true, 90, 3, '{\"model\": \"tiny-2b\"}', '{}', "
            "now() - make_interval(secs => 3600.0 * n / $4) FROM generate_series(1, $4) AS n",
            self.api.tenant, tenants, POOL, count,
        )  # fmt: skip
        await self.database.execute(
            "INSERT INTO lanes (pool, priority, tenant, weight) SELECT DISTINCT pool, priority, tenant, 1 FROM jobs "
            "ON CONFLICT DO NOTHING"
        )

    async def workers(self, count: int) -> None:
        """Workers that render, each in another stage; of many some load, and one is broken."""
        broken = {"state": "broken", "reason": "there is not enough memory for it", "failures": 3}
        for n in range(count):
            name, life = f"{POOL}-{n}", f"life-{n}"
            load = {"state": "loaded", "reason": "", "failures": 0}
            load = broken if n == 3 else {**load, "state": "loading"} if n % 9 == 5 else load
            await self.database.execute(
                "INSERT INTO workers (cluster, name, incarnation, pool) VALUES ('default', $1, $2, $3)",
                name, life, POOL,
            )  # fmt: skip
            await self.database.execute(
                "INSERT INTO worker_loads (cluster, worker, pool, model, state, failures, reason, detail, adapters) "
                "VALUES ('default', $1, $2, 'tiny-2b', $3, $4, $5, '', $6)",
                name, POOL, load["state"], load["failures"], load["reason"], ["noir"] if n % 4 == 0 else [],
            )  # fmt: skip
            if load["state"] == "loaded" and n % 7 != 6:
                await self.rendering(name, life, _STAGES[n % len(_STAGES)], step=7 * n % 50)

    async def rendering(self, worker: str, life: str, stage: str, *, step: int) -> None:
        """A job that a worker holds."""
        await self.database.execute(
            "INSERT INTO jobs (id, tenant, pool, priority, state, ready, cost, max_attempts, spec, request, claims, "
            "token, cluster, worker, incarnation, claimed_at, stage, step) VALUES ($1, $2, $3, 20, 'running', false, "
            "90, 3, jsonb_build_object('model', 'tiny-2b', 'num_inference_steps', 50), '{}', 1, gen_random_uuid(), "
            "'default', $4, $5, now(), $6, $7)",
            uuid4(), self.api.tenant, POOL, worker, life, stage, step,
        )  # fmt: skip

    async def hours(self, minutes: int) -> None:
        """Samples of every minute until now, of a queue that grows, shrinks and fails a little."""
        await self.database.execute(
            "INSERT INTO flow_samples (subject, name, at, accepted, waiting, running, ending, succeeded, failed, "
            "cancelled) SELECT of.subject, of.name, date_trunc('minute', now()) - make_interval(mins => n), "
            "(4 + 4 * sin(n / 40.0))::int, (60 + 50 * sin(n / 50.0))::int, 8, 0, 4, (n % 11 = 0)::int, "
            "(n % 37 = 0)::int FROM generate_series(0, $1) AS n, "
            "(VALUES ('pool', $2), ('tenant', $3), ('priority', '20')) AS of(subject, name)",
            minutes, POOL, self.api.tenant,
        )  # fmt: skip
        await self.database.execute(
            "INSERT INTO gpu_samples (pool, at, busy_s, worker_s) "
            "SELECT $2, date_trunc('minute', now()) - make_interval(mins => n), 480 * (0.85 + 0.12 * sin(n / 30.0)), "
            "480 FROM generate_series(0, $1) AS n",
            minutes, POOL,
        )  # fmt: skip

    async def used(self, attempts: int) -> None:
        """Attempts of a month, of tenants, campaigns and outcomes; and what workers' hours went into."""
        await self.database.execute(
            "INSERT INTO usage (job_id, claim, tenant, pool, outcome, gpu_seconds, at, campaign, model, kind) "
            "SELECT gen_random_uuid(), 1, CASE WHEN n % 3 = 0 THEN $2 ELSE 'tenant-' || n % 3 END, $3, "
            "(ARRAY['succeeded','succeeded','succeeded','failed','lost','cancelled'])[1 + n % 6], 60 + n % 60, "
            "now() - make_interval(mins => n * 40000 / $1), CASE WHEN n % 2 = 0 THEN 'campaign_' || md5('a') END, "
            "(ARRAY['cogvideox-2b','cogvideox-5b'])[1 + n % 2], '' FROM generate_series(1, $1) AS n",
            attempts, self.api.tenant, POOL,
        )  # fmt: skip
        await self.database.execute(
            "INSERT INTO worker_time (hour, pool, kind, spell, seconds) "
            "SELECT date_trunc('hour', now()) - make_interval(hours => n), $1, '', of.spell, of.seconds "
            "FROM generate_series(0, 600) AS n, "
            "(VALUES ('busy', 26000.0), ('idle', 2000.0), ('loading', 700.0), ('broken', 100.0)) AS of(spell, seconds)",
            POOL,
        )  # fmt: skip

    async def given_up(self) -> None:
        """A worker that was quarantined, with the evidence."""
        for n in range(3):
            job = uuid4()
            await self.database.execute(
                "INSERT INTO quarantines (cluster, worker, incarnation, job_id, tenant, pool) "
                "VALUES ('default', 'small-7', 'life-6', $1, $2, $3)",
                job, self.api.tenant, POOL,
            )  # fmt: skip
            await self.database.execute(
                "INSERT INTO attempts (job_id, number, token, cluster, worker, incarnation, outcome, gpu_seconds, "
                "claimed_at, failure) VALUES ($1, 1, gen_random_uuid(), 'default', 'small-7', 'life-6', 'failed', 1, "
                "now(), $2)",
                job, json.dumps({"code": "nan_frames", "message": f"frame {n} has values that are no numbers"}),
            )  # fmt: skip
