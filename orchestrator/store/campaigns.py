"""Campaigns: made, read, leased. `campaign_search.py` lists them, `changes.py` has what changes one, and `window.py`
what goes through its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import ARRAY, Text, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from orchestrator.domain.audit import Action, Change
from orchestrator.domain.campaign import Campaign, CampaignState, Kind, ManifestMark
from orchestrator.domain.errors import KeyReused, LeaseLost, LimitExceeded
from orchestrator.ports.campaign_values import Hold, NewCampaign, Work
from orchestrator.store import quotas
from orchestrator.store.audit import record
from orchestrator.store.batches import batch_of
from orchestrator.store.campaign_values import COLUMNS, LIVE, NO_LIVE, campaign
from orchestrator.store.part import Part
from orchestrator.store.tables import batches, campaigns
from orchestrator.telemetry import aside

_NOW = func.cogmill_now()

# What each kind of work is done to.
_WANTS = {
    Work.INGEST: "c.state = 'ingesting'",
    Work.MOVE: "NOT c.drained AND c.state IN ('planned', 'sampling', 'running', 'paused', 'finishing', 'cancelled')",
    Work.FINISH: "c.drained AND c.state IN ('finishing', 'cancelled')",
}

# First a campaign of whoever is worked for least: one tenant's many slow ones must not be all that is worked on.
_LEASE = """
    WITH held AS MATERIALIZED (
        SELECT tenant, count(*) AS n FROM campaigns
        WHERE ended_at IS NULL AND lease IS NOT NULL AND leased_until > cogmill_now()
        GROUP BY tenant
    ), due AS (
        SELECT c.id FROM campaigns AS c
        WHERE c.ended_at IS NULL AND {wants} AND (c.leased_until IS NULL OR c.leased_until <= cogmill_now())
        ORDER BY coalesce((SELECT n FROM held WHERE held.tenant = c.tenant), 0), c.leased_until NULLS FIRST,
                 c.created_at
        LIMIT 1 FOR UPDATE OF c SKIP LOCKED
    ), leased AS (
        UPDATE campaigns AS c SET lease = :token, leased_until = cogmill_now() + make_interval(secs => :lease_s)
        FROM due WHERE c.id = due.id
        RETURNING {columns}, coalesce(c.deadline <= cogmill_now(), false) AS overdue,
                  coalesce(c.run_at <= cogmill_now(), true) AS due
    )
    SELECT c.*, live.* FROM leased AS c, {live}
"""
_LEASES = {
    work: text(_LEASE.format(wants=wants, columns=COLUMNS, live=LIVE if work is Work.MOVE else NO_LIVE))
    for work, wants in _WANTS.items()
}

_GET = f"""
    SELECT {COLUMNS}, live.* FROM campaigns AS c, {LIVE}
    WHERE c.tenant = :tenant AND c.kind = 'campaign' AND c.deleted_at IS NULL
"""
_GET_ONE = text(f"{_GET} AND c.id = :id")
_BY_KEY = text(f"{_GET.replace('live.*', 'live.*, c.request_hash')} AND c.idempotency_key = :key")
_DELETE = text("""
    UPDATE campaigns SET deleted_at = cogmill_now(), next_run_at = NULL, idempotency_key = NULL
    WHERE id = :id AND tenant = :tenant AND kind = 'campaign' AND deleted_at IS NULL AND ended_at IS NOT NULL
    RETURNING state
""")

# What breaks stays until somebody resumes it, or its owner changes it.
_PARK = text("""
    WITH rested AS (
        UPDATE campaigns SET lease = NULL,
               leased_until = CASE WHEN kind = 'batch' AND deadline > cogmill_now() THEN deadline ELSE 'infinity' END
        WHERE id = :id AND lease = :token
        RETURNING id, kind, tenant, state
    )
    INSERT INTO parked (kind, subject, tenant, error, detail)
    SELECT kind, id, tenant, :error, jsonb_build_object('state', state) FROM rested
    ON CONFLICT (kind, subject) DO UPDATE SET error = excluded.error, detail = excluded.detail, at = excluded.at
""")

_DUE = text(f"""
    SELECT {COLUMNS} FROM campaigns AS c WHERE next_run_at <= cogmill_now() AND kind = 'campaign'
    ORDER BY next_run_at LIMIT 100
""")

# A revision is written beside whatever else is done to the campaign. What is wanted meanwhile is wanted again; so is
# what a writer has not come to the end of.
_REVISION = text(f"""
    WITH due AS (
        SELECT id FROM campaigns
        WHERE (manifest_due OR writer IS NOT NULL) AND ended_at IS NULL AND NOT drained AND kind = 'campaign'
          AND (written_until IS NULL OR written_until <= cogmill_now())
        LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    UPDATE campaigns AS c SET writer = :writer, written_until = cogmill_now() + make_interval(secs => :lease_s),
                              manifest_due = false
    FROM due WHERE c.id = due.id
    RETURNING {COLUMNS}
""")
_WRITING_S = 600.0

_STATES = text("""
    SELECT state, count(*) AS n FROM campaigns WHERE ended_at IS NULL AND kind = 'campaign' GROUP BY state
""")
_OUTCOMES = text("""
    SELECT sum(succeeded) AS succeeded, sum(failed) AS failed, sum(cancelled) AS cancelled, sum(dropped) AS dropped,
           sum(waived) AS waived, sum(rows - succeeded - failed - cancelled - dropped - waived) AS waiting
    FROM campaigns WHERE ended_at IS NULL AND kind = 'campaign'
""")

_WORKERS = text("""
    SELECT pool, count(*) AS n FROM workers WHERE alive AND pool = ANY (:pools) GROUP BY pool
""").bindparams(bindparam("pools", type_=ARRAY(Text)))


class Campaigns(Part):
    async def add_campaign(self, new: NewCampaign) -> Campaign:
        kept = {name: bindparam(f"kept_{name}", getattr(new, name), type_=JSONB(none_as_null=True)) for name in _JSON}
        kept["templates"] = bindparam("kept_templates", [new.template], type_=JSONB)
        add = insert(campaigns).values(kind=Kind.CAMPAIGN, **{name: getattr(new, name) for name in _PLAIN}, **kept)
        rows = {} if new.state is CampaignState.DRAFT else {"waiting_rows": 1, "row_bytes": 1}

        async def insert_it(connection: AsyncConnection) -> Any:
            await quotas.check(connection, new.tenant, self._defaults, open_campaigns=1, **rows)
            return (await connection.execute(add.on_conflict_do_nothing().returning(campaigns.c.id))).one_or_none()

        try:
            found = await self._database.transact(insert_it)
        except LimitExceeded:
            if new.idempotency_key is None:
                raise
            earlier = await self.repeated_campaign(new.tenant, new.idempotency_key, str(new.request_hash))
            if earlier is None:
                raise
            return earlier
        if found is not None:
            made = await self.get_campaign(new.id, new.tenant)
        else:
            assert new.idempotency_key is not None, "only a key can be there already"
            made = await self.repeated_campaign(new.tenant, new.idempotency_key, str(new.request_hash))
        assert made is not None, "it has just been inserted"
        return made

    async def repeated_campaign(self, tenant: str, key: str, request_hash: str) -> Campaign | None:
        found = await self._database.fetch(_BY_KEY, {"tenant": tenant, "key": key})
        if found and found[0].request_hash != request_hash:
            raise KeyReused("this key came before, with another request", param="idempotency_key")
        return campaign(found[0]) if found else None

    async def get_campaign(self, campaign_id: str, tenant: str) -> Campaign | None:
        found = await self._database.fetch(_GET_ONE, {"id": campaign_id, "tenant": tenant})
        return campaign(found[0]) if found else None

    async def delete_campaign(self, campaign_id: str, tenant: str) -> bool:
        async def drop(connection: AsyncConnection) -> bool:
            gone = (await connection.execute(_DELETE, {"id": campaign_id, "tenant": tenant})).one_or_none()
            if gone is not None:
                of, before = f"campaign:{campaign_id}", {"state": gone.state}
                change = Change(action=Action.CAMPAIGN_DELETE, object=of, tenant=tenant, before=before)
                await record(connection, change)
            return gone is not None

        return await self._database.transact(drop)

    async def lease_campaign(self, work: Work, lease_s: float) -> Hold | None:
        while True:
            token = uuid7()  # of version 4 are those of releases that cannot read rows without copies (migration 0020)
            leased = await self._database.fetch(_LEASES[work], {"token": token, "lease_s": lease_s})
            if not leased:
                return None
            row = leased[0]
            try:
                held = campaign(row)
                face = batch_of(await self._face(held.id)) if held.kind is Kind.BATCH else None
                return Hold(campaign=held, token=token, overdue=row.overdue, due=row.due, batch=face)
            except Exception as error:  # a row that cannot be read is parked, and the next one is looked at
                evidence = aside.put("campaigns", error, campaign=row.id)
                await self._database.fetch(_PARK, {"id": row.id, "token": token, "error": evidence})

    async def _face(self, batch_id: str) -> Any:
        return (await self._database.fetch(select(batches).where(batches.c.id == batch_id)))[0]

    async def park_campaign(self, hold: Hold, error: str) -> None:
        await self._database.fetch(_PARK, {"id": hold.campaign.id, "token": hold.token, "error": error})

    async def renew_campaign(self, hold: Hold, lease_s: float) -> None:
        if not await self._database.fetch(_held(hold, leased_until=_in(lease_s)).returning(campaigns.c.id)):
            raise LeaseLost(f"{hold.campaign.id} is held by another")

    async def release_campaign(self, hold: Hold, *, pause_s: float) -> None:
        await self._database.fetch(_held(hold, lease=None, leased_until=_in(pause_s)))

    async def due_schedules(self) -> list[Campaign]:
        return [campaign(row) for row in await self._database.fetch(_DUE)]

    async def scheduled(self, campaign: Campaign, next_run_at: datetime) -> None:
        of = campaigns.c
        mine = of.id == campaign.id, of.next_run_at == campaign.next_run_at
        await self._database.fetch(update(campaigns).where(*mine).values(next_run_at=next_run_at))

    async def lease_revision(self) -> Campaign | None:
        found = await self._database.fetch(_REVISION, {"writer": uuid4(), "lease_s": _WRITING_S})
        return campaign(found[0]) if found else None

    async def note_revision(self, campaign: Campaign, mark: ManifestMark) -> None:
        document = bindparam("mark", mark, type_=JSONB)
        written = update(campaigns).where(
            campaigns.c.number == campaign.number,
            func.coalesce(campaigns.c.manifest["revision"].as_integer(), 0) < mark.revision,
        )
        await self._database.fetch(written.values(manifest=document, writer=None, written_until=None))

    async def campaign_states(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        states = {row.state: row.n for row in await self._database.fetch(_STATES)}
        (row,) = await self._database.fetch(_OUTCOMES)
        return states, {name: int(count or 0) for name, count in row._mapping.items()}

    async def workers_of(self, pools: Sequence[str]) -> Mapping[str, int]:
        return {row.pool: row.n for row in await self._database.fetch(_WORKERS, {"pools": list(pools)})}


_JSON = ("ask", "input")
_PLAIN = (
    "id", "tenant", "state", "priority", "max_running", "run_at", "deadline", "schedule_of", "next_run_at",
    "idempotency_key", "request_hash", "made_by", "trace",
)  # fmt: skip


def _in(seconds: float) -> Any:
    return _NOW + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _held(hold: Hold, **values: Any) -> Any:
    mine = campaigns.c.id == hold.campaign.id, campaigns.c.lease == hold.token
    return update(campaigns).where(*mine).values(**values)
