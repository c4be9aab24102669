"""What holds of campaigns at every moment, whoever does what to them: questions to the database."""

from __future__ import annotations

import json
from typing import Any

import asyncpg

from orchestrator.domain.campaign import Campaign

# Sums of floats.
_NEAR = 1 + 1e-6

# Each finds what must not be: nothing.
_NEVER = {
    "counts that the rows do not have": """
        SELECT c.id FROM campaigns AS c LEFT JOIN LATERAL (
            SELECT count(*) AS rows, count(*) FILTER (WHERE outcome = 'succeeded') AS succeeded,
                   count(*) FILTER (WHERE outcome = 'failed') AS failed,
                   count(*) FILTER (WHERE outcome = 'cancelled') AS cancelled,
                   count(*) FILTER (WHERE outcome = 'dropped') AS dropped,
                   count(*) FILTER (WHERE outcome = 'waived') AS waived
            FROM campaign_rows AS r WHERE r.campaign = c.number) AS n ON true
        WHERE (c.rows, c.succeeded, c.failed, c.cancelled, c.dropped, c.waived)
              <> (n.rows, n.succeeded, n.failed, n.cancelled, n.dropped, n.waived)""",
    "a reservation that no job has": """
        SELECT c.id, c.reserved, n.reserved FROM campaigns AS c CROSS JOIN LATERAL (
            SELECT coalesce(sum(reserved), 0) AS reserved, coalesce(sum(reserved * price), 0) AS money
            FROM campaign_jobs AS w WHERE w.campaign = c.number) AS n
        WHERE abs(c.reserved - n.reserved) > 1e-6 OR abs(c.reserved_money - n.money) > 1e-6""",
    "a reservation of a tenant's budget that no job has": """
        SELECT s.*, n.reserved FROM spending AS s CROSS JOIN LATERAL (
            SELECT coalesce(sum(w.reserved * CASE s.unit WHEN 'money' THEN w.price ELSE 1 END), 0) AS reserved
            FROM campaign_jobs AS w JOIN campaigns AS c ON c.number = w.campaign
            WHERE c.tenant = s.tenant AND date_trunc(s.period, w.day) = s.since) AS n
        WHERE abs(s.reserved - n.reserved) > 1e-6""",
    "an attempt that is charged twice, or never": """
        SELECT c.id, c.used, a.used, w.due FROM campaigns AS c CROSS JOIN LATERAL (
            SELECT coalesce(sum(a.gpu_seconds), 0) AS used FROM jobs AS j JOIN attempts AS a ON a.job_id = j.id
            WHERE j.campaign = c.id) AS a CROSS JOIN LATERAL (
            SELECT coalesce(sum(t.used - w.booked), 0) AS due FROM campaign_jobs AS w CROSS JOIN LATERAL (
                SELECT coalesce(sum(gpu_seconds), 0) AS used FROM attempts WHERE job_id = w.job_id) AS t
            WHERE w.campaign = c.number) AS w
        WHERE abs(c.used + w.due - a.used) > 1e-6""",
    "a live job that its campaign does not know": """
        SELECT j.id FROM jobs AS j WHERE j.campaign IS NOT NULL AND j.finished_at IS NULL
        AND NOT EXISTS (SELECT FROM campaign_jobs AS w WHERE w.job_id = j.id)""",
    "two live jobs of one row": """
        SELECT j.campaign, j.request -> 'metadata' ->> 'custom_id' FROM jobs AS j
        WHERE j.campaign IS NOT NULL AND j.finished_at IS NULL GROUP BY 1, 2 HAVING count(*) > 1""",
    "a job of a row that has ended, which no pass asks for": """
        SELECT w.* FROM campaign_jobs AS w JOIN campaign_rows AS r USING (campaign, place)
        JOIN campaign_passes AS p ON p.campaign = w.campaign AND p.number = w.pass
        WHERE r.outcome IS NOT NULL AND (r.pass >= w.pass OR p.kind NOT IN ('retry', 'promote'))""",
    "a main pass before anybody has approved": """
        SELECT c.id FROM campaigns AS c JOIN campaign_passes AS p ON p.campaign = c.number
        WHERE p.kind = 'main' AND (c.ask ->> 'approval')::bool AND c.approved_token IS NULL""",
    "two main passes": """
        SELECT campaign FROM campaign_passes WHERE kind = 'main' GROUP BY 1 HAVING count(*) > 1""",
    "a job that may be claimed though its campaign has stopped": """
        SELECT c.id, c.state, j.state FROM campaigns AS c JOIN campaign_jobs AS w ON w.campaign = c.number
        JOIN jobs AS j ON j.id = w.job_id
        WHERE c.state IN ('cancelled', 'finishing', 'completed', 'failed', 'draft', 'ingesting')
              AND j.state IN ('held', 'queued')
           OR c.state = 'paused' AND j.state = 'queued' AND j.claims = 0""",
    "an end that leaves something open": """
        SELECT c.id FROM campaigns AS c WHERE c.ended_at IS NOT NULL AND (
            abs(c.reserved) > 1e-6 OR NOT c.drained
            OR EXISTS (SELECT FROM campaign_jobs AS w WHERE w.campaign = c.number))""",
    "something parked": "SELECT * FROM parked",
}
_ALL = " UNION ALL ".join(f"SELECT $${what}$$, to_jsonb(q) FROM ({query}) AS q" for what, query in _NEVER.items())


async def check_always(database: asyncpg.Connection) -> None:
    """Raise for whatever does not hold."""
    found = await database.fetch(_ALL)
    assert not found, [tuple(row) for row in found]


async def check_reservation(database: asyncpg.Connection, campaign: Campaign) -> None:
    """When something was reserved, what is used and reserved is within the campaign's budget and what was approved.

    `campaign` is how it was held; whatever its owner has changed since allowed nothing then.
    """
    query = "SELECT * FROM campaigns WHERE id = $1 AND version = $2"
    row = await database.fetchrow(query, campaign.id, campaign.version)
    if row is None:
        return
    spoken_for = {"gpu_seconds": row["used"] + row["reserved"], "money": row["spent"] + row["reserved_money"]}
    assert row["cap"] is None or spoken_for["gpu_seconds"] <= row["cap"] * _NEAR, f"more than was approved: {dict(row)}"
    budget = json.loads(row["ask"])["budget"]
    assert budget is None or spoken_for[budget["unit"]] <= budget["amount"] * _NEAR, f"over its budget: {dict(row)}"


async def check_overshoot(database: asyncpg.Connection, tenant: str, amount: float) -> None:
    """Of a tenant's budget of GPU seconds: at most so much too much as attempts took beyond their jobs' predictions."""
    used, excess = await database.fetchrow(
        """SELECT coalesce((SELECT sum(used) FROM campaigns WHERE tenant = $1), 0),
                  coalesce(sum(greatest(0, a.used - j.cost)), 0)
           FROM jobs AS j CROSS JOIN LATERAL (
               SELECT coalesce(sum(gpu_seconds), 0) AS used FROM attempts WHERE job_id = j.id) AS a
           WHERE j.tenant = $1 AND j.campaign IS NOT NULL""",
        tenant,
    )
    assert used <= (amount + excess) * _NEAR


def in_order(events: list[tuple[str, dict[str, Any] | None]], *, reopened: int) -> None:
    """The events of one campaign, as the world hears of them: each once, none before what comes first."""
    names = [name for name, _ in events]
    for once in ("campaign.planned", "campaign.failed", "campaign.cancelled"):
        assert names.count(once) <= 1, names
    assert names.count("campaign.completed") <= 1 + reopened, names
    if names and names[0] != "campaign.cancelled":
        assert names[0] in ("campaign.planned", "campaign.failed"), names
    told = [detail["percent"] for name, detail in events if name == "campaign.progress" and detail is not None]
    assert told == sorted(set(told)), told
    assert "campaign.cancelled" not in names or names[-1] == "campaign.cancelled", names
