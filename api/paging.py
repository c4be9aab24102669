"""The queries of every listing."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query

Limit = Annotated[int, Query(ge=1, le=100, description="How many on a page.")]
After = Annotated[str | None, Query(description="The last id of the page before.")]
Order = Annotated[Literal["asc", "desc"], Query(description="By creation; `desc` begins at the newest.")]
