"""The field of a picture, in every form that callers of either dialect give it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import WithJsonSchema

from api.wire.bodies import parse_object
from api.wire.forms import UploadedFile
from orchestrator.domain.errors import InvalidField, Unsupported
from orchestrator.domain.request import ImageBytes, ImageFile, ImageSource
from orchestrator.intake.images import parse_image
from orchestrator.pictures.kinds import NAMES

_TEXT = {"type": "string", "description": f"An http(s) URL, a `data:` URI or base64: {NAMES}, at most 5 MB."}
_OBJECT = {
    "type": "object",
    "properties": {
        "image_url": _TEXT,
        "file_id": {"type": "string", "description": "A file uploaded before, with the purpose `vision`."},
    },
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}


PictureField = Annotated[Any, WithJsonSchema({"anyOf": [_TEXT, _OBJECT, {"type": "array", "maxItems": 1}]})]


def read_picture(value: object, param: str) -> ImageSource | None:
    """What a field says: a form's file, a text, an object of one of `image_url`, `url` and `file_id`, its JSON text, or
    a list of one of these; None for an empty one. Raises a `RequestError` about `param`.
    """
    match value:
        case None | "":
            return None
        case [] | Mapping() if not value:
            return None
        case UploadedFile(data=data):
            return ImageBytes(data)
        case str() if value.lstrip().startswith("{"):
            return _of_object(parse_object(value, param=param), param)
        case str():
            return parse_image(value, param)
        case [one]:
            return read_picture(one, param)
        case [_, *_]:
            raise Unsupported("must be one image: no model here ends at a given frame", param=param)
        case Mapping():
            return _of_object(value, param)
    raise InvalidField("must be an http or https URL, a data URI, base64, or an object with one of these", param=param)


def _of_object(given: Mapping[str, Any], param: str) -> ImageSource:
    said = {name: value for name, value in given.items() if value is not None}
    match said:
        case {"file_id": str(file_id)} if len(said) == 1:
            return ImageFile(file_id)
        case {"image_url": str(url)} | {"image_url": {"url": str(url)}} | {"url": str(url)} if len(said) == 1:
            return parse_image(url, param)
    raise InvalidField("must hold one of image_url and file_id, as text", param=param)
