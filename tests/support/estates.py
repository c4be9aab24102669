"""Tenants with something in every table and below every prefix of the bucket, and what erases them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
from uuid_utils.compat import uuid7

from orchestrator.adapters.s3 import S3Objects
from orchestrator.campaigns.asking import own_prefixes
from orchestrator.campaigns.signing import Signer
from orchestrator.config.logins import Login
from orchestrator.domain.audit import Actor
from orchestrator.domain.job import Artifact, Claim
from orchestrator.domain.objects import claim_prefix, file_key, manifest_key
from orchestrator.objects.erasing import Bucket, Eraser
from orchestrator.ports.any_jobs import Fate
from orchestrator.ports.erasures import ErasureStore
from orchestrator.store import Store
from orchestrator.store.belongings import BLANKED, LAST, OF_JOBS, OF_TENANT
from orchestrator.telemetry import acting
from tests.support.builders import a_spec
from tests.support.jobs import CLUSTER, new_job, success, worker
from tests.support.logins import acting as acting_as

MASTER_KEY = "tests-only-master-key-0123456789abcdef"
SIGNER = Signer(MASTER_KEY)
# So long after the fence something may still be uploaded, and after it was given up a picture be used.
LATE_S, GRACE_S = 1000.0, 500.0
PATTERNS = ("imports/{tenant}/", "exports/{tenant}/", "shared/")

# Beside what `Store` itself writes: a row of each other table. `$1` is the tenant.
_ROWS = (
    "INSERT INTO tenants (name, queued) VALUES ($1, 50)",
    "INSERT INTO campaigns (id, kind, tenant, state, ask, templates, priority, rows, next_run_at)"
    " VALUES ('campaign_' || md5($1), 'campaign', $1, 'running', '{}', '[]', 20, 1, cogmill_now())",
    "INSERT INTO batches (id, tenant, dialect, endpoint, completion_window, input_file, status, expires_at)"
    " VALUES ('batch_' || md5($1), $1, 'openai', '/v1/videos', '24h', 'file-1', 'in_progress', 'infinity')",
    "INSERT INTO batch_items (batch_id, line, custom_id, body, job_id)"
    " VALUES ('batch_' || md5($1), 1, $1, '{}', gen_random_uuid())",
    "INSERT INTO campaign_rows (campaign, place, line, custom_id, body)"
    " SELECT number, n, n, n || $1, '{}' FROM campaigns, generate_series(0, 9) AS n WHERE tenant = $1",
    "INSERT INTO campaign_bad_rows (campaign, line, code, reason)"
    " SELECT number, 9, 'bad', $1 FROM campaigns WHERE tenant = $1",
    "INSERT INTO campaign_passes (campaign, number, kind) SELECT number, 1, 'main' FROM campaigns WHERE tenant = $1",
    "INSERT INTO campaign_jobs (campaign, place, pass, ordinal, version, job_id, reserved, day)"
    " SELECT number, 0, 1, 0, 1, gen_random_uuid(), 1, now() FROM campaigns WHERE tenant = $1",
    "INSERT INTO campaign_progress SELECT number, now(), 1, 0, 0, 1 FROM campaigns WHERE tenant = $1",
    "INSERT INTO reviews (job_id, tenant, version, rating, reviewer) VALUES (gen_random_uuid(), $1, 1, 5, $1)",
    "INSERT INTO review_entries (job_id, number, tenant, kind, version, reviewer)"
    " VALUES (gen_random_uuid(), 1, $1, 'decided', 1, $1)",
    "INSERT INTO forecasts (subject, name, made_at) VALUES ('campaign', 'campaign_' || md5($1), cogmill_now())",
    "INSERT INTO files (id, tenant, purpose, filename, size, sha256, content_type, key)"
    " VALUES ('file-' || md5($1), $1, 'batch', $1, 3, '', 'text/plain', 'files/x/' || md5($1))",
    "INSERT INTO webhook_endpoints (id, tenant, name, url, host, event_types)"
    " VALUES ('we_' || md5($1), $1, $1, 'http://receiver.example/', 'receiver.example:80', '[]')",
    "INSERT INTO deliveries (id, event_id, tenant, url, host, event_type, body, give_up_at)"
    " VALUES (gen_random_uuid(), 'e', $1, 'http://receiver.example/', 'receiver.example:80', 't', $1, 'infinity')",
    "INSERT INTO delivery_attempts (tenant, delivery, number, at, seconds, error)"
    " SELECT tenant, id, 1, now(), 0.1, $1 FROM deliveries WHERE tenant = $1",
    "INSERT INTO parked (kind, subject, tenant, error, detail) VALUES ('event', $1, $1, 'broke', '{}')",
    "INSERT INTO flow_samples (subject, name, at, accepted, waiting, running, ending, succeeded, failed, cancelled)"
    " VALUES ('tenant', $1, now(), 1, 1, 0, 0, 0, 0, 0)",
    "INSERT INTO quarantines (cluster, worker, incarnation, job_id, tenant, pool)"
    " VALUES ('default', 'small-0', $1, gen_random_uuid(), $1, 'small')",
    "INSERT INTO lane_forecasts (pool, tenant, priority, made_at, ahead_s, low_s, likely_s, high_s, stretch)"
    " VALUES ('tiny', $1, 10, cogmill_now(), '{}', '{}', '{}', '{}', '{}')",
    "INSERT INTO shares (tenant, pool) VALUES ($1, 'tiny')",
    "INSERT INTO budgets (tenant, period, unit, amount) VALUES ($1, 'day', 'gpu_seconds', 9)",
    "INSERT INTO spending (tenant, period, unit, since) VALUES ($1, 'day', 'gpu_seconds', now())",
    "INSERT INTO keys (id, tenant, name) VALUES ('key-of-' || $1, $1, 'tests')",
    "INSERT INTO console_sessions (id, holder, tenant, master, expires_at) VALUES (md5($1), $1, $1, 1, 'infinity')",
    "INSERT INTO bulk_actions (id, owner, tenant, action, filter, actor, asked_by, expected, about)"
    " VALUES ('bulk_' || md5($1), $1, $1, 'cancel', '{}', '{}', $1, 1, false)",
    "INSERT INTO notes (id, tenant, about, body, author, written_by)"
    " VALUES ('note_' || md5($1), $1, 'campaign_' || md5($1), $1, $1, $1)",
    "INSERT INTO saved_filters (tenant, name, filter, author, saved_by) VALUES ($1, $1, '{}', $1, $1)",
    "INSERT INTO stored (tenant, files, bytes) VALUES ($1, 1, 3)",
)


@dataclass(frozen=True)
class Estate:
    """What a tenant has: something of everything, one job that is over and one that renders."""

    tenant: str
    ended: UUID
    running: Claim

    @classmethod
    async def of(cls, store: Store, database: asyncpg.Connection, bucket: S3Objects, tenant: str) -> Estate:
        for statement in _ROWS:
            await database.execute(statement, tenant)
        pool = hashlib.sha256(tenant.encode()).hexdigest()[:8]  # of its own, or its claims would be others'
        its = worker(pool)
        await store.beat(CLUSTER, {its: pool})
        ended = await store.submit(new_job(tenant, pool=pool))
        [first] = await store.claim(pool, CLUSTER, [its])
        await store.settle([success(first)])
        await store.end_letter(ended.id, Fate.FORGOTTEN, by=tenant)
        with acting.acting(Actor(name=f"key:key-of-{tenant}", tenant=tenant, address="203.0.113.9")):
            await store.set_weight(tenant, 2)
        await store.submit(new_job(tenant, pool=pool))
        [second] = await store.claim(pool, CLUSTER, [its])
        await store.submit(new_job(tenant, pool=pool))
        keys = [
            f"{claim_prefix(first.job_id, 1)}video.mp4",
            f"{claim_prefix(second.job_id, 1)}checkpoints/0002.safetensors",
            file_key(tenant, f"file-{uuid7().hex}"),
            manifest_key(tenant, "campaign_1", 1, "0" * 64),
            *(f"{prefix}a/b.csv" for prefix in own_prefixes(PATTERNS, tenant)),
        ]
        for key in keys:
            bucket.put(key, tenant.encode(), "text/plain")
        return cls(tenant, ended.id, second)

    async def stopped(self, store: Store) -> None:
        """The dispatcher has seen that what it renders is not wanted any more."""
        assert self.running.token in await store.cancel_requests(CLUSTER)
        await store.settle([success(self.running)])


async def with_picture(store: Store, tenant: str, picture: Artifact) -> UUID:
    """A job that is over at once, with a picture."""
    job = await store.submit(new_job(tenant, spec=a_spec(image=picture)))
    await store.request_cancel(job.id, tenant)
    return job.id


def eraser(store: ErasureStore, bucket: Bucket) -> Eraser:
    """With the maintainer's rights in the database."""
    return Eraser(
        acting_as(store, Login.MAINTAIN),
        bucket,
        late_s=LATE_S,
        grace_s=GRACE_S,
        own=partial(own_prefixes, PATTERNS),
        shared=["shared/"],
        sign=SIGNER.sign_receipt,
    )


async def rows_of(database: asyncpg.Connection, tenant: str) -> Mapping[str, list[str]]:
    """Every row of a tenant by its table, as text."""
    found: dict[str, list[str]] = {}
    for table, which in (OF_TENANT | OF_JOBS | BLANKED | LAST).items():
        query = f"SELECT t::text FROM (SELECT * FROM {table} WHERE {which.replace(':tenant', '$1')}) AS t ORDER BY 1"
        found[table] = [row[0] for row in await database.fetch(query, tenant)]
    return found


def contents(bucket: S3Objects) -> dict[str, bytes]:
    """The whole bucket."""
    return {key: bucket.get(key) for key in bucket.list_keys("")}


async def mentions(database: asyncpg.Connection, word: str) -> dict[str, list[str]]:
    """Every row of the database that has this word anywhere."""
    tables = await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    found: dict[str, Any] = {}
    for (table,) in tables:
        rows = [row[0] for row in await database.fetch(f'SELECT t::text FROM "{table}" AS t')]
        if naming := [row for row in rows if word in row]:
            found[table] = naming
    return found
