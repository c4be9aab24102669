"""What renders have taught of how long renders take."""

from __future__ import annotations

from sqlalchemy import ARRAY, Boolean, CheckConstraint, Column, Double, Integer, PrimaryKeyConstraint, Table, Text

from orchestrator.store.tables.base import NOW, metadata, moment

_KEY = (
    Column("model", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("num_frames", Integer, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("profile", Text, nullable=False),
    Column("guided", Boolean, nullable=False),
    Column("adapter", Text, nullable=False),
    Column("kind", Text, nullable=False),
)

# One row for each kind of render, with the ratios of the last ones and the Unix times of their ends: newest first.
learned_ratios = Table(
    "learned_ratios",
    metadata,
    *_KEY,
    Column("ratios", ARRAY(Double), nullable=False),
    Column("seen", ARRAY(Double), nullable=False),
    moment("last_seen", nullable=False, server_default=NOW),
    PrimaryKeyConstraint(*(column.name for column in _KEY)),
    CheckConstraint("cardinality(ratios) = cardinality(seen)", name="learned_ratios_paired"),
)
