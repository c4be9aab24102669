"""Between campaigns and the cohorts of a forecast: what of them is left to render, and what is told of their ends."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from orchestrator.domain.campaign import Campaign, CampaignState, PauseReason
from orchestrator.domain.catalog import RECIPES, Profile
from orchestrator.domain.outlooks import KeptOutlook, Subject
from orchestrator.policy.belief import UNKNOWN, Belief, learned
from orchestrator.policy.forecast import Cohort, Mend, Outlook, at_risk

_S = CampaignState
# What a worker renders is half done, on average.
_HALF = 0.5


def is_going_on(campaign: Campaign) -> bool:
    """Whether it renders, or will without anybody's doing: what waits for a person has no end that could be told."""
    match campaign.state:
        case _S.RUNNING:
            return True
        case _S.PAUSED:
            return campaign.pauses == {PauseReason.CLOSED_HOURS} and campaign.approved
        case _S.PLANNED | _S.SAMPLING:
            return campaign.approved
        case _:
            return False


def cohorts_of(
    campaign: Campaign,
    now: datetime,
    *,
    weight: float = 1.0,
    priors: Mapping[str, Belief] | None = None,
    fast: frozenset[str] = frozenset(),
) -> list[Cohort]:
    """What a campaign has left to render, one cohort for each pool and model of its estimate.

    `priors` are what is believed of each pool's predictions, which its own renders so far narrow; `fast` are the models
    that its pools also render in the profile `fast`.
    """
    counts, rows = campaign.counts, sum(group.rows for group in campaign.estimate)
    left = counts.waiting + counts.held + counts.queued + counts.running * _HALF
    share = left / rows if rows else 0.0
    done = counts.succeeded + counts.failed
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
                max_running=campaign.max_running,
                begins_s=0.0 if campaign.run_at is None else (campaign.run_at - now).total_seconds(),
                deadline_s=None if campaign.deadline is None else (campaign.deadline - now).total_seconds(),
                closes=True,
                bias=learned(prior, predicted_s=done * campaign.typical, actual_s=campaign.used, renders=done),
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
    risk = None
    if deadline is not None:
        was = before is not None and before.at_risk is True
        risk = at_risk(outlook, (deadline - now).total_seconds(), before=was)
    return KeptOutlook(
        subject=subject,
        name=name,
        made_at=now,
        low_at=_moment(now, outlook.low_s),
        likely_at=_moment(now, outlook.likely_s),
        high_at=_moment(now, outlook.high_s),
        at_risk=risk,
        reason=outlook.reason and (paused or outlook.reason),
    )


def advice(mend: Mend, now: datetime) -> str:
    """What would make a deadline hold, in words for its owner."""
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
