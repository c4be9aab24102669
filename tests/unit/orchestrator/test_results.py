"""`result.json` as a document: it comes back as it was, or it counts as absent."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.job import Artifact, Incident, VideoResult
from orchestrator.domain.objects import claim_prefix
from orchestrator.objects import results
from tests.support.builders import a_render, a_result

JOB = UUID("0193e7a0-0000-7000-8000-0000000000aa")
CLAIM = 2
PREFIX = claim_prefix(JOB, CLAIM)

_seconds = st.floats(0, 1e9)
_artifacts = st.builds(
    Artifact,
    key=st.text(st.characters(exclude_categories=["Cs"])).map(lambda name: PREFIX + name),
    size=st.integers(0, 2**40),
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
    content_type=st.sampled_from(["video/mp4", "image/png"]),
)
_results = st.builds(
    VideoResult,
    video=_artifacts,
    cover=_artifacts,
    thumbnail=st.none() | _artifacts,
    spritesheet=st.none() | _artifacts,
    width=st.integers(2, 4096),
    height=st.integers(2, 4096),
    num_frames=st.integers(1, 1000),
    fps=st.integers(1, 120),
    gpu_seconds=_seconds,
    stages=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), _seconds),
)


@given(_results)
def test_a_result_comes_back_as_it_was(result: VideoResult) -> None:
    assert results.parse(results.dump(JOB, CLAIM, result), JOB, CLAIM) == result


def test_what_a_newer_release_tells_of_a_video_is_passed_over() -> None:
    document = {**a_result(PREFIX).to_dict(), "incidents": ["preempted", "of_tomorrow"], "told_tomorrow": {"a": 1}}
    assert VideoResult.from_dict(document) == a_result(PREFIX, incidents=(Incident.PREEMPTED,))


def test_incidents_travel_as_words_so_that_a_release_that_lacks_one_reads_the_rest() -> None:
    befell = (Incident.PREEMPTED, Incident.FROZEN)
    assert [type(each) for each in pickle.loads(pickle.dumps(befell))] == [str, str]
    for sent in (a_result(PREFIX, incidents=befell), a_render(incidents=befell)):
        assert repr(pickle.loads(pickle.dumps(sent))) == repr(sent)
        newer = replace(sent, incidents=(*befell, "of_tomorrow"))
        assert pickle.loads(pickle.dumps(newer)) == sent


@given(_results, st.data())
def test_a_document_cut_anywhere_is_refused(result: VideoResult, data: st.DataObject) -> None:
    whole = results.dump(JOB, CLAIM, result)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match=r"."):
        results.parse(whole[:cut], JOB, CLAIM)


@given(st.binary(max_size=300))
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        results.parse(garbage, JOB, CLAIM)


@pytest.mark.parametrize(("job", "claim"), [(uuid4(), CLAIM), (JOB, CLAIM + 1)], ids=["job", "claim"])
def test_a_result_of_another_claim_is_refused(job: UUID, claim: int) -> None:
    document = results.dump(JOB, CLAIM, a_result(PREFIX))
    with pytest.raises(ValueError, match="belongs to claim 2 of job"):
        results.parse(document, job, claim)


@pytest.mark.parametrize("name", ["video", "cover", "thumbnail", "spritesheet"])
def test_a_result_that_names_an_object_of_another_claim_is_refused(name: str) -> None:
    foreign = Artifact(key=f"videos/other/1/{name}", size=1, sha256="0" * 64, content_type="image/webp")
    with pytest.raises(ValueError, match="foreign objects"):
        results.parse(results.dump(JOB, CLAIM, a_result(PREFIX, **{name: foreign})), JOB, CLAIM)


def test_a_result_of_the_first_release_is_still_read() -> None:
    document = json.loads(results.dump(JOB, CLAIM, a_result(PREFIX)))
    del document["result"]["thumbnail"], document["result"]["spritesheet"]
    assert results.parse(json.dumps(document).encode(), JOB, CLAIM) == a_result(PREFIX)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("gpu_seconds", float("nan")),
        ("gpu_seconds", "1.5"),
        ("stages", {"denoising": float("inf")}),
        ("width", "96"),
        ("fps", None),
        ("fps", True),
        ("video", {"key": "videos/x"}),
        ("video", {"key": f"{PREFIX}video.mp4", "size": "10", "sha256": "", "content_type": ""}),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused(field: str, wrong: object) -> None:
    document = json.loads(results.dump(JOB, CLAIM, a_result(PREFIX)))
    document["result"][field] = wrong
    with pytest.raises(ValueError, match=field):
        results.parse(json.dumps(document).encode(), JOB, CLAIM)


def test_a_result_with_an_impossible_figure_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        results.dump(JOB, CLAIM, a_result(PREFIX, gpu_seconds=float("nan")))
