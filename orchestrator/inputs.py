"""Pictures that callers bring: fetched or decoded, checked, and kept in S3 by their content."""

from __future__ import annotations

from orchestrator.domain.errors import Unsupported
from orchestrator.domain.job import Artifact
from orchestrator.ports import Picture
from orchestrator.request import ImageSource


class Pictures:
    """Implements `ports.Inputs`."""

    async def load(self, tenant: str, source: ImageSource) -> Picture:
        raise Unsupported("this deployment takes no images yet", param="image")

    async def keep(self, picture: Picture) -> Artifact:
        raise NotImplementedError
