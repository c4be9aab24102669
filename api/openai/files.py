"""`/v1/files`."""

from __future__ import annotations

from fastapi import APIRouter

from api.openai.errors import DOCS
from api.shared.files import file_routes

router = APIRouter(tags=["openai"])
router.include_router(file_routes("/v1", DOCS))
