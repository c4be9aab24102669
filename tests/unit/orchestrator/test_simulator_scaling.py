"""Autoscaled pools in a simulation: the product's decision is carried out, and its workers are paid for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.simulator.report import report
from orchestrator.simulator.world import World
from tests.support.simulations import RENDER, log_of, world

NIGHT = {"campaigns": {"night": {"tenant": "shop", "rows": 200, "at_h": 0.5, "deadline_h": 2.5, **RENDER}}}


def scaled(traffic: dict[str, Any], directory: Path = Path(), **kinds: dict[str, Any]) -> World:
    tables = {
        name: {"max": 20, "price_per_gpu_hour": 1.0, "start_s": 60.0, "start_spread": 0.0} | kind
        for name, kind in kinds.items()
    }
    pools = {"main": {"kinds": tables}}
    return world({"hours": 4} | traffic, directory=directory, pools=pools, handover_s=5.0)


def test_workers_come_with_a_deadline_and_go_when_it_is_met() -> None:
    here = scaled(NIGHT, firm={})
    here.run()
    told = report(here)
    ready = {sample.at_s / 3600: sum(sample.ready.values()) for sample in here.tally.samples}

    assert told.campaigns[0].late_rows == 0
    # 200 renders of 100 seconds in two hours keep 2.8 workers busy.
    assert [ready[at] for at in (0.25, 1.0, 3.5)] == [0, 4, 0]
    assert told.busy_h == pytest.approx(200 * 100 / 3600)
    # In part also for their starts, and for what one waits before it goes.
    assert 200 * 100 / 3600 < told.money < 1.2 * 200 * 100 / 3600


def test_the_cheaper_kind_does_it_unless_it_does_not_come() -> None:
    dear, cheap = {"price_per_gpu_hour": 3.0}, {"price_per_gpu_hour": 1.0}
    comes, stays_away = (
        scaled(NIGHT, firm=dear, spot=cheap),
        scaled(NIGHT, firm=dear, spot=cheap | {"never_starts": 1.0}),
    )
    busy = []
    for here in (comes, stays_away):
        here.run()
        assert report(here).campaigns[0].late_rows == 0
        busy.append({kind: seconds > 0 for kind, seconds in here.tally.busy_s.items()})

    assert busy == [{"main/spot": True}, {"main/firm": True}]
    assert "main/spot" not in stays_away.tally.money


def test_lost_workers_are_decided_afresh_and_their_renders_go_on() -> None:
    here = scaled(NIGHT, spot={"losses_per_day": 100.0, "notice": False})
    here.run()
    told = report(here)

    assert told.workers_lost > 0
    assert told.campaigns[0].succeeded + told.campaigns[0].failed == 200


def test_shrinking_costs_no_step(tmp_path: Path) -> None:
    # Its worker goes with work in hand, which goes on at the next one.
    more = {"traces": {"once": {"tenant": "acme", "file": log_of(tmp_path, 10), "seconds": 9000.0, "steps": 900}}}
    here = scaled(more, tmp_path, firm={"price_per_gpu_hour": 9.0, "max": 1})
    here.clock.at(5000.0, lambda: here.capacities["main"].drain(next(iter(here.pools["main"].ready))))
    here.run()

    assert here.tally.evicted == 1
    assert here.tally.lost_s == 0
    assert sum(here.tally.busy_s.values()) == pytest.approx(9000.0)


def test_every_decision_has_its_reason() -> None:
    here = scaled(NIGHT, firm={})
    here.run()
    (scaler,) = here.scalers

    assert report(here).decisions == len(scaler.decisions) > 1
    assert all(decision.scale.why and decision.scale.change for decision in scaler.decisions)
    assert sum(decision.scale.change for decision in scaler.decisions) == 0
