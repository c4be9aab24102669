"""How long simulations take and how much memory: python -m tests.benchmarks.simulator [night] [million] [forecasts]

`night` is the example in deploy/simulations: 100,000 clips on 250 GPUs, a day of single jobs, spot losses. `million`
has a million jobs on 1,000 GPUs: half of them rows of two campaigns, half single jobs of 200 tenants. Memory is the
whole process's at its most, so name one of them for its own. `forecasts` plays the small example with forty seeds, each
with another error of all predictions (a factor whose logarithm has the spread 0.3), and holds forecasts to ends.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import median

from orchestrator.simulator import files
from orchestrator.simulator.fleet import Fleet
from orchestrator.simulator.report import ForecastScore, report
from orchestrator.simulator.traffic import Traffic
from orchestrator.simulator.world import World

EXAMPLES = Path(__file__).parents[2] / "deploy/simulations"


def night() -> tuple[Fleet, Traffic]:
    return files.read(EXAMPLES / "fleet-250.toml", EXAMPLES / "night-traffic.toml")


def million() -> tuple[Fleet, Traffic]:
    kinds = {
        "reserved": {"workers": 800, "price_per_gpu_hour": 2.5},
        "spot": {"workers": 200, "price_per_gpu_hour": 0.9, "losses_per_day": 1.5, "notice": False},
    }
    render = {"seconds": 60.0, "steps": 50}
    streams = {"single": {"tenant": "team", "tenants": 200, "per_hour": 25_000.0, "cv": 2.0, "peak": 1.5} | render}
    campaigns = {name: {"tenant": name, "rows": 250_000} | render for name in ("night", "archive")}
    return (
        Fleet.model_validate({"pools": {"main": {"kinds": kinds}}}),
        Traffic.model_validate({"hours": 20.0, "streams": streams, "campaigns": campaigns}),
    )


def forecasts(seeds: Sequence[int] = range(1, 41)) -> None:
    """Print how far the product's forecasts were off, by the share of rows that had ended."""
    fleet, traffic = files.read(EXAMPLES / "small-fleet.toml", EXAMPLES / "small-traffic.toml")
    scores: defaultdict[float, list[ForecastScore]] = defaultdict(list)
    for seed in seeds:
        off = math.exp(Random(f"predictions {seed}").gauss(0.0, 0.3))
        world = World(fleet, longer(traffic, off), policy="ours", seed=seed, directory=EXAMPLES)
        world.run()
        for score in report(world).forecasts:
            scores[score.share].append(score)
    print("| rows done | error: middle, p90 | within 10% | end within the 80% range |\n|---|---|---|---|")
    for share, found in sorted(scores.items()):
        errors = sorted(math.inf if each.error is None else abs(each.error) for each in found)
        p90, within = errors[math.ceil(0.9 * len(errors)) - 1], sum(error <= 0.1 for error in errors)
        inside = sum(each.inside is True for each in found) / len(found)
        print(f"| {share:.0%} | {median(errors):.1%}, {p90:.1%} | {within} of {len(errors)} | {inside:.0%} |")


def longer(traffic: Traffic, slower: float) -> Traffic:
    """With renders so much slower than predicted, and time for the last one to end."""
    return traffic.model_copy(update={"slower": slower, "hours": 24.0})


def main(*names: str) -> None:
    if "forecasts" in names:
        forecasts()
    for name in names or ("night", "million"):
        if name == "forecasts":
            continue
        fleet, traffic = {"night": night, "million": million}[name]()
        world = World(fleet, traffic, policy="ours", seed=1, directory=EXAMPLES)
        # Of this process alone, whatever else the machine does.
        began = time.process_time()
        world.run()
        told = report(world)
        took_s = time.process_time() - began
        came = sum(row.came for row in told.waits)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{name}: {came:,} jobs, {came - sum(row.unfinished for row in told.waits):,} ended, {took_s:.1f} s of CPU,"
            f" {took_s / came * 1e6:.0f} us a job, {peak_mb:.0f} MB"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
