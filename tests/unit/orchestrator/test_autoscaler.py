"""Workers of kinds come and go as the work asks: requested, withdrawn, drained, lost, adopted; and it is told."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from orchestrator.domain.job import WorkerRef
from orchestrator.domain.protocol import WorkerState
from orchestrator.policy.demand import Demand
from orchestrator.policy.shrinking import Seat, leaving
from orchestrator.ports.fleet import Basis
from tests.support.builders import a_status
from tests.support.control import hears
from tests.support.scaling import NIGHT, Site


async def test_a_worker_is_requested_then_starting_then_ready() -> None:
    site = Site(NIGHT)
    await site.turn()
    assert site.there == ["gpu-spot-0", "gpu-spot-1", "gpu-spot-2"]
    assert (site.wanted["gpu-spot-0"].kind, site.wanted["gpu-spot-0"].resource) == ("spot", "spot")
    await site.turn()
    assert site.shown("spot") == (3, 3, 0, 0, 0)
    site.answers("gpu-spot-0", "gpu-spot-1", state=WorkerState.LOADING)
    await site.turn()
    assert site.shown("spot") == (3, 1, 2, 0, 0)
    site.answers("gpu-spot-0", "gpu-spot-1", "gpu-spot-2")
    await site.turn()
    assert site.shown("spot") == (3, 0, 0, 3, 0)
    assert [(each.kind, each.change) for each in site.decisions] == [("spot", 3)]
    (decision,) = site.decisions
    assert "due in 3600 s" in decision.why
    assert decision.basis == Basis(demand=NIGHT, requested=0, starting=0, ready=0, draining=0)


async def test_what_does_not_come_is_withdrawn_and_another_kind_does_its_work() -> None:
    site = Site(NIGHT)
    await site.turn()
    await site.turn(1.0)
    site.answers("gpu-spot-0")
    await site.turn(202.0)
    await site.turn(205.0)
    assert sorted(site.killed) == ["gpu-spot-1", "gpu-spot-2"]
    assert site.shown("firm")[0] == 2
    spot = site.known("spot")
    assert (spot.failures, spot.rests_s) == (1, 60.0)
    assert spot.why == "2 did not come within 200 s; the next try in 60 s"


async def test_one_that_died_while_it_loaded_and_never_comes_again_is_withdrawn() -> None:
    site = Site(NIGHT)
    await site.turn()
    names = sorted(site.wanted)
    site.answers(*names, state=WorkerState.LOADING)
    await site.turn()
    for name in names:  # as its watcher leaves it
        worker = site.fleet.workers[name]
        worker.status, worker.trouble = None, worker.trouble.died("its node is gone", site.now)
        site.there.remove(name)
    await site.turn(600.0)  # it has rested, and is started anew
    assert sorted(site.there) == names
    await site.turn()
    assert site.shown("spot") == (3, 3, 0, 0, 0)
    await site.turn(201.0)
    assert sorted(site.killed) == names
    assert site.known("spot").why == "3 did not come within 200 s; the next try in 60 s"
    assert site.shown("firm")[0] == 3


async def test_a_lost_spot_worker_is_ended_with_its_group_and_another_is_asked_for() -> None:
    site = Site(NIGHT)
    await site.turn()
    site.answers("gpu-spot-0", "gpu-spot-1", "gpu-spot-2")
    await site.turn()
    site.fleet.workers["gpu-spot-1"].status = None  # as its watcher leaves it
    before = site.fleet.workers["gpu-spot-1"]
    await site.turn()
    assert site.killed == ["gpu-spot-1"]
    assert site.fleet.workers["gpu-spot-1"] is not before
    assert site.shown("spot") == (3, 1, 0, 2, 0)


@pytest.mark.parametrize("notice", [False, True], ids=["killed", "given notice"])
async def test_spot_that_is_taken_back_at_once_is_put_aside_and_says_so(notice: bool) -> None:
    site = Site(NIGHT)
    await site.turn()
    await ends_all(site, notice=notice)
    await site.turn()
    spot = site.known("spot")
    assert spot.why.startswith("taken back after 10 s as a mean, and a start takes 100 s; one is tried in 60 s")
    assert (spot.wanted, spot.rests_s, spot.failures) == (0, 60.0, 0)
    assert site.shown("firm")[0] == 3
    await site.turn(61.0)
    assert site.known("spot").wanted == 1


async def test_workers_that_we_told_to_go_were_not_taken_back() -> None:
    site = Site(NIGHT)
    await site.turn()
    names = sorted(site.wanted)
    site.answers(*names)
    await site.turn()
    for name in names:  # another plan since: the scaler has drained them
        worker = WorkerRef(name=name, incarnation="first")
        hears(site.fleet, a_status(worker=worker, pool="gpu", state=WorkerState.DRAINING, plan="old"), site.now)
    await site.turn()
    assert site.known("spot").rests_s == 0
    assert site.shown("spot")[:2] == (3, 3)


async def ends_all(site: Site, *, notice: bool) -> None:
    """Every spot worker becomes ready, and is taken away a turn later."""
    names = [name for name in site.wanted if "spot" in name]
    site.answers(*names)
    await site.turn()
    for name in names:
        if notice:
            site.answers(name, state=WorkerState.DRAINING)
        else:
            site.fleet.workers[name].status = None


async def test_without_work_workers_are_drained_before_they_are_ended() -> None:
    site = Site(NIGHT)
    await site.turn()
    site.answers("gpu-spot-0", "gpu-spot-1", "gpu-spot-2")
    await site.turn()
    site.demand = Demand()
    await site.turn()
    await site.turn(299.0)
    assert site.drained == []
    await site.turn()
    assert sorted(site.drained) == sorted(site.killed) == ["gpu-spot-0", "gpu-spot-1", "gpu-spot-2"]
    await site.turn()
    assert site.shown("spot") == (0, 0, 0, 0, 0)


async def test_one_that_drains_by_itself_is_replaced_and_its_group_removed_when_it_is_gone() -> None:
    site = Site(NIGHT)
    await site.turn()
    site.answers("gpu-spot-0", "gpu-spot-1", "gpu-spot-2")
    await site.turn()
    site.answers("gpu-spot-0", state=WorkerState.DRAINING)  # its node was given notice
    site.killed.clear()
    await site.autoscaler.run_once()
    assert site.shown("spot") == (3, 1, 0, 2, 1)
    assert "gpu-spot-3" in site.wanted
    site.there.remove("gpu-spot-0")  # its process is gone before anybody could end it
    await site.scaler.run_once()
    await site.turn()
    assert site.killed == ["gpu-spot-0"]


async def test_a_new_dispatcher_keeps_the_workers_that_it_finds() -> None:
    site = Site(NIGHT, there=["gpu-firm-7", "gpu-spot-0", "gpu-spot-1", "gpu-spot-x", "other-0"])
    await site.turn()
    assert {"gpu-firm-7", "gpu-spot-0", "gpu-spot-1"} <= set(site.wanted)
    assert "other-0" not in site.wanted
    assert site.drained == []


async def test_a_paused_pool_asks_for_nobody() -> None:
    site = Site(NIGHT)
    site.paused = [SimpleNamespace(pool="gpu", stands=True)]  # type: ignore[list-item]
    await site.turn()
    assert site.there == []


async def test_the_caps_of_all_pools_hold_over_them_together() -> None:
    kinds = {"spot": {"max": 9, "start_s": 100}}
    pools = {name: {"model": "small", "kinds": kinds, "max_gpus": 2} for name in ("one", "two")}
    site = Site(NIGHT, pools=pools, rules={"max_gpus": 3})
    await site.turn()
    assert sorted(site.there) == ["one-spot-0", "one-spot-1", "two-spot-0"]


# ------------------------------------------------------------ who goes
def seats(**nodes: str) -> list[Seat]:
    """`node="00 5"`: workers on it, by what each loses."""
    return [
        Seat(worker=f"{node}{place}", node=node, loss_s=float(loss))
        for node, losses in nodes.items()
        for place, loss in enumerate(losses.split())
    ]


@pytest.mark.parametrize(
    ("count", "gone"),
    [
        (1, ["c0"]),  # a node of its own, though others lose less
        (2, ["b0", "b1"]),
        (3, ["b0", "b1", "c0"]),
        (4, ["a0", "a1", "b0", "b1"]),
        (9, ["a0", "a1", "b0", "b1", "c0"]),
    ],
)
def test_whole_nodes_go_first_and_of_these_what_loses_least(count: int, gone: list[str]) -> None:
    assert sorted(leaving(seats(a="0 6", b="1 1", c="4"), count)) == gone


def test_where_no_node_becomes_free_who_loses_least_goes() -> None:
    assert leaving(seats(a="5 1 2"), 1) == ["a1"]
    shared = [*seats(a="0", b="3"), Seat(worker="other", node="a", stays=True)]
    assert leaving(shared, 1) == ["b0"]
    assert leaving([replace(seat, node=None) for seat in seats(a="5 1 2")], 2) == ["a1", "a2"]
