"""Tenants that are being erased, and what became of those that were."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, Index, Integer, PrimaryKeyConstraint, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.store.tables.base import NOW, ZERO, metadata, moment

# `ports/erasures.py` explains the columns. While one is not finished, triggers refuse new jobs, files, batches,
# campaigns, keys and endpoints of its tenant (`cogmill_refuse_erased`, of the migration 0026).
erasures = Table(
    "erasures",
    metadata,
    # UUIDv7 in hex behind a word: their order is the order of creation.
    Column("id", Text, primary_key=True),
    Column("tenant", Text),
    Column("keep_usage", Boolean, nullable=False),
    Column("requested_by", Text, nullable=False),
    moment("requested_at", nullable=False, server_default=NOW),
    # When somebody is to take it up again.
    moment("due_at", nullable=False, server_default=NOW),
    Column("erased", JSONB, nullable=False, server_default=text("'{}'")),
    Column("waits_for", Text),
    # Of the secret that signed its webhooks. A new tenant's begins behind all of these.
    Column("secret_generation", Integer, nullable=False, server_default=ZERO),
    moment("finished_at"),
    Column("receipt", Text),
    CheckConstraint("num_nulls(finished_at, receipt) IN (0, 2)", name="erasures_finished_has_receipt"),
    CheckConstraint("(tenant IS NULL) = (finished_at IS NOT NULL)", name="erasures_finished_names_nobody"),
)
Index("erasures_open", erasures.c.tenant, unique=True, postgresql_where=text("finished_at IS NULL"))

# What an erasure comes back to: jobs whose workers may be uploading still, and keys of pictures that
# others may be about to use.
erasure_rest = Table(
    "erasure_rest",
    metadata,
    Column("erasure", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    moment("due_at", nullable=False),
    PrimaryKeyConstraint("erasure", "kind", "subject"),
    CheckConstraint("kind IN ('job', 'picture')", name="erasure_rest_kind"),
)
