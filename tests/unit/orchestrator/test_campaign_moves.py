"""What an owner may do to a campaign in each state, what it does by itself, and that no decision breaks its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.campaigns import commands, moves
from orchestrator.campaigns.amending import amend
from orchestrator.campaigns.moves import Known
from orchestrator.domain.campaign import (
    TRANSITIONS,
    Ask,
    BudgetAction,
    BudgetAsk,
    Campaign,
    CampaignState,
    Counts,
    Group,
    Input,
    Outcome,
    PassKind,
    PauseReason,
    StopRule,
    TemplateVersion,
)
from orchestrator.domain.errors import InvalidField, Outdated, PlanChanged, WrongState
from orchestrator.domain.states import JobState
from orchestrator.policy.budget import Spending, reserve
from orchestrator.ports.campaign_values import Budget, Change, Window, WindowJob
from tests.support.api_campaigns import a_campaign

S, R = CampaignState, PauseReason
REVISIONS = {"tiny-2b": "first"}
ESTIMATE = (Group(pool="small", model="tiny-2b", rows=20, gpu_seconds=40.0),)
CALM = Known(due=True, overdue=False, closed=False, revisions=REVISIONS)
OTHER = TemplateVersion(version=2, prompt="the {product}")
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
CSV = Input(source="upload", key="files/x")
WITH_ROWS = {S.SAMPLING, S.AWAITING_APPROVAL, S.RUNNING, S.PAUSED, S.COMPLETED}
GOING_ON = set(S) - {S.COMPLETED, S.CANCELLED, S.FAILED}


def stands(state: CampaignState, *, approved: bool = False, **fields: Any) -> Campaign:
    """A campaign of twenty rows in this state, three of which succeeded and two failed, with its plan if it has one."""
    planned = state not in (S.DRAFT, S.INGESTING, S.FAILED)
    pauses = frozenset({R.OWNER}) if state is S.PAUSED else frozenset()
    usual = {"counts": Counts(rows=20, succeeded=3, failed=2), "estimate": ESTIMATE, "pauses": pauses}
    made = a_campaign(**{"state": state, **(usual if planned else {}), **fields})
    token = commands.token_now(made, REVISIONS) if planned else None
    return replace(made, plan_token=token, approved_token=token if approved else made.approved_token)


def approved(campaign: Campaign) -> Campaign:
    return replace(campaign, approved_token=campaign.plan_token)


def amended(**changes: Any) -> Callable[[Campaign], Change | None]:
    return lambda campaign: amend(campaign, changes, revisions=REVISIONS)


def sampled(campaign: Campaign, sample: int = 20) -> Campaign:
    return replace(campaign, ask=replace(campaign.ask, sample=sample))


def rejected(*, drop: bool) -> Callable[[Campaign], Change]:
    return lambda campaign: commands.reject(sampled(campaign), (1, 2), drop=drop, revisions=REVISIONS)


# In which states a command does something; in the others it is refused.
TABLE: Mapping[str, tuple[Callable[[Campaign], Change | None], set[CampaignState]]] = {
    "begin": (lambda campaign: commands.begin(campaign, CSV), {S.DRAFT}),
    "expect": (lambda campaign: commands.expect(campaign, CSV), {S.DRAFT}),
    "approve": (
        lambda campaign: commands.approve(campaign, str(campaign.plan_token), cap=7.0),
        GOING_ON - {S.DRAFT, S.INGESTING},
    ),
    "reject": (rejected(drop=False), {S.AWAITING_APPROVAL}),
    "drop": (rejected(drop=True), {S.AWAITING_APPROVAL}),
    "pause": (commands.pause, {S.SAMPLING, S.RUNNING, S.PAUSED}),
    "resume": (commands.resume, {S.PAUSED}),
    "cancel": (commands.cancel, GOING_ON | {S.CANCELLED}),
    "retry": (lambda campaign: commands.retry(campaign, None, NOON), WITH_ROWS),
    "waive": (lambda campaign: commands.waive(campaign, None, NOON), WITH_ROWS),
    "promote": (
        lambda campaign: commands.promote(campaign, None, "exact", NOON),
        {S.RUNNING, S.COMPLETED},
    ),
    "promote what is approved": (
        lambda campaign: commands.promote(approved(campaign), None, "exact", NOON), {S.RUNNING, S.PAUSED, S.COMPLETED},
    ),
    "end its schedule": (amended(cron=None, time_zone=None, next_run_at=None, name="x"), set(S)),
    "rename": (amended(name="x"), set(S)),
    "change the template": (amended(template=OTHER), GOING_ON - {S.INGESTING}),
    "change the order": (
        amended(order="spread"), {S.DRAFT, S.INGESTING, S.PLANNED, S.SAMPLING, S.AWAITING_APPROVAL},
    ),
    "raise the budget": (amended(budget=BudgetAsk(amount=9.0, unit="gpu_seconds")), GOING_ON),
}  # fmt: skip


def legal(campaign: Campaign, change: Change | None) -> None:
    """Raise unless the store could carry it out: a transition of the table, and a reason for every pause."""
    if change is None or change.state is None:
        assert change is None or change.pauses is None
        return
    assert change.state in TRANSITIONS[campaign.state], f"{campaign.state} -> {change.state}"
    pauses = campaign.pauses if change.pauses is None else change.pauses
    assert (change.state is S.PAUSED) == bool(pauses)


@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize("name", TABLE)
def test_a_command_leads_where_the_table_says_or_is_refused(name: str, state: CampaignState) -> None:
    command, fits = TABLE[name]
    campaign = stands(state)
    if state in fits:
        legal(campaign, command(campaign))
        return
    with pytest.raises(WrongState):
        command(campaign)


counts = st.builds(
    lambda succeeded, failed, dropped, held, queued, running, waiting: Counts(
        rows=succeeded + failed + dropped + held + queued + running + waiting,
        succeeded=succeeded, failed=failed, dropped=dropped, held=held, queued=queued, running=running,
    ),
    *[st.integers(0, 3)] * 7,
)  # fmt: skip
budgets = st.none() | st.builds(
    BudgetAsk,
    amount=st.floats(1, 100),
    unit=st.sampled_from(["gpu_seconds", "money"]),
    actions=st.lists(
        st.builds(BudgetAction, percent=st.integers(1, 120), do=st.sampled_from(["tell", "finish", "cancel"])),
        max_size=3, unique_by=lambda action: action.percent,
    ).map(tuple),
)  # fmt: skip
asks = st.builds(
    Ask, sample=st.integers(0, 4), approval=st.booleans(), budget=budgets,
    stop=st.sampled_from([StopRule(), StopRule(count=1), StopRule(share=0.3, of_first=3)]),
)  # fmt: skip


@st.composite
def campaigns(draw: st.DrawFn) -> Campaign:
    state = draw(st.sampled_from(list(S)))
    pauses = draw(st.frozensets(st.sampled_from(list(R)), min_size=1)) if state is S.PAUSED else frozenset()
    spent = {name: draw(st.floats(0, 100)) for name in ("reserved", "used", "reserved_money", "spent")}
    told = draw(st.frozensets(st.integers(1, 120), max_size=2))
    return stands(
        state, counts=draw(counts), ask=draw(asks), pauses=pauses, told_budget=told,
        approved=draw(st.booleans()), max_running=draw(st.sampled_from([None, 2])),
        cap=draw(st.sampled_from([None, 9.0])),
        fresh_failed=draw(st.integers(0, 3)), first_failed=draw(st.integers(0, 3)), **spent,
    )  # fmt: skip


def of_tenant(amount: float, used: float, *actions: tuple[int, str]) -> Budget:
    asked = tuple(BudgetAction(percent=percent, do=do) for percent, do in actions)
    return Budget(tenant="acme", period="day", unit="gpu_seconds", amount=amount, used=used, actions=asked)


@given(campaigns(), st.sampled_from(sorted(TABLE)))
def test_no_command_makes_a_transition_that_the_table_lacks(campaign: Campaign, name: str) -> None:
    command, _ = TABLE[name]
    try:
        change = command(campaign)
    except (WrongState, PlanChanged):
        return
    legal(campaign, change)


@given(campaigns(), st.booleans(), st.booleans(), st.sampled_from(["first", "second"]), st.floats(0, 50))
def test_nothing_that_a_campaign_does_by_itself_does_either(
    campaign: Campaign, due: bool, closed: bool, revision: str, used: float
) -> None:
    own = [of_tenant(40.0, used, (50, "tell"), (80, "finish"), (100, "cancel"))]
    known = Known(due=due, overdue=False, closed=closed, revisions={"tiny-2b": revision}, budgets=own)
    if campaign.state is S.PLANNED:
        legal(campaign, moves.planned(campaign, known))
    if campaign.state is S.SAMPLING:
        legal(campaign, moves.after_sample(campaign, known))
    if campaign.state in (S.SAMPLING, S.RUNNING):
        for change in (
            moves.stopped(campaign, known), moves.spent(campaign, exhausted=False), moves.progressed(campaign),
            moves.spent(campaign, exhausted=True), moves.tenant_spent(campaign, own),
        ):  # fmt: skip
            legal(campaign, change)
            legal(campaign, moves.only_told(change))
    if campaign.state is S.PAUSED:
        legal(campaign, moves.relieved(campaign, known, cost=1.0, price=1.0))


# ------------------------------------------------------------------ approval and sample
def test_a_plan_that_has_changed_is_told_with_its_new_token() -> None:
    campaign = stands(S.AWAITING_APPROVAL)
    with pytest.raises(PlanChanged) as caught:
        commands.approve(campaign, "plan_of_yesterday", cap=7.0)
    assert caught.value.token == campaign.plan_token
    change = commands.approve(campaign, str(campaign.plan_token), cap=7.0)
    assert change.state is S.RUNNING
    assert [each.kind for each in change.passes] == [PassKind.MAIN]
    assert change.values["cap"] == 7.0


def test_approving_again_takes_nothing_away_from_what_was_approved() -> None:
    again = commands.approve(stands(S.RUNNING, approved=True, cap=50.0), str(stands(S.RUNNING).plan_token), cap=7.0)
    assert again.values["cap"] == 50.0
    unbound = commands.approve(stands(S.RUNNING, approved=True), str(stands(S.RUNNING).plan_token), cap=7.0)
    assert unbound.values["cap"] is None, "a promotion came on top of it"


def test_a_plan_is_approved_as_it_is_after_the_sample() -> None:
    campaign = stands(S.SAMPLING, approved=True)
    assert moves.after_sample(campaign, CALM).state is S.RUNNING
    change = moves.after_sample(campaign, replace(CALM, revisions={"tiny-2b": "second"}))
    assert change.state is S.AWAITING_APPROVAL
    assert change.values["plan_token"] != campaign.plan_token


def test_another_seed_is_for_rows_of_the_sample_alone() -> None:
    waits = stands(S.AWAITING_APPROVAL)
    (sample,) = commands.sample_of(sampled(waits, 4))
    assert sample.places is not None
    other = next(place for place in range(20) if place not in sample.places)
    for campaign, place in ((waits, other), (sampled(waits, 0), sample.places[0]), (sampled(waits, 4), other)):
        with pytest.raises(InvalidField) as refused:
            commands.reject(campaign, (place,), drop=False, revisions=REVISIONS)
        assert refused.value.param == "rows"
    change = commands.reject(sampled(waits, 4), sample.places, drop=False, revisions=REVISIONS)
    assert Outcome.DROPPED not in change.edits[0].of, "what is left out stays so"


def test_a_row_that_is_dropped_twice_is_left_out_once() -> None:
    campaign = stands(S.AWAITING_APPROVAL)
    change = commands.reject(campaign, (1,), drop=True, revisions=REVISIONS)
    assert change.follows is not None
    (edit,) = change.edits
    assert Outcome.DROPPED not in edit.of
    after = replace(campaign, counts=replace(campaign.counts, succeeded=2, dropped=1))
    assert change.follows(after) == {"plan_token": commands.token_now(after, REVISIONS)}
    assert commands.found_all(["a", "b", "a"], {"a": (5, None), "b": (3, Outcome.FAILED)}, None) == (3, 5)
    assert commands.found_all(["a", "b"], {"a": (5, None), "b": (3, Outcome.FAILED)}, Outcome.FAILED) == (3,)
    with pytest.raises(InvalidField):
        commands.found_all(["z"], {"a": (5, None)}, None)
    with pytest.raises(WrongState):
        commands.found_all(["a"], {"a": (5, None)}, Outcome.FAILED)


def test_another_template_renders_the_sample_anew_and_forgets_who_was_to_see_it() -> None:
    for state in (S.SAMPLING, S.AWAITING_APPROVAL):
        change = amend(stands(state), {"template": OTHER}, revisions=REVISIONS)
        assert change is not None
        assert (change.state, change.window, change.closes) == (S.PLANNED, Window.FORGET, True)
        (edit,) = change.edits
        assert edit.reset
        assert Outcome.DROPPED not in edit.of
    paused = stands(S.PAUSED, ask=Ask(sample=3))
    change = amend(paused, {"template": OTHER}, revisions=REVISIONS)
    assert change is not None
    assert change.state is None, "its owner has paused it"
    assert [each.kind for each in change.passes] == [PassKind.SAMPLE]


def test_another_template_of_an_approved_plan_waits_for_another_approval_and_starts_counting_anew() -> None:
    change = amend(stands(S.RUNNING, approved=True), {"template": OTHER}, revisions=REVISIONS)
    assert change is not None
    assert (change.state, change.pauses, change.window) == (S.PAUSED, {R.REVISION}, Window.FORGET)
    assert change.values["generation"] == 1
    assert {change.values[name] for name in ("fresh_succeeded", "fresh_failed", "first_failed")} == {0}
    unasked = stands(S.RUNNING, ask=Ask(approval=False))
    assert amend(unasked, {"template": OTHER}, revisions=REVISIONS).state is None  # type: ignore[union-attr]
    same = replace(unasked.template, version=2)
    assert amend(unasked, {"template": same}, revisions=REVISIONS) is None


# ------------------------------------------------------------------ pauses
def test_resuming_takes_away_what_its_owner_may() -> None:
    both = stands(S.PAUSED, approved=True, pauses=frozenset({R.OWNER, R.BUDGET}))
    assert commands.resume(both).pauses == {R.BUDGET}
    with pytest.raises(WrongState, match="budget"):
        commands.resume(replace(both, pauses=frozenset({R.BUDGET})))
    failed = commands.resume(replace(both, pauses=frozenset({R.FAILURES})))
    assert failed.values["first_failed"] == 0
    assert commands.pause(both) is None, "it is paused"


def test_one_that_paused_while_it_sampled_goes_through_all_its_rows_nevertheless() -> None:
    unasked = stands(S.PAUSED, ask=Ask(approval=False, sample=3))
    change = commands.resume(unasked)
    assert (change.state, [each.kind for each in change.passes]) == (S.RUNNING, [PassKind.MAIN])
    change = commands.resume(stands(S.PAUSED))
    assert (change.state, list(change.passes)) == (S.SAMPLING, [])


def test_one_that_may_run_only_so_many_does_not_ready_all_that_it_holds() -> None:
    assert commands.resume(stands(S.PAUSED)).window is Window.READY
    assert commands.resume(stands(S.PAUSED, max_running=1)).window is None


def test_only_another_budget_lifts_the_pause_of_a_budget() -> None:
    paused = stands(S.PAUSED, approved=True, pauses=frozenset({R.BUDGET}))
    renamed = amend(paused, {"name": "x"}, revisions=REVISIONS)
    raised = amend(paused, {"budget": BudgetAsk(amount=9.0, unit="gpu_seconds")}, revisions=REVISIONS)
    assert renamed is not None
    assert raised is not None
    assert renamed.state is None
    assert (raised.state, raised.values["told_budget"]) == (S.RUNNING, [])


@pytest.mark.parametrize(
    ("reason", "known", "over"),
    [
        (R.OWNER, CALM, False),
        (R.CLOSED_HOURS, replace(CALM, closed=True), False),
        (R.CLOSED_HOURS, CALM, True),
        (R.QUOTA, CALM, True),
        (R.FAILURES, CALM, False),
        (R.REVISION, CALM, False),
        (R.BUDGET, CALM, True),
        (R.BUDGET, replace(CALM, budgets=[of_tenant(10.0, 9.5)]), False),
        (R.BUDGET, replace(CALM, budgets=[of_tenant(10.0, 8.5)]), True),
        (R.BUDGET, replace(CALM, budgets=[of_tenant(10.0, 8.5, (80, "finish"))]), False),
    ],
)
def test_a_pause_is_over_by_itself_when_its_reason_is(reason: PauseReason, known: Known, over: bool) -> None:
    campaign = stands(S.PAUSED, approved=True, pauses=frozenset({reason}))
    change = moves.relieved(campaign, known, cost=1.0, price=0.0)
    assert (change is not None and change.state is S.RUNNING) is over


@pytest.mark.parametrize("whose", ["its own", "what was approved", "its tenant's"])
def test_a_pause_for_a_budget_is_over_where_the_next_row_can_be_reserved(whose: str) -> None:
    """Three times 0.1 is more than 0.3 as floats go, and has room in it for all that."""
    amount, used, cost = 0.3, 0.1 + 0.1, 0.1
    assert used + cost > amount
    assert reserve(amount, Spending(used=used), cost) is not None
    campaign = stands(S.PAUSED, approved=True, pauses=frozenset({R.BUDGET}), used=used)
    known = CALM
    match whose:
        case "its own":
            own = BudgetAsk(amount=amount, unit="gpu_seconds")
            campaign = replace(campaign, ask=replace(campaign.ask, budget=own))
        case "what was approved":
            campaign = replace(campaign, cap=amount)
        case _:
            known = replace(CALM, budgets=[of_tenant(amount, used)])
    change = moves.relieved(campaign, known, cost=cost, price=0.0)
    assert change is not None
    assert change.state is S.RUNNING


# ------------------------------------------------------------------ once more
def test_what_is_ordered_again_comes_on_top_of_what_was_approved() -> None:
    done = stands(S.COMPLETED, approved=True, cap=60.0)
    retried = commands.retry(done, None, NOON)
    assert retried.state is S.RUNNING
    assert retried.values["cap"] == 60.0 + 2 * 2.0 * 3.0, "two rows of two GPU seconds, at most three times as dear"
    assert retried.values["drained"] is False
    promoted = commands.promote(done, (1,), "exact", NOON)
    assert promoted.values["cap"] is None
    assert promoted.passes[0].overrides == {"profile": "exact"}
    with pytest.raises(WrongState):
        commands.retry(replace(done, counts=Counts(rows=5, succeeded=5)), None, NOON)


def test_a_retry_of_a_sample_samples_again() -> None:
    assert commands.retry(stands(S.AWAITING_APPROVAL), None, NOON).state is S.SAMPLING
    assert commands.retry(stands(S.SAMPLING), None, NOON).state is None


def test_waiving_touches_only_what_failed_and_writes_the_last_manifest_anew() -> None:
    change = commands.waive(stands(S.COMPLETED), (1, 2), NOON)
    assert change.state is S.RUNNING
    assert [edit.of for edit in change.edits] == [{Outcome.FAILED}]


def test_a_deadline_that_is_over_does_not_stop_a_retry() -> None:
    late = stands(S.COMPLETED, deadline=NOON, ended_at=NOON - timedelta(hours=1))
    for now in (NOON, NOON + timedelta(hours=1)):
        assert commands.retry(late, None, now).values["deadline"] is None
    assert "deadline" not in commands.retry(late, None, NOON - timedelta(seconds=1)).values


def test_failures_that_were_looked_at_do_not_stop_a_retry() -> None:
    failed = stands(S.COMPLETED, fresh_failed=2, first_failed=2, ask=Ask(stop=StopRule(count=1)))
    assert moves.stopped(replace(failed, state=S.RUNNING), CALM) is not None
    again = commands.retry(failed, None, NOON)
    values = {name: again.values[name] for name in ("fresh_succeeded", "fresh_failed", "first_failed")}
    assert moves.stopped(replace(failed, state=S.RUNNING, **values), CALM) is None


def test_rows_that_have_not_failed_raise_no_cap() -> None:
    done = stands(S.COMPLETED, cap=10.0)
    two = commands.retry(done, None, NOON).values["cap"]
    assert commands.retry(done, tuple(range(20)), NOON).values["cap"] == two
    assert commands.retry(done, (1,), NOON).values["cap"] < two


def test_who_comes_second_is_told() -> None:
    commands.check_version(stands(S.RUNNING), None)
    commands.check_version(stands(S.RUNNING), 1)
    with pytest.raises(Outdated):
        commands.check_version(stands(S.RUNNING), 2)


# ------------------------------------------------------------------ budgets
def asked(*actions: tuple[int, str], used: float, reserved: float = 0.0, told: tuple[int, ...] = ()) -> Campaign:
    budget = BudgetAsk(
        amount=10.0, unit="gpu_seconds", actions=tuple(BudgetAction(percent=percent, do=do) for percent, do in actions)
    )
    ask = Ask(approval=False, budget=budget)
    return stands(S.RUNNING, ask=ask, used=used, reserved=reserved, told_budget=frozenset(told))


def test_a_budget_tells_then_lets_what_runs_finish_then_cancels() -> None:
    actions = ((50, "tell"), (80, "finish"), (100, "cancel"))
    assert moves.spent(asked(*actions, used=4.0), exhausted=False) is None
    told = moves.spent(asked(*actions, used=4.0, reserved=1.0), exhausted=False)
    assert told is not None
    assert (told.state, told.values, len(told.events)) == (None, {"told_budget": [50]}, 1)
    finishes = moves.spent(asked(*actions, used=1.0, reserved=7.0, told=(50,)), exhausted=False)
    assert finishes is not None
    assert (finishes.state, finishes.pauses, finishes.window) == (S.PAUSED, {R.BUDGET}, Window.HOLD)
    cancels = moves.spent(asked(*actions, used=10.0), exhausted=False)
    assert cancels is not None
    assert (cancels.state, cancels.window, cancels.values) == (
        S.CANCELLED,
        Window.CANCEL,
        {"told_budget": [50, 80, 100]},
    )
    assert moves.spent(asked(*actions, used=4.0, told=(50,)), exhausted=True).pauses == {R.BUDGET}  # type: ignore[union-attr]


def test_with_the_last_row_a_budget_only_tells() -> None:
    change = moves.only_told(moves.spent(asked((80, "finish"), (100, "cancel"), used=10.0), exhausted=False))
    assert change is not None
    assert (change.state, change.values, len(change.events)) == (None, {"told_budget": [80, 100]}, 2)
    stop = moves.stopped(stands(S.RUNNING, ask=Ask(stop=StopRule(count=1)), approved=True, fresh_failed=2), CALM)
    assert stop is not None
    assert moves.only_told(stop) is None


def test_other_weights_stop_what_was_approved_for_these() -> None:
    running = stands(S.RUNNING, approved=True)
    assert moves.stopped(running, CALM) is None
    changed = moves.stopped(running, replace(CALM, revisions={"tiny-2b": "second"}))
    assert changed is not None
    assert changed.pauses == {R.REVISION}
    assert changed.values["plan_token"] != running.plan_token
    assert changed.window is Window.FORGET, "what waits would say that the first weights made it"
    assert changed.values["generation"] == running.generation + 1


@pytest.mark.parametrize("state", [S.SAMPLING, S.RUNNING])
def test_other_weights_make_anew_what_nobody_has_begun(state: CampaignState) -> None:
    unasked = stands(state, ask=Ask(approval=state is S.SAMPLING))
    changed = moves.stopped(unasked, replace(CALM, revisions={"tiny-2b": "second"}))
    assert changed is not None
    assert (changed.state, changed.window) == (None, Window.FORGET)
    after = replace(unasked, plan_token=changed.values["plan_token"])
    assert moves.stopped(after, replace(CALM, revisions={"tiny-2b": "second"})) is None


def test_a_time_to_begin_is_changed_until_it_begins() -> None:
    later = {"run_at": NOON}
    for state in (S.DRAFT, S.INGESTING, S.PLANNED):
        assert amended(**later)(stands(state)) is not None
    for state in (S.SAMPLING, S.AWAITING_APPROVAL, S.RUNNING, S.PAUSED):
        with pytest.raises(WrongState):
            amended(**later)(stands(state))


# ------------------------------------------------------------------ the window
jobs = st.lists(st.sampled_from([JobState.HELD, JobState.QUEUED, JobState.RUNNING]), max_size=12).map(
    lambda states: [
        WindowJob(place=place, ordinal=place, job_id=UUID(int=place), state=state) for place, state in enumerate(states)
    ]
)


@given(jobs, st.integers(0, 8))
def test_as_many_are_active_as_may_be_and_the_first_rows_come_first(window: list[WindowJob], seats: int) -> None:
    to_hold, to_ready = moves.balanced(window, seats)
    assert not (to_hold and to_ready)
    active = [job for job in window if job.state is not JobState.HELD]
    running = [job for job in window if job.state is JobState.RUNNING]
    after = len(active) - len(to_hold) + len(to_ready)
    assert after == max(len(running), min(seats, len(window)))
    assert all(job.state is JobState.QUEUED for job in to_hold)
    assert all(job.state is JobState.HELD for job in to_ready)
    kept = [job.place for job in active if job.state is JobState.QUEUED and job not in to_hold]
    assert max(kept, default=-1) < min((job.place for job in to_hold), default=99)
    left = [job.place for job in window if job.state is JobState.HELD and job not in to_ready]
    assert max((job.place for job in to_ready), default=-1) < min(left, default=99)
