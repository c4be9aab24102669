"""Between campaigns and the cohorts of a forecast: what of them is left to render, and what is told of their ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from orchestrator.domain.campaign import Campaign, CampaignState, PauseReason
from orchestrator.domain.catalog import RECIPES, Profile
from orchestrator.domain.outlooks import KeptOutlook, Subject
from orchestrator.policy.allowance import Stop
from orchestrator.policy.belief import UNKNOWN, Belief, learned
from orchestrator.policy.forecast import Cohort, Mend, Outlook, at_risk
from orchestrator.policy.order import SPREAD
from orchestrator.policy.window import slow_start

_S = CampaignState
# A budget pauses a campaign that its own room ends, and that of its tenant's next period lets go on.
_BY_ITSELF = frozenset({PauseReason.CLOSED_HOURS, PauseReason.BUDGET})
# A budget that ends fewer of the draws is no risk yet; one that was stays one until it ends none.
_STOPS = 0.1
# What a worker renders is half done, on average.
_HALF = 0.5


def is_going_on(campaign: Campaign) -> bool:
    """Whether it renders, or will without anybody's doing: what waits for a person has no end that could be told.

    One that a budget has paused is told of, as its owner has to hear by how much that is too little.
    """
    match campaign.state:
        case _S.RUNNING:
            return True
        case _S.PAUSED:
            return campaign.pauses <= _BY_ITSELF and campaign.approved
        case _S.PLANNED | _S.SAMPLING:
            return campaign.approved
        case _:
            return False


def cohorts_of(
    campaign: Campaign,
    now: datetime,
    *,
    weight: float = 1.0,
    most_urgent: int = 0,
    priors: Mapping[str, Belief] | None = None,
    speeds: Mapping[str, float] | None = None,
    fast: frozenset[str] = frozenset(),
) -> list[Cohort]:
    """What a campaign has left to render, one cohort for each pool and model of its estimate.

    `priors` are what is believed of each pool's predictions, which its own renders so far narrow; `speeds` are how fast
    the workers of each pool are, 1 where nothing is said, as what its renders used is in their own seconds; `fast` are
    the models that its pools also render in the profile `fast`.
    """
    counts, rows = campaign.counts, sum(group.rows for group in campaign.estimate)
    left = counts.waiting + counts.held + counts.queued + counts.running * _HALF
    share = left / rows if rows else 0.0
    done = counts.succeeded + counts.failed
    taking_s = sum(group.gpu_seconds / (speeds or {}).get(group.pool, 1.0) for group in campaign.estimate)
    cohorts = []
    for group in campaign.estimate:
        prior = (priors or {}).get(group.pool, UNKNOWN)
        cohorts.append(
            Cohort(
                subject=campaign.id,
                pool=group.pool,
                model=group.model,
                tenant=campaign.tenant,
                priority=campaign.priority,
                seconds=group.gpu_seconds * share,
                rows=group.rows * share,
                weight=weight,
                most_urgent=most_urgent,
                max_running=campaign.max_running,
                first=max(1.0, slow_start(campaign.fresh_succeeded, campaign.fresh_failed) * group.rows / max(1, rows)),
                begins_s=0.0 if campaign.run_at is None else (campaign.run_at - now).total_seconds(),
                deadline_s=None if campaign.deadline is None else (campaign.deadline - now).total_seconds(),
                closes=True,
                bias=learned(
                    prior,
                    predicted_s=done * taking_s / max(1, rows),
                    actual_s=campaign.used,
                    renders=done,
                    sample=campaign.ask.order == SPREAD,
                ),
                faster=_faster(campaign) if group.model in fast else {},
            )
        )
    return cohorts


def _faster(campaign: Campaign) -> Mapping[str, float]:
    if campaign.template.defaults.get("profile", Profile.EXACT) != Profile.EXACT:
        return {}
    return {"profile fast": RECIPES[Profile.FAST].compute_share}


def kept(
    subject: Subject,
    name: str,
    outlook: Outlook,
    now: datetime,
    *,
    deadline: datetime | None = None,
    before: KeptOutlook | None = None,
    paused: str | None = None,
) -> KeptOutlook:
    """An outlook as it is kept; `before` is the one that it follows, `paused` why its pool renders nothing."""
    was = before is not None and before.at_risk is True
    stop = outlook.stop
    stopped = stop is not None and (was or stop.share > _STOPS)
    # Who was told of a risk hears that it is none, also where it was a budget's.
    risk = stopped or (False if was else None)
    if deadline is not None:
        risk = stopped or at_risk(outlook, (deadline - now).total_seconds(), before=was)
    return KeptOutlook(
        subject=subject,
        name=name,
        made_at=now,
        low_at=_moment(now, outlook.low_s),
        likely_at=_moment(now, outlook.likely_s),
        high_at=_moment(now, outlook.high_s),
        at_risk=risk,
        reason=outlook.reason and (paused or (outlook.reason if stop is None else _stops(stop, now))),
    )


def _stops(stop: Stop, now: datetime) -> str:
    return f"it {stop.then} about {_moment(now, stop.at_s):%Y-%m-%d %H:%M} UTC by {stop.words}"


def advice(mend: Mend | None, now: datetime, stop: Stop | None = None) -> str:
    """What would make a deadline hold, and a budget last, in words for its owner."""
    ways = []
    if stop is not None and stop.lacks > 0:
        lacks = f"{math.ceil(stop.lacks):,}" if stop.lacks >= 10 else f"{stop.lacks:.2f}"
        ways.append(f"raise {stop.words} by about {lacks} {stop.unit}")
    if mend is None:
        return ", or ".join(ways)
    return "; and for the deadline ".join([*ways, _in_time(mend, now)])


def _in_time(mend: Mend, now: datetime) -> str:
    ways = []
    if mend.workers is not None:
        until = _moment(now, mend.until_s)
        ways.append(f"{mend.workers} more workers of pool {mend.pool} until {until:%Y-%m-%d %H:%M} UTC")
    ways += mend.others
    return ", or ".join(ways) or f"no number of workers that pool {mend.pool} may have, nor more urgency"


def turned(before: KeptOutlook | None, now: KeptOutlook) -> bool | None:
    """Whether the deadline has just come to be at risk, or is no longer; None where the world has heard of it."""
    was = before is not None and before.at_risk is True
    return now.at_risk if now.at_risk is not None and now.at_risk != was else None


def _moment(now: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None else (now + timedelta(seconds=seconds)).astimezone(UTC)
