"""`/v1/admin/audit`: who did what to the deployment."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import Field, JsonValue

from api import deps
from api.openai.errors import DOCS
from api.wire.docs import listed
from api.wire.paging import After, Identified, Limit, Listing
from api.wire.replies import reply, unix
from api.wire.routes import Router
from orchestrator.domain.audit_chain import Entry
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.rights import Scope
from orchestrator.ports.audit import AuditFilter
from orchestrator.tenants.ledger import read_moment

router = Router(tags=["administration"])

_LARGEST_ID = 2**63 - 1
# No more digits than that one has: Python refuses to read thousands, and zeros before it name no other entry.
_ID = re.compile(r"audit_([0-9]{1,19})")
_TIME = "Unix seconds, a date, or a time with its zone."

_EXAMPLE: dict[str, JsonValue] = {
    "id": "audit_4812",
    "object": "audit.entry",
    "at": 1758941485,
    "action": "tenant.limits",
    "outcome": "done",
    "actor": "key:cgm_Zk41mP0aQe8RtUv3",
    "actor_tenant": "platform",
    "address": "203.0.113.9",
    "request_id": "0f6c2b1d7e5a4c3f9b8a7d6e5c4b3a29",
    "tenant": "acme",
    "subject": "tenant:acme",
    "before": {"queued": 5},
    "after": {"queued": 50},
    "erased": [],
    "seal": 311,
}


class AuditEntry(Identified):
    """What was done, or refused, and by whom. A value is null where there is none, or where it was erased."""

    object: Literal["audit.entry"] = "audit.entry"
    at: int
    action: str
    outcome: str
    actor: str | None = Field(
        description="`key:ID`, `oidc:ISSUER#SUBJECT`, `cli:USER@HOST`, `service:NAME` or `nobody`."
    )
    actor_tenant: str | None = Field(description="Whose key it was.")
    address: str | None
    request_id: str | None
    tenant: str | None = Field(description="Whose it was done to; null: the deployment's.")
    subject: str | None = Field(description="What it was done to: `key:ID`, `tenant:NAME`, `pool:NAME`.")
    before: dict[str, Any] | None = Field(description="What has changed, as it was.")
    after: dict[str, Any] | None = Field(description="What has changed, as it is.")
    erased: list[str] = Field(description="Values that an erasure has taken.")
    seal: int | None = Field(description="The seal that covers it; null: it waits for one.")


class AuditList(Listing[AuditEntry]):
    """A page of entries, the newest first."""


@router.get(
    "/v1/admin/audit",
    response_model=AuditList,
    summary="List what administrators did",
    **DOCS.route(Scope.VIEW, errors=(400,), example=listed(_EXAMPLE)),
)
async def list_entries(
    request: Request,
    viewer: deps.Key,
    limit: Limit = 20,
    after: After = None,
    actor: Annotated[str | None, Query(description="As an entry names it.")] = None,
    action: Annotated[str | None, Query(description="As an entry names it, such as `key.create`.")] = None,
    tenant: Annotated[str | None, Query(description="What was done to it, and by its keys.")] = None,
    subject: Annotated[str | None, Query(description="As an entry names it.")] = None,
    since: Annotated[str | None, Query(alias="from", description=_TIME)] = None,
    until: Annotated[str | None, Query(alias="to", description=f"{_TIME} It is not in it.")] = None,
) -> Response:
    """A page of the audit log, of all tenants."""
    begins, ends = read_moment(since, "from"), read_moment(until, "to")
    wanted = AuditFilter(actor=actor, action=action, tenant=tenant, object=subject, since=begins, until=ends)
    page = await deps.services(request).store.page_audit(wanted, limit=limit, after=_number(after))
    return reply(AuditList.of([_shown(entry) for entry in page.entries], has_more=page.has_more))


def _number(after: str | None) -> int | None:
    """The entry behind a public id. Raises `InvalidField`."""
    if after is None:
        return None
    found = _ID.fullmatch(after)
    if found is None or int(found[1]) > _LARGEST_ID:
        raise InvalidField("is no entry's id", param="after")
    return int(found[1])


def _shown(entry: Entry) -> AuditEntry:
    values = entry.values
    return AuditEntry(
        id=f"audit_{entry.id}",
        at=unix(entry.at),
        action=entry.action,
        outcome=entry.outcome,
        actor=values.get("actor"),
        actor_tenant=values.get("actor_tenant"),
        address=values.get("address"),
        request_id=values.get("request_id"),
        tenant=values.get("tenant"),
        subject=values.get("object"),
        before=entry.before,
        after=entry.after,
        erased=sorted(entry.erased),
        seal=entry.seal,
    )
