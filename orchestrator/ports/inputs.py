"""Pictures that callers bring, and who looks at what they ask for before it is accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from orchestrator.domain.job import Artifact
from orchestrator.request import ImageSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A whole, decodable image as it was given: its bytes, its kind by its content, its pixels as stored."""

    data: bytes
    content_type: str
    width: int
    height: int


class Inputs(Protocol):
    """Where pictures come from and where they are kept."""

    async def load(self, tenant: str, source: ImageSource) -> Picture:
        """Fetch and check a picture. Raises a `RequestError` about the field `image`, or `Unavailable`."""
        ...

    async def keep(self, picture: Picture) -> Artifact:
        """Store it in S3 by its content, unless it is there. Raises `Unavailable`."""
        ...


class Moderator(Protocol):
    """Whether a request may be rendered."""

    async def review(self, tenant: str, prompt: str, picture: Picture | None) -> None:
        """Return when it may. Raises `Refused`, or `ModerationUnavailable` when nobody answers and that means no."""
        ...
