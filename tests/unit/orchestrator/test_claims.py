"""How a dispatcher's claims follow the database's, and what it writes of them."""

from __future__ import annotations

from orchestrator.dispatch.claims import Claims
from orchestrator.domain.job import Artifact, Incident
from orchestrator.domain.protocol import Rendered, Stage
from tests.support.builders import WORKER, a_checkpoint, a_claim, a_render, a_result, a_status


def test_reconciling_drops_what_others_settled_and_keeps_what_was_claimed_meanwhile() -> None:
    claims = Claims()
    settled, kept, meanwhile, adopted = (a_claim() for _ in range(4))
    claims.hold([settled, kept], 0.0)
    with claims.reading() as reading:
        claims.hold([meanwhile], 1.0)
        reading.reconcile([kept, adopted], 2.0)
    assert set(claims.by_token) == {kept.token, meanwhile.token, adopted.token}


def test_a_claim_that_was_settled_while_the_database_was_read_is_not_adopted_again() -> None:
    claims, claim = Claims(), a_claim()
    claims.hold([claim], 0.0)
    with claims.reading() as reading:
        claims.drop(claim.token)
        reading.reconcile([claim], 1.0)
    assert claims.by_token == {}
    assert claims.held_by(WORKER.name) == []


def test_an_adopted_claim_keeps_its_age() -> None:
    claims = Claims()
    with claims.reading() as reading:
        reading.reconcile([a_claim(age_s=100)], 50.0)
    assert claims.aged(claims.held_by(WORKER.name), 60.0)[0].age_s == 110


def test_only_what_is_held_can_be_told_to_leave_and_who_has_not_heard_may_stay() -> None:
    claims, claim, other = Claims(), a_claim(), a_claim()
    claims.hold([claim, other], 0.0)
    for told in (claim, other, a_claim()):
        claims.told_to_leave(told.token)
    assert claims.leaving == {claim.token, other.token}
    claims.may_stay(claim.token)
    claims.drop(other.token)
    assert claims.leaving == set()


def test_progress_is_written_once_per_place() -> None:
    claims, claim = Claims(), a_claim()
    claims.hold([claim], 0.0)
    status = a_status(a_render(claim, step=2))
    (moved,) = claims.unwritten_progress([status])
    assert (moved.stage, moved.step) == ("denoising", 2)
    claims.wrote([moved])
    assert claims.unwritten_progress([status]) == []


def test_a_preview_is_written_as_soon_as_it_is_there() -> None:
    claims, claim = Claims(), a_claim()
    claims.hold([claim], 0.0)
    claims.wrote(claims.unwritten_progress([a_status(a_render(claim, step=2))]))
    preview = Artifact(key="videos/x/1/preview.webp", size=1, sha256="2" * 64, content_type="image/webp")
    now = a_status(a_render(claim, step=2, preview=preview))
    assert [moved.preview for moved in claims.unwritten_progress([now])] == [preview]


def test_what_a_render_stored_last_is_written_before_its_claim_ends() -> None:
    claims, claim, silent = Claims(), a_claim(), a_claim()
    done = Rendered(result=a_result())
    status = a_status(
        a_render(claim, stage=Stage.ENDED, end=done, checkpoint=a_checkpoint(2), incidents=(Incident.PREEMPTED,)),
        a_render(silent, stage=Stage.ENDED, end=done),
    )
    claims.hold([claim, silent], 0.0)
    (words,) = claims.last_words(status)
    assert (words.token, words.checkpoint, words.incidents) == (
        claim.token, a_checkpoint(2), (Incident.PREEMPTED,),
    )  # fmt: skip
    claims.wrote([words])
    assert claims.last_words(status) == []
