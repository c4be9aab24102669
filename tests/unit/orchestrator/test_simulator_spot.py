"""A night on a spot market that takes its workers back: what it is worth to put such a kind aside, in the simulator."""

from __future__ import annotations

import pytest

from orchestrator.policy import losses
from orchestrator.simulator.report import Report, report
from orchestrator.simulator.world import World
from tests.support.simulations import RENDER, kind, world

CAMPAIGN = {"campaigns": {"bulk": {"tenant": "shop", "rows": 1500, "deadline_h": 9.0, **RENDER}}}


def night(losses_per_day: float) -> tuple[World, Report]:
    """Enough of either kind to keep the deadline; a start takes five minutes, a render 100 s."""
    spot = kind(max=12, workers=None, price_per_gpu_hour=1.0, start_s=300.0, losses_per_day=losses_per_day)
    firm = kind(max=12, workers=None, price_per_gpu_hour=3.0, start_s=300.0)
    played = world({"hours": 12} | CAMPAIGN, pools={"main": {"kinds": {"spot": spot, "firm": firm}}})
    played.run()
    return played, report(played)


def firm_changes(played: World) -> int:
    return sum(decision.scale.kind == "firm" for scaler in played.scalers for decision in scaler.decisions)


@pytest.mark.parametrize("losses_per_day", [480.0, 1440.0], ids=["after three minutes", "after one"])
def test_a_deadline_is_kept_and_paid_no_dearer_where_spot_is_taken_back_at_once(
    losses_per_day: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    played, told = night(losses_per_day)
    assert told.campaigns[0].late_rows == 0
    assert firm_changes(played) <= 6
    monkeypatch.setattr(losses, "ENOUGH", 10**9)  # never put aside
    stubborn, lesson = night(losses_per_day)
    assert lesson.campaigns[0].late_rows
    assert told.money < 1.1 * lesson.money
    assert played.tally.losses < stubborn.tally.losses / 5


def test_spot_that_lives_an_hour_is_left_to_do_it_all() -> None:
    played, told = night(24.0)
    assert told.campaigns[0].late_rows == 0
    assert firm_changes(played) == 0
