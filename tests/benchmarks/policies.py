"""Our queue against three others on the same traffic, and autoscaling against a fixed fleet.

    python -m tests.benchmarks.policies [--trace FILE [--keep-one-in N]] [--seeds N] [policies] [scaling]

Traffic is deploy/simulations/night-traffic.toml: a campaign of 100,000 clips that is wanted after twelve hours, a
smaller one of another team, a day of single jobs, spot losses. With `--trace` the product teams' jobs come as that file
of arrivals says. Each figure is the mean over the seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from orchestrator.simulator import files
from orchestrator.simulator.fleet import Fleet
from orchestrator.simulator.queues import POLICIES
from orchestrator.simulator.report import Report, report
from orchestrator.simulator.traffic import Traffic
from orchestrator.simulator.world import World

EXAMPLES = Path(__file__).parents[2] / "deploy/simulations"
# GPUs that the scaled fleet always keeps.
KEPT = (20, 40, 60, 80)
HEADS = (
    "", "wait p95", "p99", "single jobs late", "rows late", "night through", "trailers through", "fairness",
    "utilisation", "GPU h lost", "money",
)  # fmt: skip


def played(fleet: Fleet, traffic: Traffic, policy: str, seed: int, directory: Path) -> Report:
    world = World(fleet, traffic, policy=policy, seed=seed, directory=directory, forecasts=False)
    world.run()
    return report(world)


def traced(traffic: Traffic, trace: Path, keep_one_in: int) -> Traffic:
    """With the arrivals of a file in place of the stream `products`."""
    document = traffic.model_dump()
    was = document["streams"].pop("products")
    same = {name: was[name] for name in ("pool", "priority", "profile", "seconds", "steps", "within_s")}
    document["traces"]["products"] = {"file": str(trace.resolve()), "keep_one_in": keep_one_in} | same
    return Traffic.model_validate(document)


def row(name: str, reports: list[Report]) -> None:
    """One line of a table in Markdown; waits are of the priority of single requests, 10."""
    ten = [next(waits for waits in told.waits if waits.priority == 10) for told in reports]
    through: Mapping[str, list[float]] = {
        name: [course.through_h or told.hours for told in reports for course in told.campaigns if course.name == name]
        for name in ("night", "trailers")
    }
    cells = (
        name,
        f"{fmean(each.p95_s or 0 for each in ten):,.1f} s",
        f"{fmean(each.p99_s or 0 for each in ten):,.1f} s",
        f"{fmean(sum(waits.late for waits in told.waits) for told in reports):,.0f}",
        f"{fmean(sum(course.late_rows or 0 for course in told.campaigns) for told in reports):,.0f}",
        *(f"{fmean(through[name]):.2f} h" for name in ("night", "trailers")),
        f"{fmean(told.jain_of_shares or 0 for told in reports):.3f}",
        f"{fmean(told.utilisation or 0 for told in reports):.1%}",
        f"{fmean(told.lost_h for told in reports):.2f}",
        f"{fmean(told.money for told in reports):,.0f}",
    )
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("what", nargs="*", choices=["policies", "scaling", []])
    options.add_argument("--traffic", type=Path, default=EXAMPLES / "night-traffic.toml")
    options.add_argument("--fleet", type=Path, default=EXAMPLES / "fleet-250.toml")
    options.add_argument("--scaled", type=Path, default=EXAMPLES / "scaled-fleet.toml")
    options.add_argument("--trace", type=Path)
    options.add_argument("--keep-one-in", type=int, default=38)
    options.add_argument("--seeds", type=int, default=3)
    asked = options.parse_args()
    fixed, traffic = files.read(asked.fleet, asked.traffic)
    if asked.trace is not None:
        traffic = traced(traffic, asked.trace, asked.keep_one_in)
    scaled, _ = files.read(asked.scaled, asked.traffic)
    print("| " + " | ".join(HEADS) + " |\n|" + "---|" * len(HEADS))

    def line(name: str, fleet: Fleet, policy: str = "ours") -> None:
        row(name, [played(fleet, traffic, policy, seed, asked.traffic.parent) for seed in range(1, asked.seeds + 1)])

    if not asked.what or "policies" in asked.what:
        for policy in POLICIES:
            line(policy, fixed, policy)
    if not asked.what or "scaling" in asked.what:
        line("fixed", fixed)
        for kept in KEPT:
            document = scaled.model_dump()
            document["pools"]["main"]["kinds"]["reserved"]["min"] = kept
            line(f"scaled, {kept} always", Fleet.model_validate(document))


if __name__ == "__main__":
    main()
