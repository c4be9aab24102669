"""What a confined child does with pictures: it checks them, and says what each is or why it is none."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NoReturn

from PIL import AvifImagePlugin, Image

from orchestrator.confined.serving import serve
from orchestrator.domain import jsontext
from orchestrator.domain.errors import RequestError, TooLarge
from orchestrator.pictures.checking import decode
from orchestrator.pictures.kinds import KINDS
from orchestrator.pictures.measuring import measure
from orchestrator.pictures.opening import opened

# WebP takes as much of a pixel while it is decoded, and is the greediest.
BYTES_A_PIXEL = 16
# What decoders take beside: tables, threads' stacks, the file a few times over.
_BESIDE = 96 * 2**20
_COPIES = 4


@dataclass(frozen=True, slots=True)
class DecoderBounds:
    """How much a child may take; it answers `large` to more pixels than `most_pixels`, which others may decode."""

    max_image_bytes: int
    max_image_pixels: int
    most_pixels: int
    seconds: int


def main(settings: str) -> NoReturn:
    """Serve until the parent is gone."""
    bounds = DecoderBounds(**jsontext.own(settings))
    _warm_up()
    memory = BYTES_A_PIXEL * bounds.most_pixels + _COPIES * bounds.max_image_bytes + _BESIDE
    serve(lambda words, data: (answered(data, bounds), b""), memory=memory, seconds=bounds.seconds)


def answered(data: bytes, bounds: DecoderBounds) -> dict[str, Any]:
    """What is said of a picture."""
    try:
        measured = measure(data, bounds)
        if measured.pixels > bounds.most_pixels:
            return {"large": True}
        found = decode(data, measured)
    except RequestError as error:
        kind = "large" if isinstance(error, TooLarge) else "invalid"
        return {"refused": kind, "message": error.message, "param": error.param, "code": error.code}
    except (ImportError, PermissionError) as error:  # it wants what a child has not got: a fault of ours
        return {"unable": f"{type(error).__name__}: {error}"[:200]}
    return {
        "content_type": found.content_type,
        "width": found.width,
        "height": found.height,
        "sideways": found.sideways,
    }


def _warm_up() -> None:
    """Import whatever decoders import late: afterwards nothing can be opened."""
    # As many threads as processors otherwise, each with memory of its own.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    importlib.import_module("PIL.TiffImagePlugin")  # EXIF is one
    for kind in KINDS:
        file = BytesIO()
        exif = Image.Exif()
        exif[274] = 6
        Image.new("RGB", (16, 16)).save(file, kind.plugin, exif=exif)
        with opened(file.getvalue(), kind) as found:
            found.image.load()
            assert kind.plugin == "HEIF" or found.sideways
