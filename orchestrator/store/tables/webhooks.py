"""Who hears of what has ended: the outbox, endpoints, and deliveries."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.store.tables.base import HOT, NOW, ZERO, Xid8, metadata, moment

# What the world should be told, until `deliveries` holds it. About a job, or about a batch or a campaign (`batch_id`).
outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("job_id", Uuid),
    Column("batch_id", Text),
    Column("tenant", Text, nullable=False),
    Column("event", Text, nullable=False),
    # The URL that the job's request named. Kept here, since the job itself may be swept before this is read.
    Column("webhook_url", Text),
    moment("at", nullable=False, server_default=NOW),
    # What its body says beside the subject.
    Column("detail", JSONB),
    # The trace of the job, the batch or the campaign.
    Column("trace", Text),
    CheckConstraint("num_nonnulls(job_id, batch_id) = 1", name="outbox_has_subject"),
)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("event_types", JSONB, nullable=False),
    Column("secret_generation", Integer, nullable=False, server_default=text("1")),
    moment("previous_secret_until"),
    # The generation of the master key that this secret follows from, and that of the one before.
    Column("master", Integer, nullable=False, server_default=text("1")),
    Column("previous_master", Integer),
    moment("created_at", nullable=False, server_default=NOW),
    moment("updated_at", nullable=False, server_default=NOW),
    # Its receiver said that it is gone for good.
    moment("disabled_at"),
)
Index("webhook_endpoints_of_tenant", webhook_endpoints.c.tenant, webhook_endpoints.c.id)

# One event for one URL. `event_id` is the `webhook-id`, the same on every try. Due by `next_at`; a try holds a lease,
# which also says at which host it is in flight.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    # None for a URL that a request named.
    Column("endpoint_id", Text),
    Column("url", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'pending'")),
    Column("attempts", Integer, nullable=False, server_default=ZERO),
    moment("created_at", nullable=False, server_default=NOW),
    moment("next_at", nullable=False, server_default=NOW),
    moment("give_up_at", nullable=False),
    Column("lease", Uuid),
    Column("lease_host", Text),
    moment("leased_until"),
    Column("last_status", Integer),
    Column("last_error", Text),
    moment("ended_at"),
    # Of what it tells about.
    Column("trace", Text),
    CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="deliveries_state"),
    CheckConstraint("(state = 'pending') = (ended_at IS NULL)", name="deliveries_ended"),
    CheckConstraint("num_nulls(lease, lease_host, leased_until) IN (0, 3)", name="deliveries_lease_is_whole"),
    CheckConstraint("attempts >= 0", name="deliveries_attempts"),
    postgresql_with=HOT,
)
# A lane of deliveries: those of one tenant to one host.
Index(
    "deliveries_due", deliveries.c.host, deliveries.c.tenant, deliveries.c.next_at,
    postgresql_where=text("state = 'pending'"), postgresql_include=["created_at"],
)  # fmt: skip
Index(
    "deliveries_in_flight", deliveries.c.lease_host, deliveries.c.tenant, postgresql_where=text("lease IS NOT NULL")
)  # fmt: skip
Index("deliveries_listing", deliveries.c.tenant, deliveries.c.id)
Index("deliveries_listing_by_state", deliveries.c.tenant, deliveries.c.state, deliveries.c.id)
Index(
    "deliveries_of_endpoint", deliveries.c.endpoint_id, deliveries.c.id,
    postgresql_where=text("endpoint_id IS NOT NULL"),
)  # fmt: skip
Index("deliveries_old", deliveries.c.ended_at, postgresql_where=text("ended_at IS NOT NULL"))

# What became of each try of a delivery, the last few: `delivery_attempts.py`. A trigger drops them with their delivery.
delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("delivery", Uuid, primary_key=True),
    # From 1, and on where it is sent again.
    Column("number", Integer, primary_key=True, autoincrement=False),
    # When it began.
    moment("at", nullable=False),
    Column("seconds", Double, nullable=False),
    # The receiver's, if it answered.
    Column("status", Integer),
    # Why it did not deliver.
    Column("error", Text),
    CheckConstraint("num_nonnulls(status, error) >= 1", name="delivery_attempts_met"),
)
