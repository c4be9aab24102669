"""What operators hold up and look into: paused pools, and what was parked since it broke the loop that met it."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, PrimaryKeyConstraint, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.store.tables.base import NOW, metadata, moment

# No claim is made of a pool that has a row here, or while `*` has one, which is every pool.
pauses = Table(
    "pauses",
    metadata,
    Column("pool", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("paused_by", Text, nullable=False),
    moment("paused_at", nullable=False, server_default=NOW),
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
