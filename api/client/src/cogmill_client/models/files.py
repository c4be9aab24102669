"""An uploaded file as the API tells of it."""

from __future__ import annotations

from typing import Annotated, Literal

from cogmill_client.models.base import Identified, OrNewer


class FileObject(Identified):
    """A file; `expires_at` is when the server deletes it."""

    object: Literal["file"]
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Annotated[Literal["processed"], OrNewer]
    expires_at: int | None
