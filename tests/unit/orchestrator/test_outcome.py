"""What a render's ending means for where its job goes on, for what it has left, and for its worker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.job import Checkpoint, Failure
from orchestrator.domain.outcome import Ending, Evicted, Lost, Released, Settlement, blames_worker, settle
from orchestrator.domain.protocol import Broke, HandedBack, Stopped
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.states import JobState
from tests.support.builders import a_checkpoint, a_claim

POLICY = RetryPolicy(base_s=10, cap_s=100, max_evictions=2)


def handed_back(stored: Checkpoint | None, **claim: object) -> Settlement:
    return settle(a_claim(**claim), HandedBack(reason="drain", checkpoint=stored), POLICY, 0.0)


@given(st.lists(st.integers(1, 50), min_size=30, unique=True))
def test_a_job_that_moves_on_may_be_handed_back_any_number_of_times(steps: list[int]) -> None:
    checkpoint = None
    for step in sorted(steps):
        settlement = handed_back(a_checkpoint(step), checkpoint=checkpoint, evictions=0)
        assert (settlement.state, settlement.failures, settlement.evictions) == (JobState.QUEUED, 0, 0)
        checkpoint = settlement.checkpoint
        assert checkpoint is not None
        assert checkpoint.step == step


@pytest.mark.parametrize("stored", [None, a_checkpoint(5), a_checkpoint(3)], ids=["none", "as far", "less far"])
def test_a_job_that_does_not_move_on_is_handed_back_freely_only_so_often(stored: Checkpoint | None) -> None:
    begun = {"checkpoint": a_checkpoint(5)}
    free = handed_back(stored, evictions=1, **begun)
    assert (free.state, free.failures, free.evictions, free.checkpoint) == (JobState.QUEUED, 0, 2, stored)
    capped = handed_back(stored, evictions=2, **begun)
    assert (capped.failures, capped.evictions) == (1, 2)
    assert capped.failure is not None
    assert capped.failure.code == "evicted_too_often"


def test_a_job_that_moves_on_is_handed_back_freely_even_at_the_cap() -> None:
    settlement = handed_back(a_checkpoint(6), checkpoint=a_checkpoint(5), evictions=2)
    assert (settlement.failures, settlement.evictions) == (0, 2)


@pytest.mark.parametrize(
    "ending",
    [
        Lost(failure=Failure(code="hung", message="silent")),
        Evicted(reason="the stack stops"),
        Released(reason="refused"),
        Stopped(),
        HandedBack(reason="drain"),
        *(
            Broke(failure=Failure(code=code, message="not the latents' fault"))
            for code in ("upload_failed", "disk_full", "checkpoint_unavailable", "worker_failed", "out_of_memory")
        ),
    ],
    ids=lambda ending: ending.failure.code if isinstance(ending, Broke) else type(ending).__name__,
)
def test_the_row_keeps_its_newest_checkpoint(ending: Ending) -> None:
    settlement = settle(a_claim(checkpoint=a_checkpoint(5)), ending, POLICY, 0.0)
    assert (settlement.checkpoint, settlement.start_over) == (None, False)


@pytest.mark.parametrize("code", ["nan_frames", "checkpoint_unusable", "render_error", "never heard of"])
def test_after_a_failure_that_the_checkpoint_may_have_caused_the_next_attempt_starts_over(code: str) -> None:
    broke = Broke(failure=Failure(code=code, message="perhaps the latents' fault"))
    assert settle(a_claim(checkpoint=a_checkpoint(5)), broke, POLICY, 0.0).start_over


def test_a_worker_answers_for_failures_that_another_job_would_have_met_there() -> None:
    def blames(code: str, *, retryable: bool = True) -> bool:
        return blames_worker(Failure(code=code, message="", retryable=retryable))

    assert blames("nan_frames")
    assert blames("out_of_memory")
    assert blames("disk_full")
    assert not blames("content_policy_violation", retryable=False)
    for code in ("upload_failed", "image_unavailable", "checkpoint_unavailable", "adapter_unavailable"):
        assert not blames(code), "when S3 is away, every worker fails"
