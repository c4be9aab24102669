"""The check of a picture as a child makes it, in this process."""

from __future__ import annotations

from orchestrator.domain.picture import Picture
from orchestrator.pictures.checking import decode
from orchestrator.pictures.measuring import PictureBounds, measure


def check_picture(data: bytes, bounds: PictureBounds) -> Picture:
    """The picture that some bytes are. Raises as both parts of the check do."""
    return decode(data, measure(data, bounds))
