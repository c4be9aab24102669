"""How many workers of each kind there are, and what was decided about them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.store.tables.base import NOW, ZERO, metadata, moment

# `ports/fleet.py` explains the columns. Written by the cluster's dispatcher, whole each time.
fleet_kinds = Table(
    "fleet_kinds",
    metadata,
    Column("cluster", Text, nullable=False),
    Column("pool", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("wanted", Integer, nullable=False),
    Column("requested", Integer, nullable=False),
    Column("starting", Integer, nullable=False),
    Column("ready", Integer, nullable=False),
    Column("draining", Integer, nullable=False),
    Column("why", Text, nullable=False),
    Column("failures", Integer, nullable=False, server_default=ZERO),
    Column("rests_s", Double, nullable=False, server_default=ZERO),
    moment("told_at", nullable=False, server_default=NOW),
    PrimaryKeyConstraint("cluster", "pool", "kind"),
    CheckConstraint(
        "wanted >= 0 AND requested >= 0 AND starting >= 0 AND ready >= 0 AND draining >= 0 AND failures >= 0",
        name="fleet_kinds_counts",
    ),
)

# The last thousand of each cluster.
scale_decisions = Table(
    "scale_decisions",
    metadata,
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    Column("cluster", Text, nullable=False),
    Column("pool", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("change", Integer, nullable=False),
    Column("why", Text, nullable=False),
    # What it was based on.
    Column("basis", JSONB),
    moment("at", nullable=False, server_default=NOW),
)
Index("scale_decisions_cluster", scale_decisions.c.cluster, scale_decisions.c.number)
