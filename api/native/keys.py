"""`/v1/keys`, which is ours: a tenant's keys, made, replaced and revoked with one of them that has the scope `keys`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api import deps
from api.openai.errors import DOCS
from api.wire.bodies import Moment, Number, read_optional, typed
from api.wire.docs import Body, listed
from api.wire.paging import After, Identified, Limit, Listing
from api.wire.replies import reply, unix
from api.wire.routes import Router
from orchestrator.domain.callers import read_networks
from orchestrator.domain.rights import MAX_NETWORKS, Scope, read_scopes
from orchestrator.ports import ApiKey
from orchestrator.tenants.issuing import MAX_NAME_CHARS, MAX_OVERLAP_S, OVERLAP_S, Issued, Wanted

router = Router(tags=["keys"])

EXAMPLE: dict[str, JsonValue] = {
    "id": "cgm_7Qd2kLx0VbT9sYwE",
    "object": "key",
    "name": "nightly exports",
    "created_at": 1758941485,
    "expires_at": 1766717485,
    "revoked_at": None,
    "last_used_at": 1758945000,
    "scopes": ["read", "submit"],
    "allow": ["203.0.113.0/24"],
    "made_by": "cgm_Zk41mP0aQe8RtUv3",
    "replaced_by": None,
}
WHOLE: dict[str, JsonValue] = {
    **EXAMPLE,
    "last_used_at": None,
    "key": "cgm_7Qd2kLx0VbT9sYwE.pYv0hC3nXo5sJ8kR2tW7zB1dF4gH6jL9mN0qS3uV5wX2EYtnn",
}
# Nobody on the way keeps a secret.
HEADERS = {"cache-control": "no-store"}


class KeyObject(Identified):
    """A key, without its secret."""

    object: Literal["key"] = "key"
    name: str
    created_at: int
    expires_at: int | None = Field(description="From then on it is good for nothing.")
    revoked_at: int | None
    last_used_at: int | None = Field(description="Within a minute.")
    scopes: list[Scope]
    allow: list[str] = Field(description="Networks that it may be used from; none: from anywhere.")
    made_by: str | None = Field(
        description="The key that made it, or the person (`oidc:ISSUER#SUBJECT`); null where an operator did."
    )
    replaced_by: str | None = Field(description="The key that took its place.")


class KeyWithSecret(KeyObject):
    """The whole key is shown when it is made, and never again."""

    key: str


class KeyList(Listing[KeyObject]):
    """A page of keys, revoked and expired ones among them."""


class CreateKey(BaseModel):
    """What is left out is as with the key that makes it, which can give no more than it has."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field("", max_length=MAX_NAME_CHARS, description="What it is for.")
    scopes: list[str] | None = Field(
        None, min_length=1, max_length=len(Scope), description=f"Of: {', '.join(f'`{it}`' for it in Scope)}."
    )
    allow: list[str] | None = Field(
        None,
        min_length=1,
        max_length=MAX_NETWORKS,
        description="Networks in CIDR that it may be used from, or single addresses.",
    )
    expires_at: Moment | None = None


class RotateKey(BaseModel):
    """The new key may what the old one may, and goes by its name."""

    model_config = ConfigDict(extra="forbid")

    overlap_s: Annotated[Number, Field(ge=0, le=MAX_OVERLAP_S)] = Field(
        float(OVERLAP_S), description="For how many seconds the old key goes on beside the new one."
    )
    expires_at: Moment | None = Field(None, description="Of the new key; the old one's.")


class RevokeKey(BaseModel):
    model_config = ConfigDict(extra="forbid")

    descendants: bool = Field(False, description="Also what it made, and what that made.")


_CREATE = Body(
    fields=CreateKey,
    examples={
        "narrow": {
            "name": "nightly exports",
            "scopes": ["read", "submit"],
            "allow": ["203.0.113.0/24"],
            "expires_at": 4102444800,
        },
        "like its maker": {"name": "another"},
    },
    required=False,
)


@router.post(
    "/v1/keys",
    response_model=KeyWithSecret,
    summary="Make a key",
    **DOCS.route(Scope.KEYS, reads=_CREATE, sends=("cache-control",), example=WHOLE),
)
async def create_key(request: Request, by: deps.Key) -> Response:
    """A key of the same tenant, which may no more than the one that makes it. The answer holds it whole, once."""
    fields = typed(CreateKey, await read_optional(request))
    wanted = Wanted(
        scopes=None if fields.scopes is None else read_scopes(fields.scopes),
        allow=None if fields.allow is None else read_networks(fields.allow),
        expires_at=fields.expires_at,
    )
    return _told(await deps.services(request).keys.create(by, name=fields.name, wanted=wanted))


@router.get(
    "/v1/keys",
    response_model=KeyList,
    summary="List keys",
    **DOCS.route(Scope.KEYS, errors=(400, 404), example=listed(EXAMPLE)),
)
async def list_keys(request: Request, by: deps.Key, limit: Limit = 20, after: After = None) -> Response:
    """A page of the tenant's keys, newest first, without their secrets."""
    page = await deps.services(request).keys.list(by, limit=limit, after=after)
    return reply(KeyList.of([KeyObject(**shown(key)) for key in page.keys], has_more=page.has_more))


@router.get(
    "/v1/keys/{key_id}",
    response_model=KeyObject,
    summary="Retrieve a key",
    **DOCS.route(Scope.KEYS, errors=(404,), example=EXAMPLE),
)
async def retrieve_key(request: Request, key_id: str, by: deps.Key) -> Response:
    """What is known of a key. Its id is the part before the dot."""
    return reply(KeyObject(**shown(await deps.services(request).keys.get(by, key_id))))


@router.post(
    "/v1/keys/{key_id}/rotate",
    response_model=KeyWithSecret,
    summary="Replace a key",
    **DOCS.route(
        Scope.KEYS,
        reads=Body(fields=RotateKey, examples={"typical": {"overlap_s": 3600}, "default": {}}, required=False),
        errors=(404,),
        sends=("cache-control",),
        example=WHOLE,
    ),
)
async def rotate_key(request: Request, key_id: str, by: deps.Key) -> Response:
    """A new key in the place of this one, which goes on for a while. The answer holds the new one whole, once."""
    fields = typed(RotateKey, await read_optional(request))
    keys = deps.services(request).keys
    return _told(await keys.rotate(by, key_id, overlap_s=fields.overlap_s, expires_at=fields.expires_at))


@router.post(
    "/v1/keys/{key_id}/revoke",
    response_model=KeyObject,
    summary="Revoke a key",
    **DOCS.route(
        Scope.KEYS,
        reads=Body(fields=RevokeKey, examples={"typical": {"descendants": True}, "default": {}}, required=False),
        errors=(404,),
        example=EXAMPLE | {"revoked_at": 1758945600},
    ),
)
async def revoke_key(request: Request, key_id: str, by: deps.Key) -> Response:
    """End a key for good, on every replica within seconds; the one that asks, too."""
    fields = typed(RevokeKey, await read_optional(request))
    revoked = await deps.services(request).keys.revoke(by, key_id, descendants=fields.descendants)
    return reply(KeyObject(**shown(revoked)))


def _told(issued: Issued) -> Response:
    return reply(KeyWithSecret(**shown(issued.key), key=issued.whole), headers=HEADERS)


def shown(key: ApiKey) -> dict[str, Any]:
    """The fields of a key's object."""
    return {
        "id": key.id,
        "name": key.name,
        "created_at": unix(key.created_at),
        "expires_at": unix(key.rights.expires_at),
        "revoked_at": unix(key.revoked_at),
        "last_used_at": unix(key.last_used_at),
        "scopes": sorted(key.rights.scopes),
        "allow": [str(network) for network in key.rights.allow],
        "made_by": key.made_by,
        "replaced_by": key.replaced_by,
    }
