"""What routes depend on: the services, and who asks, with what scope, and how much of the process a request takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse, Response
from starlette.types import Scope

from api.console import guard
from api.services import TURN_S, Services
from api.wire.holding import Held, held
from api.wire.scopes import scope_of
from orchestrator.domain import callers, rights
from orchestrator.domain.addresses import IPAddress
from orchestrator.domain.audit import Actor
from orchestrator.domain.errors import (
    AddressRefused,
    ForgedRequest,
    InvalidField,
    LimitExceeded,
    NoAccess,
    NotFound,
    Unauthenticated,
)
from orchestrator.domain.job import Artifact
from orchestrator.ports import ApiKey
from orchestrator.telemetry import acting
from orchestrator.tenants import keys
from orchestrator.tenants.turns import Turns


def services(request: Request) -> Services:
    opened: Services = request.app.state.services
    return opened


async def refuse_nul(request: Request) -> None:
    """Refuse what no text column can hold, by the name of its parameter, wherever it would have gone.

    It awaits nothing. But FastAPI would hand it to a thread otherwise, and every request would wait for that.
    """
    for name, value in request.query_params.multi_items():
        if "\x00" in name + value:
            raise InvalidField("must not hold a NUL", param=name.replace("\x00", ""))
    for name, value in request.path_params.items():
        if "\x00" in str(value):
            raise NotFound(f"there is no such {name}", param=name)


def address_of(request: Request) -> IPAddress | None:
    """Where the request comes from, as far as proxies are to be believed; None where nobody knows."""
    peer = None if request.client is None else request.client.host
    trusted = services(request).settings.api.trusted_proxies
    return callers.address_of(peer, request.headers.getlist("x-forwarded-for") if trusted else (), trusted)


def actor_of(key: ApiKey, address: IPAddress | None, request_id: str) -> Actor:
    """Who acts with a key, for the audit log."""
    where = None if address is None else str(address)
    return Actor(name=id_of(key), key=key.id, tenant=key.tenant, address=where, request_id=request_id)


def id_of(key: ApiKey) -> str:
    """Who acts with a key, for machines: `key:ID`, or the person, whose id has its own prefix."""
    return f"key:{key.id}" if key.person is None else key.id


def name_of(key: ApiKey) -> str:
    """The same in words for people, which are kept beside what was done."""
    return f"{key.tenant}/{key.name} (key {key.id})" if key.person is None else f"{key.tenant} ({key.id})"


# Why a key, or a person, that is known may not come in.
_REASONS: dict[type[Exception], str] = {AddressRefused: "address", NoAccess: "no_access", ForgedRequest: "csrf"}


async def _key(request: Request) -> ApiKey:
    mine = held(request)
    if mine.key is None:
        mine.key = await _found(request)
    return mine.key


async def _found(request: Request) -> ApiKey:
    opened = services(request)
    authorization = request.headers.get("authorization")
    request.state.address = address = address_of(request)
    with noting_refusals(request, authorization):
        # A header comes first: who sends one means it, and a browser sends its cookie whether or not anybody means it.
        if authorization is None and (cookie := guard.session_cookie(request)) is not None:
            key = (await guard.opened(request, opened.sessions, cookie, address)).key
        else:
            key = await opened.keyring.key(authorization, address)
    await let_in(request, key)
    rights.need(key.rights, scope_of(request.scope["route"].openapi_extra))
    return key


@contextmanager
def noting_refusals(request: Request, authorization: str | None) -> Iterator[None]:
    """Whoever is not let in here is counted."""
    try:
        yield
    except (Unauthenticated, AddressRefused, NoAccess, ForgedRequest) as error:
        reason = error.reason if isinstance(error, Unauthenticated) else _REASONS[type(error)]
        refusals, claimed = services(request).refusals, keys.claimed_id(authorization)
        refusals.unauthenticated(reason, request.state.address, claimed, request.state.request_id)
        raise


async def let_in(request: Request, key: ApiKey) -> None:
    """From here on it is this key that asks. Raises `LimitExceeded` or `Crowded`."""
    request.state.key = key
    acting.act_as(actor_of(key, request.state.address, request.state.request_id))
    await _admit(request, key.tenant)


def key_of(request: Request) -> ApiKey:
    """The key of a request whose route asked for it, for what goes on behind the answer."""
    key = held(request).key
    assert key is not None  # or the route was not begun
    return key


# These call each other, and do not depend on each other: FastAPI resolves each dependency at some 5% of a submit.
async def _tenant(request: Request) -> str:
    return (await _key(request)).tenant


async def _admit(request: Request, tenant: str) -> None:
    """Raises `LimitExceeded` or `Crowded`. An event stream leaves the room again, and has its own bounds."""
    opened = services(request)
    await opened.rates.admit(tenant)
    mine = held(request)
    mine.tenant = tenant
    mine.take(opened.rooms.requests)


def hold_body(scope: Scope, size: int) -> None:
    """A piece of a body has come. Bodies are read once a key is known, so those without one hold nothing."""
    mine: Held = scope["state"]["held"]
    if mine.tenant and size:
        mine.receive_body(scope["app"].state.services.rooms.bodies, size)


# The key of a request, found before anything else of the request is read, with the scope that its route names; and the
# tenant of that key. Every route that asks for one of them counts as one of the tenant's requests per second.
Key = Annotated[ApiKey, Depends(_key)]
Tenant = Annotated[str, Depends(_tenant)]


async def _large_body_turn(request: Request) -> AsyncIterator[None]:
    """A turn, and memory, for a body that may carry a picture, from before it is read until it is answered."""
    opened, tenant = services(request), await _tenant(request)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) <= opened.settings.api.max_body_bytes:
        yield
        return
    async with _turn(opened.large_bodies, tenant):
        if announced.isdecimal():
            await held(request).expect_body(opened.rooms.bodies, int(announced), within_s=TURN_S)
        yield


async def _upload_turn(request: Request) -> AsyncIterator[None]:
    async with _turn(services(request).uploads, await _tenant(request)):
        yield


@asynccontextmanager
async def _turn(turns: Turns, tenant: str) -> AsyncIterator[None]:
    """One of the tenant's turns. Raises `LimitExceeded` when none comes in time."""
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(turns.of(tenant))
        except TimeoutError:
            message = "too many large bodies are being sent at once"
            raise LimitExceeded(message, limit="large_bodies", retry_after_s=TURN_S) from None
        yield


# One tenant's large bodies take neither the memory nor the disk that all tenants share.
LARGE_BODY_TURN = Depends(_large_body_turn)
UPLOAD_TURN = Depends(_upload_turn)


async def redirect(opened: Services, artifact: Artifact, filename: str) -> Response:
    """Leads to the object itself, by a URL that opens for a while without a key."""
    url = await opened.downloads.sign(artifact, lifetime_s=opened.settings.s3.url_lifetime_s, filename=filename)
    return RedirectResponse(url, 302, {"cache-control": "no-store"})
