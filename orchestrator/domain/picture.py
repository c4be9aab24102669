"""A picture that a video begins at, as a request brings it."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.catalog import Size

# No setting allows more: what a process takes to decode a picture goes by them.
MAX_PIXELS = 80_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A whole, decodable image as it was given."""

    # The file's.
    data: bytes
    # By its content, whatever its caller called it.
    content_type: str
    # Pixels as stored.
    width: int
    height: int
    # It is stored turned by a quarter, as cameras do and EXIF says.
    sideways: bool = False

    @property
    def upright(self) -> Size:
        """(width, height) as a person sees it."""
        return (self.height, self.width) if self.sideways else (self.width, self.height)
