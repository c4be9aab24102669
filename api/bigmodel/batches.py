"""`/api/paas/v4/batches`."""

from __future__ import annotations

from api.bigmodel.errors import DOCS
from api.shared.batches import batch_routes
from api.wire.routes import Router

_ENDPOINT = "/v4/videos/generations"  # as the vendor's lines name it, without the base of the URL

router = Router(tags=["bigmodel"])
router.include_router(batch_routes("/api/paas/v4", DOCS, dialect="bigmodel", endpoint=_ENDPOINT, delete_input=True))
