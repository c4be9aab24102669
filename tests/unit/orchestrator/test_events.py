"""Events: what is new between two places of a job, told once, in order, and resumable behind any of them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import LimitExceeded
from orchestrator.domain.events import Kind, Place, news, parse_id, place_of
from orchestrator.domain.job import Artifact, Incident, Job
from orchestrator.domain.objects import claim_prefix
from orchestrator.domain.states import JobState
from orchestrator.notify.feed import Feed
from orchestrator.ports import Snapshot
from tests.support.builders import a_spec

STEPS = 50
PREEMPTED = Incident.PREEMPTED
QUEUED = Job(
    id=UUID("0198c5a7-e3b9-7d6f-8a0c-1f2e3d4c5b6a"), tenant="acme", pool="p", priority=0, state=JobState.QUEUED,
    spec=a_spec(num_inference_steps=STEPS), cost=1.0, request={}, created_at=datetime(2026, 11, 22, tzinfo=UTC),
    started_at=None, finished_at=None, claims=0, failures=0, evictions=0, max_attempts=3, cancel_requested=False,
    stage=None, step=0, failure=None, result=None,
)  # fmt: skip


def running(
    claim: int = 1,
    stage: str | None = "denoising",
    step: int = 0,
    preview_of: int | None = None,
    incidents: tuple[Incident, ...] = (),
) -> Job:
    preview = None
    if preview_of is not None:
        key = f"{claim_prefix(QUEUED.id, preview_of)}preview.webp"
        preview = Artifact(key=key, size=1, sha256="0" * 64, content_type="image/webp")
    return replace(
        QUEUED, state=JobState.RUNNING, claims=claim, stage=stage, step=step, preview=preview, incidents=incidents
    )


def queued(claim: int) -> Job:
    return replace(QUEUED, claims=claim)


def ended(claim: int = 1, state: JobState = JobState.SUCCEEDED) -> Job:
    return replace(QUEUED, state=state, claims=claim, step=STEPS)


def told(*jobs: Job, known: Place | None = None) -> list[str]:
    """The kinds of event that somebody hears who sees the job like this, one reading after the other."""
    at, kinds = known or Place(), []
    for job in jobs:
        for event in news(job, at):
            assert event.place > at
            at = event.place
            kinds.append(event.kind.value)
    return kinds


def test_a_whole_life_is_told_step_by_step() -> None:
    life = (
        QUEUED,
        running(stage=None),
        running(step=1),
        running(step=2, preview_of=1),
        running(stage="decoding", step=STEPS),
    )
    assert told(*life, ended()) == [
        "stage", "attempt", "stage", "stage", "step", "step", "preview", "step", "stage", "attempt", "end",
    ]  # fmt: skip


def test_who_comes_late_hears_where_the_job_stands_and_not_how_it_came_there() -> None:
    assert told(running(step=20, preview_of=1)) == ["attempt", "stage", "step", "preview"]
    assert told(running(claim=3, stage="uploading", step=STEPS)) == ["attempt", "step", "stage"]
    assert told(ended()) == ["attempt", "attempt", "end"]
    assert told(ended(0, JobState.CANCELLED)) == ["end"]


def test_an_attempt_that_failed_is_told_when_it_ends_and_the_next_one_when_it_begins() -> None:
    first, waiting, second = running(step=9), queued(1), running(claim=2, step=3)
    assert told(first, waiting, second) == ["attempt", "stage", "step", "attempt", "stage", "attempt", "stage", "step"]
    assert told(first, second) == ["attempt", "stage", "step", "attempt", "stage", "step"]


def test_a_preview_is_told_once_and_not_that_of_an_earlier_attempt() -> None:
    assert told(running(step=9, preview_of=1), running(step=10, preview_of=1)).count("preview") == 1
    assert "preview" not in told(running(claim=2, step=9, preview_of=1))


def test_a_reading_that_lags_behind_tells_nothing() -> None:
    assert told(running(step=5), known=place_of(running(step=6))) == []
    assert told(running(step=6), known=place_of(queued(1))) == []


def test_a_preempted_render_waits_where_it_is_and_goes_on_from_there() -> None:
    waiting = running(stage="preempted", step=5, incidents=(PREEMPTED,))
    on = running(step=6, incidents=(PREEMPTED,))
    assert told(running(step=5), waiting, on, known=Place(1)) == [
        "stage", "step", "incident", "stage", "stage", "step",
    ]  # fmt: skip
    assert told(running(step=4), waiting, known=Place(1)) == ["stage", "step", "incident", "step", "stage"]
    again = replace(waiting, step=9)
    assert told(on, again, replace(on, step=10), known=place_of(on)) == ["step", "stage", "stage", "step"]
    assert told(replace(waiting, stage="decoding", step=STEPS), known=place_of(waiting)) == ["step", "stage"]


def test_a_render_that_begins_again_on_the_exact_profile_is_told_from_its_start() -> None:
    late = running(stage="decoding", step=STEPS)
    again = running(step=3, incidents=(Incident.RETRIED_EXACTLY,))
    assert told(again, replace(again, step=4), known=place_of(late)) == ["incident", "stage", "step", "step"]


def test_an_incident_that_leaves_a_render_where_it_is_is_told_alone() -> None:
    decoding = running(stage="decoding", step=STEPS)
    tiled = replace(decoding, incidents=(Incident.TILED_DECODE,))
    both = replace(decoding, incidents=(Incident.TILED_DECODE, Incident.OFFLOADED_DECODE))
    assert told(tiled, both, known=place_of(decoding)) == ["incident", "incident"]
    assert told(both, known=place_of(decoding)) == ["incident", "incident"]


def test_an_attempt_that_begins_at_a_checkpoint_begins_at_its_step() -> None:
    assert told(running(claim=2, stage="assigned", step=30), known=place_of(queued(1))) == ["attempt", "stage", "step"]
    restarted = running(claim=2, stage="denoising", step=1)
    assert told(restarted, known=place_of(running(claim=2, stage="assigned", step=30))) == ["stage"]


@pytest.mark.parametrize("stage", ["warping", "ended"])
def test_a_stage_of_another_release_does_not_break_the_telling(stage: str) -> None:
    assert told(running(stage=stage))[0] == "attempt"


@st.composite
def lives(draw: st.DrawFn) -> list[Job]:
    """Readings of one job in the order of its life, any of them left out."""
    life = [replace(QUEUED, state=JobState.HELD), QUEUED]
    for claim in range(1, draw(st.integers(1, 3)) + 1):
        life += [running(claim, stage) for stage in (None, "encoding")]
        life += [running(claim, "denoising", step, claim if step > 1 else None) for step in range(4)]
        life += [
            running(claim, "preempted", 3, claim, (PREEMPTED,)),
            running(claim, "denoising", 4, claim, (PREEMPTED,)),
        ]
        life += [
            running(claim, "preempted", 5, claim, (PREEMPTED,)),
            running(claim, "decoding", 6, claim, (PREEMPTED,)),
        ]
        befell = (PREEMPTED, Incident.RETRIED_EXACTLY)
        life += [running(claim, "encoding", 0, claim, befell), running(claim, "denoising", 1, claim, befell)]
        life += [running(claim, stage, 6, claim, befell) for stage in ("decoding", "finishing", "uploading")]
        life.append(queued(claim))
    life[-1] = ended(life[-1].claims, draw(st.sampled_from([JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])))
    return [*(job for job in life[:-1] if draw(st.booleans())), life[-1]]


@given(lives(), st.data())
def test_whoever_reconnects_anywhere_hears_the_rest_once_and_in_order(life: list[Job], data: st.DataObject) -> None:
    at = Place()
    for job in life:
        events = list(news(job, at))
        cut = data.draw(st.integers(0, len(events)))
        heard = events[:cut]
        resumed = parse_id(str(heard[-1].place)) if heard else at
        assert resumed is not None
        assert list(news(job, resumed)) == events[cut:]
        at = events[-1].place if events else at
        assert at >= place_of(job)
    assert events[-1].kind is Kind.END


@given(st.text())
def test_any_text_is_an_event_id_or_none(text: str) -> None:
    place = parse_id(text)
    assert place is None or parse_id(str(place)) == place


_counts = st.integers(0, 9_999)
places = st.builds(Place, _counts, st.integers(0, 4), _counts, _counts, _counts, st.integers(0, 2), st.integers(0, 1))


def test_an_id_of_an_earlier_release_leads_to_its_claim() -> None:
    assert parse_id("2.3.21.0") == Place(2)


@given(places)
def test_every_place_is_read_back_from_its_id(place: Place) -> None:
    assert parse_id(str(place)) == place


class Rows:
    """A table of one job, that counts its readers."""

    def __init__(self) -> None:
        self.jobs: dict[UUID, Job] = {QUEUED.id: QUEUED}
        self.readings: list[set[UUID]] = []

    async def snapshots(self, ids: Collection[UUID]) -> Mapping[UUID, Snapshot]:
        self.readings.append(set(ids))
        return {job_id: Snapshot(job=self.jobs[job_id], ended=[]) for job_id in ids if job_id in self.jobs}


def a_feed(rows: Rows, **limits: Any) -> Feed:
    return Feed(rows, **{"watchers": 100, **limits})


async def test_many_watchers_of_one_job_cost_one_reading_and_wake_only_when_it_moves() -> None:
    rows = Rows()
    feed = a_feed(rows)
    with feed.watch(QUEUED) as one, feed.watch(QUEUED) as other:
        await feed.run_once()
        assert rows.readings == [{QUEUED.id}]
        assert await one.changed(1)
        assert await other.changed(1)
        await feed.run_once()
        assert not await one.changed(0)
        rows.jobs[QUEUED.id] = running()
        await feed.run_once()
        assert await one.changed(1)
        assert one.latest is not None
        assert one.latest.job.state is JobState.RUNNING
        del rows.jobs[QUEUED.id]
        await feed.run_once()
        assert await other.changed(1)
        assert other.latest is None


async def test_nothing_is_read_while_nobody_watches() -> None:
    rows = Rows()
    feed = a_feed(rows)
    with feed.watch(QUEUED):
        pass
    reading = asyncio.create_task(feed.run_once())
    for _ in range(5):
        await asyncio.sleep(0)
    assert rows.readings == []
    with feed.watch(QUEUED):
        await reading
    assert rows.readings == [{QUEUED.id}]


def entered(feed: Feed, tenant: str, stack: ExitStack) -> Any:
    """Another watch of the tenant until the stack ends; None when there is no room for one."""
    try:
        return stack.enter_context(feed.watch(replace(QUEUED, tenant=tenant)))
    except LimitExceeded:
        return None


def taken(feed: Feed, tenant: str, stack: ExitStack) -> int:
    """As many as a tenant gets that takes all it can."""
    count = 0
    while entered(feed, tenant, stack) is not None:
        count += 1
    return count


async def test_a_tenant_alone_has_a_fifth_and_greedy_ones_leave_room() -> None:
    feed = a_feed(Rows(), watchers=1_000)
    with ExitStack() as stack:
        assert [taken(feed, f"greedy-{n}", stack) for n in range(5)] == [200, 160, 128, 103, 82]
        assert all(entered(feed, f"modest-{n}", stack) for n in range(100))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 60)), max_size=80))
@settings(max_examples=50)
def test_however_many_are_greedy_whoever_watches_less_gets_in(tries: list[tuple[int, int]]) -> None:
    async def all_of_it() -> None:
        feed, had = a_feed(Rows(), watchers=40), dict[str, list[Any]]()
        with ExitStack() as stack:
            for tenant, times in tries:
                for _ in range(times):
                    watch = entered(feed, str(tenant), stack)
                    held = {name: sum(not each.over for each in watches) for name, watches in had.items()}
                    if watch is not None:
                        had.setdefault(str(tenant), []).append(watch)
                    else:  # none has much more than who was refused
                        free = 40 - sum(held.values())
                        assert held[str(tenant)] >= (max(held.values()) - 1 if free <= 0 else free / 4)
                    assert sum(not each.over for watches in had.values() for each in watches) <= 40
            assert entered(feed, "modest", stack) is not None

    asyncio.run(all_of_it())


async def test_watchers_are_bounded_for_a_tenant_and_for_all_and_leaving_makes_room() -> None:
    feed = a_feed(Rows(), watchers=2)
    other, third = (replace(QUEUED, tenant=tenant) for tenant in ("other", "third"))
    with feed.watch(QUEUED):
        with pytest.raises(LimitExceeded), feed.watch(QUEUED):
            pass
        with feed.watch(other), pytest.raises(LimitExceeded), feed.watch(third):
            pass
        with feed.watch(third):
            pass
    with feed.watch(QUEUED):
        pass
