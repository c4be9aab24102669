"""Webhook deliveries: made from the outbox, leased fairly, recorded under their lease."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.job import public_id
from orchestrator.domain.webhooks import DeliveryState, Fate, Judgement
from orchestrator.ports import Backlog, Endpoint, Happening, NewDelivery, Try
from orchestrator.store.delivery_attempts import MOST_ATTEMPTS, MOST_CHARS
from orchestrator.store.endpoints import close_endpoint, hold_endpoint, hold_endpoints_of
from orchestrator.store.part import Part
from orchestrator.telemetry import aside

_TAKE = text("""
    WITH taken AS (
        DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT :n FOR UPDATE SKIP LOCKED)
        RETURNING id, job_id, batch_id, tenant, event, webhook_url, at, detail, trace
    )
    SELECT * FROM taken ORDER BY id
""")

# An event that cannot be announced: out of the outbox, and whole, so that it can be resumed.
_PARK = text("""
    INSERT INTO parked (kind, subject, tenant, error, detail)
    VALUES ('event', CAST(:id AS bigint)::text, :tenant, :error, :detail)
    ON CONFLICT (kind, subject) DO UPDATE SET error = excluded.error, at = excluded.at
""").bindparams(bindparam("detail", type_=JSONB))

_INSERT = text("""
    INSERT INTO deliveries (id, event_id, tenant, endpoint_id, url, host, event_type, body, trace, give_up_at)
    SELECT id, event_id, tenant, endpoint_id, url, host, event_type, body, trace,
           cogmill_now() + make_interval(secs => :give_up_s)
    FROM jsonb_to_recordset(:batch) AS b(
        id uuid, event_id text, tenant text, endpoint_id text, url text, host text, event_type text, body text,
        trace text)
""").bindparams(bindparam("batch", type_=JSONB))

# Leases are given out one transaction at a time: counting those that live and adding to them is one act.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('cogmill:deliveries', 0))")

# `lane` walks the index from one pair of host and tenant to the next, however many deliveries each has. What is in
# flight takes the first turns (its `id` is null), then a tenant's first delivery at a host comes before another's
# second, and a tenant's first anywhere before another's second. Tenants and hosts that are full do not stand in line.
_LEASE = text("""
    WITH RECURSIVE lane AS (
        (SELECT host, tenant FROM deliveries WHERE state = 'pending' ORDER BY host, tenant LIMIT 1)
        UNION ALL
        SELECT further.host, further.tenant FROM lane CROSS JOIN LATERAL (
            SELECT host, tenant FROM deliveries
            WHERE state = 'pending' AND (host, tenant) > (lane.host, lane.tenant)
            ORDER BY host, tenant LIMIT 1) AS further
    ), flying AS MATERIALIZED (
        SELECT lease_host AS host, tenant FROM deliveries WHERE lease IS NOT NULL AND leased_until > cogmill_now()
    ), line AS (
        SELECT NULL::uuid AS id, host, tenant, '-infinity'::timestamptz AS next_at FROM flying
        UNION ALL
        SELECT d.id, lane.host, lane.tenant, d.next_at FROM lane CROSS JOIN LATERAL (
            SELECT id, next_at FROM deliveries
            WHERE state = 'pending' AND host = lane.host AND tenant = lane.tenant AND next_at <= cogmill_now()
              AND (lease IS NULL OR leased_until <= cogmill_now())
            ORDER BY next_at LIMIT :per_host) AS d
        WHERE lane.host <> ALL (ARRAY(SELECT host FROM flying GROUP BY host HAVING count(*) >= :per_host))
          AND lane.tenant <> ALL (ARRAY(SELECT tenant FROM flying GROUP BY tenant HAVING count(*) >= :per_tenant))
    ), lined AS (
        SELECT *, row_number() OVER (PARTITION BY host, tenant ORDER BY id IS NOT NULL, next_at, id) AS turn FROM line
    ), at_host AS (
        SELECT *, row_number() OVER (PARTITION BY host ORDER BY id IS NOT NULL, turn, next_at, id) AS place FROM lined
    ), of_tenant AS (
        SELECT *, row_number() OVER (PARTITION BY tenant ORDER BY id IS NOT NULL, place, next_at, id) AS share
        FROM at_host WHERE id IS NULL OR place <= :per_host
    ), chosen AS (
        SELECT id FROM of_tenant WHERE id IS NOT NULL AND share <= :per_tenant ORDER BY share, place, next_at LIMIT :n
    ), leased AS (
        UPDATE deliveries AS d
        SET lease = gen_random_uuid(), lease_host = d.host, attempts = d.attempts + 1,
            leased_until = cogmill_now() + make_interval(secs => :lease_s)
        FROM chosen
        WHERE d.id = chosen.id AND d.state = 'pending'
        RETURNING d.id, d.lease, d.tenant, d.endpoint_id, d.event_id, d.url, d.body, d.attempts, d.event_type, d.trace
    )
    SELECT l.*, coalesce(s.secret_generation, 1) AS generation,
           coalesce(s.previous_secret_until > cogmill_now(), false) AS overlaps, s.master, s.previous_master
    FROM leased AS l LEFT JOIN LATERAL (
        SELECT secret_generation, previous_secret_until, master, previous_master
        FROM webhook_endpoints WHERE id = l.endpoint_id
        UNION ALL
        SELECT secret_generation, previous_secret_until, master, previous_master
        FROM tenants WHERE name = l.tenant AND l.endpoint_id IS NULL
    ) AS s ON true
""")

# A delivery that was closed while it was in flight stays so, unless it arrived. Numbers need no lock of their own: an
# earlier attempt was written before this one's lease was given out.
_RECORD = text(f"""
    WITH held AS (
        SELECT id, tenant, CASE WHEN :fate = 'delivered' THEN 'delivered'
                        WHEN state <> 'pending' THEN state
                        WHEN :fate = 'gone' OR give_up_at <= cogmill_now() THEN 'failed'
                        ELSE 'pending' END AS state
        FROM deliveries WHERE id = :id AND lease = :lease FOR UPDATE
    ), made AS (
        SELECT held.id, held.tenant, coalesce((
            SELECT max(a.number) FROM delivery_attempts AS a WHERE a.tenant = held.tenant AND a.delivery = held.id
        ), 0) + 1 AS number FROM held
    ), told AS (
        INSERT INTO delivery_attempts (tenant, delivery, number, at, seconds, status, error)
        SELECT tenant, id, number, cogmill_now() - make_interval(secs => :ago_s), CAST(:took_s AS float8),
               CAST(:status AS integer), left(CAST(:error AS text), {MOST_CHARS})
        FROM made
    ), trimmed AS (
        DELETE FROM delivery_attempts AS a USING made
        WHERE a.tenant = made.tenant AND a.delivery = made.id AND a.number <= made.number - {MOST_ATTEMPTS}
    )
    UPDATE deliveries AS d
    SET state = held.state, last_status = :status,
        last_error = CASE WHEN d.state = 'pending' OR held.state = 'delivered' THEN :error ELSE d.last_error END,
        ended_at = CASE WHEN held.state <> 'pending' THEN cogmill_now() END,
        next_at = CASE WHEN held.state = 'pending'
                  THEN least(cogmill_now() + make_interval(secs => :delay_s), d.give_up_at) ELSE d.next_at END,
        lease = NULL, lease_host = NULL, leased_until = NULL
    FROM held WHERE d.id = held.id
    RETURNING d.state
""")

# Only while the try is still its own, and the endpoint still where the answer came from.
_DISABLE = text("""
    UPDATE webhook_endpoints AS e SET disabled_at = cogmill_now()
    WHERE id = :endpoint_id AND url = :url AND disabled_at IS NULL
      AND EXISTS (SELECT FROM deliveries WHERE id = :id AND lease = :lease)
    RETURNING 1
""")

_BACKLOG = text("""
    SELECT count(*) AS pending,
           coalesce(extract(epoch FROM cogmill_now() - min(created_at)), 0)::float8 AS oldest_age_s,
           (SELECT coalesce(max(extract(epoch FROM cogmill_now() - at)), 0)::float8
            FROM (SELECT at FROM outbox ORDER BY id LIMIT 1) AS first) AS oldest_event_age_s
    FROM deliveries WHERE state = 'pending'
""")


class Deliveries(Part):
    async def fan_out(
        self, announce: Callable[[Happening], Sequence[NewDelivery]], *, limit: int, give_up_s: float
    ) -> int:
        async def turn(connection: AsyncConnection) -> int:
            taken = (await connection.execute(_TAKE, {"n": limit})).all()
            endpoints = await hold_endpoints_of(connection, {row.tenant for row in taken}) if taken else []

            async def add(of: Sequence[Row[Any]]) -> None:
                """Insert what these rows become, all of it or nothing."""
                new = [delivery for row in of for delivery in announce(_happening(row, endpoints))]
                if new:
                    async with connection.begin_nested():
                        await connection.execute(_INSERT, {"batch": new, "give_up_s": give_up_s})

            try:
                await add(taken)
            except Exception as error:
                if not _its_own(error):
                    raise
                # One of them breaks all: each by itself, and the one that does is put where it is in nobody's way.
                for row in taken:
                    try:
                        await add([row])
                    except Exception as broken:
                        if not _its_own(broken):
                            raise
                        evidence = aside.put("announce", broken, outbox=row.id, tenant=row.tenant)
                        await connection.execute(_PARK, {"id": row.id, "error": evidence, **_kept(row)})
            return len(taken)

        return await self._database.transact(turn)

    async def add_delivery(self, delivery: NewDelivery, *, give_up_s: float) -> bool:
        async def add(connection: AsyncConnection) -> bool:
            if delivery.endpoint_id is None or await hold_endpoint(connection, delivery.endpoint_id) is None:
                return False
            await connection.execute(_INSERT, {"batch": [delivery], "give_up_s": give_up_s})
            return True

        return await self._database.transact(add)

    async def lease_deliveries(self, *, limit: int, per_host: int, per_tenant: int, lease_s: float) -> list[Try]:
        limits = {"n": limit, "per_host": per_host, "per_tenant": per_tenant, "lease_s": lease_s}

        async def lease(connection: AsyncConnection) -> list[Try]:
            await connection.execute(_LOCK)
            return [Try(**row._mapping) for row in await connection.execute(_LEASE, limits)]

        return await self._database.transact(lease)

    async def record_try(
        self, attempt: Try, judgement: Judgement, *, took_s: float = 0.0, ago_s: float = 0.0
    ) -> DeliveryState | None:
        lease = {"id": attempt.id, "lease": attempt.lease}
        outcome = {name: getattr(judgement, name) for name in ("fate", "status", "error", "delay_s")}
        outcome |= {"took_s": took_s, "ago_s": ago_s}

        async def record(connection: AsyncConnection) -> DeliveryState | None:
            disabled = False
            if judgement.fate is Fate.GONE and attempt.endpoint_id is not None:
                endpoint = {"endpoint_id": attempt.endpoint_id, "url": attempt.url}
                disabled = bool((await connection.execute(_DISABLE, lease | endpoint)).all())
            row = (await connection.execute(_RECORD, lease | outcome)).one_or_none()
            if disabled and attempt.endpoint_id is not None:
                await close_endpoint(connection, attempt.endpoint_id, "its receiver answered another with 410 Gone")
            return None if row is None else DeliveryState(row.state)

        return await self._database.transact(record)

    async def webhook_backlog(self) -> Backlog:
        (row,) = await self._database.fetch(_BACKLOG)
        return Backlog(**row._mapping)


def _its_own(error: Exception) -> bool:
    """Whether a row's content is to blame (bad data, a broken rule, a bug of ours), and not the database."""
    if isinstance(error, DBAPIError):
        return str(getattr(error.orig, "sqlstate", None) or "").startswith(("22", "23"))
    return not isinstance(error, OSError | SQLAlchemyError)


def _kept(row: Row[Any]) -> dict[str, Any]:
    """A row of the outbox as `parked` keeps it."""
    job_id = None if row.job_id is None else str(row.job_id)
    told = {"job_id": job_id, "batch_id": row.batch_id, "event": row.event, "webhook_url": row.webhook_url}
    told |= {} if row.trace is None else {"trace": row.trace}
    return {"tenant": row.tenant, "detail": told | {"at": row.at.isoformat(), "detail": row.detail}}


def _happening(row: Row[Any], endpoints: Sequence[Endpoint]) -> Happening:
    return Happening(
        event=row.event,
        subject=row.batch_id if row.job_id is None else public_id(row.job_id),
        tenant=row.tenant,
        at=row.at,
        webhook_url=row.webhook_url,
        detail=row.detail or {},
        trace=row.trace,
        endpoints=[endpoint for endpoint in endpoints if endpoint.tenant == row.tenant],
    )
