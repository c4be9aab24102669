"""The lines of a batch in the OpenAI dialect: requests as its routes read them, answers as its documents have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from api.openai import errors
from api.openai.schemas import CreateVideo
from api.openai.translate import flatten, request_of, video_of
from api.shared.lines import refusal_of, status_of
from api.wire.bodies import typed
from orchestrator.config import Settings
from orchestrator.domain.batch import Batch, Item, ItemError
from orchestrator.domain.job import Job
from orchestrator.domain.request import VideoRequest
from orchestrator.ports.batches import Sign


class OpenAILines:
    """`{"id", "custom_id", "response": {"status_code", "request_id", "body"}, "error"}`; one of the latter is null."""

    def __init__(self, settings: Settings) -> None:
        self._keep_s = settings.retention.jobs_s

    @property
    def parameters(self) -> frozenset[str]:
        """What a request of this dialect may say."""
        return frozenset(CreateVideo.model_fields)

    def request(self, body: Mapping[str, Any], job_id: UUID) -> VideoRequest:
        return request_of(typed(CreateVideo, flatten(body)))

    def answer(self, batch: Batch, item: Item, job: Job, sign: Sign) -> Mapping[str, Any]:
        # The video object of a failed job has an `error` with code and message, as bodies of errors have.
        return self._response(item, status_of(job), video_of(job, keep_s=self._keep_s).model_dump(mode="json"))

    def refusal(self, batch: Batch, item: Item, error: ItemError) -> Mapping[str, Any]:
        problem = refusal_of(error)
        return self._response(item, problem.status, errors.body(problem).model_dump(mode="json"))

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
