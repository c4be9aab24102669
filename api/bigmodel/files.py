"""`/api/paas/v4/files`."""

from __future__ import annotations

from api.bigmodel.errors import DOCS
from api.shared.files import file_routes
from api.wire.routes import Router

router = Router(tags=["bigmodel"])
router.include_router(file_routes("/api/paas/v4", DOCS))
