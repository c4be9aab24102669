"""What it is worth to put spot aside that is taken back too soon, on a simulated night.

    python -m tests.benchmarks.spot_market [--seeds N]

1,500 renders of 100 s are wanted after nine hours. Up to twelve workers of spot may do them at 1 an hour, and twelve
that stay at 3; a start takes five minutes. Each figure is the mean over the seeds.
"""

from __future__ import annotations

import argparse
from statistics import fmean

from orchestrator.policy import losses
from orchestrator.simulator.report import Report, report
from orchestrator.simulator.world import World
from tests.support.simulations import RENDER, kind, world

LIVES_S = (3600, 720, 360, 180, 60)
CAMPAIGN = {"campaigns": {"bulk": {"tenant": "shop", "rows": 1500, "deadline_h": 9.0, **RENDER}}}
HEADS = ("a spot worker lives", "spot is put aside", "rows late", "money", "workers lost", "changes of the others")


def night(lives_s: float, seed: int) -> tuple[World, Report]:
    spot = kind(max=12, workers=None, price_per_gpu_hour=1.0, start_s=300.0, losses_per_day=86400 / lives_s)
    firm = kind(max=12, workers=None, price_per_gpu_hour=3.0, start_s=300.0)
    played = world({"hours": 12} | CAMPAIGN, pools={"main": {"kinds": {"spot": spot, "firm": firm}}}, seed=seed)
    played.run()
    return played, report(played)


def line(lives_s: float, seeds: int) -> tuple[str, ...]:
    nights = [night(lives_s, seed) for seed in range(1, seeds + 1)]
    changes = [
        sum(decision.scale.kind == "firm" for scaler in played.scalers for decision in scaler.decisions)
        for played, _ in nights
    ]
    return (
        f"{fmean(told.campaigns[0].late_rows or 0 for _, told in nights):.0f}",
        f"{fmean(told.money for _, told in nights):.0f}",
        f"{fmean(played.tally.losses for played, _ in nights):.0f}",
        f"{fmean(changes):.1f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    print(f"| {' | '.join(HEADS)} |")
    print("|---" * len(HEADS) + "|")
    enough = losses.ENOUGH
    for lives_s in LIVES_S:
        for name, least in (("never", 10**9), ("yes", enough)):
            losses.ENOUGH = least
            print(f"| {lives_s / 60:g} min | {name} | {' | '.join(line(lives_s, seeds))} |", flush=True)


if __name__ == "__main__":
    main()
