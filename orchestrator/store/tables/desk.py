"""What people do at a desk: act on many jobs at once, note something about one, keep a filter by its name."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.store.tables.base import NOW, ZERO, metadata, moment

# `ports/bulk.py` explains the columns.
bulk_actions = Table(
    "bulk_actions",
    metadata,
    # UUIDv7 in hex behind a word: their order is the order of creation.
    Column("id", Text, primary_key=True),
    # The tenant of whoever asked.
    Column("owner", Text, nullable=False),
    # Whose jobs; null is every tenant's, as only administrators may say.
    Column("tenant", Text),
    # Asked by an administrator, and among theirs alone.
    Column("administrative", Boolean, nullable=False, server_default=text("false")),
    Column("action", Text, nullable=False),
    Column("filter", JSONB, nullable=False),
    Column("priority", SmallInteger),
    # Who asked, as the audit log has it, and as people read it.
    Column("actor", JSONB, nullable=False),
    Column("asked_by", Text, nullable=False),
    moment("asked_at", nullable=False, server_default=NOW),
    Column("expected", BigInteger, nullable=False),
    Column("about", Boolean, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'running'")),
    # Behind which job it goes on.
    Column("cursor", Uuid),
    Column("matched", BigInteger, nullable=False, server_default=ZERO),
    Column("done", BigInteger, nullable=False, server_default=ZERO),
    Column("skipped", JSONB, nullable=False, server_default=text("'{}'")),
    Column("failed", JSONB, nullable=False, server_default=text("'{}'")),
    Column("examples", JSONB, nullable=False, server_default=text("'[]'")),
    Column("waits_for", Text),
    moment("ended_at"),
    Column("idempotency_key", Text),
    Column("request_hash", Text),
    # Who carries it on, and until when nobody else does; without a lease that is until when it rests.
    Column("lease", Uuid),
    moment("leased_until"),
    CheckConstraint("action IN ('cancel', 'retry', 'priority')", name="bulk_actions_action"),
    CheckConstraint("(action = 'priority') = (priority IS NOT NULL)", name="bulk_actions_priority"),
    CheckConstraint("state IN ('running', 'completed', 'cancelled')", name="bulk_actions_state"),
    CheckConstraint("(state = 'running') = (ended_at IS NULL)", name="bulk_actions_ended"),
    CheckConstraint("administrative OR tenant IS NOT NULL AND tenant = owner", name="bulk_actions_own"),
    CheckConstraint("idempotency_key IS NULL OR request_hash IS NOT NULL", name="bulk_actions_key_has_hash"),
)
Index("bulk_actions_listing", bulk_actions.c.owner, bulk_actions.c.id)
Index("bulk_actions_running", bulk_actions.c.id, postgresql_where=text("ended_at IS NULL"))
Index("bulk_actions_old", bulk_actions.c.ended_at, postgresql_where=text("ended_at IS NOT NULL"))
Index(
    "bulk_actions_idempotency", bulk_actions.c.owner, bulk_actions.c.administrative, bulk_actions.c.idempotency_key,
    unique=True, postgresql_where=text("idempotency_key IS NOT NULL"),
)  # fmt: skip

# What somebody wrote about a job or a campaign, by its public id.
notes = Table(
    "notes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("about", Text, nullable=False),
    Column("body", Text, nullable=False),
    # The id of a key or of a person; and as people read it.
    Column("author", Text, nullable=False),
    Column("written_by", Text, nullable=False),
    moment("created_at", nullable=False, server_default=NOW),
)
Index("notes_about", notes.c.tenant, notes.c.about, notes.c.id)

# Filters of lists that somebody wants to come back to, by the list's name and their own.
saved_filters = Table(
    "saved_filters",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("filter", JSONB, nullable=False),
    Column("author", Text, nullable=False),
    Column("saved_by", Text, nullable=False),
    moment("saved_at", nullable=False, server_default=NOW),
    PrimaryKeyConstraint("tenant", "name"),
)
