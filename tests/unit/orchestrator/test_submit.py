"""Submitting: who is asked what, in which order, and what a repetition or a lost answer leads to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.domain.errors import (
    InvalidField,
    KeyReused,
    LimitExceeded,
    Refused,
    StoreUnavailable,
    SubmitUnconfirmed,
    Unsupported,
)
from orchestrator.domain.job import Artifact, Job, NewJob
from orchestrator.domain.loading import WorkerLoad
from orchestrator.domain.pausing import Pause
from orchestrator.domain.request import ImageBytes, ImageSource
from orchestrator.intake.jobs import Jobs
from orchestrator.intake.planning import fit, plan
from orchestrator.intake.waiting import Waiting
from orchestrator.learning.book import Book
from orchestrator.policy.limits import Limits
from orchestrator.policy.prediction import Key, Past
from orchestrator.ports import Picture
from orchestrator.tenants.rates import TenantLimits
from tests.support.requests import ASKED, SETTINGS, TIME, planned

PICTURE = Picture(data=b"png", content_type="image/png", width=96, height=64)


class Desk:
    """Stands in for the store, the pictures and the moderator, and writes down who was asked, in order."""

    def __init__(
        self, *, refuses: bool = False, limits: Limits | None = None, breaks: bool = False, picture: Picture = PICTURE
    ) -> None:
        self.asked: list[str] = []
        self.jobs: list[NewJob] = []
        self._refuses, self._limits, self._breaks = refuses, limits or Limits(), breaks
        self._picture = picture
        self.past: list[Past] = []

    async def limits_of(self, tenant: str) -> Limits:
        return self._limits

    async def find_submitted(self, tenant: str, key: str) -> tuple[Job, str | None] | None:
        found = [job for job in self.jobs if (job.tenant, job.idempotency_key) == (tenant, key)]
        return (_as_read(found[0]), found[0].request_hash) if found else None

    async def submit(self, job: NewJob) -> Job:
        self.asked.append("insert")
        if self._breaks:
            raise StoreUnavailable("the connection broke")
        self.jobs.append(job)
        return _as_read(job)

    async def worker_loads(self) -> list[WorkerLoad]:
        return []

    async def pauses(self) -> list[Pause]:
        return []

    async def learned(self) -> list[Past]:
        return list(self.past)

    async def load(self, tenant: str, source: ImageSource) -> Picture:
        self.asked.append("load")
        return self._picture

    async def keep(self, picture: Picture) -> Artifact:
        self.asked.append("keep")
        return Artifact(key="inputs/x", size=3, sha256="0" * 64, content_type=picture.content_type)

    async def review(
        self, tenant: str, prompt: str, picture: Picture | None, *, negative_prompt: str | None = None
    ) -> None:
        self.asked.append("review")
        if self._refuses:
            raise Refused("not this")

    def open(self) -> Jobs:
        stand_in: Any = self
        return Jobs(
            SETTINGS,
            stand_in,
            stand_in,
            stand_in,
            TenantLimits(self, cache_s=60),
            Waiting(stand_in),
            Book.of(SETTINGS, stand_in),
        )


def _as_read(job: NewJob) -> Job:
    shared = ("id", "tenant", "pool", "priority", "spec", "cost", "request", "max_attempts")
    empty = dict.fromkeys(("started_at", "finished_at", "stage", "failure", "result"))
    counted = dict.fromkeys(("claims", "failures", "evictions", "step"), 0)
    kept = {name: getattr(job, name) for name in shared}
    return Job(**kept, **empty, **counted, state="queued", created_at=TIME, cancel_requested=False)


async def test_what_costs_nothing_to_check_comes_before_a_fetch_a_review_and_an_upload() -> None:
    desk = Desk()
    job = await desk.open().submit("acme", replace(ASKED, image=ImageBytes(b"png")))
    assert desk.asked == ["load", "review", "keep", "insert"]
    assert job.spec.image is not None
    with pytest.raises(InvalidField):
        await desk.open().submit("acme", replace(ASKED, image=ImageBytes(b"png"), priority=-1))
    assert desk.asked == ["load", "review", "keep", "insert"]


async def test_a_refused_prompt_leaves_neither_a_job_nor_a_picture() -> None:
    desk = Desk(refuses=True)
    with pytest.raises(Refused):
        await desk.open().submit("acme", replace(ASKED, image=ImageBytes(b"png")))
    assert desk.asked == ["load", "review"]


async def test_a_request_over_the_tenants_largest_is_refused_before_anybody_is_asked() -> None:
    desk = Desk(limits=Limits(largest_request=plan(SETTINGS, "acme", ASKED, job_id=uuid4(), seed=7).cost * 0.99))
    with pytest.raises(LimitExceeded) as refused:
        await desk.open().submit("acme", ASKED)
    assert (refused.value.limit, refused.value.retry_after_s, desk.asked) == ("largest_request", None, [])
    await desk.open().submit("acme", replace(ASKED, num_frames=9))


async def test_a_repetition_is_answered_without_asking_anybody_again() -> None:
    desk = Desk()
    jobs, asked = desk.open(), replace(ASKED, idempotency_key="k", image=ImageBytes(b"png"))
    first = await jobs.submit("acme", asked)
    before = list(desk.asked)
    assert (await jobs.submit("acme", asked)).id == first.id
    with pytest.raises(KeyReused):
        await jobs.submit("acme", replace(asked, prompt="other"))
    assert desk.asked == before
    assert (await jobs.submit("other", asked)).id != first.id


async def test_an_unconfirmed_submit_may_be_sent_again_exactly_when_it_has_a_key() -> None:
    jobs = Desk(breaks=True).open()
    with pytest.raises(SubmitUnconfirmed):
        await jobs.submit("acme", ASKED)
    with pytest.raises(StoreUnavailable) as keyed:
        await jobs.submit("acme", replace(ASKED, idempotency_key="k"))
    assert not isinstance(keyed.value, SubmitUnconfirmed)


async def test_a_caller_may_bring_the_jobs_id() -> None:
    job_id = uuid4()
    assert (await Desk().open().submit("acme", ASKED, job_id=job_id)).id == job_id


async def test_a_picture_of_which_too_much_would_be_lost_is_refused_before_anybody_reviews_or_keeps_it() -> None:
    desk = Desk(picture=replace(PICTURE, width=400, height=1600))
    with pytest.raises(Unsupported) as refused:
        await desk.open().submit("acme", replace(ASKED, image=ImageBytes(b"png")))
    assert (refused.value.param, desk.asked) == ("image", ["load"])


async def test_a_picture_decides_by_its_upright_shape_what_is_rendered() -> None:
    asked = replace(ASKED, model="large", image=ImageBytes(b"png"))
    for sideways, size in ((False, (1024, 768)), (True, (768, 1024))):
        desk = Desk(picture=replace(PICTURE, width=4032, height=3024, sideways=sideways))
        spec = (await desk.open().submit("acme", asked)).spec
        assert ((spec.width, spec.height), spec.image is not None) == (size, True)
        assert (spec.delivery.width, spec.delivery.height) == size


async def test_a_tenants_largest_request_is_measured_by_the_size_that_the_picture_decides() -> None:
    """It may be smaller than the model's first one, and larger."""
    asked = replace(ASKED, model="large", image=ImageBytes(b"png"))
    square, wide = (replace(PICTURE, width=width, height=700) for width in (700, 1240))
    planned = plan(SETTINGS, "acme", asked, job_id=uuid4(), seed=7)
    cost = {picture.width: fit(SETTINGS, planned, asked, picture.upright).cost for picture in (square, wide)}
    limits = Limits(largest_request=cost[700])
    await Desk(picture=square, limits=limits).open().submit("acme", asked)
    desk = Desk(picture=wide, limits=limits)
    with pytest.raises(LimitExceeded):
        await desk.open().submit("acme", asked)
    assert desk.asked == ["load"]


async def test_a_job_costs_what_renders_like_it_have_taught() -> None:
    desk = Desk()
    before = await desk.open().submit("acme", ASKED)
    key = Key.of(before.spec, kind=before.pool, revision=SETTINGS.revisions[before.spec.model])
    desk.past = [Past(key=key, ratios=[2.5] * 9, seen=[0.0] * 9)]
    jobs = desk.open()
    after = await jobs.submit("acme", ASKED)
    assert after.cost == pytest.approx(2.5 * before.cost)
    assert (await jobs.priced("acme", ASKED)).cost == after.cost
    assert (await jobs.submit("acme", replace(ASKED, model="big"))).cost == planned(replace(ASKED, model="big")).cost


@pytest.mark.parametrize("error", [StoreUnavailable("away"), ValueError("nobody foresaw it")])
async def test_a_job_is_taken_by_what_was_known_before_when_the_store_does_not_tell(error: Exception) -> None:
    class Away(Desk):
        async def learned(self) -> list[Past]:
            raise error

    assert (await Away().open().submit("acme", ASKED)).cost == planned().cost
