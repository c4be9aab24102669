"""What operators hold up, ask for and look into: pauses, orders to workers, quarantines, dead letters, time."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Double, Index, PrimaryKeyConstraint, Table, Text, Uuid
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
    CheckConstraint("kind IN ('batch', 'campaign', 'event')", name="parked_kind"),
)

# Seconds of workers, of all clusters, in each hour of UTC.
worker_time = Table(
    "worker_time",
    metadata,
    moment("hour", nullable=False),
    Column("pool", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("spell", Text, nullable=False),
    Column("seconds", Double, nullable=False),
    PrimaryKeyConstraint("hour", "pool", "kind", "spell"),
    CheckConstraint("spell IN ('busy', 'idle', 'loading', 'broken')", name="worker_time_spell"),
    CheckConstraint("seconds >= 0", name="worker_time_seconds"),
)

# What stands for single workers (`domain/orders.py`): written by administrators, deleted once it is carried out.
worker_orders = Table(
    "worker_orders",
    metadata,
    Column("cluster", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("pool", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("incarnation", Text, nullable=False),
    # Seconds that what it renders may go on for; null is to its end.
    Column("within_s", Double),
    Column("asked_by", Text, nullable=False),
    moment("asked_at", nullable=False, server_default=NOW),
    PrimaryKeyConstraint("cluster", "worker"),
    CheckConstraint("kind IN ('drain', 'replace')", name="worker_orders_kind"),
    CheckConstraint("within_s >= 0", name="worker_orders_within"),
)

# Lives of workers that got no more jobs since several in a row had failed there: a row for each of these. What they
# failed with their attempts say.
quarantines = Table(
    "quarantines",
    metadata,
    Column("cluster", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("incarnation", Text, nullable=False),
    Column("job_id", Uuid, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("pool", Text, nullable=False),
    moment("at", nullable=False, server_default=NOW),
    PrimaryKeyConstraint("cluster", "worker", "incarnation", "job_id"),
)
Index("quarantines_at", quarantines.c.at)

# Jobs that failed for the service's fault and were looked after since: the others are the dead letters. Goes with its
# job.
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("fate", Text, nullable=False),
    # The job that was queued in its place.
    Column("successor", Uuid),
    Column("ended_by", Text, nullable=False),
    moment("ended_at", nullable=False, server_default=NOW),
    CheckConstraint("fate IN ('released', 'forgotten')", name="dead_letters_fate"),
    CheckConstraint("(fate = 'released') = (successor IS NOT NULL)", name="dead_letters_successor"),
)
