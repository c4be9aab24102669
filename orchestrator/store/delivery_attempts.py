"""The attempts of webhook deliveries, read: the last few of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from sqlalchemy import text

from orchestrator.ports import DeliveryAttempt, WebhookDelivery
from orchestrator.store.engine import Database

# So many of a delivery are kept, the last: before it is given up it has some 28, by the pauses that are usual.
MOST_ATTEMPTS = 32
# And of why there was no good answer so many characters.
MOST_CHARS = 300

_ATTEMPTS = text("""
    SELECT a.delivery, a.number, a.at, a.seconds, a.status, a.error
    FROM unnest(CAST(:tenants AS text[]), CAST(:ids AS uuid[])) AS d(tenant, id)
    JOIN delivery_attempts AS a ON a.tenant = d.tenant AND a.delivery = d.id
    ORDER BY a.delivery, a.number
""")


async def with_attempts(database: Database, deliveries: Sequence[WebhookDelivery]) -> list[WebhookDelivery]:
    """The same deliveries, with what is kept of their attempts."""
    if not deliveries:
        return []
    which = {"tenants": [each.tenant for each in deliveries], "ids": [each.id for each in deliveries]}
    found = await database.fetch(_ATTEMPTS, which)
    made = {
        delivery: [
            DeliveryAttempt(number=row.number, at=row.at, seconds=row.seconds, status=row.status, error=row.error)
            for row in rows
        ]
        for delivery, rows in groupby(found, key=lambda row: row.delivery)
    }
    return [replace(each, attempts_made=made.get(each.id, [])) for each in deliveries]
