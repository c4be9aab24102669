"""`/.well-known/jwks.json`: the public keys that campaigns' manifests are signed with, for everybody."""

from __future__ import annotations

from typing import Literal

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, JsonValue

from api import deps
from api.dialects import DIALECTS
from api.wire.headers import sent_with
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.campaigns.signing import jwks_of

router = Router(tags=["operations"])

_EXAMPLE: JsonValue = {
    "keys": [
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
            "alg": "EdDSA",
            "use": "sig",
        }
    ]
}
# It changes with the master keys alone; whoever has an old one finds that the signature's id is not in it.
_HEADERS = {"cache-control": "public, max-age=300"}


class Jwk(BaseModel):
    """A public key (RFC 8037). Its id is its thumbprint (RFC 7638)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str
    alg: Literal["EdDSA"]
    use: Literal["sig"]


class JwkSet(BaseModel):
    """Public keys (RFC 7517)."""

    keys: list[Jwk]


@router.get(
    "/.well-known/jwks.json",
    response_model=JwkSet,
    summary="The public keys of manifests",
    responses=DIALECTS[0].docs.open_route()
    | {200: sent_with({"content": {"application/json": {"example": _EXAMPLE}}}, ["cache-control"])},
)
async def jwks(request: Request) -> Response:
    """What the signature of a campaign's manifest is checked with. Needs no key, and tells nothing of anybody."""
    return reply(JwkSet.model_validate(jwks_of(deps.services(request).masters())), headers=_HEADERS)
