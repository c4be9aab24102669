"""Alerts of the overview: each fires on its condition, and on nothing less."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.capacity.facts import spent
from orchestrator.capacity.overviews import read_span
from orchestrator.domain.errors import InvalidField
from orchestrator.policy.alerting import Alert, Facts, PoolSigns, Spent, alerts
from orchestrator.policy.sampling import STEPS_S, finest, step_for
from orchestrator.ports.campaign_values import Budget

# Everything is in order: something waits, and somebody works on it.
WELL = PoolSigns(
    waiting=9, oldest_wait_s=3600, claimed_s=30, ready=2, wanted=2, ended=40, failed=4, ended_lately=20,
    least_waiting=3, busy_share=0.9,
)  # fmt: skip
STUCK = replace(WELL, claimed_s=None, ended_lately=0)
SPENT = Spent(tenant="acme", period="day", unit="gpu_seconds", amount=0.3)
NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def names(facts: Facts) -> list[str]:
    return [alert.name for alert in alerts(facts)]


def test_nothing_fires_where_all_is_well() -> None:
    assert names(Facts(pools={"main": WELL}, forecasts_s=60)) == []
    assert names(Facts()) == []


@pytest.mark.parametrize(
    ("signs", "fires"),
    [
        (replace(WELL, paused="it moves"), ["PoolPaused"]),
        (STUCK, ["QueueStuck"]),
        (replace(STUCK, paused="it moves"), ["PoolPaused"]),
        (replace(STUCK, oldest_wait_s=899), []),
        (replace(STUCK, waiting=0, oldest_wait_s=None), []),
        (replace(STUCK, ended_lately=1), []),
        (replace(STUCK, claimed_s=899), []),
        (replace(WELL, ready=0), ["NoReadyWorker"]),
        (replace(WELL, ready=0, wanted=0), []),
        (replace(WELL, broken=1), ["WorkerBroken"]),
        (replace(WELL, quarantined=2), ["WorkersQuarantined"]),
        (replace(WELL, quarantined=1), []),
        (replace(WELL, ended=40, failed=6), ["JobsFailing"]),
        (replace(WELL, ended=60, failed=6), []),
        (replace(WELL, ended=5, failed=5), []),
        (replace(WELL, busy_share=0.49), ["GpusIdle"]),
        (replace(WELL, busy_share=0.49, least_waiting=0), []),
        (replace(WELL, busy_share=None), []),
    ],
)
def test_a_pools_alert_fires_on_its_condition_alone(signs: PoolSigns, fires: list[str]) -> None:
    assert names(Facts(pools={"main": signs})) == fires


@pytest.mark.parametrize(
    ("facts", "fires"),
    [
        (Facts(at_risk={"campaign_1": "6 workers"}), ["CampaignAtRisk"]),
        (Facts(exhausted=[SPENT]), ["BudgetExhausted"]),
        (Facts(forecasts_s=301), ["ForecastsStale"]),
        (Facts(forecasts_s=299), []),
        (Facts(outbox_s=301), ["OutboxStuck"]),
        (Facts(given_up=1), ["WebhooksGivenUp"]),
        (Facts(unsealed_s=601), ["AuditUnsealed"]),
        (Facts(dead_letters=1), ["DeadLetters"]),
        (Facts(parked=1), ["Parked"]),
    ],
)
def test_an_alert_about_all_fires_on_its_condition_alone(facts: Facts, fires: list[str]) -> None:
    assert names(facts) == fires


def test_the_most_severe_come_first_and_say_what_they_are_about() -> None:
    pools = {"a": replace(WELL, paused="it moves"), "b": replace(WELL, broken=1, reason="no memory"), "c": STUCK}
    found = alerts(Facts(pools=pools))
    assert [(alert.name, alert.subject) for alert in found] == [
        ("QueueStuck", "c"), ("WorkerBroken", "b"), ("PoolPaused", "a"),
    ]  # fmt: skip
    assert isinstance(found[0], Alert)
    assert "no memory" in found[1].summary


def test_a_budget_is_exhausted_once_nothing_can_be_reserved() -> None:
    budget = Budget(tenant="acme", period="day", unit="gpu_seconds", amount=0.3, used=0.2, reserved=0.1)
    assert spent([budget]) == [SPENT]
    assert SPENT.words == "today's budget of 0.3 GPU seconds"
    assert spent([replace(budget, reserved=0.05)]) == []


def test_a_history_is_told_in_steps_in_which_all_of_it_is_known() -> None:
    for age in (timedelta(hours=1), timedelta(days=2), timedelta(days=30), timedelta(days=89)):
        step_s = step_for(NOW - age, NOW, NOW)
        assert step_s in STEPS_S
        assert finest(age) <= step_s
        assert age.total_seconds() / step_s <= 800
    assert step_for(NOW - timedelta(hours=6), NOW, NOW) == 60


@pytest.mark.parametrize(
    ("since", "until", "resolution", "param"),
    [
        ("2026-11-30T12:00:00Z", "2026-11-30T11:00:00Z", None, "from"),
        ("2026-01-01", "2026-11-30", None, "from"),
        ("yesterday", None, None, "from"),
        (None, None, 61, "resolution"),
        ("2026-11-28T12:00:00Z", "2026-11-30T12:00:00Z", 60, None),
        ("2026-11-29T10:30:00Z", "2026-11-30T12:00:00Z", 60, "resolution"),
    ],
)
def test_a_span_that_cannot_be_told_is_refused_by_its_name(
    since: str | None, until: str | None, resolution: int | None, param: str | None
) -> None:
    if param is None:
        assert read_span(since, until, resolution, NOW)[2] == 600  # it is not known by the minute any more
        return
    with pytest.raises(InvalidField) as refused:
        read_span(since, until, resolution, NOW)
    assert refused.value.param == param
