"""Between rows of campaigns and what the domain knows of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row as SqlRow

from orchestrator.domain import jsontext
from orchestrator.domain.campaign import (
    Ask,
    BudgetAction,
    BudgetAsk,
    Campaign,
    CampaignState,
    Counts,
    Group,
    Input,
    Kind,
    ManifestMark,
    Pass,
    PassKind,
    PauseReason,
    RowError,
    StopRule,
    TemplateVersion,
)
from orchestrator.store.tables import campaigns

COLUMNS = ", ".join(f"c.{column.name}" for column in campaigns.c)

# How many of its jobs stand where, beside the row of a campaign `c`. One that has ended and is not settled yet counts
# as running: no moment lies between a row's job and its end.
LIVE = """
    LATERAL (
        SELECT count(*) FILTER (WHERE j.state = 'held') AS held, count(*) FILTER (WHERE j.state = 'queued') AS queued,
               count(*) FILTER (WHERE j.state IS NULL OR j.state NOT IN ('held', 'queued')) AS running
        FROM campaign_jobs AS w LEFT JOIN jobs AS j ON j.id = w.job_id WHERE w.campaign = c.number) AS live"""
# The same for who does not ask.
NO_LIVE = "(SELECT 0 AS held, 0 AS queued, 0 AS running) AS live"


def campaign(row: SqlRow[Any]) -> Campaign:
    """A campaign from `COLUMNS`, and from `LIVE` where its counts are wanted whole."""
    return Campaign(
        id=row.id,
        number=row.number,
        kind=Kind(row.kind),
        tenant=row.tenant,
        state=CampaignState(row.state),
        drained=row.drained,
        pauses=frozenset(PauseReason(reason) for reason in row.pauses),
        version=row.version,
        ask=_ask(row.ask),
        templates=tuple(TemplateVersion(**version) for version in row.templates),
        generation=row.generation,
        priority=row.priority,
        max_running=row.max_running,
        input=None if row.input is None else Input(**row.input),
        records=row.records,
        counts=_counts(row),
        estimate=tuple(Group(**group) for group in row.estimate),
        error=None if row.error is None else RowError(**row.error),
        history=tuple((moment, done) for moment, done in row.history),
        manifest=None if row.manifest is None else ManifestMark(**row.manifest),
        told_budget=frozenset(row.told_budget),
        **{name: getattr(row, name) for name in _AS_THEY_ARE},
    )


_AS_THEY_ARE = (
    "plan_token", "approved_token", "cap", "reserved", "used", "reserved_money", "spent", "told_progress",
    "fresh_succeeded", "fresh_failed", "first_failed", "schedule_of", "next_run_at", "run_at", "deadline", "created_at",
    "started_at", "ended_at", "made_by", "trace",
)  # fmt: skip


def a_pass(row: SqlRow[Any]) -> Pass:
    """A pass from its row."""
    return Pass(
        number=row.number,
        kind=PassKind(row.kind),
        places=None if row.places is None else tuple(row.places),
        cursor=row.cursor,
        overrides=row.overrides,
        stuck=row.stuck,
    )


def _counts(row: SqlRow[Any]) -> Counts:
    live = {name: getattr(row, name, 0) for name in ("held", "queued", "running")}
    kept = ("rows", "bad", "succeeded", "failed", "cancelled", "dropped", "waived", "flagged")
    return Counts(**live, **{name: getattr(row, name) for name in kept})


def _ask(told: Mapping[str, Any]) -> Ask:
    budget = told.get("budget")
    seeds = told.get("seeds")
    # Without what a newer release asks: its API serves while this one's processes are still there.
    here = {name: value for name, value in told.items() if name in Ask.__slots__}
    return Ask(
        **here
        | {
            "seeds": None if seeds is None else tuple(seeds),
            "budget": None if budget is None else _budget(budget),
            "stop": StopRule(**(told.get("stop") or {})),
        }
    )


def _budget(told: Mapping[str, Any]) -> BudgetAsk:
    return BudgetAsk(
        amount=told["amount"],
        unit=told["unit"],
        actions=tuple(BudgetAction(**action) for action in told["actions"]),
    )


def variables_of(body: str) -> Mapping[str, Any]:
    """The variables in a campaign row's body."""
    found: Mapping[str, Any] = jsontext.own(body).get("vars", {})
    return found
