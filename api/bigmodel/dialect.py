"""The bigmodel dialect as an object."""

from __future__ import annotations

from api.bigmodel import batches, files, videos
from api.bigmodel.errors import DOCS
from api.bigmodel.lines import BigmodelLines
from api.shared.dialect import Dialect, one_file, one_video

DIALECT = Dialect(
    name="bigmodel",
    prefix="/api/paas/",
    docs=DOCS,
    routers=(videos.router, files.router, batches.router),
    bodies={"/api/paas/v4/files": one_file, "/api/paas/v4/videos": one_video},
    base_url="/api/paas/v4",
    lines=lambda settings: BigmodelLines(),
)
