"""What a dispatcher leaves held for a worker that it was ending is given back, and nobody else's."""

from __future__ import annotations

from orchestrator.capacity.leftovers import GRACE_S
from tests.support.scaling import NIGHT, Site


async def looks(site: Site, seconds: float) -> list[str]:
    site.now += seconds
    return await site.leftovers_loop.run_once()


async def test_what_is_held_for_nobody_is_given_back_after_a_while() -> None:
    site = Site(NIGHT, held={"gpu-spot-7", "old-0"})
    assert await looks(site, 0) == []
    assert await looks(site, GRACE_S - 1) == []
    assert sorted(await looks(site, 1)) == site.killed == ["gpu-spot-7", "old-0"]
    assert await looks(site, GRACE_S) == []


async def test_a_worker_that_is_wanted_or_exists_keeps_what_is_held_for_it() -> None:
    site = Site(NIGHT)
    await site.turn()  # which asks for three
    site.held = {*site.wanted, "gpu-firm-0"}
    site.answers("gpu-firm-0")  # on its way out
    site.there.remove("gpu-spot-0")  # to be started again
    assert await looks(site, 0) == await looks(site, 2 * GRACE_S) == []


async def test_one_that_is_being_started_by_somebody_is_left_alone() -> None:
    site = Site(held={"gpu-spot-0"})
    assert await looks(site, 0) == []
    site.there.append("gpu-spot-0")  # by the next look it exists
    assert await looks(site, GRACE_S) == []
    site.there.remove("gpu-spot-0")  # ended: from now on the time runs anew
    assert await looks(site, 1) == []
    assert await looks(site, GRACE_S - 1) == []
    assert await looks(site, 1) == ["gpu-spot-0"]
