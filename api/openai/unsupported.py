"""What OpenAI's dialect has beside `/v1/videos` and no model here can do: refused in so many words.

These paths come before those with an id, which would take `edits` for one.
"""

from __future__ import annotations

from typing import NoReturn

from api import deps
from api.openai.errors import DOCS
from api.openai.schemas import OpenAIError
from api.wire.routes import Router
from orchestrator.domain.errors import Unsupported
from orchestrator.domain.rights import Scope

router = Router(tags=["openai"])

# No answer but the refusal: 400 takes the place of the success that FastAPI would document.
_REFUSED = DOCS.route(Scope.SUBMIT)


@router.post("/v1/videos/edits", status_code=400, response_model=OpenAIError, summary="Edit a video", **_REFUSED)
async def edit(tenant: deps.Tenant) -> NoReturn:
    """Refused: no model here edits a video. A remix renders another one with the same seed."""
    raise Unsupported("no model here edits videos; remix one instead")


@router.post("/v1/videos/extensions", status_code=400, response_model=OpenAIError, summary="Extend a video", **_REFUSED)
async def extend(tenant: deps.Tenant) -> NoReturn:
    """Refused: no model here extends a video. One may begin at the last frame of another, by `input_reference`."""
    raise Unsupported("no model here extends videos; begin one at the last frame of another by input_reference")


@router.post(
    "/v1/videos/characters", status_code=400, response_model=OpenAIError, summary="Create a character", **_REFUSED
)
async def create_character(tenant: deps.Tenant) -> NoReturn:
    """Refused: no model here keeps characters."""
    raise Unsupported("no model here keeps characters")


@router.get(
    "/v1/videos/characters/{character_id}",
    status_code=400,
    response_model=OpenAIError,
    summary="Retrieve a character",
    **DOCS.route(Scope.SUBMIT, errors=(404,)),
)
async def retrieve_character(character_id: str, tenant: deps.Tenant) -> NoReturn:
    """Refused: no model here keeps characters."""
    raise Unsupported("no model here keeps characters")
