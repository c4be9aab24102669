"""Workers that several models share: swaps and waits of our planner, of a swap at once for the oldest job, and of none.

    python -m tests.benchmarks.affinity [--seeds N] [--trace FILE]

The fleet is deploy/simulations/shared-fleet.toml, the traffic mixed-requests.toml beside it: of two requests that
follow each other three in four differ in model. With `--trace` the requests come when those of a trace file do, thinned
to one in `--keep-one-in`. Waits are seconds from a request's arrival to its first step; each figure is the mean over
the seeds.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from orchestrator.policy import affinity
from orchestrator.policy.affinity import Cause, Holder, Line, Memory, Swap, Swapping
from orchestrator.simulator import files
from orchestrator.simulator.fleet import Fleet
from orchestrator.simulator.report import Report, report
from orchestrator.simulator.sharing import Decide
from orchestrator.simulator.traffic import TraceTable, Traffic
from orchestrator.simulator.world import World

EXAMPLES = Path(__file__).parents[2] / "deploy/simulations"
HEADS = ("", "swaps", "swaps a render", "renders", "wait p50", "p95", "p99", "worst model's p95", "utilisation")


def oldest_first(
    holders: Sequence[Holder], lines: Sequence[Line], rules: Swapping, memory: Memory, now: float
) -> tuple[list[Swap], Memory]:
    """The model of the job that has waited longest gets the worker that is free soonest, at once."""
    del rules, now
    swaps: list[Swap] = []
    coming = {holder.pool for holder in holders if not holder.ready}
    for line in sorted(lines, key=lambda line: -line.oldest_s):
        idle_there = any(each.pool == line.pool and each.ready and not each.left_s for each in holders)
        if not line.waiting or line.pool in coming or idle_there:
            continue
        free = [each for each in holders if each.ready and each.pool != line.pool]
        giver = min(free, key=lambda each: each.left_s, default=None)
        if giver is not None:
            swaps.append(Swap(worker=giver.name, left=giver.pool, to=line.pool, cause=Cause.BACKLOG, why="the oldest"))
        break
    return swaps, memory


def never(
    holders: Sequence[Holder], lines: Sequence[Line], rules: Swapping, memory: Memory, now: float
) -> tuple[list[Swap], Memory]:
    """Workers keep what they hold at the beginning."""
    del holders, lines, rules, now
    return [], memory


PLANNERS: Mapping[str, Decide] = {
    "ours": affinity.decide, "at once for the oldest": oldest_first, "never": never,
}  # fmt: skip


def played(fleet: Fleet, traffic: Traffic, swaps: Decide, seed: int, directory: Path) -> tuple[Report, list[float]]:
    world = World(fleet, traffic, policy="ours", seed=seed, directory=directory, swaps=swaps)
    tally = world.run()
    return report(world), sorted(wait for waits in tally.waits.values() for wait in waits)


def row(name: str, found: Sequence[tuple[Report, list[float]]]) -> None:
    """One line of a table in Markdown."""
    sets = [told.shared[0] for told, _ in found]

    def wait(share: float) -> str:
        return f"{fmean(waits[math.ceil(share * len(waits)) - 1] for _, waits in found):,.0f} s"

    cells = (
        name,
        f"{fmean(each.swaps for each in sets):,.0f}",
        f"{fmean(each.swaps_a_render or 0 for each in sets):.3f}",
        f"{fmean(each.rendered for each in sets):,.0f}",
        *(wait(share) for share in (0.5, 0.95, 0.99)),
        f"{fmean(max(pool.p95_s or 0 for pool in told.pools) for told, _ in found):,.0f} s",
        f"{fmean(told.utilisation or 0 for told, _ in found):.1%}",
    )
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seeds", type=int, default=4)
    arguments.add_argument("--trace", type=Path, default=None, help="requests come when those of this file do")
    arguments.add_argument("--keep-one-in", type=int, default=1)
    asked = arguments.parse_args()
    fleet, traffic = files.read(EXAMPLES / "shared-fleet.toml", EXAMPLES / "mixed-requests.toml")
    directory = EXAMPLES
    if asked.trace is not None:
        stream = traffic.streams["requests"]
        directory = asked.trace.parent
        trace = TraceTable(file=asked.trace.name, tenant="team", keep_one_in=asked.keep_one_in, pools=stream.pools)
        traffic = traffic.model_copy(update={"streams": {}, "traces": {"requests": trace}})
    print("| " + " | ".join(HEADS) + " |\n|---" + "|---:" * (len(HEADS) - 1) + "|")
    for name, swaps in PLANNERS.items():
        row(name, [played(fleet, traffic, swaps, seed, directory) for seed in range(1, asked.seeds + 1)])


if __name__ == "__main__":
    main()
