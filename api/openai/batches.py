"""`/v1/batches`."""

from __future__ import annotations

from fastapi import APIRouter

from api.openai.errors import DOCS
from api.shared.batches import batch_routes

router = APIRouter(tags=["openai"])
router.include_router(batch_routes("/v1", DOCS, dialect="openai", endpoint="/v1/videos", delete_input=False))
