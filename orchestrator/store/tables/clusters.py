"""The Ray clusters of releases, as whoever makes and ends them has them stand."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, Double, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.store.tables.base import NOW, ZERO, metadata, moment

# `domain/clusters.py` explains the states. Of a cluster that has no row here its dispatcher claims.
ray_clusters = Table(
    "ray_clusters",
    metadata,
    Column("name", Text, primary_key=True),
    # Namespace and name of the object that all objects of the release belong to.
    Column("release", Text, nullable=False),
    Column("state", Text, nullable=False),
    # For whose sake it retires, or could not.
    Column("successor", Text),
    Column("why", Text, nullable=False),
    # Of what it renders when it retires, what takes longer than this leaves with its checkpoint.
    Column("grace_s", Double, nullable=False, server_default=ZERO),
    # Grows with each change of the state.
    Column("version", Integer, nullable=False, server_default=ZERO),
    # Its dispatcher has seen that it retires, and claims no more.
    Column("obeyed", Boolean, nullable=False, server_default=text("false")),
    # While it yields: its workers by host and pool, as its dispatcher tells them; and the hosts that it gives up, each
    # with the workers that it had then.
    Column("hosts", JSONB, nullable=False, server_default=text("'{}'")),
    Column("gives", JSONB, nullable=False, server_default=text("'{}'")),
    moment("since", nullable=False, server_default=NOW),
    moment("made_at", nullable=False, server_default=NOW),
    CheckConstraint(
        "state IN ('coming', 'serving', 'yielding', 'retiring', 'kept', 'ending')", name="ray_clusters_state"
    ),
)
