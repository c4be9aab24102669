"""Who may ask for videos, for how many; and the one row that names this deployment."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)

from orchestrator.store.tables.base import NOW, metadata, moment

tenants = Table(
    "tenants",
    metadata,
    Column("name", Text, primary_key=True),
    Column("weight", Double, nullable=False, server_default=text("1")),
    # Limits; null means the configuration's default, infinity that there is none.
    Column("requests_per_s", Double),
    Column("queued", Double),
    Column("running", Double),
    Column("gpu_seconds_per_day", Double),
    Column("largest_request", Double),
    # The least priority number that it may ask for.
    Column("most_urgent", SmallInteger),
    # Its quotas, as above.
    Column("open_batches", Double),
    Column("open_campaigns", Double),
    Column("waiting_rows", Double),
    Column("row_bytes", Double),
    Column("files", Double),
    Column("stored_bytes", Double),
    Column("webhook_endpoints", Double),
    Column("event_streams", Double),
    # Which of the secrets derived from the master key signs the deliveries to URLs that requests name.
    Column("secret_generation", Integer, nullable=False, server_default=text("1")),
    moment("previous_secret_until"),
    # The generation of the master key that this secret follows from, and that of the one before; null while nobody has
    # been shown it. Rows that the release before makes are of the first.
    Column("master", Integer, server_default=text("1")),
    Column("previous_master", Integer),
    moment("created_at", nullable=False, server_default=NOW),
    CheckConstraint("weight > 0", name="tenants_weight"),
    CheckConstraint(
        "requests_per_s > 0 AND queued >= 0 AND running >= 0 AND gpu_seconds_per_day >= 0 AND largest_request > 0",
        name="tenants_limits",
    ),
    CheckConstraint("most_urgent BETWEEN 0 AND 100", name="tenants_most_urgent"),
    CheckConstraint(
        "open_batches >= 0 AND open_campaigns >= 0 AND waiting_rows >= 0 AND row_bytes >= 0 AND files >= 0 "
        "AND stored_bytes >= 0 AND webhook_endpoints >= 0 AND event_streams >= 0",
        name="tenants_quotas",
    ),
)
# Whether there is any such tenant is asked by every claim.
Index("tenants_capped", tenants.c.name, postgresql_where=text("running IS NOT NULL"))

# What a tenant has of one pool, beside its limits over all.
shares = Table(
    "shares",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("pool", Text, nullable=False),
    # Workers that it gets when it wants them, lent while it does not.
    Column("guaranteed", Integer, nullable=False, server_default=text("0")),
    # Jobs that it may run here at once; null is as many as it may over all pools.
    Column("running", Integer),
    PrimaryKeyConstraint("tenant", "pool"),
    CheckConstraint("guaranteed >= 0 AND running >= 0 AND guaranteed <= running", name="shares_ranges"),
)
# Whether there is any is asked by every claim.
Index("shares_pool", shares.c.pool)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    moment("created_at", nullable=False, server_default=NOW),
    moment("revoked_at"),
    # May also see and do what concerns every tenant. The release before knows no scopes, and makes keys by this alone.
    Column("operator", Boolean, nullable=False, server_default=text("false")),
    # What it may do; null: the usual scopes, and what `operator` says.
    Column("scopes", ARRAY(Text)),
    # Networks in CIDR that it may be used from; none: from anywhere.
    Column("allow", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    moment("expires_at"),
    # Written now and then, by each API process for all keys at once.
    moment("last_used_at"),
    # Ids of keys: the one that made it, and the one that took its place.
    Column("made_by", Text),
    Column("replaced_by", Text),
    # The generation of the master key that its secret follows from.
    Column("master", Integer, nullable=False, server_default=text("1")),
)
Index("keys_tenant", keys.c.tenant)
Index("keys_made_by", keys.c.made_by, postgresql_where=text("made_by IS NOT NULL"))

deployment = Table(
    "deployment",
    metadata,
    # The primary key of a table that can have one row only.
    Column("singleton", Boolean, primary_key=True, server_default=text("true")),
    Column("id", Text, nullable=False),
    moment("created_at", nullable=False, server_default=NOW),
    CheckConstraint("singleton", name="deployment_is_one"),
)
