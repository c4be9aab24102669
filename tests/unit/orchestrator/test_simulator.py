"""What a simulation promises: small cases come out as by hand, no job is lost, equal seeds give equal reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.simulator import files
from orchestrator.simulator.fairness import fair_shares, jain
from orchestrator.simulator.plots import plot
from orchestrator.simulator.queues import POLICIES
from orchestrator.simulator.report import Report, report
from orchestrator.simulator.world import World
from tests.support.simulations import RENDER, kind, log_of, world

EXAMPLES = Path(__file__).parents[3] / "deploy/simulations"


def played(world: World) -> Report:
    world.run()
    return report(world)


def bulk(rows: int, **more: Any) -> dict[str, Any]:
    return {"campaigns": {"bulk": {"tenant": "shop", "rows": rows, **RENDER} | more}}


# ------------------------------------------------------------ by hand


def test_three_rows_on_two_workers_take_two_renders_time() -> None:
    told = played(world({"hours": 1} | bulk(3), workers=2))

    assert told.campaigns[0].through_h == pytest.approx(200 / 3600)
    assert told.busy_h == pytest.approx(300 / 3600)
    assert told.utilisation == pytest.approx(300 / 7200)
    assert told.money == pytest.approx(2 * 2.0)


def test_a_worker_of_twice_the_speed_takes_half_the_time() -> None:
    pools = {"main": {"kinds": {"quick": kind(speed=2.0)}}}

    assert played(world({"hours": 1} | bulk(2), pools=pools)).campaigns[0].through_h == pytest.approx(100 / 3600)


def test_an_interactive_job_steps_in_at_the_next_step_and_the_bulk_render_goes_on_afterwards(tmp_path: Path) -> None:
    quick = {"tenant": "acme", "file": log_of(tmp_path, 33), "seconds": 50.0, "steps": 5}
    here = world({"hours": 1, "traces": {"quick": quick}} | bulk(1), directory=tmp_path)
    told = played(here)

    assert [*here.tally.waits[10]] == [pytest.approx(7.0)]  # until the step that began at 30 is over
    assert told.campaigns[0].through_h == pytest.approx(150 / 3600)
    assert (told.preempted, told.evicted, told.lost_h) == (1, 0, 0)


@pytest.mark.parametrize(("policy", "wait"), [("fifo", 67.0), ("equal", 67.0), ("priority", 7.0)])
def test_what_knows_no_priority_interrupts_nothing(tmp_path: Path, policy: str, wait: float) -> None:
    quick = {"tenant": "acme", "file": log_of(tmp_path, 33), "seconds": 50.0, "steps": 5}
    here = world({"hours": 1, "traces": {"quick": quick}} | bulk(1), directory=tmp_path, policy=policy)
    here.run()

    assert [*here.tally.waits[10]] == [pytest.approx(wait)]


def test_a_bulk_render_that_was_overtaken_often_enough_goes_on_to_its_end(tmp_path: Path) -> None:
    quick = {"tenant": "acme", "file": log_of(tmp_path, 5, 15, 25), "seconds": 10.0, "steps": 1}
    here = world({"hours": 1, "traces": {"quick": quick}} | bulk(1), directory=tmp_path, max_overtaken=2)
    here.run()

    # At 10 and, after one more step of its own, at 30; the third has to wait until 120.
    assert [*here.tally.waits[10]] == [pytest.approx(5), pytest.approx(15), pytest.approx(95)]


@pytest.mark.parametrize(("notice", "through_s", "lost_s"), [(True, 165.0, 0.0), (False, 180.0, 15.0)])
def test_a_lost_workers_render_goes_on_elsewhere_from_its_checkpoint(
    notice: bool, through_s: float, lost_s: float
) -> None:
    here = world({"hours": 1} | bulk(1), handover_s=5.0, checkpoint_every_s=20.0)
    here.clock.at(35, lambda: here.capacities["main"].lose(next(iter(here.pools["main"].ready)), notice=notice))
    told = played(here)

    # Another worker is there 60 seconds later, and has the checkpoint after 5 more.
    assert told.campaigns[0].through_h == pytest.approx(through_s / 3600)
    assert told.lost_h == pytest.approx(lost_s / 3600)
    assert told.workers_lost == 1


def test_what_loses_its_worker_three_times_fails() -> None:
    here = world({"hours": 1} | bulk(1), checkpoint_every_s=0.0)
    for at in (50, 150, 250):
        here.clock.at(at, lambda: here.capacities["main"].lose(next(iter(here.pools["main"].ready)), notice=False))
    told = played(here)

    assert (told.campaigns[0].succeeded, told.campaigns[0].failed) == (0, 1)


def test_an_idle_worker_goes_on_with_what_another_one_holds_preempted(tmp_path: Path) -> None:
    long = {"tenant": "acme", "file": log_of(tmp_path, 33), "seconds": 500.0, "steps": 50}
    here = world({"hours": 1, "traces": {"long": long}} | bulk(2), workers=2, directory=tmp_path, handover_s=5.0)
    told = played(here)

    # One bulk render is preempted at 40 and goes on, with 60 seconds to do, when the other one ends at 100.
    assert told.campaigns[0].through_h == pytest.approx(165 / 3600)
    assert (told.preempted, told.evicted) == (1, 1)


def test_deadlines_count_rows_and_jobs_that_came_too_late(tmp_path: Path) -> None:
    late = {"tenant": "acme", "file": log_of(tmp_path, 150, 160), "within_s": 110.0, "priority": 20} | RENDER
    told = played(world({"hours": 1, "traces": {"late": late}} | bulk(3, deadline_h=250 / 3600), directory=tmp_path))

    assert told.campaigns[0].late_rows == 1
    assert told.waits[0].late == 2
    assert told.missed == 3


def test_a_campaign_has_no_more_running_than_it_may() -> None:
    told = played(world({"hours": 1} | bulk(4, max_running=1), workers=4))

    assert told.campaigns[0].through_h == pytest.approx(400 / 3600)


def test_a_tenant_has_no_more_running_than_it_may() -> None:
    told = played(world({"hours": 1, "tenants": {"shop": {"max_running": 2}}} | bulk(4), workers=4))

    assert told.campaigns[0].through_h == pytest.approx(200 / 3600)


def test_twice_the_weight_is_twice_the_gpu_seconds() -> None:
    campaigns = {name: {"tenant": name, "rows": 1_000, **RENDER} for name in ("acme", "gold")}
    here = world({"hours": 2, "tenants": {"gold": {"weight": 2.0}}, "campaigns": campaigns}, workers=15)
    here.run()
    acme, gold = (sum(hour[name] for hour in here.tally.got.values()) for name in ("acme", "gold"))

    assert gold / acme == pytest.approx(2.0, rel=0.03)


def test_what_is_lent_by_priority_alone_is_less_fair_than_fair_shares() -> None:
    campaigns = {
        name: {"tenant": name, "rows": 1_000, "at_h": at_h} | RENDER for name, at_h in (("first", 0.0), ("second", 1.0))
    }
    fair, first = (
        played(world({"hours": 4, "campaigns": campaigns}, workers=5, policy=policy)) for policy in ("ours", "priority")
    )

    assert fair.jain_of_shares == pytest.approx(1.0, abs=0.01)
    assert first.jain_of_shares is not None
    assert first.jain_of_shares < 0.7


def test_fairness_is_as_its_authors_have_it() -> None:
    assert jain([1, 1, 1, 1]) == 1
    assert jain([1, 0, 0, 0]) == 0.25
    assert jain([]) is None
    # Who wants little gets it; the rest is shared by weight.
    assert fair_shares(100, {"a": 10, "b": 90, "c": 90}, {"c": 2.0}) == {"a": 10, "b": 30, "c": 60}


# ------------------------------------------------------------ whatever comes

policies = st.sampled_from(sorted(POLICIES))
streams = st.fixed_dictionaries(
    {
        "tenant": st.sampled_from(["acme", "birch"]),
        "tenants": st.integers(1, 3),
        "per_hour": st.sampled_from([5.0, 40.0, 150.0]),
        "cv": st.sampled_from([1.0, 3.0]),
        "priority": st.sampled_from([0, 10, 20]),
        "seconds": st.sampled_from([20.0, 100.0]),
        "steps": st.just(10),
    }
)
campaigns = st.fixed_dictionaries(
    {
        "tenant": st.sampled_from(["cedar", "acme"]),
        "rows": st.integers(1, 200),
        "at_h": st.sampled_from([0.0, 0.5]),
        "max_running": st.sampled_from([None, 2]),
        "seconds": st.sampled_from([20.0, 100.0]),
        "steps": st.just(10),
    }
)
fleets = st.fixed_dictionaries(
    {
        "a": st.builds(lambda workers: kind(workers), st.integers(1, 3)),
        "b": st.builds(
            lambda losses, notice: kind(
                3, losses_per_day=losses, notice=notice, speed=0.5, never_starts=0.3, start_spread=0.5
            ),
            st.sampled_from([0.0, 100.0]),
            st.booleans(),
        ),
    }
)


def any_world(policy: str, kinds: dict[str, Any], some: list[Any], more: list[Any], seed: int) -> World:
    traffic = {
        "hours": 3,
        "spread": 0.2,
        "streams": {f"s{n}": table for n, table in enumerate(some)},
        "campaigns": {f"c{n}": table for n, table in enumerate(more)},
    }
    pools = {"main": {"kinds": kinds, "closed_hours": ["Mon-Sun 01:00-01:30 UTC"] if seed % 2 else []}}
    return world(traffic, policy=policy, seed=seed, gap_s=0.05, pools=pools, forecasts=False)


worlds = st.builds(
    any_world,
    policies,
    fleets,
    st.lists(streams, min_size=1, max_size=3),
    st.lists(campaigns, max_size=2),
    st.integers(0, 9),
)


@settings(max_examples=25, deadline=None, database=None, derandomize=True)
@given(worlds)
def test_every_job_ends_once_or_is_counted_as_waiting(here: World) -> None:
    told = played(here)
    pool = here.pools["main"]

    rendering = sum(len(worker.held) for worker in pool.ready) + len(pool.held)
    unsubmitted = sum(each.table.rows - each.submitted for each in here.campaigns.values() if each.running)
    assert sum(pool.waiting.values()) == len(pool.queue)
    assert (
        sum(row.unfinished for row in told.waits)
        == rendering + len(pool.queue) + pool.retrying + unsubmitted
        == len(here.live) + sum(row.rows - row.succeeded - row.failed for row in told.campaigns)
    )
    assert told.busy_h <= sum(each.ready_h for each in told.kinds) + 1e-9
    assert told.lost_h <= told.busy_h


@settings(max_examples=15, deadline=None, database=None, derandomize=True)
@given(worlds)
def test_no_worker_is_idle_while_something_waits(here: World) -> None:
    pool = here.pools["main"]
    give = pool.give

    def look() -> None:
        give()
        assert not len(pool.queue) or pool.busy == len(pool.ready)

    pool.give = look  # type: ignore[method-assign]
    here.run()


@settings(max_examples=5, deadline=None, database=None, derandomize=True)
@given(policies, fleets, st.lists(streams, min_size=1, max_size=3), st.lists(campaigns, max_size=2), st.integers(0, 9))
def test_equal_seeds_give_equal_reports(policy: str, kinds: Any, some: Any, more: Any, seed: int) -> None:
    first, second = (played(any_world(policy, kinds, some, more, seed)) for _ in range(2))

    assert first == second


def test_the_same_comes_whoever_is_next_in_the_queue_and_another_seed_brings_something_else() -> None:
    fleet, traffic = files.read(EXAMPLES / "small-fleet.toml", EXAMPLES / "small-traffic.toml")
    told = {
        (policy, seed): played(World(fleet, traffic, policy=policy, seed=seed, directory=EXAMPLES))
        for policy, seed in [("ours", 1), ("fifo", 1), ("ours", 2)]
    }

    assert [row.came for row in told["ours", 1].waits] == [row.came for row in told["fifo", 1].waits]
    assert told["ours", 1].workers_lost == told["fifo", 1].workers_lost
    assert told["ours", 1] != told["ours", 2]


def test_a_report_is_json_and_its_picture_is_xml() -> None:
    import xml.etree.ElementTree as xml

    fleet, traffic = files.read(EXAMPLES / "small-fleet.toml", EXAMPLES / "small-traffic.toml")
    here = World(fleet, traffic, policy="ours", seed=1, directory=EXAMPLES)
    told = played(here)

    assert json.loads(json.dumps(told.to_dict()))["campaigns"][0]["name"] == "catalogue"
    titles = [text.text for text in xml.fromstring(plot(here, told)).iter("{http://www.w3.org/2000/svg}text")]
    assert {"Workers, by kind", "main/spot", "priority 10", "catalogue"} <= set(titles)
