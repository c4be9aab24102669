"""When campaigns and pools are done: fluid cohorts, drawn many times with errors that go together. Pure.

Errors are drawn once for all that they concern: a model whose renders take longer than predicted takes longer in every
row of every campaign. Independent ones would average out over a million rows, and promise too much.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.policy.allowance import Allowance, Need, Stop, Tight, stop_of, tight
from orchestrator.policy.belief import UNKNOWN, Belief, scores
from orchestrator.policy.fluid import Flow, Played, Stage, played
from orchestrator.policy.supply import Crew, Pool, Scores, stages_of

DRAWS = 50
# A forecast looks no further: what ends later never does, as far as anybody can say.
HORIZON_S = 400 * 24 * 3600.0
# The deadline lies so far behind the range, as a share of the time until its end, before a risk is over.
_RELIEF = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Work that goes through the queue as one: what a campaign, or a tenant's jobs, have left to render in a pool."""

    # A campaign's id, or what names jobs that wait.
    subject: str
    pool: str
    model: str
    tenant: str
    # 0 is the most urgent.
    priority: int
    # Predicted GPU seconds that are left, and how many renders they are.
    seconds: float
    rows: float
    # The tenant's share, and how urgent it may be.
    weight: float = 1.0
    most_urgent: int = 0
    max_running: int | None = None
    # Renders that it may have at once at first; each that succeeds adds one. None: as many as there are workers.
    first: float | None = None
    # From now; what is due is at most 0.
    begins_s: float = 0.0
    deadline_s: float | None = None
    # It rests in the pool's closed hours.
    closes: bool = False
    # Actual seconds by predicted ones.
    bias: Belief = UNKNOWN
    # What else would make it shorter: in words, and the factor.
    faster: Mapping[str, float] = field(default_factory=dict)
    # Jobs that wait and are no campaign's: they begin in their order.
    single: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """When something is done, in seconds from now: one time in ten before the first, one in ten behind the last.

    None where it is not done within `HORIZON_S`, in that many of the draws.
    """

    low_s: float | None
    likely_s: float | None
    high_s: float | None
    # Why it never is, where it is not.
    reason: str | None = None
    # The budget that ends it in some of the draws.
    stop: Stop | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mend:
    """What would make a deadline hold."""

    pool: str
    # So many more workers, until then in seconds from now; None where no number of them would, or there may not be.
    workers: int | None
    until_s: float | None
    # Or one of these, by itself.
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that a forecast is made from."""

    pools: Mapping[str, Pool]
    cohorts: Sequence[Cohort]
    allowances: Sequence[Allowance] = ()

    def of(self, pool: str) -> list[Cohort]:
        return [cohort for cohort in self.cohorts if cohort.pool == pool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What is to be expected of everything, as far as is known."""

    subjects: Mapping[str, Outlook]
    pools: Mapping[str, Outlook]
    # When each subject is done in each pool in each draw: what `mend` reads.
    ends: Mapping[tuple[str, str], Sequence[float]]


def forecast(world: World, *, draws: int = DRAWS) -> Forecast:
    """When each subject and each pool is done."""
    ends: dict[tuple[str, str], list[float]] = {}
    pools: dict[str, Outlook] = {}
    bound = tight(world.allowances, [_need(cohort) for cohort in world.cohorts])
    # When each of those is used up, in each draw.
    spent = [[math.inf] * draws for _ in bound]
    for name in sorted({cohort.pool for cohort in world.cohorts} | set(world.pools)):
        pool, cohorts = world.pools.get(name, Pool(name=name, crews=())), world.of(name)
        last = [0.0] * draws
        for draw in range(draws):
            found, emptied = _drawn(pool, cohorts, draw, draws, bound)
            for cohort, end in zip(cohorts, found, strict=True):
                ends.setdefault((cohort.subject, name), [0.0] * draws)[draw] = end
                last[draw] = max(last[draw], end)
            for each, at in emptied.items():
                spent[each][draw] = min(spent[each][draw], at)
        pools[name] = _outlook(last, [pool])
    parts: dict[str, list[str]] = defaultdict(list)
    for subject, name in ends:
        parts[subject].append(name)
    subjects = {}
    for subject, names in parts.items():
        lasts = [max(ends[subject, name][draw] for name in names) for draw in range(draws)]
        stop = _stop(subject, lasts, bound, spent)
        subjects[subject] = _outlook(lasts, [world.pools.get(name, Pool(name=name, crews=())) for name in names], stop)
    return Forecast(subjects=subjects, pools=pools, ends=ends)


def _need(cohort: Cohort) -> Need:
    names = ("subject", "pool", "model", "seconds", "bias")
    return Need(**{name: getattr(cohort, name) for name in names})


def _stop(subject: str, lasts: Sequence[float], bound: Sequence[Tight], spent: Sequence[list[float]]) -> Stop | None:
    """The budget that keeps a subject from its end most often."""
    never = [last == math.inf for last in lasts]
    found = [
        stop
        for of, at in zip(bound, spent, strict=True)
        if subject in of.allowance.subjects and (stop := stop_of(of, at, never, len(lasts))) is not None
    ]
    return max(found, key=lambda stop: stop.share, default=None)


def at_risk(outlook: Outlook, deadline_s: float, *, before: bool = False) -> bool:
    """Whether the deadline lies before the end of the range, or inside it.

    With hysteresis, so that nobody hears of it again and again: what was at risk is so until the deadline lies well
    behind the range.
    """
    if outlook.high_s is None:
        return True
    return deadline_s <= outlook.high_s * (1 + _RELIEF if before else 1)


def hopeless(outlook: Outlook, deadline_s: float) -> bool:
    """Whether the deadline lies before even the early end of the range."""
    return outlook.low_s is None or outlook.low_s > deadline_s


def mend(world: World, found: Forecast, subject: str, *, draws: int = DRAWS) -> Mend | None:
    """What would make the deadline of a subject hold; None for one that has none, or whose deadline is over.

    Looked for in the draw at the late end of the range, in the pool that is done last in it, by the same play.
    """
    mine = [cohort for cohort in world.cohorts if cohort.subject == subject and cohort.deadline_s is not None]
    if not mine or (mine[0].deadline_s or 0) <= 0:
        return None
    draw, worst = _late(found, mine)
    pool, cohorts = world.pools.get(worst.pool, Pool(name=worst.pool, crews=())), world.of(worst.pool)
    deadline_s = worst.deadline_s or 0.0
    most = max(0, 10_000 if pool.largest is None else pool.largest - pool.workers)
    # A budget that ends it has to be raised whatever else is done; one that is filled anew only makes it wait.
    lasting = [each for each in world.allowances if each.renewals]
    bound = tight(lasting, [_need(cohort) for cohort in world.cohorts])

    def end_with(workers: int = 0, changed: Cohort = worst, within: Sequence[Tight] = bound) -> float:
        more = replace(pool, crews=[*pool.crews, _more(pool, workers)])
        among = [changed if cohort is worst else cohort for cohort in cohorts]
        return _drawn(more, among, draw, draws, within, until_s=deadline_s)[0][cohorts.index(worst)]

    workers = _fewest(lambda count: end_with(count) <= deadline_s, most)
    changes = {}
    if worst.most_urgent < worst.priority:
        changes[f"priority {worst.priority - 1} or more urgent"] = replace(worst, priority=worst.most_urgent)
    if worst.max_running is not None:
        changes["a greater max_running"] = replace(worst, max_running=None)
    changes |= {words: replace(worst, seconds=worst.seconds * factor) for words, factor in worst.faster.items()}
    others = [words for words, changed in changes.items() if end_with(changed=changed) <= deadline_s]
    mine_too = [each for each in bound if subject in each.allowance.subjects]
    if mine_too and end_with(within=[each for each in bound if each not in mine_too]) <= deadline_s:
        others.append(f"more of {mine_too[0].allowance.words}")
    until_s = None if workers is None else end_with(workers)
    return Mend(pool=worst.pool, workers=workers, until_s=until_s, others=tuple(others))


def _late(found: Forecast, mine: Sequence[Cohort]) -> tuple[int, Cohort]:
    """The draw at the late end of a subject's range, and the cohort that is done last in it."""
    lasts = list(zip(*(found.ends[cohort.subject, cohort.pool] for cohort in mine), strict=True))
    order = sorted(range(len(lasts)), key=lambda draw: max(lasts[draw]))
    draw = order[math.ceil(0.9 * (len(order) - 1))]
    return draw, mine[max(range(len(mine)), key=lambda each: lasts[draw][each])]


def _more(pool: Pool, workers: int) -> Crew:
    """More workers like those that there are: they come after a start-up."""
    like = max(pool.crews, key=lambda crew: crew.workers, default=Crew(workers=0))
    return replace(like, workers=workers, ready_in_s=like.start_up_s)


def _fewest(enough: Callable[[int], bool], most: int) -> int | None:
    """The least number from 1 to `most` that is enough; None where none is. More than enough is enough."""
    low, high = 0, 1
    while high < most and not enough(high):
        low, high = high, high * 2
    high = min(high, most)
    if high < 1 or not enough(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _drawn(
    pool: Pool,
    cohorts: Sequence[Cohort],
    draw: int,
    draws: int,
    bound: Sequence[Tight] = (),
    *,
    until_s: float = HORIZON_S,
) -> tuple[list[float], dict[int, float]]:
    """When each cohort of a pool is done in one draw, and when each allowance, by its place, is used up there."""
    stages = stages_of(pool, scores_of(pool, draw, draws))
    factors = [bias_of(cohort, draw, draws) for cohort in cohorts]
    subjects = [cohort.subject for cohort in cohorts]
    accounts = {
        place: account
        for place, of in enumerate(bound)
        if (account := of.account(pool.name, subjects, draw, draws)) is not None
    }
    flows = [flow_of(cohort, factor) for cohort, factor in zip(cohorts, factors, strict=True)]
    came: Played = played(flows, stages, list(accounts.values()), until_s=until_s)
    each = zip(came.ends, cohorts, factors, strict=True)
    ends = [end + _tail(cohort, factor, stages) for end, cohort, factor in each]
    return ends, dict(zip(accounts, came.spent, strict=True))


def scores_of(pool: Pool, draw: int, draws: int) -> Scores:
    """How far a pool's uncertain things are from their middle in one draw."""
    return Scores(
        load=scores(f"load {pool.name}", draws)[draw],
        yields=scores(f"yields {pool.name}", draws)[draw],
        start_ups=scores("start-ups", draws)[draw],
        losses=scores("losses", draws)[draw],
    )


def bias_of(cohort: Cohort, draw: int, draws: int) -> float:
    """Actual seconds of a cohort by predicted ones in one draw."""
    return cohort.bias.at(scores(f"bias {cohort.model}", draws)[draw])


def flow_of(cohort: Cohort, factor: float) -> Flow:
    """A cohort whose renders take so many times what was predicted."""
    render_s = cohort.seconds * factor / max(1.0, cohort.rows)
    return Flow(
        tenant=cohort.tenant,
        priority=cohort.priority,
        seconds=cohort.seconds * factor,
        weight=cohort.weight,
        most=min(cohort.rows, math.inf if cohort.max_running is None else cohort.max_running),
        first=math.inf if cohort.first is None else cohort.first,
        render_s=render_s,
        # Its last renders end half of one after what flows, and what renders counts as not begun for half of one.
        due_s=math.inf if cohort.deadline_s is None else cohort.deadline_s - render_s,
        begins_s=max(0.0, cohort.begins_s),
        closes=cohort.closes,
    )


def _tail(cohort: Cohort, factor: float, stages: Sequence[Stage]) -> float:
    """By the end not all workers are busy any more: the last renders take half of one beyond what flows."""
    return 0.5 * cohort.seconds * factor / max(1.0, cohort.rows) / max(1e-3, stages[-1].speed)


def _outlook(ends: Sequence[float], pools: Iterable[Pool], stop: Stop | None = None) -> Outlook:
    ordered = sorted(ends)
    low, likely, high = (quantile(ordered, share) for share in (0.1, 0.5, 0.9))
    reason = None
    if high is None and stop is not None:
        reason = f"{stop.words} is used up before its end"
    elif high is None:
        empty = [pool.name for pool in pools if not pool.workers]
        reason = f"pool {empty[0]} has no worker" if empty else "what goes first leaves it no worker"
    return Outlook(low_s=low, likely_s=likely, high_s=high, reason=reason, stop=stop)


def quantile(ascending: Sequence[float], share: float) -> float | None:
    """The value below which such a share lies; None where it is infinite."""
    at = share * (len(ascending) - 1)
    low = int(at)
    high = min(low + 1, len(ascending) - 1)
    if ascending[high] == math.inf:
        return None
    return ascending[low] + (ascending[high] - ascending[low]) * (at - low)
