"""`/v1/files`."""

from __future__ import annotations

from api.openai.errors import DOCS
from api.shared.files import file_routes
from api.wire.routes import Router

router = Router(tags=["openai"])
router.include_router(file_routes("/v1", DOCS))
