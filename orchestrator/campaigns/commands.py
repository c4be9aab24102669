"""What an owner may do to a campaign, and what follows from it: pure decisions, one for each command.

The store carries a `Change` out in one transaction, with the campaign locked as it was decided on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from orchestrator.domain.campaign import Campaign, CampaignState, Input, Outcome, PassKind, PauseReason
from orchestrator.domain.campaign_ids import plan_token
from orchestrator.domain.errors import InvalidField, Outdated, PlanChanged, WrongState
from orchestrator.domain.outlooks import KeptOutlook
from orchestrator.policy.order import sample_places
from orchestrator.policy.ratios import UNKNOWN
from orchestrator.ports.campaign_values import Change, NewPass, RowEdit, Window

_S = CampaignState
# How a row may have ended, or not yet, that is rejected.
_ALL = frozenset[Outcome | None]({None, *Outcome})
_WITH_ROWS = (_S.SAMPLING, _S.AWAITING_APPROVAL, _S.RUNNING, _S.PAUSED, _S.COMPLETED)
# The rule that stops on failures begins to count again.
_AFRESH: Mapping[str, Any] = {"fresh_succeeded": 0, "fresh_failed": 0, "first_failed": 0}

# Names, and what their bodies say.
Events = Sequence[tuple[str, Mapping[str, Any]]]


def check_version(campaign: Campaign, version: int | None) -> None:
    """Raise `Outdated` where somebody else was quicker."""
    if version is not None and version != campaign.version:
        raise Outdated(f"the campaign has been changed: it is in version {campaign.version}, not {version}")


def check_draft(campaign: Campaign) -> None:
    """Raise `WrongState` for one that has an input."""
    if campaign.state is not _S.DRAFT:
        raise WrongState(f"the campaign is {campaign.state}; only a draft takes an input")


def expect(campaign: Campaign, named: Input) -> Change:
    """Its rows will be put there."""
    check_draft(campaign)
    return Change(values={"input": named})


def begin(campaign: Campaign, named: Input) -> Change:
    """Take in its rows."""
    check_draft(campaign)
    return Change(state=_S.INGESTING, values={"input": named})


def check_holds(campaign: Campaign, outlook: KeptOutlook | None) -> None:
    """Raise `WrongState` where even the early end of the forecast lies behind the deadline."""
    due = campaign.deadline
    if due is None or outlook is None or (outlook.low_at is not None and outlook.low_at <= due):
        return
    if outlook.likely_at is None:
        told = f"as things stand it is never done: {outlook.reason or 'what goes first leaves too little'}"
    else:
        late = "later than can be told" if outlook.high_at is None else f"{outlook.high_at:%Y-%m-%dT%H:%MZ}"
        told = f"it is done about {outlook.likely_at:%Y-%m-%dT%H:%MZ}, eight times in ten "
        told += f"between {outlook.low_at:%Y-%m-%dT%H:%MZ} and {late}"
    raise WrongState(f"the deadline {due.astimezone(UTC):%Y-%m-%dT%H:%MZ} cannot hold: {told}", param="deadline")


def approve(campaign: Campaign, token: str, *, cap: float | None) -> Change:
    """Pay for the rest, up to `cap` GPU seconds. Raises `PlanChanged` for the token of another plan.

    Approving again takes nothing away: rows that were ordered again on top are in no quote.
    """
    if campaign.plan_token is None or campaign.state in (_S.DRAFT, _S.INGESTING) or campaign.state.ended:
        raise WrongState(f"the campaign is {campaign.state}; there is nothing to approve")
    if token != campaign.plan_token:
        raise PlanChanged(f"the plan has changed: it is {campaign.plan_token} now", token=campaign.plan_token)
    if campaign.approved_token is not None:
        cap = None if cap is None or campaign.cap is None else max(cap, campaign.cap)
    values: dict[str, Any] = {"approved_token": token, "cap": cap}
    if campaign.state is _S.AWAITING_APPROVAL:
        return Change(state=_S.RUNNING, values=values, passes=[NewPass(kind=PassKind.MAIN)])
    if campaign.state is _S.PAUSED and PauseReason.REVISION in campaign.pauses:
        return going_on(campaign, campaign.pauses - {PauseReason.REVISION}, values, approved=True)
    return Change(values=values)


def reject(campaign: Campaign, places: tuple[int, ...], *, drop: bool, revisions: Mapping[str, str]) -> Change:
    """Leave rows of the sample out, or render them again with another seed."""
    if campaign.state is not _S.AWAITING_APPROVAL:
        raise WrongState(f"the campaign is {campaign.state}; rows are rejected while it awaits approval")
    if drop:
        edit = RowEdit(of=_ALL - {Outcome.DROPPED}, places=places, outcome=Outcome.DROPPED)
        return Change(edits=[edit], follows=lambda after: {"plan_token": token_now(after, revisions)})
    # Of the rest nobody has approved anything.
    if set(places) - {place for sampled in sample_of(campaign) for place in sampled.places or ()}:
        raise InvalidField("must be rows of the sample", param="rows")
    edit = RowEdit(of=_ALL - {Outcome.DROPPED}, places=places, reset=True, reseed=True)
    return Change(state=_S.SAMPLING, edits=[edit], passes=[NewPass(kind=PassKind.SAMPLE, places=places)])


def carried(
    campaign: Campaign, drops: tuple[int, ...], again: tuple[int, ...], now: datetime, *, revisions: Mapping[str, str]
) -> Change:
    """What reviewers rejected: rows are left out, or rendered again with another seed, on top of what was approved.

    Who approved more has approved what is left of it.
    """
    _check_rows(campaign, "reviewed")
    cap = None if campaign.cap is None else campaign.cap + len(again) * campaign.typical * UNKNOWN.high
    reset = RowEdit(of=_ALL - {Outcome.DROPPED}, places=again, reset=True, reseed=True)
    drop = RowEdit(of=_ALL - {Outcome.DROPPED}, places=drops, outcome=Outcome.DROPPED)
    # With places a sample goes through what has no outcome, whenever it is asked for.
    wanted = [NewPass(kind=PassKind.SAMPLE, places=again)] if again else []
    state, values = None, {"cap": cap, "manifest_due": True}
    if campaign.state is _S.COMPLETED:
        state, values = _S.RUNNING, {"cap": cap, **_reopened(campaign, now)}
    elif campaign.state is _S.AWAITING_APPROVAL and again:
        state = _S.SAMPLING
    approved = campaign.plan_token is not None and campaign.plan_token == campaign.approved_token

    def follows(after: Campaign) -> Mapping[str, Any]:
        token = token_now(after, revisions)
        return {"plan_token": token} | ({"approved_token": token} if approved else {})

    edits = [edit for edit in (reset, drop) if edit.places]
    return Change(state=state, values=values, passes=wanted, edits=edits, follows=follows if drops else None)


def pause(campaign: Campaign, reason: str | None = None) -> Change | None:
    """Begin nothing more; what waits in the queue waits where it is."""
    if campaign.state is _S.PAUSED and PauseReason.OWNER in campaign.pauses:
        return None
    if campaign.state not in (_S.SAMPLING, _S.RUNNING, _S.PAUSED):
        raise WrongState(f"the campaign is {campaign.state}; one that is sampling or running is paused")
    return paused(campaign, PauseReason.OWNER, reason or "its owner asked for it")


def resume(campaign: Campaign) -> Change:
    """Take away what its owner may: the wish for a pause, and the one for failures that somebody has looked at."""
    if campaign.state is not _S.PAUSED:
        raise WrongState(f"the campaign is {campaign.state}; only a paused one is resumed")
    left = campaign.pauses - {PauseReason.OWNER, PauseReason.FAILURES}
    if left == campaign.pauses:
        raise WrongState(f"the campaign is paused for {', '.join(sorted(left))}, which resuming does not mend")
    return going_on(campaign, left, _AFRESH if PauseReason.FAILURES in campaign.pauses else {})


def cancel(campaign: Campaign) -> Change | None:
    """End it: what waits never begins, what renders is stopped, what is finished stays."""
    if campaign.state is _S.CANCELLED:
        return None
    if campaign.state.ended:
        raise WrongState(f"the campaign is {campaign.state}")
    return Change(state=_S.CANCELLED, pauses=frozenset(), window=Window.CANCEL, values={"next_run_at": None})


def retry(campaign: Campaign, places: tuple[int, ...] | None, now: datetime) -> Change:
    """Render again what failed: all, or of these rows those that did. That comes on top of what was approved."""
    _check_rows(campaign, "retried")
    if not campaign.counts.failed:
        raise WrongState("no row has failed")
    rows = campaign.counts.failed if places is None else min(len(places), campaign.counts.failed)
    cap = None if campaign.cap is None else campaign.cap + rows * campaign.typical * UNKNOWN.high
    return _again(campaign, {"cap": cap}, NewPass(kind=PassKind.RETRY, places=places), now)


def promote(campaign: Campaign, places: tuple[int, ...] | None, profile: str, now: datetime) -> Change:
    """Render a draft's videos again in full, with the same seeds.

    What was approved was the draft's price, so that it bounds this no more; a budget does.
    """
    _check_rows(campaign, "promoted")
    if not campaign.counts.succeeded:
        raise WrongState("no row has a video yet")
    if campaign.state in (_S.SAMPLING, _S.AWAITING_APPROVAL) or (campaign.state is _S.PAUSED and not campaign.approved):
        raise WrongState("the campaign awaits approval: approve it before rows are promoted")
    wanted = NewPass(kind=PassKind.PROMOTE, places=places, overrides={"profile": profile})
    return _again(campaign, {"cap": None}, wanted, now)


def waive(campaign: Campaign, places: tuple[int, ...] | None, now: datetime) -> Change:
    """Go on without what failed: all of it, or of these rows those that did. A last manifest is written anew."""
    _check_rows(campaign, "waived")
    if not campaign.counts.failed:
        raise WrongState("no row has failed")
    edit = RowEdit(of=frozenset({Outcome.FAILED}), places=places, outcome=Outcome.WAIVED)
    if campaign.state is _S.COMPLETED:
        return Change(state=_S.RUNNING, values=_reopened(campaign, now), edits=[edit])
    return Change(edits=[edit], values={"manifest_due": True})


def paused(campaign: Campaign, reason: PauseReason, why: str, values: Mapping[str, Any] | None = None) -> Change:
    """Begin nothing more, for one more reason."""
    told = {"reason": reason, "message": why}
    return Change(
        state=_S.PAUSED,
        pauses=campaign.pauses | {reason},
        window=Window.HOLD,
        values={**(values or {}), "manifest_due": True},
        events=[("campaign.paused", told)],
    )


def going_on(
    campaign: Campaign, left: frozenset[PauseReason], values: Mapping[str, Any], *, approved: bool = False
) -> Change:
    """With fewer reasons to pause; with none of them it goes on where it was."""
    if left:
        return Change(state=_S.PAUSED, pauses=left, values=values)
    runs = approved or campaign.approved
    return Change(
        state=_S.RUNNING if runs else _S.SAMPLING,
        pauses=left,
        # Of one that may run only so many at once, the next step readies those.
        window=Window.READY if campaign.max_running is None else None,
        # The time of the pause says nothing of how fast rows get done.
        values={**values, "history": []},
        # It may have paused while it sampled.
        passes=[NewPass(kind=PassKind.MAIN)] if runs else [],
        events=[("campaign.resumed", {})],
    )


def sample_of(campaign: Campaign) -> list[NewPass]:
    """What renders its sample, if it has one."""
    if not campaign.ask.sample:
        return []
    return [NewPass(kind=PassKind.SAMPLE, places=sample_places(campaign.counts.rows, campaign.ask.sample))]


def _again(campaign: Campaign, values: Mapping[str, Any], wanted: NewPass, now: datetime) -> Change:
    match campaign.state:
        case _S.COMPLETED:
            return Change(state=_S.RUNNING, values={**values, **_reopened(campaign, now)}, passes=[wanted])
        case _S.AWAITING_APPROVAL:
            return Change(state=_S.SAMPLING, values=values, passes=[wanted])
        case _:
            return Change(values=values, passes=[wanted])


def _reopened(campaign: Campaign, now: datetime) -> dict[str, Any]:
    """What is no longer so when one that was completed goes on.

    A deadline that is over would end it at once, and so would the failures that somebody has looked at by now.
    """
    values: dict[str, Any] = {"drained": False, "ended_at": None, "history": [], **_AFRESH}
    if campaign.deadline is not None and campaign.deadline <= now:
        values["deadline"] = None
    return values


def _check_rows(campaign: Campaign, done: str) -> None:
    if campaign.state not in _WITH_ROWS:
        raise WrongState(f"the campaign is {campaign.state}; its rows cannot be {done}")


def token_of(campaign: Campaign, revisions: Mapping[str, str], *, left_out: int) -> str:
    """The token of a campaign's plan as it stands."""
    return plan_token(
        input=campaign.input,
        template=campaign.template,
        ask=campaign.ask,
        groups=campaign.estimate,
        revisions={group.model: revisions.get(group.model, "") for group in campaign.estimate},
        rows=campaign.counts.rows,
        left_out=left_out,
    )


def token_now(campaign: Campaign, revisions: Mapping[str, str]) -> str:
    """The same without the rows that have been dropped by now."""
    return token_of(campaign, revisions, left_out=campaign.counts.dropped)


def found_all(
    wanted: Sequence[str], found: Mapping[str, tuple[int, Outcome | None]], of: Outcome | None
) -> tuple[int, ...]:
    """The places of these rows, in their order; `of` leaves only those that have ended so.

    Raises `InvalidField` that names one that is not there, and `WrongState` where none is left.
    """
    for name in wanted:
        if name not in found:
            raise InvalidField(f"no row is called {name[:80]!r}", param="rows")
    places = {place for place, outcome in (found[name] for name in wanted) if of is None or outcome is of}
    if not places:
        raise WrongState(f"none of these rows has {of}", param="rows")
    return tuple(sorted(places))
