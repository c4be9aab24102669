"""Guarantees in a simulation: lent while unused, and given back within a step by the product's own rule."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from orchestrator.domain.protocol import Stage
from orchestrator.policy import placement
from orchestrator.policy.fair_share import URGENT
from orchestrator.simulator import lending
from orchestrator.simulator.report import report
from orchestrator.simulator.world import World
from tests.support.simulations import RENDER, kind, log_of, world


def lent(directory: Path, *moments: float, guaranteed: int = 2, workers: int = 3, **fleet: Any) -> World:
    """`bulk` has all workers, of which `gold` is guaranteed some; `gold`'s jobs come at these moments."""
    tables = {
        "hours": 1,
        "tenants": {"gold": {"guaranteed": {"main": guaranteed}}},
        "campaigns": {"bulk": {"tenant": "bulk", "rows": 30, **RENDER}},
        "traces": {"gold": {"tenant": "gold", "file": log_of(directory, *moments), "priority": 20} | RENDER},
    }
    return world(tables, workers=workers, directory=directory, **({"handover_s": 5.0} | fleet))


def running(here: World) -> Counter[str]:
    return Counter(job.tenant for worker in here.pools["main"].ready for job in worker.held)


def test_lent_workers_come_back_after_the_look_and_the_step_and_nothing_goes_to_and_fro(tmp_path: Path) -> None:
    here = lent(tmp_path, 33, 33, 33)
    seen: list[Counter[str]] = []
    for at in (32, 39, 41, 90):
        here.clock.at(at, lambda: seen.append(running(here)))
    here.run()

    # As in tests/contract/orchestrator/test_giving_back.py: one remains with `bulk`, two renders have left.
    assert seen == [{"bulk": 3}, {"bulk": 3}, {"bulk": 1, "gold": 2}, {"bulk": 1, "gold": 2}]
    assert (report(here).given_back, report(here).evicted, report(here).lost_h) == (2, 2, 0)
    # The third is one among the others once the guarantee is met.
    assert [*here.tally.waits[20]][:2] == [pytest.approx(7.0)] * 2
    assert here.tally.failed.total() == 0


def test_what_left_loses_no_step_and_pays_its_hand_over(tmp_path: Path) -> None:
    here = lent(tmp_path, 33, guaranteed=1, workers=1, handover_s=5.0)
    here.run()

    # The first of `bulk`'s rows has done 40 seconds, waits 100, and goes on after 5: its worker does the rest after it.
    assert here.tally.through_at["bulk"] == pytest.approx(30 * 100 + 100 + 5)
    assert sum(here.tally.busy_s.values()) == pytest.approx(31 * 100)


def test_no_guarantee_no_giving_back_and_an_unwanted_one_is_lent(tmp_path: Path) -> None:
    without, unwanted = lent(tmp_path, 33, guaranteed=0), lent(tmp_path, 3500)
    for here in (without, unwanted):
        here.run()

    assert report(without).given_back == 0
    assert [*without.tally.waits[20]] == [pytest.approx(67.0)]
    assert sum(unwanted.tally.got[0].values()) == pytest.approx(30 * 100 + 100)


def test_other_policies_know_no_guarantees(tmp_path: Path) -> None:
    for policy in ("fifo", "priority", "equal"):
        here = lent(tmp_path, 33)
        there = world(here.traffic.model_dump(), workers=3, directory=tmp_path, policy=policy, handover_s=5.0)
        there.run()
        assert report(there).given_back == 0


tenants = st.fixed_dictionaries(
    {
        "acme": st.sampled_from([{}, {"guaranteed": {"main": 1}}]),
        "birch": st.sampled_from([{"guaranteed": {"main": 2}}, {"guaranteed": {"main": 2}, "max_running": 2}]),
    }
)
streams = st.fixed_dictionaries(
    {
        "tenant": st.sampled_from(["acme", "birch", "cedar"]),
        "per_hour": st.sampled_from([40.0, 150.0]),
        "cv": st.sampled_from([1.0, 3.0]),
        "priority": st.sampled_from([0, 10, 20]),
        "seconds": st.sampled_from([20.0, 100.0]),
        "steps": st.just(10),
    }
)


@settings(max_examples=6, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
@given(tenants, st.lists(streams, min_size=2, max_size=3), st.sampled_from([0.0, 60.0]), st.integers(0, 9))
def test_whoever_lacks_a_worker_is_seen_within_a_second_and_all_that_the_rule_wants_leaves_at_its_next_step(
    of_tenants: dict[str, Any], some: list[Any], losses: float, seed: int
) -> None:
    tables = {
        "hours": 1,
        "tenants": of_tenants,
        "streams": {f"s{n}": table for n, table in enumerate(some)},
        "campaigns": {"bulk": {"tenant": "dune", "rows": 500, **RENDER}},
    }
    here = world(tables, seed=seed, pools={"main": {"kinds": {"spot": kind(4, losses_per_day=losses, notice=False)}}})
    pool, lacked = here.pools["main"], 0
    give_back, vacate = pool._give_back, pool._vacate

    def looked() -> None:
        nonlocal lacked
        now, standings = here.clock.now, pool.queue.standings()
        lacked += bool(standings)
        give_back()
        takers = [lending.status_of(worker, now, here.fleet.checkpoint_every_s) for worker in pool.ready]
        claims = [lending.claim_of(job, worker, now) for worker in pool.ready for job in worker.held]
        assert lending.decided(standings, takers, claims, pool._told) == []

    def vacated(worker: Any, version: int, jobs: list[Any]) -> None:
        if version == worker.version and worker.job in jobs:
            steps = (here.clock.now - worker.since) * worker.table.speed / worker.job.step_s
            assert steps == pytest.approx(round(steps), abs=1e-6)
            held = Counter(job.tenant for other in pool.ready for job in other.held)
            assert all(held[job.tenant] > guaranteed[job.tenant] for job in jobs)
            assert all(job.priority >= URGENT for job in jobs)
        vacate(worker, version, jobs)

    def somebody_looks() -> None:
        assert pool._looking or not pool.queue.standings()

    guaranteed = Counter({name: table.guaranteed.get("main", 0) for name, table in here.traffic.tenants.items()})
    pool._give_back, pool._vacate = looked, vacated  # type: ignore[method-assign]
    for at in range(1, 3600, 7):
        here.clock.at(at + 0.5, somebody_looks)
    here.run()
    assert here.tally.given_back <= here.tally.evicted
    assert lacked or not here.tally.given_back


def test_workers_are_told_to_the_rule_as_a_fleet_tells_them(tmp_path: Path) -> None:
    here = lent(tmp_path, 3000, workers=2, checkpoint_every_s=20.0)
    pool = here.pools["main"]
    told: list[Any] = []

    def look() -> None:
        now = here.clock.now
        takers = [lending.status_of(worker, now, 20.0) for worker in pool.ready]
        claims = [lending.claim_of(job, worker, now) for worker in pool.ready for job in worker.held]
        told.append((takers[0], claims[0], len(placement.slots(takers, claims))))

    for at in (35, 95, 105):
        here.clock.at(at, look)
    here.run()
    (middle, claim, none), (end, _, coming), (again, _, _) = told
    render = middle.renders[0]
    assert (render.stage, render.step, render.steps, render.checkpoint.step) == (Stage.DENOISING, 3, 10, 2)
    assert (middle.free_in_s, claim.age_s, none) == (pytest.approx(65.0), 35.0, 0)
    # Its last step is under way: it ends by itself, and both workers are as good as free.
    assert (end.renders[0].stage, coming) == (Stage.DECODING, 2)
    assert again.renders[0].checkpoint is None
