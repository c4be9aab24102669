"""The life of a job as bars and as a tree, from what rows say of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from orchestrator.domain.job import Artifact, Failure, Job, VideoResult
from orchestrator.domain.life import Attempt, Life, Told, spans
from orchestrator.domain.life_tree import Node, document, tree
from orchestrator.domain.outcome import AttemptOutcome
from orchestrator.domain.states import JobState
from orchestrator.domain.webhooks import DeliveryState
from orchestrator.intake.lives import public_form
from tests.support.builders import a_spec

START = datetime(2030, 1, 1, 12, tzinfo=UTC)
LOST = Failure(code="worker_lost", message="worker small-0 vanished during attempt 1")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def a_life(state: JobState, *attempts: Attempt, **changes: Any) -> Life:
    of_job = {name: changes.pop(name) for name in ("claims", "finished_at", "queue_reason", "stage") if name in changes}
    job = Job(
        id=UUID(int=7), tenant="acme", pool="small", priority=10, state=state, spec=a_spec(), cost=2.0, request={},
        created_at=START, started_at=None, finished_at=None, claims=len(attempts), failures=0, evictions=0,
        max_attempts=3, cancel_requested=False, stage=None, step=1, failure=None, result=None,
    )  # fmt: skip
    usual: dict[str, Any] = {
        "now": at(100), "run_at": START, "claimed_at": None, "worker": None, "campaign": None, "trace": None,
        "cancel_requested_at": None,
    }  # fmt: skip
    return Life(job=replace(job, **of_job), attempts=attempts, **usual | changes)


def an_attempt(number: int, began: float, ended: float, outcome: AttemptOutcome, **changes: Any) -> Attempt:
    usual: dict[str, Any] = {
        "cluster": "default", "worker": "small-0", "incarnation": "1", "gpu_seconds": 1.5, "failure": None,
    }  # fmt: skip
    return Attempt(number=number, outcome=outcome, claimed_at=at(began), ended_at=at(ended), **usual | changes)


def shown(node: Node) -> list[tuple[str, float, float | None, str]]:
    return [
        (
            each.name,
            (each.began_at - START).total_seconds(),
            None if each.ended_at is None else (each.ended_at - START).total_seconds(),
            each.note,
        )
        for each in node.children
    ]


def bars(life: Life) -> list[tuple[int, str, float, float | None]]:
    def seconds(moment: datetime) -> float:
        return (moment - START).total_seconds()

    return [
        (each.attempt, each.stage, seconds(each.begins), None if each.ends is None else seconds(each.ends))
        for each in spans(life)
    ]


def test_each_attempt_has_its_stages_whether_or_not_it_made_a_video() -> None:
    lost = an_attempt(
        1, 2, 40, AttemptOutcome.LOST, failure=LOST, timeline=(("assigned", 0.0, 1.0), ("denoising", 1.0, 7.0))
    )
    preempted = an_attempt(
        2, 50, 60, AttemptOutcome.EVICTED,
        timeline=(("denoising", 0.0, 2.0), ("preempted", 2.0, 5.0), ("denoising", 7.0, 50.0)),
    )  # fmt: skip
    life = a_life(JobState.RUNNING, lost, preempted, claims=3, run_at=at(65), claimed_at=at(70), stage="encoding")
    assert bars(life) == [
        (1, "waiting", 0, 2), (1, "assigned", 2, 3), (1, "denoising", 3, 10),
        # Until somebody knew that its worker was gone.
        (1, "rendering", 10, 40),
        (2, "waiting", 40, 50), (2, "denoising", 50, 52), (2, "preempted", 52, 57), (2, "denoising", 57, 60),
        # It rested, and then waited for its turn: one bar.
        (3, "waiting", 60, 70), (3, "encoding", 70, None),
    ]  # fmt: skip
    # The tree has the same stages.
    assert [[child.name for child in each.children] for each in tree(life).children if each.children] == [
        ["assigned", "denoising"], ["denoising", "preempted", "denoising"],
    ]  # fmt: skip


def test_an_attempt_of_the_release_before_shows_what_its_result_says() -> None:
    artifact = Artifact(key="k", size=1, sha256="0" * 64, content_type="video/mp4")
    result = VideoResult(
        video=artifact, cover=artifact, width=96, height=64, num_frames=9, fps=8, gpu_seconds=6.0,
        stages={"denoising": 5.0, "encoding": 1.0},
    )  # fmt: skip
    failed = an_attempt(1, 2, 10, AttemptOutcome.FAILED)
    life = a_life(JobState.SUCCEEDED, failed, an_attempt(2, 12, 20, AttemptOutcome.SUCCEEDED), finished_at=at(20))
    life = replace(life, job=replace(life.job, result=result))
    assert bars(life) == [
        (1, "waiting", 0, 2), (1, "rendering", 2, 10), (2, "waiting", 10, 12), (2, "encoding", 14, 15),
        (2, "denoising", 15, 20),
    ]  # fmt: skip


def test_a_job_that_was_cancelled_between_attempts_waited_until_then() -> None:
    life = a_life(JobState.CANCELLED, an_attempt(1, 2, 10, AttemptOutcome.FAILED), finished_at=at(15))
    assert bars(life)[-1] == (2, "waiting", 10, 15)
    life = a_life(JobState.CANCELLED, an_attempt(1, 2, 10, AttemptOutcome.CANCELLED), finished_at=at(10))
    assert bars(life)[-1] == (1, "rendering", 2, 10)


def test_a_job_that_was_tried_again_shows_each_wait_with_its_reason() -> None:
    lost = an_attempt(1, 2, 10, AttemptOutcome.LOST, failure=LOST, timeline=(("denoising", 1.0, 50.0),))
    good = an_attempt(2, 20, 30, AttemptOutcome.SUCCEEDED, gpu_seconds=6.25)
    told = Told(
        host="example.com", event_type="video.completed", state=DeliveryState.DELIVERED, attempts=2,
        created_at=at(30.5), ended_at=at(36), error=None,
    )  # fmt: skip
    life = a_life(JobState.SUCCEEDED, lost, good, run_at=at(15), finished_at=at(30), told=[told])
    assert shown(tree(life)) == [
        ("wait", 0, 2, "its turn"),
        ("attempt 1", 2, 10,
         "lost on small-0, 1.5 GPU seconds: worker_lost, worker small-0 vanished during attempt 1"),
        ("pause", 10, 15, "until its time; its turn again, after a failure"),
        ("wait", 15, 20, "its turn"),
        ("attempt 2", 20, 30, "succeeded on small-0, 6.25 GPU seconds"),
        ("webhook", 30.5, 36, "video.completed to example.com, delivered, 2 tries"),
    ]  # fmt: skip
    # A stage does not outlast its attempt, whatever the worker's clock said.
    assert [(each.began_at, each.ended_at) for each in tree(life).children[1].children] == [(at(3), at(10))]


def test_a_job_that_waits_says_why_now() -> None:
    given_back = an_attempt(1, 1, 5, AttemptOutcome.EVICTED)
    life = a_life(JobState.QUEUED, given_back, queue_reason="no worker of pool small has started yet", run_at=at(5))
    assert shown(tree(life))[-1] == (
        "wait", 5, None,
        "its turn again, since its worker gave it back; now: no worker of pool small has started yet",
    )  # fmt: skip


def test_a_job_that_waits_for_its_time_says_so() -> None:
    assert shown(tree(a_life(JobState.QUEUED, run_at=at(60)))) == [
        ("pause", 0, 60, "until its time; its turn"),
        ("wait", 60, None, "its turn"),
    ]


def test_a_running_attempt_says_where_it_is() -> None:
    life = a_life(JobState.RUNNING, claims=1, claimed_at=at(3), worker="small-1", stage="denoising")
    assert shown(tree(life)) == [
        ("wait", 0, 3, "its turn"),
        ("attempt 1", 3, None, "running on small-1: denoising, step 1 of 4"),
    ]


def test_a_job_that_was_cancelled_before_anybody_took_it_waited_until_then() -> None:
    life = a_life(JobState.CANCELLED, finished_at=at(9), untold=True)
    assert shown(tree(life)) == [
        ("wait", 0, 9, "its turn, until it was cancelled"),
        ("webhook", 9, None, "to be announced"),
    ]


def test_a_document_lists_each_part_behind_its_parent() -> None:
    good = an_attempt(1, 2, 10, AttemptOutcome.SUCCEEDED, timeline=(("denoising", 1.0, 5.0),))
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    told = document(a_life(JobState.SUCCEEDED, good, finished_at=at(10), trace=trace))
    assert told["trace_id"] == "a" * 32
    assert [(each["number"], each["parent"], each["name"], each["seconds"]) for each in told["spans"]] == [
        (0, None, "job", 10.0), (1, 0, "wait", 2.0), (2, 0, "attempt 1", 8.0), (3, 2, "denoising", 5.0),
    ]  # fmt: skip


def test_an_id_may_be_as_logs_or_as_callers_have_it() -> None:
    hexes = "0198c5a7e3b97d6f8a0c1f2e3d4c5b6a"
    for form in (hexes, hexes.upper(), str(UUID(hexes)), f"video_{hexes}"):
        assert public_form(form) == f"video_{hexes}"
    assert public_form("anything") == "anything"
