"""What changes a campaign: decided by its owner or by who works on it, carried out here in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, Integer, Text, bindparam, insert, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Action, without_secrets
from orchestrator.domain.campaign import Campaign, CampaignState, Kind, ManifestMark, require
from orchestrator.domain.errors import LeaseLost
from orchestrator.ports.campaign_values import NOW, Change, Hold, NewPass, RowEdit, Window
from orchestrator.ports.campaigns import Decide
from orchestrator.store.audit import record_difference
from orchestrator.store.campaign_values import COLUMNS, LIVE, NO_LIVE, campaign
from orchestrator.store.part import Part
from orchestrator.store.tables import batches, campaigns, outbox

_LOCK = f"SELECT {COLUMNS} FROM campaigns AS c WHERE c.id = :id"
_LOCK_OWNED = text(f"{_LOCK} AND c.tenant = :tenant AND c.kind = 'campaign' AND c.deleted_at IS NULL FOR UPDATE")
_LOCK_HELD = text(f"{_LOCK} AND c.lease = :token FOR UPDATE")
_READ = text(f"SELECT {COLUMNS}, live.* FROM campaigns AS c, {LIVE} WHERE c.id = :id")
_READ_LIGHTLY = text(f"SELECT {COLUMNS}, live.* FROM campaigns AS c, {NO_LIVE} WHERE c.id = :id")

# Of the jobs in the window, in the order of their ids, as everybody locks them.
_OF_WINDOW = """
    SELECT j.id FROM campaign_jobs AS w JOIN jobs AS j ON j.id = w.job_id
    WHERE w.campaign = :number AND j.finished_at IS NULL AND {which} ORDER BY j.id FOR UPDATE OF j"""
_HOLD = text(f"""
    UPDATE jobs SET state = 'held', ready = false
    WHERE id = ANY (ARRAY({_OF_WINDOW.format(which="j.state = 'queued'")}))
""")
_READY = text(f"""
    UPDATE jobs SET state = 'queued', ready = run_at <= cogmill_now()
    WHERE id = ANY (ARRAY({_OF_WINDOW.format(which="j.state = 'held'")}))
""")
# Nobody hears of each: the campaign's own end tells.
_CANCEL = text(f"""
    UPDATE jobs
    SET cancel_requested_at = coalesce(cancel_requested_at, cogmill_now()), ready = false,
        state = CASE WHEN state = 'running' THEN state ELSE 'cancelled' END,
        finished_at = CASE WHEN state <> 'running' THEN cogmill_now() END
    WHERE id = ANY (ARRAY({_OF_WINDOW.format(which="true")}))
""")
_URGENT = text(f"""
    WITH moved AS MATERIALIZED (
        UPDATE jobs SET priority = :priority
        WHERE id = ANY (ARRAY({_OF_WINDOW.format(which="j.state IN ('held', 'queued')")}))
        RETURNING pool, tenant
    )
    INSERT INTO lanes (pool, priority, tenant, weight)
    SELECT DISTINCT pool, CAST(:priority AS smallint), tenant,
           coalesce((SELECT weight FROM tenants WHERE name = tenant), 1)
    FROM moved ON CONFLICT DO NOTHING
""")
# What no worker ever had goes without a trace, and each pass goes back to the first of its rows.
_FORGET = text(f"""
    WITH gone AS MATERIALIZED (
        DELETE FROM jobs WHERE id = ANY (ARRAY({_OF_WINDOW.format(which="j.state IN ('held', 'queued')")}))
        AND claims = 0 RETURNING id
    ), freed AS MATERIALIZED (
        DELETE FROM campaign_jobs WHERE campaign = :number AND job_id IN (SELECT id FROM gone)
        RETURNING pass, ordinal, reserved, price, day
    ), back AS (
        UPDATE campaign_passes AS p SET cursor = least(p.cursor, f.first), done = false
        FROM (SELECT pass, min(ordinal) AS first FROM freed GROUP BY pass) AS f
        WHERE p.campaign = :number AND p.number = f.pass
    ), spared AS (
        UPDATE spending AS s SET reserved = greatest(0, s.reserved - f.owed)
        FROM (SELECT b.period, b.unit, date_trunc(b.period, day)::date AS since,
                     sum(CASE b.unit WHEN 'money' THEN reserved * price ELSE reserved END) AS owed
              FROM freed CROSS JOIN (VALUES ('day', 'gpu_seconds'), ('day', 'money'), ('month', 'gpu_seconds'),
                                            ('month', 'money')) AS b(period, unit)
              GROUP BY 1, 2, 3 ORDER BY 1, 2, 3) AS f
        WHERE s.tenant = :tenant AND s.period = f.period AND s.unit = f.unit AND s.since = f.since
    )
    UPDATE campaigns AS c
    SET reserved = greatest(0, c.reserved - f.reserved), reserved_money = greatest(0, c.reserved_money - f.money)
    FROM (SELECT coalesce(sum(reserved), 0) AS reserved, coalesce(sum(reserved * price), 0) AS money FROM freed) AS f
    WHERE number = :number
""")
_WINDOW = {Window.HOLD: _HOLD, Window.READY: _READY, Window.CANCEL: _CANCEL, Window.FORGET: _FORGET}

_PASS = text("""
    INSERT INTO campaign_passes (campaign, number, kind, places, overrides)
    SELECT :number, coalesce(max(number), 0) + 1, :kind, :places, :overrides FROM campaign_passes
    WHERE campaign = :number HAVING :kind <> 'main' OR coalesce(bool_and(kind <> 'main'), true)
""").bindparams(
    bindparam("places", type_=ARRAY(Integer)), bindparam("overrides", type_=JSONB), bindparam("kind", type_=Text)
)

_CLOSE = text("UPDATE campaign_passes SET done = true WHERE campaign = :number AND NOT done")

# Rows that have a job are left alone: they end by it. Of what is rendered anew only counts what it has cost.
_EDIT = """
    WITH chosen AS MATERIALIZED (
        SELECT campaign, place, outcome, result FROM campaign_rows AS r
        WHERE campaign = :number AND {which}
          AND NOT EXISTS (SELECT FROM campaign_jobs AS w WHERE w.campaign = r.campaign AND w.place = r.place)
        FOR UPDATE
    ), edited AS (
        UPDATE campaign_rows AS r
        SET outcome = :outcome, reseed = r.reseed + CASE WHEN :reseed THEN 1 ELSE 0 END,
            result = CASE WHEN :outcome IS NOT NULL THEN coalesce(r.result, '{{}}')
                     ELSE jsonb_strip_nulls(jsonb_build_object(
                         'attempts', r.result -> 'attempts', 'gpu_seconds', r.result -> 'gpu_seconds')) END
        FROM chosen AS o WHERE r.campaign = o.campaign AND r.place = o.place
    )
    UPDATE campaigns AS c SET
        succeeded = c.succeeded - n.succeeded + CASE WHEN :outcome = 'succeeded' THEN n.all ELSE 0 END,
        failed = c.failed - n.failed + CASE WHEN :outcome = 'failed' THEN n.all ELSE 0 END,
        cancelled = c.cancelled - n.cancelled + CASE WHEN :outcome = 'cancelled' THEN n.all ELSE 0 END,
        dropped = c.dropped - n.dropped + CASE WHEN :outcome = 'dropped' THEN n.all ELSE 0 END,
        waived = c.waived - n.waived + CASE WHEN :outcome = 'waived' THEN n.all ELSE 0 END,
        flagged = c.flagged - n.flagged
    FROM (SELECT count(*) AS all, count(*) FILTER (WHERE outcome = 'succeeded') AS succeeded,
                 count(*) FILTER (WHERE outcome = 'failed') AS failed,
                 count(*) FILTER (WHERE outcome = 'cancelled') AS cancelled,
                 count(*) FILTER (WHERE outcome = 'dropped') AS dropped,
                 count(*) FILTER (WHERE outcome = 'waived') AS waived,
                 count(*) FILTER (
                     WHERE outcome = 'succeeded' AND jsonb_array_length(coalesce(result -> 'flags', '[]')) > 0
                 ) AS flagged
          FROM chosen) AS n
    WHERE c.number = :number
"""
_EDITED = (bindparam("outcome", type_=Text), bindparam("of", type_=ARRAY(Text)))
# Two texts, so that each has an index that fits: of some rows, and of all that have ended so.
_EDIT_NAMED = text(
    _EDIT.format(which="place = ANY (:places) AND (outcome = ANY (:of) OR outcome IS NULL AND :unended)")
).bindparams(bindparam("places", type_=ARRAY(Integer)), *_EDITED)
_EDIT_ENDED = text(_EDIT.format(which="outcome = ANY (:of) AND outcome IS NOT NULL")).bindparams(*_EDITED)

_TOLD = text("""
    UPDATE spending SET told = (SELECT array_agg(DISTINCT percent) FROM unnest(told || :told) AS percent)
    WHERE tenant = :tenant AND period = :period AND unit = :unit
      AND since = date_trunc(period, cogmill_now() AT TIME ZONE 'UTC')::date
""").bindparams(bindparam("told", type_=ARRAY(Integer)))

# Columns whose values are kept as JSON.
_DOCUMENTS = ("ask", "templates", "input", "estimate", "error", "history", "manifest")


class Changes(Part):
    async def change_campaign(
        self, campaign_id: str, tenant: str, decide: Decide, *, action: Action | None = None
    ) -> Campaign | None:
        async def turn(connection: AsyncConnection) -> Campaign | None:
            before = await owned(connection, campaign_id, tenant)
            if before is None:
                return None
            change = decide(before)
            if change is not None:
                # Whoever works on it works on what is no more: the lease is over, and somebody looks at once.
                await apply(connection, before, change, rested=False)
            after = await read(connection, campaign_id)
            if action is not None:
                of = f"campaign:{campaign_id}"
                await record_difference(connection, action, of, recorded(before), recorded(after), tenant=tenant)
            return after

        changed = await self._database.transact(turn)
        if changed is not None:
            self._notifier.announce()
        return changed

    async def change_held(self, hold: Hold, change: Change) -> Campaign:
        async def turn(connection: AsyncConnection) -> Campaign:
            before = await held(connection, hold)
            await apply(connection, before, change, rested=True)
            return campaign((await connection.execute(_READ_LIGHTLY, {"id": before.id})).one())

        changed = await self._database.transact(turn)
        if change.window is not None:
            self._notifier.announce()
        return changed

    async def read_held(self, hold: Hold) -> Campaign:
        async def turn(connection: AsyncConnection) -> Campaign:
            return await held(connection, hold)

        return await self._database.transact(turn)

    async def end_campaign(self, hold: Hold, state: CampaignState, manifest: ManifestMark | None) -> None:
        values: dict[str, Any] = {"ended_at": NOW, "manifest_due": False}
        if manifest is not None:
            values["manifest"] = manifest
        new = None if hold.campaign.state is state else state
        await self.change_held(hold, Change(state=new, values=values, events=[(f"campaign.{state}", {})]))


async def owned(connection: AsyncConnection, campaign_id: str, tenant: str) -> Campaign | None:
    """Lock a tenant's campaign until the transaction ends; None where it has no such.

    Counts of its window are read with the lock held, so that what is decided on them holds.
    """
    if (await connection.execute(_LOCK_OWNED, {"id": campaign_id, "tenant": tenant})).one_or_none() is None:
        return None
    return await read(connection, campaign_id)


async def read(connection: AsyncConnection, campaign_id: str) -> Campaign:
    """A campaign as this transaction has it by now."""
    return campaign((await connection.execute(_READ, {"id": campaign_id})).one())


async def held(connection: AsyncConnection, hold: Hold) -> Campaign:
    """Lock the campaign's row until the transaction ends. Raises `LeaseLost` unless it is still what `hold` says."""
    row = (await connection.execute(_LOCK_HELD, {"id": hold.campaign.id, "token": hold.token})).one_or_none()
    if row is None or row.version != hold.campaign.version:
        raise LeaseLost(f"{hold.campaign.id} is held by another, or was changed")
    return campaign(row)


async def apply(connection: AsyncConnection, before: Campaign, change: Change, *, rested: bool) -> None:
    """Carry out a change of a campaign whose row is locked. Who holds it goes on unless `rested` is false."""
    values: dict[str, Any] = {"version": campaigns.c.version + 1}
    if change.state is not None:
        values["state"] = require(before.state, change.state)
    if change.pauses is not None:
        values["pauses"] = sorted(change.pauses)
    values |= {name: _value(name, value) for name, value in change.values.items()}
    if not rested:
        values |= {"lease": None, "leased_until": None}
    await connection.execute(update(campaigns).where(campaigns.c.number == before.number).values(**values))
    if change.face:
        came = {f"{change.face['status']}_at": text("cogmill_now()")} if "status" in change.face else {}
        await connection.execute(update(batches).where(batches.c.id == before.id).values(**change.face, **came))
    await _window(connection, before, change)
    if change.closes:
        await connection.execute(_CLOSE, {"number": before.number})
    for wanted in change.passes:
        await connection.execute(_PASS, _pass(before, wanted))
    for edit in change.edits:
        await _edit(connection, before, edit)
    if change.follows is not None:
        more = change.follows(campaign((await connection.execute(_READ_LIGHTLY, {"id": before.id})).one()))
        more = {name: _value(name, value) for name, value in more.items()}
        await connection.execute(update(campaigns).where(campaigns.c.number == before.number).values(**more))
    for budget, percents in change.told:
        of = {"tenant": budget.tenant, "period": budget.period, "unit": budget.unit, "told": list(percents)}
        await connection.execute(_TOLD, of)
    await tell(connection, before, change.events)


def recorded(of: Campaign) -> dict[str, Any]:
    """What the audit log says of a campaign: what it may use, and who hears of it; of its words only which hold."""
    budget, webhook_url = of.ask.budget, of.ask.webhook_url
    return {
        "state": of.state,
        "approval": of.ask.approval,
        "approved": of.approved_token,
        "most_gpu_seconds": of.cap,
        "budget": None if budget is None else f"{budget.amount:g} {budget.unit}",
        "priority": of.priority,
        "max_running": of.max_running,
        "deadline": of.deadline,
        "template": of.template.version,
        "schedule": of.ask.cron,
        "webhook_url": None if webhook_url is None else without_secrets(webhook_url),
    }


def _value(name: str, value: Any) -> Any:
    if name in _DOCUMENTS:
        return bindparam(f"new_{name}", value, type_=JSONB(none_as_null=True))
    return text("cogmill_now()") if value is NOW else value


async def _window(connection: AsyncConnection, before: Campaign, change: Change) -> None:
    of = {"number": before.number}
    if change.window is Window.FORGET:
        await connection.execute(_FORGET, of | {"tenant": before.tenant})
        if change.state is CampaignState.PAUSED:  # what a worker has had stays, and waits with its campaign
            await connection.execute(_HOLD, of)
    elif change.window is not None:
        await connection.execute(_WINDOW[change.window], of)
    if "priority" in change.values:
        await connection.execute(_URGENT, of | {"priority": change.values["priority"]})


async def tell(connection: AsyncConnection, of: Campaign, events: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Write events about a campaign into the outbox."""
    if of.kind is Kind.BATCH or not events:
        return
    told = [
        {
            "batch_id": of.id,
            "tenant": of.tenant,
            "event": name,
            "webhook_url": of.ask.webhook_url,
            "detail": dict(detail),
            "trace": of.trace,
        }
        for name, detail in events
    ]
    await connection.execute(insert(outbox), told)


def _pass(before: Campaign, wanted: NewPass) -> dict[str, Any]:
    return {
        "number": before.number,
        "kind": wanted.kind,
        "places": None if wanted.places is None else list(wanted.places),
        "overrides": dict(wanted.overrides),
    }


async def _edit(connection: AsyncConnection, before: Campaign, edit: RowEdit) -> None:
    what = {
        "number": before.number,
        "of": [outcome for outcome in edit.of if outcome is not None],
        "outcome": None if edit.reset else edit.outcome,
        "reseed": edit.reseed,
    }
    if edit.places is None:
        await connection.execute(_EDIT_ENDED, what)
    else:
        named = {"places": list(edit.places), "unended": None in edit.of}
        await connection.execute(_EDIT_NAMED, what | named)
