"""What belongs to the caller: use, webhook endpoints, and the keys that manifests are signed with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cogmill_client.effects import Items, Request, Steps
from cogmill_client.exchange import answer_of, reads
from cogmill_client.models.base import Deleted
from cogmill_client.models.fleet import Fleet
from cogmill_client.models.usage import Usage, WasteUsage, WorkerUsage
from cogmill_client.models.webhooks import Endpoint, EndpointWithSecret, Jwks, WebhookSecret
from cogmill_client.paging import listed
from cogmill_client.urls import at, query

Moment = datetime | int | str


def usage(
    *,
    from_: Moment | None = None,
    to: Moment | None = None,
    by: Sequence[str] = (),
    campaign: str | None = None,
    tenant: str | None = None,
) -> Steps[Usage]:
    """What was used, told apart by any of campaign, model, outcome, hour, pool, kind and tenant.

    Texts are dates or times with their zone. `tenant` is for operators; `*` is everybody.
    """
    return answer_of(used("/v1/usage", from_, to, by, campaign, tenant), reads(Usage))


def usage_csv(
    *,
    from_: Moment | None = None,
    to: Moment | None = None,
    by: Sequence[str] = (),
    campaign: str | None = None,
    tenant: str | None = None,
) -> Steps[str]:
    """The same lines as CSV."""
    asked = used("/v1/usage", from_, to, by, campaign, tenant, ("format", "csv"))
    return answer_of(asked, lambda response: response.text)


def worker_usage(
    *, from_: Moment | None = None, to: Moment | None = None, by: Sequence[str] = ()
) -> Steps[WorkerUsage]:
    """What workers' hours went into, told apart by any of hour, pool and kind. For operators."""
    return answer_of(operated("/v1/usage/workers", from_, to, by), reads(WorkerUsage))


def worker_usage_csv(*, from_: Moment | None = None, to: Moment | None = None, by: Sequence[str] = ()) -> Steps[str]:
    """The same lines as CSV."""
    asked = operated("/v1/usage/workers", from_, to, by, ("format", "csv"))
    return answer_of(asked, lambda response: response.text)


def waste(*, from_: Moment | None = None, to: Moment | None = None, by: Sequence[str] = ()) -> Steps[WasteUsage]:
    """What GPU seconds came to nothing, by cause, and told apart by any of hour, pool and kind. For operators."""
    return answer_of(operated("/v1/usage/waste", from_, to, by), reads(WasteUsage))


def waste_csv(*, from_: Moment | None = None, to: Moment | None = None, by: Sequence[str] = ()) -> Steps[str]:
    """The same lines as CSV."""
    asked = operated("/v1/usage/waste", from_, to, by, ("format", "csv"))
    return answer_of(asked, lambda response: response.text)


def operated(url: str, from_: Moment | None, to: Moment | None, by: Sequence[str], *more: tuple[str, str]) -> Request:
    """What is told apart by hour, pool and kind."""
    words = by if isinstance(by, str) else ",".join(by)
    return Request(method="GET", url=url, query=(*query(from_=from_, to=to, by=words or None), *more))


def fleet() -> Steps[Fleet]:
    """Every kind of workers, how many there are and are wanted, why, and what was decided last. For operators."""
    return answer_of(Request(method="GET", url="/v1/fleet"), reads(Fleet))


def used(
    url: str,
    from_: Moment | None,
    to: Moment | None,
    by: Sequence[str],
    campaign: str | None,
    tenant: str | None,
    *more: tuple[str, str],
) -> Request:
    """What attempts have used, below one of the two addresses that tell it."""
    words = by if isinstance(by, str) else ",".join(by)
    asked = query(from_=from_, to=to, by=words or None, campaign=campaign, tenant=tenant)
    return Request(method="GET", url=url, query=(*asked, *more))


def jwks() -> Steps[Jwks]:
    """The public keys that manifests are signed with."""
    return answer_of(Request(method="GET", url="/.well-known/jwks.json", anonymous=True), reads(Jwks))


def secret() -> Steps[WebhookSecret]:
    """What signs the deliveries to a request's `webhook_url`."""
    return answer_of(Request(method="GET", url="/v1/webhook_secret"), reads(WebhookSecret))


def create_endpoint(*, name: str, url: str, event_types: Sequence[str]) -> Steps[EndpointWithSecret]:
    """Send events to a URL. The answer has the secret, for the only time."""
    fields = {"name": name, "url": url, "event_types": list(event_types)}
    # The server has no idempotency keys for these: sent twice, there would be two.
    request = Request(method="POST", url="/v1/webhook_endpoints", json=fields, repeatable=False)
    return answer_of(request, reads(EndpointWithSecret))


def list_endpoints(*, limit: int | None = None, after: str | None = None) -> Items[Endpoint]:
    """All endpoints, the newest first."""
    return listed("/v1/webhook_endpoints", Endpoint, limit=limit, after=after)


def delete_endpoint(endpoint_id: str) -> Steps[Deleted]:
    """Send nothing more to it."""
    return answer_of(Request(method="DELETE", url=at("/v1/webhook_endpoints/{}", endpoint_id)), reads(Deleted))
