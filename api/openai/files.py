"""`/v1/files`."""

from __future__ import annotations

from fastapi import APIRouter

from api.file_routes import file_routes
from api.openai.errors import DOCS

router = APIRouter(tags=["openai"])
router.include_router(file_routes("/v1", DOCS))
