"""Whether a render may go on from a checkpoint, and what its result then says."""

from __future__ import annotations

import pytest

from orchestrator.domain.catalog import Profile
from orchestrator.domain.job import Artifact, Checkpoint, Continuity
from tests.support.builders import a_spec
from workers.engine import resume

HERE = "0123456789abcdef"
ELSEWHERE = "fedcba9876543210"


def a_checkpoint(numerics: str) -> Checkpoint:
    artifact = Artifact(key="x", size=1, sha256="0" * 64, content_type="application/octet-stream")
    return Checkpoint(artifact=artifact, step=3, numerics=numerics)


@pytest.mark.parametrize(
    ("numerics", "changes", "expected"),
    [
        pytest.param(HERE, {}, Continuity.RESUMED, id="the same numerics give the same frames"),
        pytest.param(HERE, {"resume_anywhere": True}, Continuity.RESUMED, id="also for whom it did not matter"),
        pytest.param(ELSEWHERE, {}, Continuity.STARTED_OVER, id="other numerics start over"),
        pytest.param(ELSEWHERE, {"resume_anywhere": True}, Continuity.RESUMED_INEXACTLY, id="unless that is allowed"),
        pytest.param(HERE + "+batched", {}, Continuity.RESUMED_INEXACTLY, id="steps in a batch are not the same"),
        pytest.param(HERE + "+mixed", {}, Continuity.RESUMED_INEXACTLY, id="what was mixed stays mixed"),
        pytest.param(ELSEWHERE + "+batched", {}, Continuity.STARTED_OVER, id="other numerics, in a batch too"),
        pytest.param(HERE, {"profile": Profile.FAST}, Continuity.RESUMED_INEXACTLY, id="step caches start cold"),
        pytest.param(HERE, {"reproducible": True}, Continuity.RESUMED, id="reproducible where nothing differs"),
        pytest.param(
            HERE, {"profile": Profile.FAST, "reproducible": True}, Continuity.STARTED_OVER, id="and else not at all"
        ),
    ],
)
def test_how_a_render_goes_on(numerics: str, changes: dict[str, object], expected: Continuity) -> None:
    assert resume.continuity(a_checkpoint(numerics), a_spec(**changes), HERE) is expected


def test_a_render_that_went_on_elsewhere_never_again_claims_to_be_undisturbed() -> None:
    spec = a_spec(resume_anywhere=True)
    first = resume.continuity(a_checkpoint(ELSEWHERE), spec, HERE)
    second = a_checkpoint(resume.marked(HERE, first, batched=False))
    assert resume.continuity(second, spec, HERE) is Continuity.RESUMED_INEXACTLY


def test_a_fingerprint_tells_what_its_steps_were_beside() -> None:
    assert resume.marked(HERE, Continuity.WHOLE, batched=False) == HERE
    assert resume.marked(HERE, Continuity.RESUMED, batched=False) == HERE
    assert resume.marked(HERE, Continuity.STARTED_OVER, batched=True) == HERE + "+batched"
    assert resume.marked(HERE, Continuity.RESUMED_INEXACTLY, batched=True) == HERE + "+mixed"


def test_what_was_batched_and_then_resumed_is_mixed_though_its_fingerprint_is_the_same() -> None:
    began = resume.continuity(a_checkpoint(HERE + "+batched"), a_spec(), HERE)
    assert resume.marked(HERE, began, batched=False) == HERE + "+mixed"


def test_only_a_checkpoint_that_would_have_done_counts_as_unreadable() -> None:
    spec, over = a_spec(), Continuity.STARTED_OVER
    assert resume.unreadable(a_checkpoint(HERE), spec, HERE, over)
    assert not resume.unreadable(a_checkpoint(ELSEWHERE), spec, HERE, over), "its numerics forbade it"
    assert not resume.unreadable(a_checkpoint(HERE), spec, HERE, Continuity.RESUMED)
    assert not resume.unreadable(None, spec, HERE, Continuity.WHOLE)
