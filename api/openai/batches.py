"""`/v1/batches`."""

from __future__ import annotations

from fastapi import APIRouter

from api.batch_routes import batch_routes
from api.openai.errors import DOCS

router = APIRouter(tags=["openai"])
router.include_router(batch_routes("/v1", DOCS, dialect="openai", endpoint="/v1/videos", delete_input=False))
