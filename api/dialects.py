"""Lines of batches in each dialect: requests as its routes read them, answers as its documents have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from api.bigmodel import errors as bigmodel_errors
from api.bigmodel.schemas import GenerateVideo, VideoLink
from api.bigmodel.translate import request_of as bigmodel_request
from api.bigmodel.translate import task_of
from api.openai import errors as openai_errors
from api.openai.schemas import CreateVideo
from api.openai.translate import flatten, video_of
from api.openai.translate import request_of as openai_request
from api.wire.bodies import typed
from api.wire.problem import Problem
from orchestrator.config import Settings
from orchestrator.domain.batch import Batch, Item, ItemError
from orchestrator.domain.errors import Refused
from orchestrator.domain.job import Job, VideoResult, public_id
from orchestrator.domain.request import VideoRequest
from orchestrator.domain.states import JobState
from orchestrator.ports.batches import Lines, Sign


class OpenAILines:
    """`{"id", "custom_id", "response": {"status_code", "request_id", "body"}, "error"}`; one of the latter is null."""

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s

    def request(self, body: Mapping[str, Any], job_id: UUID) -> VideoRequest:
        return openai_request(typed(CreateVideo, flatten(body)))

    def answer(self, batch: Batch, item: Item, job: Job, sign: Sign) -> Mapping[str, Any]:
        # The video object of a failed job has an `error` with code and message, as bodies of errors have.
        return self._response(item, _status(job), video_of(job, keep_s=self._keep_s).model_dump(mode="json"))

    def refusal(self, batch: Batch, item: Item, error: ItemError) -> Mapping[str, Any]:
        problem = _problem(error)
        return self._response(item, problem.status, openai_errors.body(problem).model_dump(mode="json"))

    def undone(self, batch: Batch, item: Item, error: ItemError) -> Mapping[str, Any]:
        return self._line(item, None, {"code": error.code, "message": error.message})

    def _response(self, item: Item, status: int, body: Mapping[str, Any]) -> Mapping[str, Any]:
        response = {"status_code": status, "request_id": f"req_{item.job_id.hex}", "body": body}
        return self._line(item, response, None)

    def _line(
        self, item: Item, response: Mapping[str, Any] | None, error: Mapping[str, Any] | None
    ) -> Mapping[str, Any]:
        line_id = f"batch_req_{item.job_id.hex}"
        return {"id": line_id, "custom_id": item.custom_id, "response": response, "error": error}


class BigmodelLines:
    """`{"id", "custom_id", "response": {"status_code", "body"}}`; the id is the batch's, as the vendor has it."""

    def request(self, body: Mapping[str, Any], job_id: UUID) -> VideoRequest:
        return bigmodel_request(typed(GenerateVideo, body), fallback_request_id=public_id(job_id))

    def answer(self, batch: Batch, item: Item, job: Job, sign: Sign) -> Mapping[str, Any]:
        links = None if job.result is None else _links(job.result, public_id(job.id), sign)
        return self._line(batch, item, _status(job), _dumped(task_of(job, links)))

    def refusal(self, batch: Batch, item: Item, error: ItemError) -> Mapping[str, Any]:
        problem = _problem(error)
        return self._line(batch, item, problem.status, _dumped(bigmodel_errors.body(problem)))

    def undone(self, batch: Batch, item: Item, error: ItemError) -> Mapping[str, Any]:
        told = {"code": error.code, "message": error.message}
        return {"id": batch.id, "custom_id": item.custom_id, "response": None, "error": told}

    def _line(self, batch: Batch, item: Item, status: int, body: Mapping[str, Any]) -> Mapping[str, Any]:
        response = {"status_code": status, "body": body}
        return {"id": batch.id, "custom_id": item.custom_id, "response": response}


def dialects(settings: Settings) -> Mapping[str, Lines]:
    """Every dialect's lines, by the name that its batches carry."""
    return {"openai": OpenAILines(settings.retention.jobs_s), "bigmodel": BigmodelLines()}


def _links(video: VideoResult, name: str, sign: Sign) -> VideoLink:
    return VideoLink(url=sign(video.video, f"{name}.mp4"), cover_image_url=sign(video.cover, None))


def _status(job: Job) -> int:
    if job.state is JobState.SUCCEEDED:
        return 200
    return 400 if job.failure is not None and job.failure.code == Refused.code else 500


def _problem(error: ItemError) -> Problem:
    return Problem(status=400, code=error.code, message=error.message, param=error.param)


def _dumped(body: BaseModel) -> dict[str, Any]:
    return body.model_dump(mode="json", exclude_none=True)
