"""When campaigns and pools are done, as it was last reckoned, and who reckons: one process of all leads in a duty."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
)

from orchestrator.store.tables.base import metadata, moment

# `domain/outlooks.py` explains the columns.
forecasts = Table(
    "forecasts",
    metadata,
    Column("subject", Text, nullable=False),
    Column("name", Text, nullable=False),
    moment("made_at", nullable=False),
    moment("low_at"),
    moment("likely_at"),
    moment("high_at"),
    Column("at_risk", Boolean),
    Column("reason", Text),
    Column("advice", Text),
    PrimaryKeyConstraint("subject", "name"),
    CheckConstraint("subject IN ('campaign', 'pool')", name="forecasts_subject"),
    CheckConstraint("low_at <= likely_at AND likely_at <= high_at", name="forecasts_in_order"),
)

# `LaneOutlook` explains the columns. Apart from the others, which everybody reads whole.
lane_forecasts = Table(
    "lane_forecasts",
    metadata,
    Column("pool", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    moment("made_at", nullable=False),
    Column("ahead_s", ARRAY(Double), nullable=False),
    Column("low_s", ARRAY(Double), nullable=False),
    Column("likely_s", ARRAY(Double), nullable=False),
    Column("high_s", ARRAY(Double), nullable=False),
    Column("stretch", ARRAY(Double), nullable=False),
    Column("reason", Text),
    PrimaryKeyConstraint("pool", "tenant", "priority"),
)

leaders = Table(
    "leaders",
    metadata,
    Column("duty", Text, primary_key=True),
    Column("lease", Uuid, nullable=False),
    moment("leased_until", nullable=False),
)
