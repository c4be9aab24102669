"""What every tenant has used, and what workers' hours went into, for administrators."""

from __future__ import annotations

from collections.abc import Sequence

from cogmill_client.effects import Steps
from cogmill_client.exchange import answer_of, reads
from cogmill_client.models.usage import Usage, WasteUsage, WorkerUsage
from cogmill_client.procedures.account import Moment, operated, used

_CSV = ("format", "csv")


def usage(
    *,
    from_: Moment | None = None,
    to: Moment | None = None,
    by: Sequence[str] = (),
    campaign: str | None = None,
    tenant: str | None = None,
) -> Steps[Usage]:
    """What a tenant has used, or everybody, told apart as one's own use is."""
    return answer_of(used("/v1/admin/usage", from_, to, by, campaign, tenant), reads(Usage))


def usage_csv(
    *,
    from_: Moment | None = None,
    to: Moment | None = None,
    by: Sequence[str] = (),
    campaign: str | None = None,
    tenant: str | None = None,
) -> Steps[str]:
    """The same lines as CSV."""
    asked = used("/v1/admin/usage", from_, to, by, campaign, tenant, _CSV)
    return answer_of(asked, lambda response: response.text)


def worker_usage(
    *, from_: Moment | None = None, to: Moment | None = None, by: Sequence[str] = ()
) -> Steps[WorkerUsage]:
    """What workers' hours went into, told apart by any of hour, pool and kind."""
    return answer_of(operated("/v1/admin/usage/workers", from_, to, by), reads(WorkerUsage))


def worker_usage_csv(*, from_: Moment | None = None, to: Moment | None = None, by: Sequence[str] = ()) -> Steps[str]:
    """The same lines as CSV."""
    asked = operated("/v1/admin/usage/workers", from_, to, by, _CSV)
    return answer_of(asked, lambda response: response.text)


def waste(*, from_: Moment | None = None, to: Moment | None = None, by: Sequence[str] = ()) -> Steps[WasteUsage]:
    """What GPU seconds came to nothing, by cause, and told apart by any of hour, pool and kind."""
    return answer_of(operated("/v1/admin/usage/waste", from_, to, by), reads(WasteUsage))


def waste_csv(*, from_: Moment | None = None, to: Moment | None = None, by: Sequence[str] = ()) -> Steps[str]:
    """The same lines as CSV."""
    asked = operated("/v1/admin/usage/waste", from_, to, by, _CSV)
    return answer_of(asked, lambda response: response.text)
