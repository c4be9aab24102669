"""`/v1/webhook_endpoints` as OpenAI has it; `/v1/webhook_deliveries` and `/v1/webhook_secret`, which are ours."""

from __future__ import annotations

from typing import Annotated, TypeVar

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, JsonValue

from api import deps
from api.native import webhook_schemas as schemas
from api.openai.errors import DOCS
from api.wire.bodies import read_json, read_optional, typed
from api.wire.docs import Body, listed
from api.wire.paging import After, Limit
from api.wire.replies import reply, unix
from api.wire.routes import Router
from orchestrator import ports
from orchestrator.domain import jsontext
from orchestrator.domain.rights import Scope
from orchestrator.domain.webhooks import DeliveryState, EventType
from orchestrator.notify.subscriptions import Signed, delivery_id_of

Fields = TypeVar("Fields", bound=BaseModel)


def _reads(fields: type[BaseModel], example: JsonValue, *, required: bool = True) -> Body:
    return Body(fields=fields, examples={"typical": example}, required=required)


router = Router(tags=["webhooks"])


# ---------------------------------------------------------------- endpoints


@router.post(
    "/v1/webhook_endpoints",
    response_model=schemas.EndpointWithSecret,
    **DOCS.route(
        Scope.WEBHOOKS, example=schemas.WITH_SECRET_EXAMPLE, reads=_reads(schemas.CreateEndpoint, schemas.NEW_EXAMPLE)
    ),
)
async def create_endpoint(request: Request, tenant: deps.Tenant) -> Response:
    """Send events to a URL. The answer holds the signing secret, whole, for the only time."""
    fields = typed(schemas.CreateEndpoint, await read_json(request))
    made = await deps.services(request).webhooks.create(
        tenant, name=fields.name, url=fields.url, event_types=fields.event_types
    )
    return reply(_with_secret(made))


@router.get(
    "/v1/webhook_endpoints",
    response_model=schemas.EndpointList,
    **DOCS.route(Scope.WEBHOOKS, example=listed(schemas.ENDPOINT_EXAMPLE), errors=(400, 404)),
)
async def list_endpoints(request: Request, tenant: deps.Tenant, limit: Limit = 20, after: After = None) -> Response:
    """A page of the tenant's endpoints, newest first."""
    webhooks = deps.services(request).webhooks
    page = await webhooks.list(tenant, limit=limit, after=after)
    data = [_endpoint(endpoint, webhooks.shown_of(endpoint)) for endpoint in page.endpoints]
    return reply(schemas.EndpointList.of(data, has_more=page.has_more))


@router.get(
    "/v1/webhook_endpoints/{endpoint_id}",
    response_model=schemas.Endpoint,
    **DOCS.route(Scope.WEBHOOKS, example=schemas.ENDPOINT_EXAMPLE, errors=(404,)),
)
async def retrieve_endpoint(request: Request, endpoint_id: str, tenant: deps.Tenant) -> Response:
    """An endpoint, with no more of its secret than a hint."""
    webhooks = deps.services(request).webhooks
    endpoint = await webhooks.get(tenant, endpoint_id)
    return reply(_endpoint(endpoint, webhooks.shown_of(endpoint)))


@router.post(
    "/v1/webhook_endpoints/{endpoint_id}",
    response_model=schemas.Endpoint,
    **DOCS.route(
        Scope.WEBHOOKS,
        example=schemas.ENDPOINT_EXAMPLE,
        reads=_reads(schemas.UpdateEndpoint, schemas.NEW_EXAMPLE),
        errors=(404,),
    ),
)
async def update_endpoint(request: Request, endpoint_id: str, tenant: deps.Tenant) -> Response:
    """Change an endpoint, and enable it if it was disabled. What is still to be delivered goes to its new URL."""
    fields = typed(schemas.UpdateEndpoint, await read_json(request))
    webhooks = deps.services(request).webhooks
    endpoint = await webhooks.update(
        tenant, endpoint_id, name=fields.name, url=fields.url, event_types=fields.event_types
    )
    return reply(_endpoint(endpoint, webhooks.shown_of(endpoint)))


@router.delete(
    "/v1/webhook_endpoints/{endpoint_id}",
    response_model=schemas.DeletedEndpoint,
    **DOCS.route(
        Scope.WEBHOOKS,
        example={"id": schemas.ENDPOINT_EXAMPLE["id"], "object": "webhook_endpoint.deleted", "deleted": True},
        errors=(404,),
    ),
)
async def delete_endpoint(request: Request, endpoint_id: str, tenant: deps.Tenant) -> Response:
    """Send nothing more to an endpoint; what is still to be delivered to it fails."""
    await deps.services(request).webhooks.delete(tenant, endpoint_id)
    return reply(schemas.DeletedEndpoint(id=endpoint_id))


@router.post(
    "/v1/webhook_endpoints/{endpoint_id}/disable",
    response_model=schemas.Endpoint,
    **DOCS.route(Scope.WEBHOOKS, example={**schemas.ENDPOINT_EXAMPLE, "disabled_at": 1758942000}, errors=(404,)),
)
async def disable_endpoint(request: Request, endpoint_id: str, tenant: deps.Tenant) -> Response:
    """Send nothing more to an endpoint until it is updated; what is still to be delivered to it fails."""
    webhooks = deps.services(request).webhooks
    endpoint = await webhooks.disable(tenant, endpoint_id)
    return reply(_endpoint(endpoint, webhooks.shown_of(endpoint)))


@router.post(
    "/v1/webhook_endpoints/{endpoint_id}/rotate_secret",
    response_model=schemas.EndpointWithSecret,
    **DOCS.route(
        Scope.WEBHOOKS,
        example=schemas.WITH_SECRET_EXAMPLE,
        reads=_reads(schemas.RotateSecret, {}, required=False),
        errors=(404,),
    ),
)
async def rotate_endpoint_secret(request: Request, endpoint_id: str, tenant: deps.Tenant) -> Response:
    """A new secret. Unless told otherwise, the old one signs beside it for a while."""
    fields = typed(schemas.RotateSecret, await read_optional(request))
    overlap = fields.keep_old_secret_active_for_24_hours
    return reply(_with_secret(await deps.services(request).webhooks.rotate(tenant, endpoint_id, overlap=overlap)))


@router.post(
    "/v1/webhook_endpoints/{endpoint_id}/test",
    response_model=schemas.EndpointTest,
    **DOCS.route(
        Scope.WEBHOOKS,
        example={
            "object": "webhook_endpoint.test",
            "webhook_endpoint_id": schemas.ENDPOINT_EXAMPLE["id"],
            "event_type": "video.completed",
            "status_code": 200,
            "success": True,
        },
        reads=_reads(schemas.SendTest, {"event_type": "video.completed"}),
        errors=(404,),
    ),
)
async def test_endpoint(request: Request, endpoint_id: str, tenant: deps.Tenant) -> Response:
    """Send a sample event, once, and wait for the receiver's answer."""
    fields = typed(schemas.SendTest, await read_json(request))
    status = await deps.services(request).webhooks.test(tenant, endpoint_id, fields.event_type)
    return reply(
        schemas.EndpointTest(webhook_endpoint_id=endpoint_id, event_type=fields.event_type, status_code=status)
    )


@router.get(
    "/v1/webhook_event_types",
    response_model=schemas.EventTypeList,
    **DOCS.route(Scope.WEBHOOKS, example={"object": "list", "data": [str(name) for name in EventType]}),
)
async def list_event_types(tenant: deps.Tenant) -> Response:
    """Every event that an endpoint may hear of."""
    return reply(schemas.EventTypeList(data=list(EventType)))


# ---------------------------------------------------------------- the secret of URLs that requests name


@router.get(
    "/v1/webhook_secret",
    response_model=schemas.WebhookSecret,
    **DOCS.route(Scope.WEBHOOKS, example={"object": "webhook_secret", "signing_secret": schemas.SECRET_EXAMPLE}),
)
async def retrieve_secret(request: Request, tenant: deps.Tenant) -> Response:
    """The secret that signs deliveries to a request's `webhook_url`."""
    return reply(schemas.WebhookSecret(signing_secret=await deps.services(request).webhooks.tenant_secret(tenant)))


@router.post(
    "/v1/webhook_secret/rotate",
    response_model=schemas.WebhookSecret,
    **DOCS.route(
        Scope.WEBHOOKS,
        example={"object": "webhook_secret", "signing_secret": schemas.SECRET_EXAMPLE},
        reads=_reads(schemas.RotateSecret, {}, required=False),
    ),
)
async def rotate_secret(request: Request, tenant: deps.Tenant) -> Response:
    """A new secret for them. Unless told otherwise, the old one signs beside it for a while."""
    fields = typed(schemas.RotateSecret, await read_optional(request))
    overlap = fields.keep_old_secret_active_for_24_hours
    secret = await deps.services(request).webhooks.rotate_tenant(tenant, overlap=overlap)
    return reply(schemas.WebhookSecret(signing_secret=secret))


# ---------------------------------------------------------------- deliveries


@router.get(
    "/v1/webhook_deliveries",
    response_model=schemas.DeliveryList,
    **DOCS.route(Scope.WEBHOOKS, example=listed(schemas.DELIVERY_EXAMPLE), errors=(400, 404)),
)
async def list_deliveries(
    request: Request,
    tenant: deps.Tenant,
    limit: Limit = 20,
    after: After = None,
    state: Annotated[DeliveryState | None, Query(description="Only deliveries that stand so.")] = None,
    endpoint: Annotated[str | None, Query(description="An endpoint's id.")] = None,
) -> Response:
    """A page of the tenant's deliveries, newest first."""
    page = await deps.services(request).webhooks.deliveries(
        tenant, limit=limit, after=after, state=state, endpoint_id=endpoint
    )
    data = [delivery_of(delivery) for delivery in page.deliveries]
    return reply(schemas.DeliveryList.of(data, has_more=page.has_more))


@router.get(
    "/v1/webhook_deliveries/{delivery_id}",
    response_model=schemas.DeliveryObject,
    **DOCS.route(Scope.WEBHOOKS, example=schemas.DELIVERY_EXAMPLE, errors=(404,)),
)
async def retrieve_delivery(request: Request, delivery_id: str, tenant: deps.Tenant) -> Response:
    """A delivery, with what became of each of its last tries."""
    return reply(delivery_of(await deps.services(request).webhooks.delivery(tenant, delivery_id)))


@router.post(
    "/v1/webhook_deliveries/{delivery_id}/resend",
    response_model=schemas.DeliveryObject,
    **DOCS.route(Scope.WEBHOOKS, example=schemas.DELIVERY_EXAMPLE, errors=(400, 404)),
)
async def resend_delivery(request: Request, delivery_id: str, tenant: deps.Tenant) -> Response:
    """Send an event again, now, delivered or not; to an endpoint at the URL that it has by now."""
    return reply(delivery_of(await deps.services(request).webhooks.resend(tenant, delivery_id)))


# ---------------------------------------------------------------- translation


def _endpoint(endpoint: ports.Endpoint, secret: str) -> schemas.Endpoint:
    return schemas.Endpoint(
        id=endpoint.id,
        created_at=unix(endpoint.created_at),
        updated_at=unix(endpoint.updated_at),
        name=endpoint.name,
        url=endpoint.url,
        event_types=list(endpoint.event_types),
        signing_secret_hint=f"{secret[:10]}...",
        disabled_at=unix(endpoint.disabled_at),
    )


def _with_secret(made: Signed) -> schemas.EndpointWithSecret:
    shown = _endpoint(made.endpoint, made.secret)
    return schemas.EndpointWithSecret(**shown.model_dump(), signing_secret=made.secret)


def delivery_of(delivery: ports.WebhookDelivery) -> schemas.DeliveryObject:
    """A delivery as its tenant reads it."""
    return schemas.DeliveryObject(
        id=delivery_id_of(delivery),
        created_at=unix(delivery.created_at),
        state=delivery.state,
        endpoint=delivery.endpoint_id,
        url=delivery.url,
        event=jsontext.parse(delivery.body),
        attempts=delivery.attempts,
        next_attempt_at=unix(delivery.next_at) if delivery.state is DeliveryState.PENDING else None,
        ended_at=unix(delivery.ended_at),
        last_status=delivery.last_status,
        last_error=delivery.last_error,
        attempts_made=[
            schemas.DeliveryAttempt(
                number=each.number,
                at=unix(each.at),
                seconds=round(each.seconds, 3),
                status=each.status,
                error=each.error,
            )
            for each in delivery.attempts_made
        ],
    )
