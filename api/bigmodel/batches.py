"""`/api/paas/v4/batches`."""

from __future__ import annotations

from fastapi import APIRouter

from api.bigmodel.errors import DOCS
from api.shared.batches import batch_routes

_ENDPOINT = "/v4/videos/generations"  # as the vendor's lines name it, without the base of the URL

router = APIRouter(tags=["bigmodel"])
router.include_router(batch_routes("/api/paas/v4", DOCS, dialect="bigmodel", endpoint=_ENDPOINT, delete_input=True))
