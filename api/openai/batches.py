"""`/v1/batches`."""

from __future__ import annotations

from api.openai.errors import DOCS
from api.shared.batches import batch_routes
from api.wire.routes import Router

router = Router(tags=["openai"])
router.include_router(batch_routes("/v1", DOCS, dialect="openai", endpoint="/v1/videos", delete_input=False))
