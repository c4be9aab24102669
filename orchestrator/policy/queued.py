"""When jobs that wait begin: for each lane of a pool, and for whoever comes to it new, by what goes before. Pure.

Jobs of a lane begin in their order, so that what comes later is nothing to them: the usual load of single jobs, which
takes workers from campaigns, is left out. Of what waits, only what is as urgent as the least urgent lane counts.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from statistics import NormalDist

from orchestrator.domain.outlooks import LaneOutlook
from orchestrator.policy.belief import CERTAIN, Belief, scores
from orchestrator.policy.fluid import Flow, Stage, played
from orchestrator.policy.forecast import DRAWS, HORIZON_S, Cohort, World, bias_of, flow_of, quantile, scores_of
from orchestrator.policy.supply import Pool, stages_of

# Whoever has nothing in a pool yet.
NOBODY = ""
_SHARES = (0.1, 0.5, 0.9)
# So many more jobs are looked ahead for, behind those of a lane.
_MORE = 1_000


def lanes(world: World, now: datetime, *, usual: Collection[int], draws: int = DRAWS) -> list[LaneOutlook]:
    """The curve of every lane in which single jobs wait, and of one for newcomers at each priority that occurs.

    `usual` are the priorities that jobs have which come to an empty pool.
    """
    found = []
    for name, pool in world.pools.items():
        here = world.of(name)
        waiting = [cohort for cohort in here if cohort.single]
        priorities = sorted({*usual, *(cohort.priority for cohort in waiting)})
        others = [cohort for cohort in here if not cohort.single and cohort.priority <= priorities[-1]]
        found += _in_pool(pool, here, waiting, others, priorities, now, draws)
    return found


def _in_pool(
    pool: Pool,
    here: Sequence[Cohort],
    waiting: Sequence[Cohort],
    others: Sequence[Cohort],
    priorities: Sequence[int],
    now: datetime,
    draws: int,
) -> list[LaneOutlook]:
    render_s = sum(cohort.seconds for cohort in here) / rows if (rows := sum(cohort.rows for cohort in here)) else 0.0
    new = [_newcomer(pool.name, priority, render_s or 1.0, waiting) for priority in priorities]
    lanes_ = [*waiting, *new]
    grids = [_grid(cohort) for cohort in lanes_]
    begins: list[list[list[float]]] = [[[] for _ in grid] for grid in grids]
    stretches: list[list[float]] = [[] for _ in lanes_]
    free = NormalDist()
    for draw in range(draws):
        stages = stages_of(replace(pool, foreground=()), scores_of(pool, draw, draws))
        biases = [bias_of(cohort, draw, draws) for cohort in lanes_]
        flows = [
            replace(flow_of(cohort, bias), marks=tuple(mark * bias for mark in grid[:-1]))
            for cohort, bias, grid in zip(lanes_, biases, grids, strict=True)
        ]
        # Where a newcomer has more jobs than one, they go on as this one does: by its share of all workers.
        flows = [replace(flow, most=math.inf) if flow.tenant == NOBODY else flow for flow in flows]
        beside: list[Flow] = [flow_of(cohort, bias_of(cohort, draw, draws)) for cohort in others]
        marks = played([*flows, *beside], stages, until_s=HORIZON_S).marks[: len(flows)]
        # All workers are busy, each as far with its render as may be: until the first of them is free.
        gap = _gap(stages[0], render_s, free.cdf(scores(f"gap {pool.name}", draws)[draw]))
        for each, bias in enumerate(biases):
            stretches[each].append(bias / max(1e-3, stages[0].speed))
            came = marks[each]
            for place, mark in enumerate([*came, _far(grids[each], came)]):
                begins[each][place].append(mark + gap)
    reason = f"pool {pool.name} has no worker" if not pool.workers else "what goes first leaves it no worker"
    return [
        _outlook(cohort, grid, points, stretch, reason, now)
        for cohort, grid, points, stretch in zip(lanes_, grids, begins, stretches, strict=True)
    ]


def _outlook(
    cohort: Cohort,
    grid: Sequence[float],
    points: Sequence[Sequence[float]],
    stretch: Sequence[float],
    reason: str,
    now: datetime,
) -> LaneOutlook:
    ordered = [sorted(at) for at in points]
    low, likely, high = ([_finite(quantile(at, share)) for at in ordered] for share in _SHARES)
    return LaneOutlook(
        pool=cohort.pool,
        tenant=cohort.tenant,
        priority=cohort.priority,
        made_at=now,
        ahead_s=grid,
        low_s=low,
        likely_s=likely,
        high_s=high,
        stretch=[_finite(quantile(sorted(stretch), share)) for share in _SHARES],
        reason=reason if high[-1] == math.inf else None,
    )


def _newcomer(pool: str, priority: int, render_s: float, waiting: Sequence[Cohort]) -> Cohort:
    """One job of whoever has none here: too little to take anything from the others."""
    known: Belief = waiting[0].bias if waiting else CERTAIN
    return Cohort(
        subject=NOBODY, pool=pool, model=pool, tenant=NOBODY, priority=priority, seconds=render_s, rows=1.0, bias=known
    )  # fmt: skip


def _grid(cohort: Cohort) -> list[float]:
    """Where a lane's curve is looked at: behind no job, one, two, four and so on, and behind all of them.

    And far behind, where those stand that come after the curve was made.
    """
    one, grid = cohort.seconds / max(1.0, cohort.rows), [0.0]
    while (behind := one * 2 ** (len(grid) - 1)) < cohort.seconds * (1 - 1e-9):
        grid.append(behind)
    return [*grid, cohort.seconds, cohort.seconds + _MORE * one]


def _far(grid: Sequence[float], came: Sequence[float]) -> float:
    """When what is far behind begins in a draw, if all goes on as it went for the whole lane."""
    first, last = came[0], came[-1]
    return last if last == math.inf else last + (last - first) * (grid[-1] - grid[-2]) / grid[-2]


def _gap(stage: Stage, render_s: float, share: float) -> float:
    """Until the first of so many workers is free, each of which began its render at any moment: seconds.

    The least of as many evenly distributed numbers: it is below `x` with the probability 1 - (1 - x) ** workers.
    """
    if stage.workers < 1:
        return 0.0
    return float(render_s / max(1e-3, stage.speed) * (1 - (1 - share) ** (1 / stage.workers)))


def _finite(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds
