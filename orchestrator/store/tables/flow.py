"""How the queue and the GPUs stood, minute by minute: what is told of hours that are over."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, Double, Index, Integer, PrimaryKeyConstraint, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.store.tables.base import metadata, moment

# Up to when jobs' ends have been counted, and how the workers' ledger stood then. Whoever has its row's lock samples.
flow_clock = Table(
    "flow_clock",
    metadata,
    # The primary key of a table that can have one row only.
    Column("singleton", Boolean, primary_key=True, server_default=text("true")),
    moment("until", nullable=False),
    # `ports/overview.py` explains it.
    Column("readings", JSONB, nullable=False, server_default=text("'{}'")),
    CheckConstraint("singleton", name="flow_clock_is_one"),
)

# `at` is the minute, later the beginning of the ten or sixty that it was merged into. What waits and runs is of their
# end; the others are sums.
flow_samples = Table(
    "flow_samples",
    metadata,
    Column("subject", Text, nullable=False),
    Column("name", Text, nullable=False),
    moment("at", nullable=False),
    Column("accepted", Integer, nullable=False),
    Column("waiting", Integer, nullable=False),
    Column("running", Integer, nullable=False),
    # They have ended so late that their end is the next sample's.
    Column("ending", Integer, nullable=False),
    Column("succeeded", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("cancelled", Integer, nullable=False),
    PrimaryKeyConstraint("subject", "name", "at"),
    CheckConstraint("subject IN ('pool', 'priority', 'tenant')", name="flow_samples_subject"),
    CheckConstraint(
        "accepted >= 0 AND waiting >= 0 AND running >= 0 AND ending >= 0 "
        "AND succeeded >= 0 AND failed >= 0 AND cancelled >= 0",
        name="flow_samples_counts",
    ),
)
Index("flow_samples_at", flow_samples.c.at)

# Seconds of a pool's workers between two samples, and of these those in which they rendered.
gpu_samples = Table(
    "gpu_samples",
    metadata,
    Column("pool", Text, nullable=False),
    moment("at", nullable=False),
    Column("busy_s", Double, nullable=False),
    Column("worker_s", Double, nullable=False),
    PrimaryKeyConstraint("pool", "at"),
    CheckConstraint("busy_s >= 0 AND worker_s >= busy_s", name="gpu_samples_seconds"),
)
Index("gpu_samples_at", gpu_samples.c.at)
