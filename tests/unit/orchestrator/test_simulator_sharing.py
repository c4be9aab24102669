"""Pools that share workers in a simulation: loading takes its time, what is rendered ends first, and few swap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.simulator import files
from orchestrator.simulator.fleet import Fleet
from orchestrator.simulator.report import Report, report
from orchestrator.simulator.traffic import Traffic
from orchestrator.simulator.world import World
from tests.benchmarks.affinity import oldest_first

EXAMPLES = Path(__file__).parents[3] / "deploy/simulations"


def fleet(workers: int = 1, **shared: Any) -> dict[str, Any]:
    set_ = {"pools": ["one", "two"], "workers": workers, "price_per_gpu_hour": 3.6, "load_s": 30.0} | shared
    return {"gap_s": 0.0, "pools": {"one": {}, "two": {}}, "shared": {"main": set_}}


def campaign(rows: int, pool: str, at_h: float = 0.0) -> dict[str, Any]:
    return {"tenant": pool, "rows": rows, "pool": pool, "seconds": 100.0, "steps": 10, "at_h": at_h}


def world(fleet_: dict[str, Any], traffic: dict[str, Any]) -> World:
    told = {"hours": 1, "spread": 0.0} | traffic
    here = World(
        Fleet.model_validate(fleet_), Traffic.model_validate(told), policy="ours", seed=1, directory=Path("/none")
    )
    here.run()
    return here


def test_a_worker_ends_what_it_renders_loads_and_renders_for_the_other_pool() -> None:
    here = world(fleet(), {"campaigns": {"a": campaign(2, "one"), "b": campaign(10, "two")}})
    told = report(here)
    # The first two rows, a look every five seconds, 30 seconds of loading, ten rows.
    assert [course.through_h for course in told.campaigns] == [
        pytest.approx(200 / 3600), pytest.approx(1230 / 3600, abs=6 / 3600),
    ]  # fmt: skip
    assert [(swapped.swap.left, swapped.swap.to) for swapped in here.shared["main"].swaps] == [("one", "two")]
    assert (told.shared[0].swaps, told.shared[0].rendered) == (1, 12)
    # All of its time is paid for, loading too, and none of that is ready.
    assert told.money == pytest.approx(3.6)
    assert sum(kind.ready_h for kind in told.kinds) == pytest.approx(1 - 30 / 3600)


def test_rows_of_a_closed_pool_call_for_no_worker_until_it_opens() -> None:
    shut = fleet() | {"pools": {"one": {}, "two": {"closed_hours": ["Mon 00:00-00:30 UTC"]}}}
    here = world(shut, {"campaigns": {"a": campaign(2, "one"), "b": campaign(10, "two")}})
    (first,) = here.shared["main"].swaps
    assert first.swap.to == "two"
    assert first.at_s == pytest.approx(1800, abs=5)


def test_rows_of_a_campaign_without_budget_left_call_for_no_worker() -> None:
    poor = campaign(100, "two") | {"budget": {"amount": 100.0}}
    here = world(fleet(), {"campaigns": {"b": poor, "a": campaign(2, "one", at_h=0.25)}})
    told = [(swapped.swap.to, swapped.at_s) for swapped in here.shared["main"].swaps]
    assert [to for to, _ in told] == ["two", "one"]


def test_a_cold_pool_is_served_at_its_bound_and_what_is_there_goes_on_first() -> None:
    here = world(
        fleet(cold_wait_s=600.0), {"campaigns": {"a": campaign(30, "one"), "b": campaign(1, "two", at_h=1 / 36)}}
    )
    (first, *_) = here.shared["main"].swaps
    assert first.swap.cause == "bound"
    # It came at 100 s. A render ends at 600 s, and another would end too late for the bound at 700 s.
    assert 500 < first.at_s <= 605
    assert here.tally.rendered["one"] >= 6
    assert here.tally.through_at["b"] == pytest.approx(first.at_s + 130, abs=100)


def test_a_day_at_the_mix_of_a_service_stays_under_one_swap_in_ten_renders() -> None:
    """Three of four consecutive requests differ in model. Of whom a swap for each is made, some hours are enough."""
    ours, theirs = day(24.0), day(6.0, swaps=oldest_first)
    assert ours.shared[0].rendered > 2000
    assert (ours.shared[0].swaps_a_render or 1.0) < 0.1
    assert (theirs.shared[0].swaps_a_render or 0.0) > 0.1


def day(hours: float, **more: Any) -> Report:
    fleet_, traffic = files.read(EXAMPLES / "shared-fleet.toml", EXAMPLES / "mixed-requests.toml")
    here = World(fleet_, traffic.model_copy(update={"hours": hours}), policy="ours", seed=1, directory=EXAMPLES, **more)
    here.run()
    return report(here)


def test_three_of_four_consecutive_requests_of_the_example_differ_in_model() -> None:
    shares = files.read(EXAMPLES / "shared-fleet.toml", EXAMPLES / "mixed-requests.toml")[1].streams["requests"].pools
    assert sum(shares.values()) == pytest.approx(1)
    assert 1 - sum(share * share for share in shares.values()) == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize(
    ("fleet_", "traffic", "said"),
    [
        ("[shared.main]\npools = ['one', 'ten']", "", r"shared.main.pools has 'ten', which is none of one, two"),
        ("[pools.three]\n[shared.main]\npools = ['one', 'two']", "", r"pools.three.kinds: must not be empty"),
        (
            "[pools.two.kinds.spot]\nmax = 1\nprice_per_gpu_hour = 1\n[shared.main]\npools = ['one', 'two']", "",
            r"pools.two.kinds: its workers are those of shared.main",
        ),
        (
            "[shared.more]\npools = ['two', 'one']\nworkers = 1\nprice_per_gpu_hour = 1\n"
            "[shared.main]\npools = ['one', 'two']", "", r"in shared.more.pools already",
        ),
        ("[shared.main]\npools = ['one', 'two']", "pools = { ten = 1.0 }", r"streams.s.pools: 'ten' is none of"),
        ("[shared.main]\npools = ['one', 'two']", "pool = 'one'\npools = { two = 1.0 }", "exclude each other"),
    ],
)  # fmt: skip
def test_what_cannot_be_shared_is_refused_with_the_key(tmp_path: Path, fleet_: str, traffic: str, said: str) -> None:
    ours, theirs = tmp_path / "fleet.toml", tmp_path / "traffic.toml"
    ours.write_text(f"[pools.one]\n[pools.two]\n{fleet_}\nworkers = 1\nprice_per_gpu_hour = 1\n")
    theirs.write_text(f"hours = 1\n[streams.s]\ntenant = 'a'\nper_hour = 1\n{traffic}\n")
    with pytest.raises(ConfigError, match=said):
        files.read(ours, theirs)
