"""`/api/paas/v4/batches`."""

from __future__ import annotations

from fastapi import APIRouter

from api.batch_routes import batch_routes
from api.bigmodel.errors import DOCS

_ENDPOINT = "/v4/videos/generations"  # as the vendor's lines name it, without the base of the URL

router = APIRouter(tags=["bigmodel"])
router.include_router(batch_routes("/api/paas/v4", DOCS, dialect="bigmodel", endpoint=_ENDPOINT, delete_input=True))
