"""How far forecasts are off, on simulated nights; and what a forecast of 100 campaigns of a million rows costs.

`python -m tests.benchmarks.forecast [--nights 20] [--first 0] [--order spread] [--traces] [--why]`.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from orchestrator.policy.allowance import Allowance
from orchestrator.policy.belief import Belief, learned, of_ratio
from orchestrator.policy.forecast import Cohort, Outlook, World, forecast, mend
from orchestrator.policy.queued import lanes
from orchestrator.policy.ratios import Ratio
from orchestrator.policy.supply import RECENT_H, Crew, Pool, loaded
from tests.benchmarks import night_arrivals
from tests.benchmarks.nights import HOUR_S, ROW_S, SLOT_S, USUAL, Night, Seen

LOOKS = (0.0, 0.1, 0.25, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=20)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first night")
    parser.add_argument("--order", choices=("arrival", "spread"), default="arrival", help="of the rows")
    parser.add_argument("--traces", action="store_true", help="foreground jobs of published traces")
    parser.add_argument("--why", action="store_true", help="and with what lies ahead known, a part at a time")
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.nights)
    if asked.traces and night_arrivals.TRACES is None:
        print("skipped: the traces of others are not beside this checkout")
        return
    nights = (
        night_arrivals.nights(seeds, asked.rows, asked.order)
        if asked.traces
        else [Night(seed, asked.rows, order=asked.order) for seed in seeds]
    )
    for night in nights:
        night.play(LOOKS)
    score(nights)
    if asked.why:
        for known in (("rows",), ("foreground",), ("rows", "foreground")):
            print(f"\nif it were known what {' and '.join(known)} will take:")
            score(nights, known)
    cost()


def score(nights: Sequence[Night], known: Collection[str] = ()) -> None:
    """Print how far the forecasts of these nights were off, and how often the end lay within their range."""
    hours = statistics.median(night.ends["main"] for night in nights) / HOUR_S
    print(f"{len(nights)} nights of {nights[0].rows} rows on {nights[0].fleet} workers, {hours:.1f} h in the middle")
    heads = f"{'error, median':>14} {'p90':>7} {'within 10%':>11} {'of the rest':>12} {'range':>8} {'in range':>9}"
    print(f"{'rows done':>9} {heads} {'early':>6} {'late':>5}")
    for look in LOOKS:
        off, of_rest, wide, early, late = [], [], [], 0, 0
        for night in nights:
            seen, end = night.seen[look], night.ends["main"]
            found = forecast(_told(world_of(night, seen), night, seen, known)).subjects["main"]
            low, likely, high = (seen.now + _finite(found, name) for name in ("low_s", "likely_s", "high_s"))
            off.append(abs(likely - end) / end)
            of_rest.append(abs(likely - end) / (end - seen.now))
            wide.append((high - low) / end)
            early, late = early + (end < low), late + (end > high)
        within = sum(each <= 0.1 for each in off) / len(off)
        p90 = sorted(off)[math.ceil(0.9 * len(off)) - 1]
        inside = 1 - (early + late) / len(off)
        print(
            f"{look:>9.0%} {statistics.median(off):>14.1%} {p90:>7.1%} {within:>11.0%}"
            f" {statistics.median(of_rest):>12.1%} {statistics.median(wide):>8.0%} {inside:>9.0%} {early:>6} {late:>5}"
        )


def _told(world: World, night: Night, seen: Seen, known: Collection[str]) -> World:
    """A world in which somebody has said what rows, or foreground jobs, will take from then on."""
    pool, cohorts = world.pools["main"], list(world.cohorts)
    if "rows" in known:
        main = cohorts[0]
        took = (night.used["main"] - seen.used["main"]) / main.seconds
        cohorts[0] = replace(main, bias=Belief(mean=math.log(took), spread=0.0))
    if "foreground" in known:
        slots = range(math.floor(seen.now / SLOT_S), math.floor(night.ends["main"] / SLOT_S))
        usual = sum(night.usual(slot * SLOT_S) for slot in slots) * SLOT_S
        came = sum(night.slots[slot] for slot in slots)
        pool = replace(pool, load=Belief(mean=math.log(max(1.0, came) / usual), spread=0.0))
    return World(pools={"main": pool}, cohorts=cohorts)


def world_of(night: Night, seen: Seen) -> World:
    """What the product would know at that moment."""
    hour = night.begin_hour + seen.now / HOUR_S
    usual = [night.mean or night.fleet * USUAL[at % 24] for at in range(168)]
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
    """By the last hours, those before the night among them, as the product reads them."""
    upto = math.floor(seen.now / SLOT_S)
    slots = range(upto - round(RECENT_H * HOUR_S / SLOT_S), upto)
    usually = sum(night.usual(slot * SLOT_S) for slot in slots) * SLOT_S
    return loaded(usually, sum(seen.foreground.get(slot, 0.0) for slot in slots), hours=RECENT_H)


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
        bias=learned(
            _taught(seen.ratios),
            predicted_s=done * ROW_S,
            actual_s=seen.used[name],
            renders=done,
            sample=night.order == "spread",
        ),
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
    cases = (
        ("all at one priority", 1, None, 2.0),
        ("at five priorities", 5, None, 2.0),
        ("that all begin slowly", 5, 8.0, 2.0),
        ("that budgets all end", 5, None, 0.5),
    )
    for text, priorities, slowly, enough in cases:
        cohorts = [replace(_large(place, priorities), first=slowly) for place in range(100)]
        own = [
            Allowance(subjects=frozenset({each.subject}), words="its budget", room=each.seconds * enough)
            for each in cohorts
        ]
        world = World(pools={"main": pool}, cohorts=cohorts, allowances=own)
        began = time.process_time()
        found = forecast(world)
        took = time.process_time() - began
        began = time.process_time()
        mend(world, found, "campaign 0")
        mending = time.process_time() - began
        began = time.process_time()
        lanes(replace(world, cohorts=[*cohorts, *_jobs()]), datetime.now(UTC), usual=[10])
        curves = time.process_time() - began
        print(
            f"100 campaigns of a million rows, {text}: {took:.2f} s, and {mending:.2f} s for a mending,"
            f" {curves:.2f} s for 40 lanes of a thousand jobs"
        )


def _jobs() -> list[Cohort]:
    return [
        Cohort(
            subject=f"jobs {place}",
            pool="main",
            model="main",
            tenant=f"tenant {place}",
            priority=10 + place % 2,
            seconds=42_000,
            rows=1_000,
            single=True,
        )
        for place in range(40)
    ]


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
