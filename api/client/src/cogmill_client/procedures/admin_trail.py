"""The audit log, and the erasure of tenants, for administrators."""

from __future__ import annotations

from cogmill_client.effects import Items, Request, Steps
from cogmill_client.exchange import answer_of, reads
from cogmill_client.models.admin import AuditEntry, Erasure
from cogmill_client.paging import listed
from cogmill_client.urls import at, query


def audit(
    *,
    actor: str | None = None,
    action: str | None = None,
    tenant: str | None = None,
    subject: str | None = None,
    from_: str | None = None,
    to: str | None = None,
    limit: int | None = None,
    after: str | None = None,
) -> Items[AuditEntry]:
    """What administrators have done, the newest first. `from_` and `to` are ISO 8601; `to` is not in it."""
    asked = query(actor=actor, action=action, tenant=tenant, subject=subject, from_=from_, to=to)
    return listed("/v1/admin/audit", AuditEntry, asked, limit=limit, after=after)


def erase_tenant(tenant: str, *, keep_usage: bool = False) -> Steps[Erasure]:
    """Close a tenant at once, stop its renders, and erase all that is kept of it; asked again, how far that is."""
    fields = {"confirm": tenant, "keep_usage": keep_usage}
    return answer_of(
        Request(method="POST", url=at("/v1/admin/tenants/{}/erasure", tenant), json=fields), reads(Erasure)
    )


def erasures(*, limit: int | None = None, after: str | None = None) -> Items[Erasure]:
    """Erasures of tenants, the newest first."""
    return listed("/v1/admin/erasures", Erasure, (), limit=limit, after=after)


def erasure(erasure_id: str) -> Steps[Erasure]:
    """How far one is, and what it waits for."""
    return answer_of(Request(method="GET", url=at("/v1/admin/erasures/{}", erasure_id)), reads(Erasure))


def receipt(erasure_id: str) -> Steps[bytes]:
    """What was erased and what remains, signed: the very bytes, for `cogmill receipts verify`."""
    request = Request(method="GET", url=at("/v1/admin/erasures/{}/receipt", erasure_id))
    return answer_of(request, lambda response: response.content)
