"""How far forecasts are off, on simulated nights; and what a forecast of 100 campaigns of a million rows costs.

`python -m tests.benchmarks.forecast [--nights 20] [--first 0]`.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Sequence

from orchestrator.policy.belief import Belief, learned, of_ratio
from orchestrator.policy.forecast import Cohort, Outlook, World, forecast, mend
from orchestrator.policy.ratios import Ratio
from orchestrator.policy.supply import Crew, Pool, loaded
from tests.benchmarks.nights import HOUR_S, ROW_S, USUAL, Night, Seen

LOOKS = (0.0, 0.1, 0.25, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=20)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first night")
    asked = parser.parse_args()
    score(range(asked.first, asked.first + asked.nights), asked.rows)
    cost()


def score(seeds: Sequence[int], rows: int) -> None:
    """Print how far the forecasts of these nights were off, and how often the end lay within their range."""
    nights = [Night(seed, rows).play(LOOKS) for seed in seeds]
    hours = statistics.median(night.ends["main"] for night in nights) / HOUR_S
    print(f"{len(nights)} nights of {nights[0].rows} rows on {nights[0].fleet} workers, {hours:.1f} h in the middle")
    heads = f"{'error, median':>14} {'p90':>7} {'within 10%':>11} {'of the rest':>12} {'range':>8} {'in range':>9}"
    print(f"{'rows done':>9} {heads}")
    for look in LOOKS:
        off, of_rest, wide, inside = [], [], [], []
        for night in nights:
            seen, end = night.seen[look], night.ends["main"]
            found = forecast(world_of(night, seen)).subjects["main"]
            low, likely, high = (seen.now + _finite(found, name) for name in ("low_s", "likely_s", "high_s"))
            off.append(abs(likely - end) / end)
            of_rest.append(abs(likely - end) / (end - seen.now))
            wide.append((high - low) / end)
            inside.append(low <= end <= high)
        within = sum(each <= 0.1 for each in off) / len(off)
        p90 = sorted(off)[math.ceil(0.9 * len(off)) - 1]
        print(
            f"{look:>9.0%} {statistics.median(off):>14.1%} {p90:>7.1%} {within:>11.0%}"
            f" {statistics.median(of_rest):>12.1%} {statistics.median(wide):>8.0%} {sum(inside) / len(inside):>9.0%}"
        )


def world_of(night: Night, seen: Seen) -> World:
    """What the product would know at that moment."""
    hour = night.begin_hour + seen.now / HOUR_S
    usual = [night.fleet * USUAL[at % 24] for at in range(168)]
    # A lost worker is wanted again, and comes: the fleet's size is the plan's.
    missing = night.fleet // 2 - seen.workers["spot"]
    crews = [
        Crew(kind="steady", workers=seen.workers["steady"]),
        Crew(kind="spot", workers=seen.workers["spot"] + missing, lost_per_hour=0.05, start_up_s=300),
    ]
    coming = night.more + night.fleet // 2 - seen.workers["steady"]
    if coming > 0:  # what was asked for and is late may come at any moment
        crews.append(Crew(kind="steady", workers=coming, ready_in_s=max(300.0, 1800 - seen.now)))
    pool = Pool(name="main", crews=crews, foreground=usual, hour=hour % 168, load=_load(night, seen))
    return World(pools={"main": pool}, cohorts=[_cohort(night, seen, name) for name in night.sizes])


def _load(night: Night, seen: Seen) -> Belief:
    steps = [(at * 60.0) for at in range(int(seen.now / 60))]
    usually = sum(night.usual(at) for at in steps) * 60
    return loaded(usually, seen.foreground, hours=seen.now / HOUR_S)


def _cohort(night: Night, seen: Seen, name: str) -> Cohort:
    done = seen.rows.get(name, 0)
    left = night.sizes[name] - done
    return Cohort(
        subject=name,
        pool="main",
        model="m",
        tenant=name,
        priority=20,
        seconds=left * ROW_S,
        rows=left,
        begins_s=night.begins[name] - seen.now,
        bias=learned(_taught(seen.ratios), predicted_s=done * ROW_S, actual_s=seen.used[name], renders=done),
    )


def _taught(ratios: Sequence[float]) -> Belief:
    middle = statistics.median(ratios) if ratios else 1.0
    return of_ratio(Ratio(low=middle, likely=middle, high=middle, samples=len(ratios)))


def _finite(found: Outlook, name: str) -> float:
    told = getattr(found, name)
    return math.inf if told is None else float(told)


def cost() -> None:
    """Print the processor seconds of one forecast of 100 campaigns of a million rows on 250 workers."""
    pool = Pool(
        name="main",
        crews=[Crew(workers=200), Crew(kind="spot", workers=50, lost_per_hour=0.05)],
        foreground=[20.0 + hour % 24 for hour in range(168)],
        hour=42.3,
    )
    for text, priorities in (("all at one priority", 1), ("at five priorities", 5)):
        cohorts = [_large(place, priorities) for place in range(100)]
        world = World(pools={"main": pool}, cohorts=cohorts)
        began = time.process_time()
        found = forecast(world)
        took = time.process_time() - began
        began = time.process_time()
        mend(world, found, "campaign 0")
        mending = time.process_time() - began
        print(f"100 campaigns of a million rows, {text}: {took:.2f} s, and {mending:.2f} s for a mending")


def _large(place: int, priorities: int) -> Cohort:
    return Cohort(
        subject=f"campaign {place}",
        pool="main",
        model=f"model {place % 3}",
        tenant=f"tenant {place % 20}",
        priority=20 + place % priorities,
        seconds=1e6 * 42,
        rows=1e6,
        max_running=None if place % 4 else 20,
        deadline_s=3e6,
    )


if __name__ == "__main__":
    main()
