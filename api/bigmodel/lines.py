"""The lines of a batch in the bigmodel dialect: requests as its routes read them, answers as the vendor has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from api.bigmodel import errors
from api.bigmodel.schemas import GenerateVideo, VideoLink
from api.bigmodel.translate import request_of, task_of
from api.shared.lines import refusal_of, status_of
from api.wire.bodies import typed
from orchestrator.domain.batch import Batch, Item, ItemError
from orchestrator.domain.job import Job, VideoResult, public_id
from orchestrator.domain.request import VideoRequest
from orchestrator.ports.batches import Sign


class BigmodelLines:
    """`{"id", "custom_id", "response": {"status_code", "body"}}`; the id is the batch's, as the vendor has it."""

    def request(self, body: Mapping[str, Any], job_id: UUID) -> VideoRequest:
        return request_of(typed(GenerateVideo, body), fallback_request_id=public_id(job_id))

    def answer(self, batch: Batch, item: Item, job: Job, sign: Sign) -> Mapping[str, Any]:
        links = None if job.result is None else _links(job.result, public_id(job.id), sign)
        return self._line(batch, item, status_of(job), _dumped(task_of(job, links)))

    def refusal(self, batch: Batch, item: Item, error: ItemError) -> Mapping[str, Any]:
        problem = refusal_of(error)
        return self._line(batch, item, problem.status, _dumped(errors.body(problem)))

    def undone(self, batch: Batch, item: Item, error: ItemError) -> Mapping[str, Any]:
        told = {"code": error.code, "message": error.message}
        return {"id": batch.id, "custom_id": item.custom_id, "response": None, "error": told}

    def _line(self, batch: Batch, item: Item, status: int, body: Mapping[str, Any]) -> Mapping[str, Any]:
        response = {"status_code": status, "body": body}
        return {"id": batch.id, "custom_id": item.custom_id, "response": response}


def _links(video: VideoResult, name: str, sign: Sign) -> VideoLink:
    return VideoLink(url=sign(video.video, f"{name}.mp4"), cover_image_url=sign(video.cover, None))


def _dumped(body: BaseModel) -> dict[str, Any]:
    return body.model_dump(mode="json", exclude_none=True)
