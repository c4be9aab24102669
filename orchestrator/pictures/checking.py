"""Whether what was measured is a picture: decodable to the last pixel. Pure but for Pillow."""

from __future__ import annotations

from orchestrator.domain.errors import InvalidField
from orchestrator.domain.picture import Picture
from orchestrator.pictures.measuring import Measured, broken, check_sides
from orchestrator.pictures.opening import opened


def decode(data: bytes, measured: Measured) -> Picture:
    """Decode all of it and keep nothing but its size.

    Of an animated one the first frame counts, since that is what a video begins at. Takes up to seconds, and 16 bytes
    of memory a pixel: in a service it is asked of a child (`apart.py`). Raises `InvalidField`; `MemoryError`, and
    `PermissionError` and `ImportError`, of a process that may do less than decoding takes.
    """
    kind, size = measured.kind, measured.size
    try:
        with opened(data, kind) as found:
            wide, high = found.image.size
            # The decoder reads another header than we did: do not let it begin.
            if wide * high > measured.pixels or not (kind.boxed or (wide, high) == size):
                raise broken(kind)
            found.image.load()
            (width, height), sideways = found.image.size, found.sideways
    except (InvalidField, MemoryError, ImportError, PermissionError):
        raise  # the latter three are of this process, not of this picture
    except Exception as error:  # Pillow's decoders have no error in common, and bad bytes are the only cause
        raise broken(kind) from error
    check_sides((width, height))
    return Picture(data=data, content_type=kind.content_type, width=width, height=height, sideways=sideways)
