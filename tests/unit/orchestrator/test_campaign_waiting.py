"""Why nothing of a campaign is rendered now, in words for its owner."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.campaign import (
    Ask,
    BudgetAction,
    BudgetAsk,
    Campaign,
    CampaignState,
    Counts,
    Group,
    PauseReason,
)
from orchestrator.domain.campaign_waiting import waiting_for, waits_for_turn
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.domain.pausing import Pause
from orchestrator.domain.waiting import Turn, turn_reason
from tests.support.api_campaigns import a_campaign

NOW = datetime(2026, 11, 29, 18, tzinfo=UTC)
STARTING = WorkerLoad(worker="main-0", pool="main", model="m", state=LoadState.STARTING)
LOADED = replace(STARTING, state=LoadState.LOADED)
PAUSE = Pause(pool="main", reason="S3 moves", paused_by="ada", paused_at=NOW)
# 10 rows of 5 GPU seconds each.
RUNNING = a_campaign(
    state=CampaignState.RUNNING,
    counts=Counts(rows=10, queued=4),
    estimate=(Group(pool="main", model="m", rows=10, gpu_seconds=50.0),),
)


def paused(*reasons: PauseReason, **changes: object) -> Campaign:
    return replace(RUNNING, state=CampaignState.PAUSED, pauses=frozenset(reasons), **changes)  # type: ignore[arg-type]


def told(campaign: Campaign, *loads: WorkerLoad, pauses: tuple[Pause, ...] = ()) -> str | None:
    return waiting_for(campaign, loads, pauses, NOW)


@pytest.mark.parametrize("state", [CampaignState.INGESTING, CampaignState.PLANNED, CampaignState.COMPLETED])
def test_what_goes_on_or_has_ended_waits_for_nothing(state: CampaignState) -> None:
    assert told(replace(RUNNING, state=state), STARTING, pauses=(PAUSE,)) is None


def test_a_running_one_waits_for_what_its_pools_wait_for_unless_something_is_rendered() -> None:
    assert told(RUNNING, LOADED) is None
    assert told(RUNNING, STARTING) == "no worker of pool main has started yet"
    assert told(RUNNING, LOADED, pauses=(PAUSE,)) == "pool main is paused: S3 moves"
    rendering = replace(RUNNING, counts=replace(RUNNING.counts, running=1))
    assert told(rendering, STARTING, pauses=(PAUSE,)) is None


def test_one_that_could_be_rendered_says_its_place_in_the_queue_or_the_cap_that_is_reached() -> None:
    turn = Turn(
        due_in_s=0.0,
        running=2,
        most=None,
        running_here=2,
        most_here=None,
        ahead=3,
        ahead_s=15.0,
        more_urgent=0,
        had_less=0,
    )
    assert waits_for_turn(RUNNING)
    assert waiting_for(RUNNING, [LOADED], [], NOW, turn) == turn_reason(turn)
    assert "3 of its own tenant's" in turn_reason(turn)
    capped = replace(turn, most=2)
    assert (
        waiting_for(RUNNING, [LOADED], [], NOW, capped) == "its tenant runs 2 of the 2 videos that it may run at a time"
    )
    assert waiting_for(RUNNING, [LOADED], [PAUSE], NOW, turn) == "pool main is paused: S3 moves"
    for other in (
        replace(RUNNING, counts=replace(RUNNING.counts, running=1)),
        replace(RUNNING, counts=Counts(rows=10, held=4)),
        paused(PauseReason.OWNER),
        replace(RUNNING, state=CampaignState.COMPLETED),
    ):
        assert not waits_for_turn(other)


def test_one_that_is_not_due_says_when_it_is() -> None:
    early = replace(RUNNING, state=CampaignState.PLANNED, run_at=NOW + timedelta(hours=1))
    assert told(early) == "its time to begin, 2026-11-29T19:00:00Z"
    assert told(replace(early, run_at=NOW)) is None


def test_a_pause_says_all_of_its_reasons() -> None:
    both = told(paused(PauseReason.REVISION, PauseReason.OWNER))
    assert both == (
        "it was paused by its owner, and waits to be resumed; what was approved is no longer what would be rendered: "
        "approve the new plan"
    )
    for reason in PauseReason:
        assert told(paused(reason))


@pytest.mark.parametrize(
    ("budget", "changes", "said"),
    [
        (BudgetAsk(amount=22, unit="gpu_seconds"), {}, "20 of its budget of 22 GPU seconds are used or spoken for"),
        (BudgetAsk(amount=3, unit="money"), {"spent": 2.5}, "2.5 of its budget of 3 money are used or spoken for"),
        (
            BudgetAsk(amount=100, unit="gpu_seconds", actions=(BudgetAction(percent=20, do="finish"),)),
            {"told_budget": frozenset({20})},
            "20 of its budget of 100 GPU seconds are used or spoken for",
        ),
        (
            BudgetAsk(amount=100, unit="gpu_seconds"),
            {"cap": 24.0},
            "20 of the 24 GPU seconds that were approved are used or spoken for",
        ),
        (
            BudgetAsk(amount=100, unit="gpu_seconds"),
            {"cap": 90.0},
            "a budget of the tenant has no room for its next row",
        ),
        (None, {}, "a budget of the tenant has no room for its next row"),
    ],
)
def test_a_pause_for_money_says_whose_budget_it_is(
    budget: BudgetAsk | None, changes: dict[str, object], said: str
) -> None:
    spent = {"used": 15.0, "reserved": 5.0, **changes}
    assert told(paused(PauseReason.BUDGET, ask=Ask(budget=budget), **spent)) == said
