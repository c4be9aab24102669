"""From a picture's own colours into sRGB, which the models were trained on: what an ICC profile says, by LittleCMS."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageCms

from orchestrator.telemetry import logs

# Where gamuts differ, what both have stays as it is; black becomes black. What image editors do unless told otherwise.
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION

# By the colour space that a profile is about, the modes of pictures that it can be about, and what it is given.
_SPACES = {"RGB": ("RGB", None), "GRAY": ("L", ("1", "L")), "CMYK": ("CMYK", ("CMYK",))}

_log = logs.get("picture")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An image without transparency as RGB in sRGB.

    Without a profile, and with one that is broken or about other colours than the image has, its levels are taken for
    sRGB's: then an image of CMYK is converted by the plain formula.
    """
    if profile is not None:
        try:
            return _transformed(image, profile)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            _log.info("colour_profile_ignored", mode=image.mode, reason=str(error)[:200])
    return image.convert("RGB")


def _transformed(image: Image.Image, profile: bytes) -> Image.Image:
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    space = source.profile.xcolor_space.strip()
    given, modes = _SPACES.get(space, ("", ()))
    if not given or (modes is not None and image.mode not in modes) or (space == "RGB" and image.mode == "CMYK"):
        raise ValueError(f"a profile about {space}")
    transform = ImageCms.buildTransform(source, _srgb(), given, "RGB", _INTENT, _FLAGS)
    transformed = ImageCms.applyTransform(image.convert(given), transform)
    if transformed is None:
        raise ValueError("nothing came of it")
    return transformed


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
