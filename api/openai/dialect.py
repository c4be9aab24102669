"""The OpenAI dialect as an object."""

from __future__ import annotations

from api.openai import batches, content, files, models, unsupported, videos
from api.openai.errors import DOCS
from api.openai.lines import OpenAILines
from api.shared.dialect import Dialect, one_file, one_video

DIALECT = Dialect(
    name="openai",
    prefix="/v1/",
    docs=DOCS,
    routers=(
        unsupported.router,
        videos.router,
        content.router,
        models.router,
        files.router,
        batches.router,
    ),
    bodies={"/v1/files": one_file, "/v1/videos": one_video},
    base_url="/v1",
    lines=OpenAILines,
)
