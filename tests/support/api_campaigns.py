"""A campaign as a value, for tests that need no database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from orchestrator.domain.campaign import Ask, Campaign, CampaignState, Counts, Kind, TemplateVersion


def a_campaign(**fields: Any) -> Campaign:
    """A draft that says nothing."""
    empty: dict[str, Any] = dict.fromkeys(
        (
            "max_running", "input", "plan_token", "approved_token", "cap", "error", "manifest", "schedule_of",
            "next_run_at", "run_at", "deadline", "started_at", "ended_at",
        )
    )  # fmt: skip
    zero = dict.fromkeys(
        (
            "generation", "records", "reserved", "used", "reserved_money", "spent", "told_progress", "fresh_succeeded",
            "fresh_failed", "first_failed",
        ), 0,
    )  # fmt: skip
    usual = {
        "id": f"campaign_{1:032x}", "number": 1, "kind": Kind.CAMPAIGN, "tenant": "acme",
        "state": CampaignState.DRAFT, "pauses": frozenset(), "version": 1, "ask": Ask(), "priority": 20,
        "templates": (TemplateVersion(version=1, prompt="a {product}"),), "counts": Counts(), "estimate": (),
        "told_budget": frozenset(), "history": (), "created_at": datetime(2026, 11, 29, tzinfo=UTC), "drained": False,
    }  # fmt: skip
    return Campaign(**empty | zero | usual | fields)
