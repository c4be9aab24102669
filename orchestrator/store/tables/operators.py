"""What operators hold up and look into: paused pools, and what was parked since it broke the loop that met it."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, PrimaryKeyConstraint, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.store.tables.base import NOW, metadata, moment

# The last pause of each pool, and of `*`, which is all of them. Of a pool no claim is made while its own stands, or
# that of all.
pauses = Table(
    "pauses",
    metadata,
    Column("pool", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("paused_by", Text, nullable=False),
    moment("paused_at", nullable=False, server_default=NOW),
    Column("resumed_by", Text),
    moment("resumed_at"),
    CheckConstraint("(resumed_by IS NULL) = (resumed_at IS NULL)", name="pauses_resumed"),
)

# A batch that rests until it is resumed, or a row of the outbox that was taken out of its way, which `detail` keeps.
parked = Table(
    "parked",
    metadata,
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
    moment("at", nullable=False, server_default=NOW),
    PrimaryKeyConstraint("kind", "subject"),
    CheckConstraint("kind IN ('batch', 'event')", name="parked_kind"),
)
