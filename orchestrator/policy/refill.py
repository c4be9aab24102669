"""How many seats of the queue each campaign of one tenant has, and its single videos: a pure rule.

The claim decides between priorities and tenants. What it gives a tenant in one pool at one priority is divided here: a
campaign's jobs beyond its seats are held, and readied as others end. A lane is claimed in the order of its jobs, so who
came first would have every worker, were it not for the seats: as many as the tenant has workers are dealt. The spare
ones, which keep a worker from waiting for the runner, go to whoever is claimed last of those that have more to give: to
anybody before it they would bring workers for good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A campaign, or all the single videos, of one tenant in one pool at one priority."""

    name: str
    # Seats that it can use: jobs that it has, held ones too, within its cap; of these, jobs that run.
    most: int
    running: int = 0
    # Workers that it needs from now on to hold its deadline; 0 without one.
    need: float = 0.0
    # Seconds until its deadline.
    due_s: float = math.inf
    # From above 0, where every render fails, to 1, where none does (`error_weight`).
    weight: float = 1.0


def refill(contenders: Sequence[Contender], *, workers: int, spare: int) -> dict[str, int]:
    """Each one's seats, by its name: jobs that may be claimed or run. `contenders` are in the order of their claim.

    `workers` are those that render for them and those that are free. There are as many seats, one for each that can use
    one at the least, and `spare` more. Each that can use one has one. Of the others the first go to deadlines, the
    earliest first, as many as each needs by its weight; and what is left is dealt by weight, where what they have by
    their deadlines counts. No worker is left without a seat while somebody can use it.
    """
    able = [each for each in contenders if each.most > 0]
    dealt = {each.name: 1 for each in able}
    left = max(0, workers - len(able))
    for each in sorted(able, key=lambda each: each.due_s):
        given = max(0, min(left, _needed(each) - 1))
        dealt[each.name] += given
        left -= given
    wanting = [each for each in able if dealt[each.name] < each.most]
    while left and wanting:  # the highest averages of d'Hondt: whoever gains weight loses no seat
        next_one = max(wanting, key=lambda each: each.weight / (dealt[each.name] + 1))
        dealt[next_one.name] += 1
        left -= 1
        if dealt[next_one.name] == next_one.most:
            wanting.remove(next_one)
    for each in reversed(able):
        given = min(spare, each.most - dealt[each.name])
        dealt[each.name] += given
        spare -= given
        if each.most > each.running:
            break
    return {each.name: dealt.get(each.name, 0) for each in contenders}


def _needed(each: Contender) -> int:
    return min(each.most, math.ceil(min(each.need * each.weight, each.most)))


def error_weight(succeeded: int, failed: int) -> float:
    """How much of what its renders cost comes to something, judged by so many ends; 1 before the first failure."""
    return (succeeded + 1) / (succeeded + failed + 1)


def needed_workers(work_s: float, left_s: float | None) -> float:
    """Workers that do so much work in the time that is left; none without a deadline, or after it.

    What is late already has nothing to hold any more, and must not cost others their deadlines.
    """
    return 0.0 if left_s is None or left_s <= 0 else work_s / left_s
